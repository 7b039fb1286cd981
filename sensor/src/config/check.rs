//! Values against their settings: every fault of every key, with the remedy.

use std::collections::BTreeMap;

use sensor_engine::{parse_size, parse_time, size_text, time_text};
use serde_json::{Map, Value, json};

use super::fault::Fault;
use super::leaf::{Given, Item, Leaf, Origin};
use super::put;
use super::schema::{Kind, Schema, Setting, join};

/// Settings that were given, checked.
#[derive(Default)]
pub struct Checked {
    pub tree: Map<String, Value>,
    /// Origins by path, items as `detect.except[0].reason`.
    pub origins: BTreeMap<String, Origin>,
    pub faults: Vec<Fault>,
    /// Tables of lists with a fault; examples stand in for what is wrong in them.
    unsound: Vec<String>,
}

/// Puts what belongs to a table around its keys, up to the whole configuration.
type Around<'a> = &'a dyn Fn(Map<String, Value>) -> Map<String, Value>;

impl Checked {
    /// Takes the leaves that are right; names the faults of the others.
    pub fn take(&mut self, schema: &Schema, leaves: Vec<Leaf>) {
        self.tree = self.table(schema, &schema.settings, "", &|tree| tree, leaves);
    }

    /// Adds what doesn't go together, but for tables that are wrong anyhow.
    pub fn add_conflicts(&mut self, conflicts: Vec<(String, String)>) {
        for (path, message) in conflicts {
            if self.unsound.iter().any(|name| path.starts_with(name)) {
                continue;
            }
            let origin = self.origin_of(&path);
            self.faults.push(Fault::at(&origin, &path, message));
        }
    }

    /// Origin of a key, else that of the table it belongs to.
    pub fn origin_of(&self, path: &str) -> Origin {
        let whole = std::iter::successors(Some(path), |path| {
            let end = path.rfind(['.', '['])?;
            path.get(..end)
        });
        let mut known = whole.filter_map(|path| self.origins.get(path));
        known.next().cloned().unwrap_or(Origin::Default)
    }

    fn table(
        &mut self,
        schema: &Schema,
        settings: &[Setting],
        name: &str,
        around: Around<'_>,
        leaves: Vec<Leaf>,
    ) -> Map<String, Value> {
        let mut tree = Map::new();
        for leaf in leaves {
            let Some(setting) = settings.iter().find(|setting| setting.path == leaf.path) else {
                continue;
            };
            let path = join(name, &leaf.path);
            let refuse = |value: Value| {
                let mut alone = Map::new();
                put(&mut alone, &setting.path, value);
                schema.refusal(Value::Object(around(alone)))
            };
            let value = match leaf.given {
                Given::Tables(items)
                    if self.has_wrong_length(setting, &path, items.len(), &leaf.origin) =>
                {
                    continue;
                }
                Given::Tables(items) => self.tables(schema, setting, &path, around, items),
                Given::List(items)
                    if self.has_wrong_length(setting, &path, items.len(), &leaf.origin) =>
                {
                    continue;
                }
                Given::List(items) => self.list(setting, &path, &refuse, items),
                Given::Value(value) => match fault_of(setting, &value, &refuse) {
                    Some(message) => {
                        self.faults.push(Fault::at(&leaf.origin, &path, message));
                        continue;
                    }
                    None => value,
                },
            };
            put(&mut tree, &setting.path, value);
            self.origins.insert(path, leaf.origin);
        }
        tree
    }

    fn has_wrong_length(
        &mut self,
        setting: &Setting,
        path: &str,
        n: usize,
        origin: &Origin,
    ) -> bool {
        let message = match setting.n_items {
            [Some(least), _] if n < least => format!("has {n} items; at least {least}"),
            [_, Some(most)] if n > most => format!("has {n} items; at most {most}"),
            _ => return false,
        };
        self.faults.push(Fault::at(origin, path, message));
        true
    }

    fn list(
        &mut self,
        setting: &Setting,
        path: &str,
        refuse: &dyn Fn(Value) -> Option<String>,
        items: Vec<(Value, Origin)>,
    ) -> Value {
        let mut right = Vec::new();
        for (i, (item, origin)) in items.into_iter().enumerate() {
            let refused = |value: Value| refuse(json!([value]));
            match fault_of_item(setting, &item, &refused) {
                Some(message) => {
                    self.faults
                        .push(Fault::at(&origin, &format!("{path}[{i}]"), message));
                }
                None => right.push(item),
            }
        }
        Value::Array(right)
    }

