//! Records in words: the one place where they become sentences, for lines of output, `explain`, the
//! live view and the log. What comes out is escaped ([`crate::escape`]) and may go to a terminal.

pub mod explain;
mod line;
mod table;

use sensor_engine::{MAX_SCORE, strength};

use crate::decision::{Decision, Outcome, OutcomeWord};
use crate::origin::Origin;
use crate::response::Response;
use crate::transport::transport;
use crate::unit::number;

pub use line::{line, summary};
pub use table::{Table, are_numbers, wrapped};

/// A score with its ceiling and a plain word.
pub fn score(score: f64) -> String {
    format!("{} of {MAX_SCORE:.0}, {}", number(score), strength(score))
}

/// `drop 198.51.100.7 for 5m`, with what of its traffic is meant.
pub fn measure(decision: &Decision) -> String {
    let d = decision;
    let what = match (d.protocol, d.port) {
        (0, 0) => String::new(),
        (0, port) => format!(" (port {port})"),
        (protocol, 0) => format!(" ({})", transport(protocol)),
        (protocol, port) => format!(" ({} port {port})", transport(protocol)),
    };
    format!("{} {}{what} for {} s", d.action.label(), d.target, d.ttl_s)
}

/// Words for the outcome of a decision.
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Applied => "carried out".to_owned(),
        Outcome::Monitored => "monitor mode: nothing is dropped".to_owned(),
        Outcome::Proposed => "proposed: it waits for a yes".to_owned(),
        Outcome::Refused { reason, .. } => format!("refused: {reason}"),
        Outcome::Failed { cause, .. } => format!("failed: {cause}"),
    }
}

/// Words for a response: the action with its outcome, and the rule by which nothing is done.
pub fn outcome_word(response: &Response) -> String {
    let action = response.action.map(|action| action.label());
    let outcome = response.outcome.label();
    let what = action.map_or_else(
        || outcome.to_owned(),
        |action| format!("{action}, {outcome}"),
    );
    match response.rule {
        Some(rule) => format!("{what}: {}", rule.words()),
        None => what,
    }
}

/// Sentence for sources that nothing is done to; `None` where something is.
pub fn withheld<'a>(responses: impl IntoIterator<Item = &'a Response>) -> Option<String> {
    let mut told: Vec<(String, Vec<String>)> = Vec::new();
    for response in responses {
        let (OutcomeWord::Withheld, Some(rule)) = (response.outcome, response.rule) else {
            continue;
        };
        let words = match &response.reason {
            Some(reason) => format!("{} ({reason})", rule.words()),
            None => rule.words().to_owned(),
        };
        let target = response.target.map(|target| target.to_string());
        match told.iter_mut().find(|(other, _)| *other == words) {
            Some((_, targets)) => targets.extend(target),
            None => told.push((words, target.into_iter().collect())),
        }
    }
    let one = |(words, targets): &(String, Vec<String>)| match targets.as_slice() {
        [] => words.clone(),
        [one] => format!("{one}: {words}"),
        [first, .., last] => format!("{} sources, {first} to {last}: {words}", targets.len()),
    };
    let told: Vec<String> = told.iter().map(one).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// Words for the origin of an entry.
pub fn by(origin: &Origin) -> String {
    match origin {
        Origin::Incident { incident_id, .. } => format!("incident {incident_id}"),
        Origin::Operator { uid } => format!("user {uid}"),
        Origin::Token { token } => format!("token {token}"),
        Origin::Feed { feed } => format!("list {feed}"),
        Origin::Config => "config".to_owned(),
        Origin::Adopted { .. } => "adopted".to_owned(),
        Origin::Sensor => "sensor".to_owned(),
    }
}

/// `address:port`, or the address alone where there is no port.
pub fn end(ip: std::net::IpAddr, port: u16) -> String {
    match port {
        0 => ip.to_string(),
        port => std::net::SocketAddr::new(ip, port).to_string(),
    }
}

#[cfg(test)]
mod tests;
