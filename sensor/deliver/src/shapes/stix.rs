//! STIX 2.1 (OASIS): an incident as a bundle. Identifiers follow from what they are of, so that what is sent
//! again is the same object, or a later version of it.

use std::net::IpAddr;

use sensor_record::{Incident, Record, Timestamp, json};
use serde_json::{Value, json};

use super::Body;
use crate::cut;
use crate::envelope::Envelope;
use crate::uuid::{Namespace, SENSOR, v5};
use crate::wording::Words;

/// Namespace of observables (STIX 2.1, section 2.9).
const OBSERVABLES: Namespace = Namespace([
    0x00, 0xab, 0xed, 0xb4, 0xaa, 0x42, 0x46, 0x6c, 0x9c, 0x01, 0xfe, 0xd2, 0x33, 0x15, 0xa9, 0xb7,
]);
/// Characters of an indicator's description, of which there may be a hundred, and of the incident's.
const MAX_WORDS: usize = 1_000;
const MAX_TEXT: usize = 20_000;
/// Greatest count of a sighting.
const MAX_COUNT: u64 = 999_999_999;

/// Bundle of an incident; of other records a note by the sensor.
pub fn shape(envelope: &Envelope) -> Body {
    let bundle = match envelope.incident() {
        Some(incident) => bundle(incident),
        None => note(envelope),
    };
    Body {
        content_type: "application/stix+json;version=2.1",
        bytes: bundle.to_string().into_bytes(),
        ..Body::default()
    }
}

/// An incident as a bundle.
pub fn bundle(incident: &Incident) -> Value {
    let words = Words::of(&Envelope {
        seq: 0,
        at_ns: 0,
        record: Record::from(incident.clone()),
    });
    let objects = Objects::new(incident, &words).all();
    of(&incident.id, objects)
}

/// A bundle; its own identifier follows from the objects.
fn of(name: &str, objects: Vec<Value>) -> Value {
    let contents = Value::from(objects.clone()).to_string();
    let id = v5(SENSOR, &format!("bundle {name} {contents}"));
    json!({"type": "bundle", "id": format!("bundle--{id}"), "objects": objects})
}

fn note(envelope: &Envelope) -> Value {
    let head = envelope.record.head();
    let sensor = sensor_identity(&head.sensor.id, &head.sensor.host_name);
    let at = time(head.at);
    let content = json::line(&envelope.record);
    let id = v5(SENSOR, &format!("note {}", envelope.key()));
    let note = json!({
        "type": "note", "spec_version": "2.1", "id": format!("note--{id}"),
        "created": at, "modified": at,
        "created_by_ref": sensor["id"],
        "abstract": Words::of(envelope).title,
        "content": content,
        "object_refs": [sensor["id"]],
    });
    of(&envelope.key(), vec![sensor, note])
}

fn sensor_identity(id: &str, host: &str) -> Value {
    // A time of its own would make a new version of it each time.
    let created = "2026-01-01T00:00:00.000Z";
    json!({
        "type": "identity", "spec_version": "2.1",
        "id": format!("identity--{}", v5(SENSOR, &format!("sensor {id}"))),
        "created": created, "modified": created,
        "name": host,
        "description": "A network sensor",
        "identity_class": "system",
    })
}

/// Time with three decimals, as STIX orders versions.
fn time(at: Timestamp) -> String {
    let text = at.to_string();
    let (seconds, decimals) = text.split_once('.').unwrap_or((&text, "000"));
    let milliseconds = decimals.get(..3).unwrap_or("000");
    format!("{seconds}.{milliseconds}Z")
}

/// Objects of an incident.
struct Objects<'a> {
    incident: &'a Incident,
    words: &'a Words,
    sensor: Value,
    created: String,
    modified: String,
}

impl<'a> Objects<'a> {
    fn new(incident: &'a Incident, words: &'a Words) -> Self {
        let sensor = &incident.head.sensor;
        let created = time(incident.start);
        Self {
            incident,
            words,
            sensor: sensor_identity(&sensor.id, &sensor.host_name),
            // No version is older than the thing.
            modified: time(incident.head.at).max(created.clone()),
            created,
        }
    }

