//! Table of paths: each row is a command with its method, path and answer. Server, client, OpenAPI
//! document and reference page all read it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use axum::http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use sensor_record::answer::{
    AllowAdded, AllowListed, BlockAdded, BlockFlushed, BlockImported, BlockListed, BlockPreview,
    BlockRemoved, Done, Exception, Explanation, Flows, Judged, LossAccepted, Models, Proposals,
    Samples, Shields, Status, Top,
};
use sensor_record::{Feedback, Incident, Remark};
use sensor_store::{Found, RatePoint, Report, Story};
use serde_json::{Map, Value};

use super::protocol::{Code, Refusal, Request};

/// Beginning of every path; a change that breaks clients gets another.
pub const BASE: &str = "/api/v1";

/// Characters that stand for themselves in a path or a query (RFC 3986, unreserved).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// One row.
pub struct Route {
    /// GET asks; everything else is an order.
    pub method: Method,
    /// Path after [`BASE`], its parameters in braces.
    pub path: &'static str,
    /// Name of the command in [`Request`].
    pub command: &'static str,
    /// Sentence on what it does.
    pub summary: &'static str,
    /// Schema of the answer.
    pub answer: fn(&mut SchemaGenerator) -> Schema,
}

const fn row(
    method: Method,
    path: &'static str,
    command: &'static str,
    summary: &'static str,
    answer: fn(&mut SchemaGenerator) -> Schema,
) -> Route {
    Route {
        method,
        path,
        command,
        summary,
        answer,
    }
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Every path of a command.
#[rustfmt::skip]
pub static ROUTES: [Route; 34] = [
    row(Method::GET, "/status", "status", "Load, losses, health of every part.", of::<Status>),
    row(Method::GET, "/flows", "flows", "Flows that are active now.", of::<Flows>),
    row(Method::GET, "/top", "top", "Top talkers of the last second.", of::<Top>),
    row(Method::GET, "/models", "models", "Models and thresholds in force, and how they fare.", of::<Models>),
    row(Method::POST, "/samples", "samples", "Packet samples since a number, kept while somebody asks; operators alone, as they hold beginnings of payloads.", of::<Samples>),
    row(Method::GET, "/incidents", "incidents", "Incidents, the newest first.", of::<Vec<Incident>>),
    row(Method::GET, "/query", "query", "Incidents and flows of the store that an expression matches, the latest first.", of::<Found>),
    row(Method::GET, "/rates", "rates", "Rates over time, of each interface and of all, or of services: the greatest of each ten seconds by protocol and port, and the rest.", of::<Vec<RatePoint>>),
    row(Method::GET, "/report", "report", "Incidents by family and severity, decisions and feedback of a span of time.", of::<Report>),
    row(Method::GET, "/incidents/{id}/stix", "stix", "One incident of the store as a bundle of STIX 2.1.", of::<Map<String, Value>>),
    row(Method::GET, "/incidents/{id}/story", "story", "One incident of the store with its time line and its relatives.", of::<Story>),
    row(Method::GET, "/incidents/{id}", "explain", "One incident with what was decided about it.", of::<Explanation>),
    row(Method::POST, "/incidents/{id}/feedback", "feedback", "Says that an incident was benign, or an attack.", of::<Feedback>),
    row(Method::POST, "/incidents/{id}/mute", "mute", "Mutes what an incident is about.", of::<Exception>),
    row(Method::DELETE, "/incidents/{id}/mute", "unmute", "Ends that an incident is muted.", of::<Done>),
    row(Method::POST, "/incidents/{id}/remarks", "remark", "Adds a remark on an incident of the store, who has it in hand, or its ticket.", of::<Remark>),
    row(Method::GET, "/proposals", "proposals", "Decisions that wait for a person.", of::<Proposals>),
    row(Method::POST, "/proposals/{id}/approve", "approve", "Carries out what waits, of an incident or by a decision.", of::<Judged>),
    row(Method::POST, "/proposals/{id}/reject", "reject", "Refuses what waits.", of::<Judged>),
    row(Method::POST, "/decisions/{id}/undo", "undo", "Takes back what a decision did.", of::<BlockRemoved>),
    row(Method::GET, "/blocks", "block_list", "Entries of the block-list.", of::<BlockListed>),
    row(Method::POST, "/blocks", "block_add", "Adds entries to the block-list, or renews them.", of::<BlockAdded>),
    row(Method::POST, "/blocks/remove", "block_del", "Takes a source off the block-list.", of::<BlockRemoved>),
    row(Method::POST, "/blocks/flush", "block_flush", "Empties the block-list.", of::<BlockFlushed>),
    row(Method::POST, "/blocks/import", "block_import", "Takes a part of a list of others.", of::<BlockImported>),
    row(Method::GET, "/blocks/preview", "block_preview", "Tells what an entry would have hit within the last hour.", of::<BlockPreview>),
    row(Method::POST, "/panic", "panic", "Stops all enforcement, or lets it go on.", of::<Done>),
    row(Method::GET, "/allow", "allow_list", "Addresses that are never blocked.", of::<AllowListed>),
    row(Method::POST, "/allow", "allow_add", "Adds an address that is never blocked.", of::<AllowAdded>),
    row(Method::POST, "/allow/remove", "allow_del", "Takes an address off the allow-list.", of::<Done>),
    row(Method::POST, "/allow/accept-loss", "allow_accept_loss", "Does without a saved allow-list that can't be read.", of::<LossAccepted>),
    row(Method::GET, "/shields", "shield_list", "Shields that are armed.", of::<Shields>),
    row(Method::POST, "/shields", "shield_on", "Shields an address of this host.", of::<Shields>),
    row(Method::POST, "/shields/remove", "shield_off", "Ends shields.", of::<Shields>),
];

/// Fields of a command, by name.
#[derive(Default)]
pub struct Fields {
    pub schemas: BTreeMap<String, Value>,
    pub required: BTreeSet<String>,
}

/// Commands with their fields, from the one definition of [`Request`].
pub static COMMANDS: LazyLock<BTreeMap<String, Fields>> = LazyLock::new(|| {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
    });
    let schema = settings.into_generator().into_root_schema_for::<Request>();
    let mut schema = schema.to_value();
    state_formats(&mut schema);
    let variants = schema["oneOf"].as_array().into_iter().flatten();
    let command = |variant: &Value| {
        let name = variant["properties"]["command"]["const"].as_str()?;
        let mut fields = Fields::default();
        collect(variant, &mut fields);
        Some((name.to_owned(), fields))
    };
    variants.filter_map(command).collect()
});

