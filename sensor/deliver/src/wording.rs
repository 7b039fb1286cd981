//! Words of records that go to people: title, text and facts, the same for every sink.

use sensor_record::{Incident, Record, State, Zone, text};

use crate::envelope::Envelope;

/// Addresses that a fact names.
const MAX_NAMED: usize = 5;

/// Words for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Behaviour and whom it is about, in one line.
    pub title: String,
    /// One sentence with the numbers.
    pub text: String,
    /// Names with values.
    pub facts: Vec<(&'static str, String)>,
}

impl Words {
    pub fn of(envelope: &Envelope) -> Self {
        match &envelope.record {
            Record::Incident(incident) => of_incident(incident),
            other => of_other(other),
        }
    }

    /// Title, text and facts as lines.
    pub fn lines(&self) -> String {
        let mut lines = format!("{}\n{}", self.title, self.text);
        for (name, value) in &self.facts {
            lines.push_str(&format!("\n{name}: {value}"));
        }
        lines
    }
}

fn of_other(record: &Record) -> Words {
    let line = text::line(record, &Zone::utc()).unwrap_or_else(|| record.kind().to_owned());
    let sensor = &record.head().sensor;
    Words {
        title: format!("{} of sensor {}", record.kind(), sensor.host_name),
        text: line,
        facts: vec![("sensor", sensor.host_name.clone())],
    }
}

fn of_incident(incident: &Incident) -> Words {
    let family = incident.family.replace('_', " ");
    let mut title = format!("{}: {family}", incident.severity.label());
    match incident.sources.first() {
        Some(source) if incident.n_sources > 1 => {
            title.push_str(&format!(
                " from {source} and {} more",
                incident.n_sources - 1
            ));
        }
        Some(source) => title.push_str(&format!(" from {source}")),
        None if incident.is_spoofed => title.push_str(" from spoofed sources"),
        None => {}
    }
    if let Some(destination) = incident.destinations.first() {
        title.push_str(&format!(" to {destination}"));
    }
    if incident.state == State::Closed {
        title.push_str(" (closed)");
    }
    Words {
        title,
        text: incident.explanation.clone(),
        facts: facts(incident),
    }
}

fn facts(incident: &Incident) -> Vec<(&'static str, String)> {
    let technique = format!("{} {}", incident.technique, incident.technique_name);
    let mut facts = vec![
        ("state", incident.state.label().to_owned()),
        ("severity", incident.severity.label().to_owned()),
        ("technique", technique.trim().to_owned()),
        ("sources", named(&incident.sources, incident.n_sources)),
        (
            "destinations",
            named(&incident.destinations, incident.n_destinations),
        ),
        ("ports", named(&incident.ports, incident.n_ports)),
    ];
    if let Some(confidence) = incident.confidence {
        facts.push(("confidence", format!("{confidence:.2}")));
    }
    facts.extend(response(incident));
    facts.push(("sensor", incident.head.sensor.host_name.clone()));
    facts.push(("incident", incident.id.clone()));
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

fn response(incident: &Incident) -> Option<(&'static str, String)> {
    let one = incident.response.first()?;
    let mut words = one
        .action
        .map_or("no decision", |action| action.label())
        .to_owned();
    words.push_str(&format!(", {}", one.outcome.label()));
    if let Some(target) = &one.target {
        words.push_str(&format!(" ({target})"));
    }
    if incident.response.len() > 1 {
        words.push_str(&format!(", and {} more", incident.response.len() - 1));
    }
    Some(("response", words))
}

/// The first few, and how many there are.
fn named<T: ToString>(all: &[T], n: u64) -> String {
    let shown: Vec<String> = all.iter().take(MAX_NAMED).map(T::to_string).collect();
    let rest = n.saturating_sub(shown.len() as u64);
    let mut words = shown.join(", ");
    if rest > 0 && !words.is_empty() {
        words.push_str(&format!(" and {rest} more"));
    }
    words
}