    fn all(&self) -> Vec<Value> {
        let mut all = vec![self.sensor.clone()];
        let case = self.case();
        let technique = self.technique();
        let victims: Vec<Value> = self.incident.destinations.iter().map(address).collect();
        if !self.incident.is_spoofed {
            for source in &self.incident.sources {
                let observed = address(source);
                let indicator = self.indicator(source);
                all.push(self.relation(&indicator, "based-on", &self.observed(&observed)));
                all.push(self.sighting(&indicator, &self.observed(&observed)));
                all.push(self.observed(&observed));
                if let Some(technique) = &technique {
                    all.push(self.relation(&indicator, "indicates", technique));
                }
                all.push(self.relation(&case, "related-to", &indicator));
                all.extend([indicator, observed]);
            }
        }
        for victim in &victims {
            all.push(self.relation(&case, "related-to", victim));
        }
        if let Some(technique) = technique {
            all.push(self.relation(&case, "related-to", &technique));
            all.push(technique);
        }
        all.extend(victims);
        all.push(case);
        // An address can be on both sides.
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|one| seen.insert(one["id"].to_string()));
        all
    }

    /// Common part of objects by the sensor; `of` makes the identifier.
    fn common(&self, kind: &str, of: &str) -> Value {
        let id = v5(SENSOR, &format!("{kind} {} {of}", self.incident.id));
        json!({
            "type": kind, "spec_version": "2.1", "id": format!("{kind}--{id}"),
            "created": self.created, "modified": self.modified,
            "created_by_ref": self.sensor["id"],
        })
    }

    fn case(&self) -> Value {
        let mut case = self.common("incident", "");
        case["name"] = self.words.title.as_str().into();
        case["description"] = cut::characters(&self.words.lines(), MAX_TEXT).into();
        case["labels"] = json!([
            self.incident.family,
            self.incident.severity.label(),
            self.incident.state.label(),
        ]);
        if let Some(confidence) = self.incident.confidence {
            case["confidence"] = ((confidence * 100.0).round() as u64).into();
        }
        case["external_references"] = json!([{
            "source_name": "sensor",
            "external_id": self.incident.id,
        }]);
        case
    }

    fn technique(&self) -> Option<Value> {
        let technique = &self.incident.technique;
        if technique.is_empty() {
            return None;
        }
        let created = "2026-01-01T00:00:00.000Z";
        let name = match &*self.incident.technique_name {
            "" => technique,
            name => name,
        };
        let path = technique.replace('.', "/");
        Some(json!({
            "type": "attack-pattern", "spec_version": "2.1",
            "id": format!("attack-pattern--{}", v5(SENSOR, &format!("technique {technique}"))),
            "created": created, "modified": created,
            "name": name,
            "external_references": [{
                "source_name": "mitre-attack",
                "external_id": technique,
                "url": format!("https://attack.mitre.org/techniques/{path}/"),
            }],
        }))
    }

    fn indicator(&self, source: &IpAddr) -> Value {
        let mut indicator = self.common("indicator", &source.to_string());
        indicator["name"] = format!("{} from {source}", self.incident.family).into();
        let words = cut::characters(&self.incident.explanation, MAX_WORDS);
        indicator["description"] = words.into();
        indicator["indicator_types"] = json!(["malicious-activity"]);
        indicator["pattern"] = format!("[{}:value = '{source}']", kind_of(source)).into();
        indicator["pattern_type"] = "stix".into();
        indicator["pattern_version"] = "2.1".into();
        indicator["valid_from"] = self.created.as_str().into();
        if let Some(confidence) = self.incident.confidence {
            indicator["confidence"] = ((confidence * 100.0).round() as u64).into();
        }
        indicator
    }

    fn observed(&self, what: &Value) -> Value {
        let id = what["id"].as_str().unwrap_or_default();
        let mut observed = self.common("observed-data", id);
        observed["first_observed"] = self.created.as_str().into();
        observed["last_observed"] = time(self.incident.end.max(self.incident.start)).into();
        observed["number_observed"] = self.count().into();
        observed["object_refs"] = json!([id]);
        observed
    }

    fn sighting(&self, indicator: &Value, observed: &Value) -> Value {
        let id = indicator["id"].as_str().unwrap_or_default();
        let mut sighting = self.common("sighting", id);
        sighting["first_seen"] = self.created.as_str().into();
        sighting["last_seen"] = time(self.incident.end.max(self.incident.start)).into();
        sighting["count"] = self.count().into();
        sighting["sighting_of_ref"] = id.into();
        sighting["observed_data_refs"] = json!([observed["id"]]);
        sighting["where_sighted_refs"] = json!([self.sensor["id"]]);
        sighting
    }

    /// Flows of the entity, where they were counted; else the incident counts once.
    fn count(&self) -> u64 {
        let n = self.incident.counters.get("flows").copied();
        n.unwrap_or(1).clamp(1, MAX_COUNT)
    }

    fn relation(&self, from: &Value, how: &str, to: &Value) -> Value {
        let of = format!("{} {how} {}", from["id"], to["id"]);
        let mut relation = self.common("relationship", &of);
        relation["relationship_type"] = how.into();
        relation["source_ref"] = from["id"].clone();
        relation["target_ref"] = to["id"].clone();
        relation
    }
}

const fn kind_of(address: &IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "ipv4-addr",
        IpAddr::V6(_) => "ipv6-addr",
    }
}

/// An address as an observable, with the identifier that everybody gives it.
fn address(address: &IpAddr) -> Value {
    let kind = kind_of(address);
    let name = json!({"value": address.to_string()}).to_string();
    json!({
        "type": kind, "spec_version": "2.1",
        "id": format!("{kind}--{}", v5(OBSERVABLES, &name)),
        "value": address.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_record::{State, example};

    #[test]
    fn a_later_version_has_the_same_identifiers_and_a_later_time() {
        let mut incident = example::incident();
        let ids = |incident: &Incident| -> Vec<String> {
            let bundle = bundle(incident);
            let all = bundle["objects"].as_array().unwrap().iter();
            all.map(|one| one["id"].to_string()).collect()
        };
        let (first, version) = (ids(&incident), bundle(&incident)["id"].clone());
        assert_eq!(bundle(&incident)["id"], version);
        incident.state = State::Closed;
        incident.head.at = Timestamp(incident.head.at.0 + 1_000_000_000);
        assert_eq!(ids(&incident), first);
        assert_ne!(bundle(&incident)["id"], version);
    }

    #[test]
    fn addresses_have_the_identifier_of_the_standard() {
        // As `stix2.v21.IPv4Address(value="198.51.100.3")` of the OASIS library gives it.
        let known = address(&"198.51.100.3".parse().unwrap());
        assert_eq!(
            known["id"],
            "ipv4-addr--28bb3599-77cd-5a82-a950-b5bc3caf07c4"
        );
    }

    #[test]
    fn made_up_sources_are_no_indicators() {
        let mut incident = example::incident();
        incident.is_spoofed = true;
        let text = bundle(&incident).to_string();
        assert!(!text.contains("\"indicator\"") && text.contains("192.0.2.1"));
    }
}