/// States in JSON Schema's own words what the types alone say: maxima of integers, forms of addresses.
fn state_formats(schema: &mut Value) {
    if let Value::Object(fields) = schema {
        let most = match fields.get("format").and_then(Value::as_str) {
            Some("uint8") => Some(u8::MAX.into()),
            Some("uint16") => Some(u16::MAX.into()),
            Some("uint32") => Some(u32::MAX.into()),
            Some("uint64" | "uint") => Some(u64::MAX),
            _ => None,
        };
        if let Some(most) = most {
            fields.entry("maximum").or_insert_with(|| Value::from(most));
        }
        if fields.get("format").is_some_and(|format| format == "ip") {
            fields.remove("format");
            let forms = ["ipv4", "ipv6"].map(|form| serde_json::json!({ "format": form }));
            fields.insert("anyOf".to_owned(), forms.to_vec().into());
        }
        fields.values_mut().for_each(state_formats);
    } else if let Value::Array(items) = schema {
        items.iter_mut().for_each(state_formats);
    }
}

/// Schema of a field that a query names or does not: there is no null in a query.
pub fn without_null(schema: &Value) -> Value {
    let mut schema = schema.clone();
    let is_null = |value: &Value| value.is_null() || value == "null" || value["type"] == "null";
    for name in ["type", "enum", "anyOf"] {
        if let Some(Value::Array(choices)) = schema.get_mut(name) {
            choices.retain(|choice| !is_null(choice));
            if let ("type", [only]) = (name, choices.as_slice()) {
                let only = only.clone();
                schema[name] = only;
            }
        }
    }
    if schema.get("default").is_some_and(Value::is_null)
        && let Some(fields) = schema.as_object_mut()
    {
        fields.remove("default");
    }
    schema
}

fn collect(schema: &Value, fields: &mut Fields) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        if name != "command" {
            fields.schemas.insert(name.clone(), field.clone());
        }
    }
    let required = schema["required"].as_array().into_iter().flatten();
    let required = required.filter_map(Value::as_str);
    fields.required.extend(
        required
            .filter(|name| *name != "command")
            .map(str::to_owned),
    );
    for part in schema["allOf"].as_array().into_iter().flatten() {
        collect(part, fields);
    }
}

