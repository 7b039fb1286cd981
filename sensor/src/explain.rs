//! An incident in sentences, from the objects that the sensor puts out: of the running agent, or of a
//! file of them.

mod account;
mod technique;

use std::fmt::Write as _;

use sensor_engine::FEATURES;
use serde_json::{Value, json};

pub use account::{Account, Accounts, MAX_DECISIONS, Missing};
pub use technique::technique_name;

/// For machines: the objects, and the sentences.
pub fn json(account: &Account) -> Value {
    json!({
        "kind": "explanation",
        "incident": account.incident,
        "decisions": account.decisions,
        "decisions.count": account.n_decisions,
        "opinion": account.opinion,
        "sentences": sentences(account),
    })
}

/// For a person.
pub fn text(account: &Account) -> String {
    sentences(account).join("\n")
}

/// Paragraphs; tables are lines of their own.
pub fn sentences(account: &Account) -> Vec<String> {
    let incident = &account.incident;
    let mut told = vec![headline(incident), what(incident), when(incident)];
    told.push(format!("Who: {}.", who(incident)));
    told.extend(moved_by(incident));
    told.extend(counters(incident));
    told.push(found_by(incident));
    told.push(naming(incident));
    told.extend(confidence(incident));
    told.push(decided(account));
    told.extend(opinion(account));
    told.push("Next:".to_owned());
    told.extend(next(incident).into_iter().map(|line| format!("  {line}")));
    told
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or(0.0)
}

/// Four digits, without an exponent where one can do without.
fn short(x: f64) -> String {
    match x.abs() {
        a if a >= 1e6 => format!("{x:.3e}"),
        a if a >= 100.0 || x.fract() == 0.0 => format!("{x:.0}"),
        a if a >= 1.0 => format!("{x:.1}"),
        _ => format!("{x:.3}"),
    }
}

fn headline(incident: &Value) -> String {
    let id = word(incident, "threat.technique.id");
    let name = technique_name(id);
    let technique = match (id, name) {
        ("", _) => String::new(),
        (id, "") => format!(", MITRE ATT&CK {id}"),
        (id, name) => format!(", MITRE ATT&CK {id} ({name})"),
    };
    format!(
        "Incident {}: {}, severity {}, {}{technique}.",
        word(incident, "incident.id"),
        word(incident, "incident.family"),
        word(incident, "severity"),
        word(incident, "incident.state"),
    )
}

fn what(incident: &Value) -> String {
    format!("What: {}.", word(incident, "explanation"))
}

fn when(incident: &Value) -> String {
    let time = |key: &str| {
        word(incident, key)
            .get(..23)
            .unwrap_or_default()
            .replace('T', " ")
    };
    format!(
        "When: from {} to {} UTC; last word on it {}.",
        time("event.start"),
        time("event.end"),
        time("@timestamp")
    )
}

