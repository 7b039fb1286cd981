//! IBM's Log Event Extended Format 2.0 (IBM Documentation, "LEEF event components"): attributes with `^`
//! between them, which stands for nothing else in them.

use std::fmt::Write as _;

use sensor_record::{Incident, Severity};

use super::Body;
use crate::cut;
use crate::envelope::Envelope;
use crate::wording::Words;

const MAX_MESSAGE: usize = 2_048;

pub fn shape(envelope: &Envelope) -> Body {
    let words = Words::of(envelope);
    let head = envelope.record.head();
    let (id, severity) = match envelope.incident() {
        Some(incident) => (incident.family.as_ref(), level(incident.severity)),
        None => (envelope.record.kind(), 1),
    };
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!("LEEF:2.0|sensor|sensor|{version}|{}|^|", header(id));
    // Milliseconds since 1970 need no format.
    add(&mut text, "devTime", &(head.at.0 / 1_000_000).to_string());
    add(&mut text, "sev", &severity.to_string());
    add(&mut text, "identHostName", &head.sensor.host_name);
    add(&mut text, "sequence", &envelope.seq.to_string());
    if let Some(incident) = envelope.incident() {
        add_incident(&mut text, incident);
    }
    add(&mut text, "title", &words.title);
    add(&mut text, "msg", &cut::bytes(&words.text, MAX_MESSAGE));
    Body::text(text)
}

fn add_incident(text: &mut String, incident: &Incident) {
    add(text, "cat", &incident.family);
    add(text, "incidentId", &incident.id);
    add(text, "state", incident.state.label());
    add(text, "technique", &incident.technique);
    if let Some(source) = incident.sources.first() {
        add(text, "src", &source.to_string());
    }
    if let Some(destination) = incident.destinations.first() {
        add(text, "dst", &destination.to_string());
    }
    if let Some(port) = incident.ports.first() {
        add(text, "dstPort", &port.to_string());
    }
    if let Some(mac) = &incident.source_mac {
        add(text, "srcMAC", &mac.to_string().replace('-', ":"));
    }
    if let Some(response) = incident.response.first() {
        let action = response.action.map_or("none", |action| action.label());
        add(text, "action", action);
        add(text, "outcome", response.outcome.label());
    }
}

/// Level of LEEF, 1 to 10.
const fn level(severity: Severity) -> u8 {
    match severity {
        Severity::Low => 2,
        Severity::Medium => 5,
        Severity::High => 8,
        Severity::Critical => 10,
    }
}

fn header(text: &str) -> String {
    text.replace(['|', '^', '\n', '\r'], " ")
}

fn add(text: &mut String, key: &str, value: &str) {
    let value = value.replace(['^', '\n', '\r', '\t'], " ");
    let between = if text.ends_with('|') { "" } else { "^" };
    let _infallible = write!(text, "{between}{key}={value}");
}

#[cfg(test)]
mod tests {
    use sensor_record::example;

    use super::*;

    #[test]
    fn attributes_are_parted_by_nothing_that_is_in_them() {
        let mut incident = example::incident();
        incident.explanation = "a^b\nc|d".to_owned();
        let envelope = Envelope {
            seq: 4,
            at_ns: 0,
            record: incident.into(),
        };
        let text = String::from_utf8(shape(&envelope).bytes).unwrap();
        let (head, rest) = text.split_once("|^|").unwrap();
        assert_eq!(
            head,
            concat!(
                "LEEF:2.0|sensor|sensor|",
                env!("CARGO_PKG_VERSION"),
                "|port_scan"
            )
        );
        let pairs: Vec<(&str, &str)> = rest
            .split('^')
            .map(|pair| pair.split_once('=').unwrap())
            .collect();
        assert_eq!(pairs.last(), Some(&("msg", "a b c|d")));
        assert!(pairs.contains(&("src", "198.51.100.7")) && pairs.contains(&("sev", "5")));
    }
}