impl Route {
    /// Fields of the command that the path does not hold.
    pub fn fields(&self) -> Option<&'static Fields> {
        COMMANDS.get(self.command)
    }

    /// True where the path holds a field.
    pub fn has_in_path(&self, name: &str) -> bool {
        self.path.contains(&format!("{{{name}}}"))
    }

    /// Makes the request of path parameters, query and body.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn request<'a>(
        &self,
        in_path: impl Iterator<Item = (&'a str, &'a str)>,
        query: &str,
        body: &[u8],
    ) -> Result<Request, Refusal> {
        let bad = |cause: &dyn std::fmt::Display| Refusal::new(Code::BadRequest, cause.to_string());
        let mut fields = if body.is_empty() {
            Map::new()
        } else {
            serde_json::from_slice::<Map<String, Value>>(body).map_err(|cause| bad(&cause))?
        };
        let query = query.split('&').filter(|pair| !pair.is_empty());
        for pair in query {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name).map_err(|cause| bad(&cause))?;
            let value = decoded(value).map_err(|cause| bad(&cause))?;
            let value = self.typed(&name, value);
            if fields.insert(name.clone(), value).is_some() {
                return Err(bad(&format!("{name} is given twice")));
            }
        }
        for (name, value) in in_path {
            if fields.insert(name.to_owned(), value.into()).is_some() {
                return Err(bad(&format!("{name} is in the path already")));
            }
        }
        if fields
            .insert("command".to_owned(), self.command.into())
            .is_some()
        {
            return Err(bad(&"unknown field `command`"));
        }
        fields.values_mut().for_each(write_whole);
        serde_json::from_value(Value::Object(fields)).map_err(|cause| bad(&cause))
    }

    /// Value of a query's text, by the schema of its field.
    fn typed(&self, name: &str, text: String) -> Value {
        let schema = self.fields().and_then(|fields| fields.schemas.get(name));
        let is_plain = schema.is_some_and(|schema| {
            ["integer", "number", "boolean"]
                .iter()
                .any(|kind| has_type(schema, kind))
        });
        let plain = if is_plain {
            serde_json::from_str(&text).ok()
        } else {
            None
        };
        plain
            .filter(|value: &Value| !value.is_array() && !value.is_object())
            .unwrap_or(Value::String(text))
    }
}

/// Writes numbers as 60.0 as the integers that JSON Schema takes them for.
fn write_whole(value: &mut Value) {
    /// Integers up to which a double has them all.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            if number.trunc().total_cmp(&number).is_eq() && number.abs() <= EXACT {
                *value = (number as i64).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(write_whole),
        Value::Object(fields) => fields.values_mut().for_each(write_whole),
        _ => {}
    }
}

/// True where a schema allows a type.
fn has_type(schema: &Value, kind: &str) -> bool {
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(|one| one == kind),
        one => one == kind,
    }
}

fn decoded(text: &str) -> Result<String, std::str::Utf8Error> {
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8()?;
    Ok(decoded.into_owned())
}

/// A request as a client sends it.
pub struct Sent {
    pub method: &'static Method,
    /// Path with the query.
    pub target: String,
    /// Empty: none.
    pub body: String,
}

impl Sent {
    /// Puts a request into the words of HTTP; the other way round than [`Route::request`].
    ///
    /// # Errors
    /// When the table has no row of that command.
    pub fn new(request: &Request) -> Result<Self, Refusal> {
        let missing = || Refusal::new(Code::NoSuchPath, "no path leads to this command");
        let mut value = serde_json::to_value(request).unwrap_or_default();
        let fields = value.as_object_mut().ok_or_else(missing)?;
        let command = fields.remove("command").unwrap_or_default();
        let mut rows = ROUTES.iter();
        let route = rows
            .find(|route| command == route.command)
            .ok_or_else(missing)?;
        let mut target = format!("{BASE}{}", route.path);
        fields.retain(|name, value| {
            let place = format!("{{{name}}}");
            let is_in_path = target.contains(&place);
            if is_in_path {
                target = target.replace(&place, &encoded(value));
            }
            !is_in_path && !value.is_null()
        });
        let mut body = String::new();
        if route.method == Method::GET {
            let pairs = fields
                .iter()
                .map(|(name, value)| format!("{name}={}", encoded(value)));
            let query = pairs.collect::<Vec<_>>().join("&");
            if !query.is_empty() {
                target = format!("{target}?{query}");
            }
        } else if !fields.is_empty() {
            body = value.to_string();
        }
        let method = &route.method;
        Ok(Self {
            method,
            target,
            body,
        })
    }
}

