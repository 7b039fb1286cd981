//! The schema of the settings, as a tree for other programs and as a flat list for checks, the
//! reference page and the example.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Settings, get};

/// Type of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Integer,
    Number,
    Switch,
    Text,
    /// Words with a unit, such as `15m`.
    Time,
    /// Words with a unit, such as `64MiB`, or bytes.
    Size,
    /// Plain values.
    List,
    /// Tables of the same keys: `[[…]]`.
    Tables,
}

impl Kind {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Switch => "true or false",
            Self::Text => "text",
            Self::Time => "a time",
            Self::Size => "a size",
            Self::List => "a list",
            Self::Tables => "a list of tables",
        }
    }
}

/// One key.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Dotted; in a list of tables from the table on.
    pub path: String,
    pub help: String,
    pub kind: Kind,
    /// `Null`: not set.
    pub default: Value,
    pub example: Value,
    /// Bounds of the value, of a time or a size in words; of each item of a list of values.
    pub minimum: Option<Value>,
    pub maximum: Option<Value>,
    /// Words that are allowed, of a text or of a list's items; empty: any.
    pub choices: Vec<String>,
    /// Least and greatest length of a list.
    pub n_items: [Option<usize>; 2],
    /// Set if a reload doesn't change it.
    pub needs_restart: bool,
    /// Set if it must be given.
    pub is_required: bool,
    /// Path under which a plain number was given before there were words; the number's unit is the
    /// last part of it.
    pub former: Option<String>,
    /// Set if it does not go together with the examples of its table's other keys.
    pub is_apart: bool,
    /// Keys of one table of a list of tables.
    pub columns: Vec<Setting>,
}

/// Settings that a type holds, and what that type refuses.
pub struct Schema {
    pub settings: Vec<Setting>,
    refuse: fn(Value) -> Option<String>,
}

impl Schema {
    pub fn of<T>() -> Self
    where
        T: JsonSchema + Serialize + DeserializeOwned + Default,
    {
        let defaults = serde_json::to_value(T::default()).unwrap_or_default();
        let mut settings = Vec::new();
        collect(&tree::<T>(), "", false, &defaults, &mut settings);
        let refuse = |tree| {
            serde_json::from_value::<T>(tree)
                .err()
                .map(|cause| cause.to_string())
        };
        Self { settings, refuse }
    }

    /// Message of the type about a tree of values.
    pub fn refusal(&self, tree: Value) -> Option<String> {
        (self.refuse)(tree)
    }
}

fn tree<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    generator.into_root_schema_for::<T>().to_value()
}

/// JSON Schema (2020-12) of a configuration file.
pub fn json_schema() -> Value {
    let mut schema = tree::<Settings>();
    add_former_keys(&mut schema);
    schema
}

/// Names former keys as deprecated, so that editors neither refuse nor offer them.
fn add_former_keys(schema: &mut Value) {
    if let Some(items) = schema.get_mut("items") {
        add_former_keys(items);
    }
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    let mut former = Map::new();
    for (key, inner) in properties.iter_mut() {
        add_former_keys(inner);
        if let Some(old) = inner["x-former"].as_str() {
            let what = json!({
                "type": "number",
                "minimum": 0,
                "deprecated": true,
                "description": format!("Former name of `{key}`, in {}.", unit_of(old)),
            });
            former.insert(old.to_owned(), what);
        }
    }
    properties.append(&mut former);
}

/// Unit of the plain numbers that a former key took.
pub(super) fn unit_of(former: &str) -> &str {
    former.rsplit('_').next().unwrap_or_default()
}

/// Every setting, in the order of the schema.
pub fn settings() -> Vec<Setting> {
    Schema::of::<Settings>().settings
}

/// Sections with their help, in the order of the schema.
pub(super) fn sections() -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect_sections(&tree::<Settings>(), "", &mut found);
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
    inside.map(move |(key, inner)| (join(prefix, key), inner))
}

/// A key below a path; the path itself without one.
pub(super) fn join(prefix: &str, key: &str) -> String {
    match (prefix.is_empty(), key.is_empty()) {
        (true, _) => key.to_owned(),
        (_, true) => prefix.to_owned(),
        _ => format!("{prefix}.{key}"),
    }
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
    let required = schema["required"].as_array();
    for (path, inner) in properties(schema, prefix) {
        let needs_restart = needs_restart || inner["x-restart"] == true;
        if inner["properties"].is_object() {
            collect(inner, &path, needs_restart, defaults, found);
            continue;
        }
        let key = path.rsplit('.').next().unwrap_or_default();
        let is_required = required.is_some_and(|names| names.iter().any(|name| name == key));
        let default = get(defaults, &path).unwrap_or(&inner["default"]).clone();
        found.push(Setting {
            is_required,
            default,
            needs_restart,
            former: inner["x-former"].as_str().map(|old| join(prefix, old)),
            ..setting(&path, inner)
        });
    }
}

/// Setting by the schema of one key.
fn setting(path: &str, schema: &Value) -> Setting {
    let kind = kind(schema);
    let bounded = match kind {
        Kind::List => &schema["items"],
        _ => schema,
    };
    let bound = |keys: [&str; 2]| {
        let mut found = keys.into_iter().map(|key| &bounded[key]);
        found.find(|bound| !bound.is_null()).cloned()
    };
    let mut columns = Vec::new();
    collect(&schema["items"], "", false, &Value::Null, &mut columns);
    Setting {
        path: path.to_owned(),
        help: text(schema, "description"),
        kind,
        default: Value::Null,
        example: schema["examples"][0].clone(),
        minimum: bound(["x-minimum", "minimum"]),
        maximum: bound(["x-maximum", "maximum"]),
        choices: choices(schema),
        n_items: ["minItems", "maxItems"].map(|key| usize::try_from(schema[key].as_u64()?).ok()),
        needs_restart: false,
        is_required: false,
        former: None,
        is_apart: schema["x-apart"] == true,
        columns,
    }
}

fn kind(schema: &Value) -> Kind {
    match schema["x-kind"].as_str() {
        Some("time") => return Kind::Time,
        Some("size") => return Kind::Size,
        _ => {}
    }
    let named = match &schema["type"] {
        // An optional value also has the type "null".
        Value::Array(types) => types.first().and_then(Value::as_str),
        one => one.as_str(),
    };
    match named {
        Some("integer") => Kind::Integer,
        Some("number") => Kind::Number,
        Some("boolean") => Kind::Switch,
        Some("array") if schema["items"]["properties"].is_object() => Kind::Tables,
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
