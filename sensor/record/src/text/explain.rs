//! An incident in sentences: what moved it, who agreed, what lowered the confidence, what was
//! decided and why, what to do next.

use std::fmt::Write as _;

use sensor_engine::{FEATURES, MAX_COUNTED};

use crate::account::Account;
use crate::entity::EntityKind;
use crate::escape::escape;
use crate::evidence::Evidence;
use crate::feedback::Said;
use crate::incident::{Incident, Lowered};
use crate::rule::Rule;
use crate::statement::Statement;
use crate::technique::technique_name;
use crate::text::{by, measure, outcome, score, withheld};
use crate::time::Zone;
use crate::unit::number;

/// Paragraphs; tables are lines of their own.
pub fn sentences(account: &Account, zone: &Zone) -> Vec<String> {
    let incident = &account.incident;
    let mut told = vec![headline(incident), what(incident), when(incident, zone)];
    told.push(format!("Who: {}.", who(incident)));
    told.extend(moved_by(incident));
    told.extend(counters(incident));
    told.push(found_by(incident));
    told.push(naming(incident));
    told.extend(confidence(incident));
    told.extend(others(incident, zone));
    told.push(decided(account));
    told.extend(feedback(account, zone));
    told.push("Next:".to_owned());
    told.extend(next(incident).into_iter().map(|line| format!("  {line}")));
    told.iter().map(|line| escape(line).into_owned()).collect()
}

fn headline(incident: &Incident) -> String {
    let technique = match (&*incident.technique, technique_name(&incident.technique)) {
        ("", _) => String::new(),
        (id, "") => format!(", MITRE ATT&CK {id}"),
        (id, name) => format!(", MITRE ATT&CK {id} ({name})"),
    };
    format!(
        "Incident {}: {}, severity {}, {}{technique}.",
        incident.id,
        incident.family,
        incident.severity.label(),
        incident.state.label(),
    )
}

fn what(incident: &Incident) -> String {
    format!("What: {}.", incident.explanation)
}

fn when(incident: &Incident, zone: &Zone) -> String {
    format!(
        "When: from {} to {}; last word on it {}.",
        zone.millisecond(incident.start),
        zone.millisecond(incident.end),
        zone.millisecond(incident.head.at)
    )
}