fn encoded(value: &Value) -> String {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    utf8_percent_encode(&text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::recent::IncidentQuery;
    use crate::agent::search::FlowQuery;

    fn route(command: &str) -> &'static Route {
        ROUTES
            .iter()
            .find(|route| route.command == command)
            .unwrap()
    }

    /// Path parameters and query of what a client sends.
    fn read(sent: &Sent, route: &Route) -> Result<Request, Refusal> {
        let (path, query) = sent.target.split_once('?').unwrap_or((&sent.target, ""));
        let path = path.strip_prefix(BASE).unwrap();
        let pairs: Vec<(&str, String)> = route
            .path
            .split('/')
            .zip(path.split('/'))
            .filter_map(|(name, value)| {
                let name = name.strip_prefix('{')?.strip_suffix('}')?;
                Some((name, decoded(value).unwrap()))
            })
            .collect();
        let in_path = pairs.iter().map(|(name, value)| (*name, value.as_str()));
        route.request(in_path, query, sent.body.as_bytes())
    }

    #[test]
    fn every_command_has_one_path_and_every_path_a_command() {
        let listed: BTreeSet<&str> = ROUTES.iter().map(|route| route.command).collect();
        let known: BTreeSet<&str> = COMMANDS.keys().map(String::as_str).collect();
        assert_eq!(listed, known);
        assert_eq!(listed.len(), ROUTES.len());
    }

    #[test]
    fn fields_in_a_path_are_fields_of_the_command() {
        for route in &ROUTES {
            let fields = route.fields().unwrap();
            for name in route
                .path
                .split('/')
                .filter_map(|part| part.strip_prefix('{'))
            {
                let name = name.trim_end_matches('}');
                assert!(fields.required.contains(name), "{}: {name}", route.path);
            }
        }
    }

    #[test]
    fn requests_are_read_back_as_sent() {
        let network: sensor_respond::Network = "10.0.0.0/8".parse().unwrap();
        let all = [
            Request::Status,
            Request::Flows(FlowQuery {
                network: Some(network),
                port: Some(443),
                ..FlowQuery::default()
            }),
            Request::Incidents(IncidentQuery {
                family: "a b&c=+ä/%".parse().ok(),
                ..IncidentQuery::default()
            }),
            Request::Explain {
                id: "../x?".parse().unwrap(),
            },
            Request::Mute {
                id: "7".parse().unwrap(),
                for_s: 60,
                reason: "for a test".parse().unwrap(),
            },
            Request::AllowAdd {
                network,
                force: true,
            },
            Request::BlockFlush,
        ];
        for request in all {
            let value = serde_json::to_value(&request).unwrap();
            let sent = Sent::new(&request).unwrap();
            let again = read(&sent, route(value["command"].as_str().unwrap())).unwrap();
            assert_eq!(
                serde_json::to_value(&again).unwrap(),
                value,
                "{}",
                sent.target
            );
        }
    }

    #[test]
    fn whole_numbers_are_integers_however_they_are_written() {
        let body = br#"{"targets":["192.0.2.7"],"ttl_s":60.0,"scope":{"port":4.4e2}}"#;
        let read = route("block_add").request(std::iter::empty(), "", body);
        let Ok(Request::BlockAdd(add)) = read else {
            panic!("{read:?}");
        };
        assert_eq!((add.ttl_s, add.scope.port), (60, 440));
        let half = br#"{"targets":["192.0.2.7"],"ttl_s":60.5}"#;
        let read = route("block_add").request(std::iter::empty(), "", half);
        assert!(read.is_err());
    }

    #[test]
    fn bad_requests_are_refused_with_the_reason() {
        let long = format!(
            "{{\"targets\":[\"192.0.2.7\"],\"ttl_s\":60,\"reason\":\"{}\"}}",
            "x".repeat(600)
        );
        for (command, query, body, part) in [
            ("flows", "port=x", "", "expected u16"),
            ("flows", "port=1&port=2", "", "given twice"),
            ("flows", "prot=6", "", "prot"),
            ("flows", "network=%ff", "", "utf-8"),
            ("flows", "command=status", "", "unknown field `command`"),
            ("block_add", "", "[1]", "map"),
            ("block_add", "", "{", "EOF"),
            (
                "block_add",
                "",
                &long,
                "reason of 600 characters: shorten it to 512",
            ),
            ("block_add", "", "{}", "missing field"),
        ] {
            let refused = route(command).request(std::iter::empty(), query, body.as_bytes());
            let refusal = refused.unwrap_err();
            assert_eq!(refusal.code, Code::BadRequest, "{query}{body}: {refusal}");
            assert!(refusal.error.contains(part), "{query}{body}: {refusal}");
        }
    }
}
