//! ArcSight Common Event Format, version 0 (Micro Focus, "Implementing CEF", revision 25): header fields
//! escape `|` and `\`, values of the extension `=`, `\` and line ends.

use std::fmt::Write as _;
use std::net::IpAddr;

use sensor_record::{Incident, Severity};

use super::Body;
use crate::cut;
use crate::envelope::Envelope;
use crate::wording::Words;

/// Bytes of a name and of a message.
const MAX_NAME: usize = 512;
const MAX_MESSAGE: usize = 1_023;

pub fn shape(envelope: &Envelope) -> Body {
    let words = Words::of(envelope);
    let mut extension = Extension::default();
    let head = envelope.record.head();
    extension.add("rt", &(head.at.0 / 1_000_000).to_string());
    extension.add("dvchost", &cut::bytes(&head.sensor.host_name, 100));
    extension.add("deviceExternalId", &head.sensor.id);
    extension.custom("cn1", "sequence", &envelope.seq.to_string());
    if let Some(incident) = envelope.incident() {
        add_incident(&mut extension, incident);
    }
    // Last: where a receiver cuts, nothing else is lost.
    extension.add("msg", &cut::bytes(&words.text, MAX_MESSAGE));
    let (id, severity) = match envelope.incident() {
        Some(incident) => (incident.family.as_ref(), level(incident.severity)),
        None => (envelope.record.kind(), 1),
    };
    let version = env!("CARGO_PKG_VERSION");
    let name = header(&cut::bytes(&words.title, MAX_NAME));
    let id = header(id);
    Body::text(format!(
        "CEF:0|sensor|sensor|{version}|{id}|{name}|{severity}|{}",
        extension.0
    ))
}

fn add_incident(extension: &mut Extension, incident: &Incident) {
    extension.add("externalId", &incident.id);
    extension.add("start", &(incident.start.0 / 1_000_000).to_string());
    extension.add("end", &(incident.end.0 / 1_000_000).to_string());
    extension.add("cat", &incident.technique);
    extension.custom("cs1", "state", incident.state.label());
    extension.custom("cs2", "technique", &incident.technique_name);
    if let Some(confidence) = incident.confidence {
        extension.custom("cfp1", "confidence", &format!("{confidence:.2}"));
    }
    extension.address(
        ("src", "c6a2", "Source IPv6 Address"),
        incident.sources.first(),
    );
    let destination = incident.destinations.first();
    extension.address(("dst", "c6a3", "Destination IPv6 Address"), destination);
    if let Some(port) = incident.ports.first() {
        extension.add("dpt", &port.to_string());
    }
    if let Some(mac) = &incident.source_mac {
        extension.add("smac", &mac.to_string().replace('-', ":"));
    }
    extension.custom("cn2", "sources", &incident.n_sources.to_string());
    if let Some(response) = incident.response.first() {
        let action = response.action.map_or("none", |action| action.label());
        extension.add("act", action);
        extension.add("outcome", response.outcome.label());
    }
}

/// Level of CEF: 0 to 3 is low, to 6 medium, to 8 high, to 10 very high.
const fn level(severity: Severity) -> u8 {
    match severity {
        Severity::Low => 3,
        Severity::Medium => 5,
        Severity::High => 8,
        Severity::Critical => 10,
    }
}

fn header(text: &str) -> String {
    let plain = text.replace(['\n', '\r'], " ");
    plain.replace('\\', "\\\\").replace('|', "\\|")
}

/// Pairs of key and value.
#[derive(Default)]
struct Extension(String);

impl Extension {
    fn add(&mut self, key: &str, value: &str) {
        let value = value.replace('\\', "\\\\").replace('=', "\\=");
        let value = value.replace('\n', "\\n").replace('\r', "\\r");
        let space = if self.0.is_empty() { "" } else { " " };
        let _infallible = write!(self.0, "{space}{key}={value}");
    }

    /// A field of our own, with its label.
    fn custom(&mut self, key: &str, label: &str, value: &str) {
        self.add(&format!("{key}Label"), label);
        self.add(key, value);
    }

    fn address(&mut self, (v4, v6, label): (&str, &str, &str), address: Option<&IpAddr>) {
        match address {
            Some(IpAddr::V4(address)) => self.add(v4, &address.to_string()),
            Some(IpAddr::V6(address)) => self.custom(v6, label, &address.to_string()),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use sensor_record::example;

    use super::*;

    #[test]
    fn what_means_something_in_cef_is_escaped() {
        let mut incident = example::incident();
        incident.family = "a|b\\c".into();
        incident.explanation = "x=1\\2\nGET /a|b".to_owned();
        incident.sources = vec!["2001:db8::7".parse().unwrap()];
        let envelope = Envelope {
            seq: 4,
            at_ns: 0,
            record: incident.into(),
        };
        let text = String::from_utf8(shape(&envelope).bytes).unwrap();
        assert!(text.contains("|a\\|b\\\\c|"), "{text}");
        assert!(text.ends_with(" msg=x\\=1\\\\2\\nGET /a|b"), "{text}");
        assert!(
            text.contains(" c6a2Label=Source IPv6 Address c6a2=2001:db8::7 dst=192.0.2.1 dpt=1 "),
            "{text}"
        );
        assert!(
            text.contains("cn1Label=sequence cn1=4 ") && !text.contains('\n'),
            "{text}"
        );
    }
}