/// The first few of a list, with how many there are.
fn list<T: ToString>(items: &[T], n: u64) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = items.iter().take(SHOWN).map(T::to_string).collect();
    let n = usize::try_from(n).unwrap_or(usize::MAX).max(items.len());
    match n.saturating_sub(shown.len()) {
        _ if shown.is_empty() => n.to_string(),
        0 => shown.join(", "),
        // As many distinct values are estimated.
        more if n > MAX_COUNTED => format!("{} and about {more} more", shown.join(", ")),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn who(incident: &Incident) -> String {
    let mut told = match (incident.source_mac, incident.is_spoofed, incident.n_sources) {
        (Some(mac), _, _) => format!("from station {mac}"),
        (None, true, n) => format!("from about {n} sources, spoofed or scattered"),
        (None, false, 0) => "no source that could be blamed".to_owned(),
        (None, false, n) => format!("from {}", list(&incident.sources, n)),
    };
    if incident.n_destinations > 0 {
        let hosts = list(&incident.destinations, incident.n_destinations);
        let _infallible = write!(told, " to {hosts}");
    }
    if let Some(mac) = incident.destination_mac {
        let _infallible = write!(told, " of station {mac}");
    }
    if incident.n_ports > 0 {
        let ports = list(&incident.ports, incident.n_ports);
        let _infallible = write!(told, ", ports {ports}");
    }
    told
}

/// One line for each feature that moved the score.
fn moved_by(incident: &Incident) -> Vec<String> {
    if incident.features.is_empty() {
        return Vec::new();
    }
    let mut told = vec![format!(
        "Why: score {}, judged over {} s. What moved it:",
        score(incident.score),
        number(incident.window_s),
    )];
    told.extend(incident.features.iter().map(feature));
    told
}

fn feature(evidence: &Evidence) -> String {
    let known = FEATURES.iter().find(|known| known.name == evidence.name);
    let meaning = known.map_or(String::new(), |known| {
        let span = known.span.label();
        format!(" [{}, {}; {span}]", known.help, known.unit)
    });
    format!(
        "  {}: {} observed, up to {} expected, {:.0} % of the score{meaning}",
        evidence.name,
        number(evidence.observed),
        number(evidence.expected),
        100.0 * evidence.share,
    )
}

fn counters(incident: &Incident) -> Option<String> {
    let n = incident.counters.get("windows")?;
    let rest = incident
        .counters
        .iter()
        .filter(|(name, _)| *name != "windows");
    let rest: Vec<String> = rest
        .map(|(name, value)| format!("{} {value}", name.replace('_', " ")))
        .collect();
    let kind = incident.entity_kind.map_or("", EntityKind::label);
    let entity = incident.entity.map(|entity| entity.to_string());
    let windows = if *n == 1 { "window" } else { "windows" };
    Some(format!(
        "Counted of {kind} {} in {n} {windows} of 10 s: {}.",
        entity.unwrap_or_default(),
        rest.join(", ")
    ))
}

fn found_by(incident: &Incident) -> String {
    // One window in thirty is as odd by chance.
    const ODD: f64 = 1.5;
    let detectors = list(&incident.detectors, 0);
    let schema = match incident.schema_hash.as_str() {
        "" => String::new(),
        hash => format!(" Feature schema {hash}."),
    };
    if incident.models.is_empty() {
        return format!("Found by: {detectors}.{schema}");
    }
    let (odd, calm): (Vec<_>, Vec<_>) = incident
        .models
        .iter()
        .partition(|(_, surprise)| **surprise >= ODD);
    let join = |some: &[(&_, &f64)]| {
        let one = |(name, surprise): &(&std::borrow::Cow<'_, str>, &f64)| {
            format!("{name} {}", number(**surprise))
        };
        some.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let (odd_told, calm_told) = (join(&odd), join(&calm));
    let agreed = match (odd.is_empty(), calm.is_empty()) {
        (true, _) => format!("none finds it odd: {calm_told}"),
        (false, true) => format!("all find it odd: {odd_told}"),
        (false, false) => format!("{odd_told} agree, {calm_told} do not"),
    };
    format!(
        "Found by: {detectors}; of the models (-log10 p in the oddest window) {agreed}.{schema}"
    )
}

fn naming(incident: &Incident) -> String {
    let Some(family) = &incident.naming_family else {
        return "Named: the naming model gives no name: there is no vector of it, it looks benign, \
                or like several families."
            .to_owned();
    };
    let agrees = if *family == incident.family {
        ""
    } else {
        "; the detector's word stands"
    };
    format!(
        "Named: {family} by {:.0} % of the trees of model {}{agrees}.",
        100.0 * incident.naming_probability.unwrap_or(0.0),
        incident.naming_model.as_deref().unwrap_or_default(),
    )
}

fn confidence(incident: &Incident) -> Option<String> {
    let value = incident.confidence?;
    let reasons: Vec<String> = incident.lowered_by.iter().map(lowered).collect();
    Some(match reasons.is_empty() {
        true => format!("Confidence: {value:.2}, nothing lowered it."),
        false => format!(
            "Confidence: {value:.2}, lowered by: {}.",
            reasons.join("; ")
        ),
    })
}

fn lowered(by: &Lowered) -> String {
    match by {
        Lowered::WarmUp => {
            "less than ten minutes of traffic seen, limits are priors still".to_owned()
        }
        Lowered::Drift => "the traffic changed recently; scores are being recalibrated".to_owned(),
        Lowered::Records => {
            "flows are those of exported records, whose single packets are not known".to_owned()
        }
        Lowered::Sampled => "packets were sampled before they became records".to_owned(),
        Lowered::Learned => "the learned model takes it for ordinary traffic".to_owned(),
        Lowered::Loss { stage, reason } => {
            format!("{stage} shed something within the minute before ({reason})")
        }
    }
}

/// Statements of other systems about the sources.
fn others(incident: &Incident, zone: &Zone) -> Vec<String> {
    const SHOWN: usize = 8;
    let of = |one: &Statement| {
        let number = |name: &str, n: Option<u8>| n.map(|n| format!(", {name} {n} of 100"));
        let weight = number("weight", one.weight).unwrap_or_default();
        let certainty = number("certainty", one.certainty).unwrap_or_default();
        let against = one.against.map_or(String::new(), |ip| format!(" to {ip}"));
        let stopped = if one.blocked { ", stopped there" } else { "" };
        let times = match one.count {
            1 => String::new(),
            n => format!(", {n} times"),
        };
        let Statement {
            by,
            product,
            what,
            about,
            ..
        } = one;
        let last = zone.second(one.last);
        format!(
            "  {by} ({product}) of {about}{against}: {what}{weight}{certainty}{stopped}{times}, last {last}"
        )
    };
    let statements = &incident.statements;
    if statements.is_empty() {
        return Vec::new();
    }
    let mut told = vec!["Others say (no proof, and alone a reason for nothing):".to_owned()];
    told.extend(statements.iter().take(SHOWN).map(of));
    if let more @ 1.. = statements.len().saturating_sub(SHOWN) {
        told.push(format!("  and {more} more"));
    }
    told
}

fn decided(account: &Account) -> String {
    let decided = &account.decided;
    let withheld = withheld(&account.incident.response);
    if decided.decisions.is_empty() {
        let why = withheld.unwrap_or_else(|| why_nothing(&account.incident).to_owned());
        return format!("Decided: nothing. {}.", capital(&why));
    }
    // The same over and over is told once.
    let mut told: Vec<(String, u64)> = Vec::new();
    for decision in &decided.decisions {
        let one = format!("{} ({})", measure(decision), outcome(&decision.outcome));
        match told.last_mut() {
            Some((last, n)) if *last == one => *n += 1,
            _ => told.push((one, 1)),
        }
    }
    let listed: Vec<String> = told
        .into_iter()
        .map(|(one, n)| match n {
            1 => one,
            n => format!("{one}, {n} times"),
        })
        .collect();
    let n_listed = decided.decisions.len() as u64;
    let more = decided.n_decisions.saturating_sub(n_listed);
    let more = match more {
        0 => String::new(),
        n => format!("; and {n} more"),
    };
    let rest = withheld.map_or(String::new(), |why| format!(" Nothing else: {why}."));
    format!("Decided: {}{more}.{rest}", listed.join("; "))
}

/// A sentence with its first letter as a capital.
fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(chars).collect()
}

fn feedback(account: &Account, zone: &Zone) -> Option<String> {
    let said = account.feedback.as_ref()?;
    let effect = match said.said {
        Said::Benign => "what it does is learned as normal",
        Said::Attack => "nothing of it is learned",
    };
    let reason = match said.reason.as_str() {
        "" => String::new(),
        reason => format!(" ({})", escape(reason)),
    };
    Some(format!(
        "Said: {}{reason} by {}; until {} {effect}.",
        said.said.label(),
        by(&said.by),
        zone.second(said.until),
    ))
}

/// Reason of incidents written before they held it.
const fn why_nothing(incident: &Incident) -> &'static str {
    if incident.source_mac.is_some() {
        "it is a station on the link, whose IP address may be a lie"
    } else if incident.is_spoofed {
        Rule::Spoofed.words()
    } else if incident.n_sources == 0 {
        Rule::NoSource.words()
    } else {
        "its sources are local, were acted on a moment ago, or the score is below \
         engine.decide.min_score"
    }
}

fn next(incident: &Incident) -> Vec<String> {
    let source = incident.sources.first();
    let mut told = Vec::new();
    if let Some(address) = source.or_else(|| incident.destinations.first()) {
        told.push(format!(
            "sensor flows --network {address}   what it does right now"
        ));
    }
    if let Some(address) = source.filter(|_| !incident.is_spoofed) {
        told.push(format!(
            "sensor block add {address} --ttl 1h   if it is an attacker"
        ));
        told.push(format!(
            "sensor allow add {address}   if it is known and harmless"
        ));
    }
    if incident.entity_kind != Some(EntityKind::Station) {
        let id = &incident.id;
        told.push(format!(
            "sensor feedback {id} benign   learn from it, or attack: don't"
        ));
    }
    told.push("sensor incidents   what else goes on".to_owned());
    told
}