/// The first few of a list, with how many there are.
fn list(incident: &Value, key: &str, count: &str) -> String {
    const SHOWN: usize = 5;
    let items = incident[key].as_array().map_or(&[][..], Vec::as_slice);
    let plain = |item: &Value| {
        item.as_str()
            .map_or_else(|| item.to_string(), str::to_owned)
    };
    let shown: Vec<String> = items.iter().take(SHOWN).map(plain).collect();
    let n = (number(incident, count) as usize).max(items.len());
    match n.saturating_sub(shown.len()) {
        _ if shown.is_empty() => n.to_string(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn who(incident: &Value) -> String {
    let sources = list(incident, "source.ips", "source.count");
    let mut told = if incident["source.spoofed"] == true {
        format!(
            "about {} sources, spoofed or scattered",
            number(incident, "source.count")
        )
    } else if number(incident, "source.count") == 0.0 {
        "no source that could be blamed".to_owned()
    } else {
        format!("from {sources}")
    };
    if let Some(mac) = incident["source.mac"].as_str() {
        let _infallible = write!(told, " (station {mac})");
    }
    if number(incident, "destination.ips.count") > 0.0 {
        let hosts = list(incident, "destination.ips", "destination.ips.count");
        let _infallible = write!(told, " to {hosts}");
    }
    if number(incident, "destination.ports.count") > 0.0 {
        let ports = list(incident, "destination.ports", "destination.ports.count");
        let _infallible = write!(told, ", ports {ports}");
    }
    told
}

/// One line for each feature that moved the score.
fn moved_by(incident: &Value) -> Vec<String> {
    let features = incident["features"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    if features.is_empty() {
        return Vec::new();
    }
    let score = number(incident, "score");
    let mut told = vec![format!(
        "Why: score {} (10^-{:.0} likely by chance), judged over {} s. What moved it:",
        short(score),
        score,
        short(number(incident, "window_s")),
    )];
    for feature in features {
        let name = word(feature, "name");
        let known = FEATURES.iter().find(|known| known.name == name);
        let meaning = known.map_or(String::new(), |known| {
            let span = known.span.label();
            format!(" [{}, {}; {span}]", known.help, known.unit)
        });
        told.push(format!(
            "  {name}: {} observed, up to {} expected, {:.0} % of the score{meaning}",
            short(number(feature, "observed")),
            short(number(feature, "expected")),
            100.0 * number(feature, "share"),
        ));
    }
    told
}

fn counters(incident: &Value) -> Option<String> {
    let counters = incident["counters"].as_object()?;
    let n = counters.get("windows").and_then(Value::as_u64).unwrap_or(0);
    let one = |(name, value): (&String, &Value)| format!("{} {value}", name.replace('_', " "));
    let rest = counters.iter().filter(|(name, _)| *name != "windows");
    let rest: Vec<String> = rest.map(one).collect();
    Some(format!(
        "Counted of {} {} in {n} windows of 10 s: {}.",
        word(incident, "entity.kind"),
        word(incident, "entity"),
        rest.join(", ")
    ))
}

fn found_by(incident: &Value) -> String {
    let detectors = list(incident, "detectors", "");
    let mut told = format!("Found by: {detectors}");
    if let Some(models) = incident["models"].as_object() {
        // One window in thirty is as odd by chance.
        const ODD: f64 = 1.5;
        let (odd, calm): (Vec<_>, Vec<_>) = models
            .iter()
            .partition(|(_, surprise)| surprise.as_f64().unwrap_or(0.0) >= ODD);
        let one = |(name, surprise): &(&String, &Value)| {
            format!("{name} {}", short(surprise.as_f64().unwrap_or(0.0)))
        };
        let join = |some: &[(&String, &Value)]| some.iter().map(one).collect::<Vec<_>>().join(", ");
        told.push_str("; of the models (-log10 p in the oddest window) ");
        match (odd.is_empty(), calm.is_empty()) {
            (true, _) => {
                let _infallible = write!(told, "none finds it odd: {}", join(&calm));
            }
            (false, true) => {
                let _infallible = write!(told, "all find it odd: {}", join(&odd));
            }
            (false, false) => {
                let _infallible = write!(told, "{} agree, {} do not", join(&odd), join(&calm));
            }
        }
    }
    match word(incident, "schema.hash") {
        "" => told + ".",
        hash => format!("{told}. Feature schema {hash}."),
    }
}

fn naming(incident: &Value) -> String {
    let family = word(incident, "naming.family");
    if family.is_empty() {
        return "Named: the naming model gives no name: there is no vector of it, it looks benign, \
                or like several families."
            .to_owned();
    }
    let agrees = if family == word(incident, "incident.family") {
        ""
    } else {
        "; the detector's word stands"
    };
    format!(
        "Named: {family} by {:.0} % of the trees of model {}{agrees}.",
        100.0 * number(incident, "naming.probability"),
        word(incident, "naming.model"),
    )
}

fn confidence(incident: &Value) -> Option<String> {
    let value = incident["confidence"].as_f64()?;
    let reasons = incident["confidence.lowered_by"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let reason = |reason: &Value| match reason.as_str().unwrap_or_default() {
        "warm_up" => "less than ten minutes of traffic seen, limits are priors still".to_owned(),
        loss => format!("{loss} was shed within the minute before"),
    };
    let reasons: Vec<String> = reasons.iter().map(reason).collect();
    Some(match reasons.is_empty() {
        true => format!("Confidence: {value:.2}, nothing lowered it."),
        false => format!(
            "Confidence: {value:.2}, lowered by: {}.",
            reasons.join("; ")
        ),
    })
}

fn decided(account: &Account) -> String {
    if account.decisions.is_empty() {
        return format!("Decided: nothing. {}.", why_nothing(&account.incident));
    }
    let one = |decision: &Value| {
        let guard = word(decision, "guard");
        let effect = match (word(decision, "decision.mode"), guard) {
            (_, guard) if guard.starts_with("refused") => format!("the guard {guard}"),
            (_, guard) if guard.starts_with("failed") => guard.to_owned(),
            ("enforce", _) => "carried out".to_owned(),
            ("monitor", _) => "monitor mode: counted, nothing dropped".to_owned(),
            (mode, _) => mode.to_owned(),
        };
        let action = word(decision, "decision.action").replace('_', " ");
        format!(
            "{action} {} for {} s ({effect})",
            word(decision, "decision.target"),
            number(decision, "decision.ttl_s")
        )
    };
    let listed: Vec<String> = account.decisions.iter().map(one).collect();
    let more = account
        .n_decisions
        .saturating_sub(account.decisions.len() as u64);
    let more = match more {
        0 => String::new(),
        n => format!("; and {n} more"),
    };
    format!("Decided: {}{more}.", listed.join("; "))
}

fn opinion(account: &Account) -> Option<String> {
    let said = &account.opinion;
    let effect = match said["opinion"].as_str()? {
        "benign" => "what it does is learned as normal",
        _ => "nothing of it is learned",
    };
    Some(format!(
        "Said: {} by user {}; until {} {effect}.",
        word(said, "opinion"),
        said["by"]["uid"],
        word(said, "until")
            .get(..19)
            .unwrap_or_default()
            .replace('T', " "),
    ))
}

fn why_nothing(incident: &Value) -> &'static str {
    let found_as = incident["incident.found_as"].as_str();
    let family = found_as.unwrap_or(word(incident, "incident.family"));
    if matches!(family, "behaviour_anomaly" | "volume_anomaly") {
        "What is odd but has no shape is told, not acted on"
    } else if incident["source.spoofed"] == true {
        "Sources are spoofed or scattered: blocking them would hit others"
    } else if number(incident, "source.count") == 0.0 {
        "There is no source to act on"
    } else {
        "Its sources are local, were acted on a moment ago, or the score is below \
         engine.decide.min_score"
    }
}

fn next(incident: &Value) -> Vec<String> {
    let first = |key: &str| {
        incident[key]
            .get(0)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let source = first("source.ips");
    let mut told = Vec::new();
    if let Some(address) = source.clone().or_else(|| first("destination.ips")) {
        told.push(format!(
            "sensor flows --network {address}   what it does right now"
        ));
    }
    if let Some(address) = source.filter(|_| incident["source.spoofed"] != true) {
        told.push(format!(
            "sensor block add {address} --ttl 1h   if it is an attacker"
        ));
        told.push(format!(
            "sensor allow add {address}   if it is known and harmless"
        ));
    }
    if incident["entity.kind"] != "station" {
        let id = word(incident, "incident.id");
        told.push(format!(
            "sensor verdict {id} benign   learn from it, or attack: don't"
        ));
    }
    told.push("sensor incidents   what else goes on".to_owned());
    told
}

#[cfg(test)]
mod tests;
