//! The schema of the settings, as a tree for other programs and as a flat list for checks, the
//! reference page and the example.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::{Settings, get};

/// What a setting holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Integer,
    Number,
    Switch,
    Text,
    List,
}

impl Kind {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Switch => "true or false",
            Self::Text => "text",
            Self::List => "a list",
        }
    }
}

/// One key.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Dotted.
    pub path: String,
    pub help: String,
    pub kind: Kind,
    /// `Null`: not set.
    pub default: Value,
    pub minimum: Option<Value>,
    pub maximum: Option<Value>,
    /// The words that are allowed, of a text or of a list's items; empty: any.
    pub choices: Vec<String>,
    /// Not changed by a reload.
    pub needs_restart: bool,
}

/// JSON Schema (2020-12) of a configuration file.
pub fn json_schema() -> Value {
    let generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    generator.into_root_schema_for::<Settings>().to_value()
}

/// Every setting, in the order of the schema.
pub fn settings() -> Vec<Setting> {
    let defaults = Settings::default().tree();
    let mut found = Vec::new();
    collect(&json_schema(), "", false, &defaults, &mut found);
    found
}

/// Sections with their help, in the order of the schema.
pub(super) fn sections() -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect_sections(&json_schema(), "", &mut found);
    found
}

fn collect_sections(schema: &Value, prefix: &str, found: &mut Vec<(String, String)>) {
    for (path, inner) in properties(schema, prefix) {
        if inner["properties"].is_object() {
            found.push((path.clone(), text(inner, "description")));
            collect_sections(inner, &path, found);
        }
    }
}

fn properties<'a>(
    schema: &'a Value,
    prefix: &'a str,
) -> impl Iterator<Item = (String, &'a Value)> + 'a {
    let inside = schema["properties"].as_object().into_iter().flatten();
    inside.map(move |(key, inner)| {
        let path = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        (path, inner)
    })
}

fn text(schema: &Value, key: &str) -> String {
    schema[key].as_str().unwrap_or_default().replace('\n', " ")
}

fn collect(
    schema: &Value,
    prefix: &str,
    needs_restart: bool,
    defaults: &Value,
    found: &mut Vec<Setting>,
) {
    for (path, inner) in properties(schema, prefix) {
        let needs_restart = needs_restart || inner["x-restart"] == true;
        if inner["properties"].is_object() {
            collect(inner, &path, needs_restart, defaults, found);
            continue;
        }
        let bound = |key: &str| Some(inner[key].clone()).filter(|bound| !bound.is_null());
        found.push(Setting {
            help: text(inner, "description"),
            kind: kind(inner),
            default: get(defaults, &path).cloned().unwrap_or_default(),
            minimum: bound("minimum"),
            maximum: bound("maximum"),
            choices: choices(inner),
            needs_restart,
            path,
        });
    }
}

fn kind(schema: &Value) -> Kind {
    let named = match &schema["type"] {
        // An optional value also has the type "null".
        Value::Array(types) => types.first().and_then(Value::as_str),
        one => one.as_str(),
    };
    match named {
        Some("integer") => Kind::Integer,
        Some("number") => Kind::Number,
        Some("boolean") => Kind::Switch,
        Some("array") => Kind::List,
        _ => Kind::Text,
    }
}

fn choices(schema: &Value) -> Vec<String> {
    // Words with docs of their own are alternatives, the others one `enum`.
    let inside = ["oneOf", "anyOf"].map(|key| schema[key].as_array().into_iter().flatten());
    let inside = inside.into_iter().flatten().chain(schema.get("items"));
    let plain = schema["enum"].as_array().into_iter().flatten();
    plain
        .chain(schema.get("const"))
        .filter_map(|word| Some(word.as_str()?.to_owned()))
        .chain(inside.flat_map(choices))
        .collect()
}

/// What is wrong with a value for a setting, and how to mend it.
pub(super) fn check(setting: &Setting, value: &Value) -> Option<String> {
    let choices = setting.choices.join(", ");
    let words: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    };
    let is_chosen = |word: &Value| {
        word.as_str()
            .is_some_and(|word| setting.choices.iter().any(|choice| choice == word))
    };
    if let Some(wrong) = words.iter().find(|word| !is_chosen(word))
        && !choices.is_empty()
    {
        return Some(format!("{wrong} is not one of: {choices}"));
    }
    let number = value.as_f64();
    let bound = |bound: &Option<Value>| bound.as_ref().and_then(Value::as_f64);
    if matches!(setting.kind, Kind::Integer | Kind::Number) && number.is_none() {
        let wanted = setting.kind.label();
        return Some(format!(
            "{value} is not {wanted}; the default is {}",
            setting.default
        ));
    }
    // Nothing here is meaningful below zero, unless its schema says so.
    let least = bound(&setting.minimum).unwrap_or(0.0);
    if number.is_some_and(|number| number < least) {
        return Some(format!("{value} is too small; at least {least}"));
    }
    let most = bound(&setting.maximum).unwrap_or(f64::INFINITY);
    if number.is_some_and(|number| number > most) {
        return Some(format!("{value} is too large; at most {most}"));
    }
    refused_by_type(setting, value)
}

/// What the type itself says, asked with this one value set.
fn refused_by_type(setting: &Setting, value: &Value) -> Option<String> {
    let mut tree = serde_json::Map::new();
    super::put(&mut tree, &setting.path, value.clone());
    let cause = serde_json::from_value::<Settings>(Value::Object(tree)).err()?;
    let mut message = cause.to_string();
    if !setting.default.is_null() {
        message = format!("{message}; the default is {}", setting.default);
    }
    Some(message)
}
