//! Templates of one's own, in the Jinja language.

use minijinja::value::Serde;
use minijinja::{Environment, Value as JinjaValue, context};
use sensor_record::{Incident, example, json};
use serde_json::{Map, Value};

use super::Body;
use crate::envelope::Envelope;
use crate::wording::Words;

const NAME: &str = "template";
/// Steps of one filling: no loop of a template holds up the sink.
const MAX_STEPS: u64 = 1_000_000;

/// A template, read and ready.
pub struct Template {
    environment: Environment<'static>,
}

impl Template {
    /// # Errors
    /// What is wrong, and in which line.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(MAX_STEPS));
        environment.set_undefined_behavior(minijinja::UndefinedBehavior::SemiStrict);
        let added = environment.add_template_owned(NAME, text.to_owned());
        added.map_err(|cause| cause.to_string())?;
        Ok(Self { environment })
    }

    /// # Errors
    /// What could not be filled in.
    pub fn fill(&self, envelope: &Envelope) -> Result<Body, String> {
        let template = self.environment.get_template(NAME);
        let template = template.map_err(|cause| cause.to_string())?;
        let words = Words::of(envelope);
        let raw = json::line(&envelope.record);
        let raw: Map<String, Value> = json::read(raw.as_bytes()).unwrap_or_default();
        let values = context! {
            record => JinjaValue::from(Serde(nested(&raw))),
            fields => JinjaValue::from(Serde(raw)),
            sequence => envelope.seq,
            title => words.title,
            text => words.text,
        };
        let filled = template.render(values).map_err(|cause| cause.to_string())?;
        let is_json = filled.trim_start().starts_with(['{', '[']);
        Ok(Body {
            content_type: if is_json {
                "application/json"
            } else {
                "text/plain; charset=utf-8"
            },
            headers: Vec::new(),
            bytes: filled.into_bytes(),
        })
    }
}

/// Checks a template on an incident with every field.
///
/// # Errors
/// What is wrong with it.
pub fn check(text: &str) -> Result<(), String> {
    let incident: Incident = example::incident();
    let envelope = Envelope {
        seq: 1,
        at_ns: 0,
        record: incident.into(),
    };
    Template::new(text)?.fill(&envelope).map(|_| ())
}

/// Dotted names as objects within objects: `source.ips` becomes `record.source.ips`. Where a name is a
/// value and the begin of another, the longer one is written with `_`: `record.source.ips_count`.
fn nested(raw: &Map<String, Value>) -> Value {
    let mut tree = Map::new();
    for (name, value) in raw {
        let names: Vec<&str> = name.split('.').collect();
        put(&mut tree, &names, value);
    }
    Value::Object(tree)
}

fn put(tree: &mut Map<String, Value>, names: &[&str], value: &Value) {
    match names {
        [] => {}
        [name] => {
            tree.insert((*name).to_owned(), value.clone());
        }
        [name, rest @ ..] => {
            let inner = tree
                .entry(*name)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            } else {
                tree.insert(names.join("_"), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> String {
        let envelope = Envelope {
            seq: 7,
            at_ns: 0,
            record: example::incident().into(),
        };
        let body = Template::new(text).unwrap().fill(&envelope).unwrap();
        String::from_utf8(body.bytes).unwrap()
    }

    #[test]
    fn every_field_can_be_named() {
        assert_eq!(
            fill(
                "{{ record.severity }} {{ record.incident.id }} {{ record.source.ips[0] }} {{ sequence }}"
            ),
            "medium 000007-00000000000000aa 198.51.100.7 7"
        );
        assert_eq!(fill("{{ fields['destination.ports.count'] }}"), "900");
        assert_eq!(fill("{{ record.destination.ports_count }}"), "900");
        assert_eq!(
            fill("{\"a\": {{ record.explanation|tojson }}}"),
            "{\"a\": \"198.51.100.7 tried 900 ports of 192.0.2.1\"}"
        );
    }

    #[test]
    fn what_is_wrong_is_told_before_the_first_incident() {
        assert!(check("{{ record.severity }}").is_ok());
        assert!(check("{{ record.severity").is_err());
        assert!(check("{{ record.severity.no.such }}").is_err());
        // A loop without end in sight ends.
        assert!(
            check("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}")
                .is_err()
        );
    }
}
