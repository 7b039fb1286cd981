//! Notes of what packets said, named as in the Elastic Common Schema.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use sensor_engine::Note;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Each name with its meaning.
pub const NAMES: &[(&str, &str)] = &[
    ("dns.question.name", "Name that was asked for"),
    (
        "dns.question.registered_domain",
        "Zone below which the names lie",
    ),
    ("dns.question.type", "Type of the record that was asked for"),
    ("dns.response_code", "Code of the answer"),
    ("http.request.method", "Method of the first request"),
    ("http.response.status_code", "Code of the first answer"),
    (
        "icmp.error",
        "Error that a host or router told of the flow, by ICMP or ICMPv6: port unreachable, host unreachable, network unreachable, administratively prohibited, time exceeded, packet too big and others",
    ),
    (
        "injection.kind",
        "Kind of program that a web request carries",
    ),
    (
        "network.protocol",
        "Application protocol, by its first bytes",
    ),
    (
        "sensor.drift",
        "Set while scores are being recalibrated after a change of the traffic",
    ),
    (
        "sensor.exception",
        "Reason of the exception that the finding falls under: no incident is made of it",
    ),
    ("sensor.models", "Models that find the window odd"),
    ("ssh.client.banner", "Identification line of the client"),
    ("ssh.server.banner", "Identification line of the server"),
    ("tls.client.ja4", "JA4 fingerprint of the client's hello"),
    (
        "tls.client.server_name",
        "Server name in the client's hello",
    ),
    (
        "tls.client.version_offered",
        "Highest version that the client offers",
    ),
    ("url.domain", "Host of the first web request"),
    ("url.path", "Path of the first web request"),
    ("user_agent.original", "Program that the client names"),
];

/// Values by the names of [`NAMES`]; fields of the record that carries them. Text is as the packets
/// had it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Notes(pub BTreeMap<Cow<'static, str>, String>);

impl Notes {
    /// Takes the engine's notes; the first of each name stays.
    pub fn of(notes: &[Note]) -> Self {
        let mut named = BTreeMap::new();
        for note in notes {
            named
                .entry(Cow::Borrowed(note.name))
                .or_insert_with(|| note.value.clone());
        }
        Self(named)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl<'de> Deserialize<'de> for Notes {
    /// Reads a map that may hold other keys.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;
        impl<'de> Visitor<'de> for Named {
            type Value = Notes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Notes, A::Error> {
                let mut notes = BTreeMap::new();
                while let Some(key) = map.next_key::<Cow<'_, str>>()? {
                    match NAMES.iter().find(|(name, _)| *name == key) {
                        Some((name, _)) => {
                            notes.insert(Cow::Borrowed(*name), map.next_value()?);
                        }
                        None => {
                            let _other: IgnoredAny = map.next_value()?;
                        }
                    }
                }
                Ok(Notes(notes))
            }
        }
        deserializer.deserialize_map(Named)
    }
}

impl JsonSchema for Notes {
    fn schema_name() -> Cow<'static, str> {
        "Notes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({"type": "object", "properties": {}});
        for (name, help) in NAMES {
            let field = json_schema!({"type": "string", "description": help});
            schema.ensure_object()["properties"][*name] = field.to_value();
        }
        schema
    }
}
