//! `docs/records.md`, written from the types and the examples.

use std::fmt::Write as _;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::Value;

use crate::flow::Flow;
use crate::notes::NAMES;
use crate::{example, json};

const NOTES: &str = "\n## Notes\n\nWhat packets said; fields of flows, findings and incidents, where \
                     they said it.\n\n";

/// One field of a record.
#[derive(Debug)]
pub(crate) struct Field {
    pub name: String,
    pub kind: String,
    pub unit: String,
    pub help: String,
    pub is_always: bool,
}

/// The page.
pub fn reference() -> String {
    let mut page = include_str!("page.md").to_owned();
    let out = &mut page;
    out.push_str(HEADING);
    out.push_str(
        "| `kind` | string |  | Kind of the object, as the headings below | `\"flow\"` |\n",
    );
    let mut of_all = fields::<Flow>();
    of_all.retain(|field| is_of_all(&field.name));
    rows(out, &of_all, &example_of(&example::flow()));
    written_by_a_run(out);
    answers(out);
    let flow = example_of(&example::flow());
    let _infallible = write!(out, "{}{HEADING}", NOTES);
    let mut notes = fields::<Flow>();
    notes.retain(|field| is_note(&field.name));
    rows(out, &notes, &flow);
    page
}

/// Kinds of records that a run or a replay writes.
fn written_by_a_run(out: &mut String) {
    section(
        out,
        "When the sensor starts, stops or reloads, and when an attachment proves itself or not.",
        &example::sensor(),
    );
    section(
        out,
        "With `--flows`: at the end of a flow, and every active timeout. `sensor flows --json` tells of live ones.",
        &example::flow(),
    );
    section(
        out,
        "With `--findings`: each score above its limit.",
        &example::finding(),
    );
    section(
        out,
        "Always: when it opens, when it changes (at a limited rate), and when it closes.",
        &example::incident(),
    );
    section(
        out,
        "Always: a decision about a source, with its outcome.",
        &example::decision(),
    );
    section(
        out,
        "With `--events`: flows that begin, and packets that meet a block entry, within budgets.",
        &example::event(),
    );
    section(
        out,
        "When a stage shed something, at most once a second.",
        &example::loss(),
    );
    section(out, "At the end of a replay or a run.", &example::summary());
}

/// Kinds of records with which commands answer, and the audit log's.
fn answers(out: &mut String) {
    section(
        out,
        "An entry of `sensor block list --json`.",
        &example::block(),
    );
    section(
        out,
        "An entry of `sensor allow list --json`.",
        &example::allowed(),
    );
    section(
        out,
        "A shield of `sensor shield list --json`.",
        &example::shield(),
    );
    section(
        out,
        "A line of the audit log (`respond.audit_log`): an action on a source's packets, carried out or refused.",
        &example::audit(),
    );
    section(
        out,
        "When a person says what an incident was; without the fields of every record also within an \
         explanation, and the answer of `sensor feedback --json`.",
        &example::given(),
    );
    section(
        out,
        "When a person remarks on an incident, or says who has it in hand.",
        &example::remark(),
    );
    section(
        out,
        "The answer of `sensor status --json`.",
        &example::status(),
    );
}

fn section<T: JsonSchema + Serialize>(out: &mut String, when: &str, example: &T) {
    let value = example_of(example);
    let kind = value["kind"].as_str().unwrap_or_default().to_owned();
    let _infallible = write!(out, "\n## `{kind}`\n\n{when}\n\n{HEADING}");
    let line = json::line(example);
    let mut listed = fields::<T>();
    listed.retain(|field| !is_of_all(&field.name) && !is_note(&field.name));
    // As they lie in the record.
    listed.sort_by_key(|field| {
        let outer = field.name.split([' ', '[']).next().unwrap_or_default();
        line.find(&format!("\"{outer}\":"))
    });
    rows(out, &listed, &value);
}

const HEADING: &str = "| field | type | unit | meaning | example |\n|---|---|---|---|---|\n";

fn rows(out: &mut String, listed: &[Field], example: &Value) {
    for field in listed {
        let value = look_up(example, &field.name);
        let value = value.map_or(String::new(), |value| format!("`{value}`"));
        let mark = if field.is_always { "" } else { "?" };
        let _infallible = writeln!(
            out,
            "| `{}`{mark} | {} | {} | {} | {} |",
            field.name,
            field.kind,
            field.unit,
            field.help.replace('|', "\\|"),
            value.replace('|', "\\|"),
        );
    }
}