    fn tables(
        &mut self,
        schema: &Schema,
        list: &Setting,
        path: &str,
        around: Around<'_>,
        items: Vec<Item>,
    ) -> Value {
        let model = model(&list.columns);
        let around_item = |keys: Map<String, Value>| {
            let mut item = model.clone();
            merge(&mut item, keys);
            let mut tree = Map::new();
            put(&mut tree, &list.path, json!([item]));
            around(tree)
        };
        let mut right = Vec::new();
        for (i, item) in items.into_iter().enumerate() {
            let name = format!("{path}[{i}]");
            let n_faults = self.faults.len();
            for missing in missing(&list.columns, &item.leaves) {
                let message = format!("missing: {}", missing.help);
                self.faults.push(Fault::at(
                    &item.origin,
                    &join(&name, &missing.path),
                    message,
                ));
            }
            let mut keys = self.table(schema, &list.columns, &name, &around_item, item.leaves);
            if self.faults.len() > n_faults {
                let right = std::mem::replace(&mut keys, model.clone());
                merge(&mut keys, right);
                self.unsound.push(name.clone());
            }
            self.origins.insert(name, item.origin);
            right.push(Value::Object(keys));
        }
        Value::Array(right)
    }
}

/// A table with the examples of what can't be left out.
fn model(columns: &[Setting]) -> Map<String, Value> {
    let mut model = Map::new();
    for column in columns
        .iter()
        .filter(|column| column.is_required && !column.path.contains('.'))
    {
        put(&mut model, &column.path, column.example.clone());
    }
    model
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(into)), Value::Object(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Required keys that a table lacks; those of an inner table only where there is one.
fn missing<'a>(columns: &'a [Setting], leaves: &[Leaf]) -> Vec<&'a Setting> {
    let is_given = |path: &str| leaves.iter().any(|leaf| leaf.path == path);
    let has_part = |path: &str| {
        let Some((table, _)) = path.rsplit_once('.') else {
            return true;
        };
        let inside = format!("{table}.");
        leaves.iter().any(|leaf| leaf.path.starts_with(&inside))
    };
    let required = columns.iter().filter(|column| column.is_required);
    required
        .filter(|column| has_part(&column.path) && !is_given(&column.path))
        .collect()
}

/// Message for a value that its setting refuses.
fn fault_of(
    setting: &Setting,
    value: &Value,
    refuse: &dyn Fn(Value) -> Option<String>,
) -> Option<String> {
    unchosen(setting, value)
        .or_else(|| wrong_kind(setting, value))
        .or_else(|| out_of_range(setting, value))
        .or_else(|| Some(with_default(setting, &refuse(value.clone())?)))
}

fn fault_of_item(
    setting: &Setting,
    item: &Value,
    refuse: &dyn Fn(Value) -> Option<String>,
) -> Option<String> {
    unchosen(setting, item)
        .or_else(|| {
            item.is_number()
                .then(|| out_of_range(setting, item))
                .flatten()
        })
        .or_else(|| refuse(item.clone()))
}

fn unchosen(setting: &Setting, value: &Value) -> Option<String> {
    let choices = &setting.choices;
    let is_chosen = |word: &str| choices.iter().any(|choice| choice == word);
    if choices.is_empty() || value.as_str().is_some_and(is_chosen) {
        return None;
    }
    Some(format!("{value} is not one of: {}", choices.join(", ")))
}

fn wrong_kind(setting: &Setting, value: &Value) -> Option<String> {
    let is_right = match setting.kind {
        Kind::Integer | Kind::Number => value.is_number(),
        Kind::Switch => value.is_boolean(),
        Kind::Text => value.is_string(),
        Kind::Size => value.is_u64() || value.is_string(),
        Kind::Time if value.is_number() => {
            return Some(format!(
                "{value} has no unit; write \"{value}s\" for seconds"
            ));
        }
        Kind::Time => value.is_string(),
        Kind::List | Kind::Tables => false,
    };
    let wanted = setting.kind.label();
    (!is_right).then(|| with_default(setting, &format!("{value} is not {wanted}")))
}

fn with_default(setting: &Setting, message: &str) -> String {
    match &setting.default {
        Value::Null => message.to_owned(),
        default => format!("{message}; the default is {default}"),
    }
}

/// Bounds are compared as numbers, and told as they are written.
fn out_of_range(setting: &Setting, value: &Value) -> Option<String> {
    let measure = |value: &Value| match (setting.kind, value.as_str()) {
        (Kind::Time, Some(text)) => parse_time(text).map(|ns| ns as f64).map_err(Some),
        (Kind::Size, Some(text)) => parse_size(text).map(|bytes| bytes as f64).map_err(Some),
        _ => value.as_f64().ok_or(None),
    };
    let measured = match measure(value) {
        Ok(measured) => measured,
        Err(message) => return message.map(|message| with_default(setting, &message)),
    };
    let bound = |bound: &Option<Value>| bound.as_ref().and_then(|bound| measure(bound).ok());
    let told = |bound: f64| match setting.kind {
        Kind::Time => time_text(bound as u64),
        Kind::Size => size_text(bound as u64),
        _ => bound.to_string(),
    };
    // Nothing here is meaningful below zero, unless its schema says so.
    let least = bound(&setting.minimum).unwrap_or(0.0);
    if measured < least {
        return Some(format!("{value} is too small; at least {}", told(least)));
    }
    let most = bound(&setting.maximum).unwrap_or(f64::INFINITY);
    (measured > most).then(|| format!("{value} is too large; at most {}", told(most)))
}