fn is_note(name: &str) -> bool {
    NAMES.iter().any(|(note, _)| *note == name)
}

/// True for what every record has.
fn is_of_all(name: &str) -> bool {
    ["@timestamp", "schema.version", "host.name", "sensor.id"].contains(&name)
}

fn example_of<T: Serialize>(record: &T) -> Value {
    json::read(json::line(record).as_bytes()).unwrap_or_default()
}

/// Value of a field, of the first item where it is one of a list.
pub(crate) fn look_up(example: &Value, path: &str) -> Option<Value> {
    match path.split_once("[].") {
        None => example.get(path).cloned().or_else(|| {
            // A field of an object within.
            let (outer, inner) = path.split_once(" › ")?;
            look_up(example.get(outer)?, inner)
        }),
        Some((list, rest)) => look_up(example.get(list)?.get(0)?, rest),
    }
}

/// Fields of a record as they are written, those of objects within it under both names.
pub(crate) fn fields<T: JsonSchema>() -> Vec<Field> {
    let settings = SchemaSettings::default().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let schema = schema.to_value();
    let mut found = Vec::new();
    collect(&schema, &schema, "", true, &mut found);
    found
}

fn collect(root: &Value, schema: &Value, prefix: &str, is_always: bool, found: &mut Vec<Field>) {
    let required = |name: &str| {
        let listed = schema["required"].as_array();
        listed.is_some_and(|names| names.iter().any(|n| n == name))
    };
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let is_always = is_always && required(name);
        let path = format!("{prefix}{name}");
        let field = resolve(root, field);
        let item = field.get("items").map(|item| resolve(root, item));
        found.push(Field {
            name: path.clone(),
            kind: kind_of(root, &field),
            unit: field["x-unit"].as_str().unwrap_or_default().to_owned(),
            help: field["description"]
                .as_str()
                .unwrap_or_default()
                .replace('\n', " "),
            is_always,
        });
        if field.get("properties").is_some() {
            collect(root, &field, &format!("{path} › "), is_always, found);
        } else if let Some(item) = item.filter(|item| item.get("properties").is_some()) {
            collect(root, &item, &format!("{path}[]."), is_always, found);
        }
    }
}

/// A schema with what it refers to.
fn resolve(root: &Value, schema: &Value) -> Value {
    let mut merged = schema.clone();
    let of_any = schema["anyOf"].as_array().and_then(|all| {
        // An option is the thing or null.
        all.iter().find(|one| one["type"] != "null")
    });
    let target = match schema["$ref"].as_str() {
        Some(path) => root.pointer(path.trim_start_matches('#')).cloned(),
        None => of_any.map(|one| resolve(root, one)),
    };
    if let (Some(merged), Some(Value::Object(target))) = (merged.as_object_mut(), target) {
        for (key, value) in target {
            merged.entry(key).or_insert(value);
        }
    }
    merged
}

fn kind_of(root: &Value, field: &Value) -> String {
    let listed = words(field).join(", ");
    if !listed.is_empty() {
        return listed;
    }
    let plain = match &field["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            let mut kinds = kinds.iter().filter_map(Value::as_str);
            kinds
                .find(|kind| *kind != "null")
                .unwrap_or("any")
                .to_owned()
        }
        _ => "object".to_owned(),
    };
    match plain.as_str() {
        "array" => {
            let item = resolve(root, &field["items"]);
            format!("list of {}", kind_of(root, &item))
        }
        "object" if field["additionalProperties"].is_object() => {
            let value = resolve(root, &field["additionalProperties"]);
            format!("{} by name", kind_of(root, &value))
        }
        other => other.to_owned(),
    }
}

/// Words that an enumeration may have; those with docs of their own lie deeper.
fn words(field: &Value) -> Vec<String> {
    let plain = field["enum"].as_array().into_iter().flatten();
    let plain = plain.chain(field.get("const"));
    let plain = plain.filter_map(|word| word.as_str().map(|word| format!("`{word}`")));
    let deeper = field["oneOf"].as_array().into_iter().flatten();
    plain.chain(deeper.flat_map(words)).collect()
}
