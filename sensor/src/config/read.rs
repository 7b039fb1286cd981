//! TOML to keys with values and origins: known keys become leaves, unknown ones faults, former ones
//! warnings.

use sensor_engine::{size_text, time_text};
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Fault;
use super::leaf::{Given, Item, Leaf, Origin};
use super::schema::{Kind, Setting, join, unit_of};

/// Reads texts of TOML, and says what is wrong with their keys.
pub struct Reader<'a> {
    pub settings: &'a [Setting],
    pub faults: &'a mut Vec<Fault>,
    pub warnings: &'a mut Vec<Fault>,
}

/// A table that is read.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// Keys that it may have.
    settings: &'a [Setting],
    /// Path as people see it, `detect.except[0]`; empty for the whole.
    name: &'a str,
    /// Path among the settings.
    prefix: &'a str,
    /// Origin of what stands at an offset.
    at: &'a dyn Fn(usize) -> Origin,
}

impl Place<'_> {
    fn name_of(&self, path: &str) -> String {
        join(self.name, path)
    }
}

impl<'a> Reader<'a> {
    /// Setting of a path, also by its former name.
    pub fn known(&self, path: &str) -> Option<&'a Setting> {
        self.settings.iter().find(|setting| has_name(setting, path))
    }

    /// Leaves of a document. Tables of lists are counted from `before` on, by path.
    pub fn document(
        &mut self,
        table: &DeTable<'_>,
        at: &dyn Fn(usize) -> Origin,
        before: &dyn Fn(&str) -> usize,
    ) -> Vec<Leaf> {
        let place = Place {
            settings: self.settings,
            name: "",
            prefix: "",
            at,
        };
        let mut leaves = Vec::new();
        self.table(table, place, before, &mut leaves);
        leaves
    }

    /// A setting given as a text outside of a file.
    pub fn text(
        &mut self,
        setting: &Setting,
        path: &str,
        text: &str,
        origin: &Origin,
    ) -> Option<Leaf> {
        let place = Place {
            settings: self.settings,
            name: "",
            prefix: "",
            at: &|_| origin.clone(),
        };
        if setting.path != path {
            return self.former(setting, path, &parse_value(text), place, origin);
        }
        let given = match setting.kind {
            Kind::Text | Kind::Time | Kind::Size => Given::Value(Value::from(text)),
            Kind::List if !text.trim_start().starts_with('[') => Given::List(
                text.split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(|item| (parse_item(item), origin.clone()))
                    .collect(),
            ),
            Kind::List | Kind::Tables => match DeValue::parse(text) {
                Ok(value) => self.given(setting, &value, place, 0)?,
                Err(cause) => {
                    let message = format!(
                        "is not TOML: {}; write {}",
                        cause.message(),
                        form(setting.kind)
                    );
                    self.faults.push(Fault::at(origin, path, message));
                    return None;
                }
            },
            Kind::Integer | Kind::Number | Kind::Switch => Given::Value(parse_value(text)),
        };
        Some(Leaf {
            path: setting.path.clone(),
            given,
            origin: origin.clone(),
        })
    }

    /// Names a key that there is not.
    pub fn unknown(&mut self, path: &str, origin: &Origin) {
        let message = unknown(path, self.settings);
        self.faults.push(Fault::at(origin, path, message));
    }

    fn table(
        &mut self,
        table: &DeTable<'_>,
        place: Place<'_>,
        before: &dyn Fn(&str) -> usize,
        leaves: &mut Vec<Leaf>,
    ) {
        for (key, value) in table {
            let path = join(place.prefix, key.get_ref());
            let origin = (place.at)(key.span().start);
            let mut settings = place.settings.iter();
            if let Some(setting) = settings.find(|setting| has_name(setting, &path)) {
                let leaf = if setting.path == path {
                    let given = self.given(setting, value, place, before(&path));
                    given.map(|given| Leaf {
                        path,
                        given,
                        origin,
                    })
                } else if leaves.iter().any(|leaf| leaf.path == setting.path) {
                    let message = format!(
                        "is the former name of `{}`, which is set, too",
                        setting.path
                    );
                    self.faults
                        .push(Fault::at(&origin, &place.name_of(&path), message));
                    None
                } else {
                    self.former(setting, &path, &plain(value), place, &origin)
                };
                leaves.extend(leaf);
                continue;
            }
            let inside = format!("{path}.");
            let mut settings = place.settings.iter();
            let is_section = settings.any(|setting| setting.path.starts_with(&inside));
            let message = match value.get_ref().as_table() {
                Some(table) if is_section => {
                    let place = Place {
                        prefix: &path,
                        ..place
                    };
                    self.table(table, place, before, leaves);
                    continue;
                }
                None if is_section => format!("is a table; write [{path}]"),
                _ => unknown(&path, place.settings),
            };
            self.faults
                .push(Fault::at(&origin, &place.name_of(&path), message));
        }
    }

    /// The value of a known key, `n_before` tables of the same list being known already.
    fn given(
        &mut self,
        setting: &Setting,
        value: &Spanned<DeValue<'_>>,
        place: Place<'_>,
        n_before: usize,
    ) -> Option<Given> {
        let origin = (place.at)(value.span().start);
        let name = place.name_of(&setting.path);
        match (setting.kind, value.get_ref()) {
            (Kind::List, DeValue::Array(items)) => Some(Given::List(
                items
                    .iter()
                    .map(|item| (plain(item), (place.at)(item.span().start)))
                    .collect(),
            )),
            (Kind::Tables, DeValue::Array(items)) => {
                let mut read = Vec::new();
                for (i, item) in items.iter().enumerate() {
                    let name = format!("{name}[{}]", n_before + i);
                    read.extend(self.item(
                        setting,
                        item,
                        Place {
                            name: &name,
                            ..place
                        },
                    ));
                }
                Some(Given::Tables(read))
            }
            (kind @ (Kind::List | Kind::Tables), _) => {
                let message = format!(
                    "is {}; write {}",
                    kind.label(),
                    form(kind).replace("…", &name)
                );
                self.faults.push(Fault::at(&origin, &name, message));
                None
            }
            _ => Some(Given::Value(plain(value))),
        }
    }

    fn item(
        &mut self,
        list: &Setting,
        item: &Spanned<DeValue<'_>>,
        place: Place<'_>,
    ) -> Option<Item> {
        let origin = (place.at)(item.span().start);
        let Some(table) = item.get_ref().as_table() else {
            let message = "is not a table; write { key = value, … }".to_owned();
            self.faults.push(Fault::at(&origin, place.name, message));
            return None;
        };
        let mut leaves = Vec::new();
        let place = Place {
            settings: &list.columns,
            prefix: "",
            ..place
        };
        self.table(table, place, &|_| 0, &mut leaves);
        Some(Item { origin, leaves })
    }

    /// A plain number under the name that a setting had before it took words.
    fn former(
        &mut self,
        setting: &Setting,
        path: &str,
        value: &Value,
        place: Place<'_>,
        origin: &Origin,
    ) -> Option<Leaf> {
        let unit = unit_of(path);
        let name = place.name_of(path);
        let key = setting.path.rsplit('.').next().unwrap_or_default();
        let Some(text) = in_words(value, unit) else {
            let message = format!(
                "{value} is not a number of {unit}; write `{key} = {}`",
                setting.default
            );
            self.faults.push(Fault::at(origin, &name, message));
            return None;
        };
        let message = format!("is now `{key}` and has a unit; write `{key} = \"{text}\"`");
        self.warnings.push(Fault::at(origin, &name, message));
        Some(Leaf {
            path: setting.path.clone(),
            given: Given::Value(Value::from(text)),
            origin: origin.clone(),
        })
    }
}

fn has_name(setting: &Setting, path: &str) -> bool {
    setting.path == path || setting.former.as_deref() == Some(path)
}

/// Example of how a list is written.
const fn form(kind: Kind) -> &'static str {
    match kind {
        Kind::Tables => "[[…]] in a file, [{ key = value }] elsewhere",
        _ => "[value, value]",
    }
}

/// A number of a unit in words.
fn in_words(value: &Value, unit: &str) -> Option<String> {
    let number = value.as_u64()?;
    let ns = |unit_ns: u64| number.checked_mul(unit_ns).map(time_text);
    match unit {
        "ns" => ns(1),
        "ms" => ns(1_000_000),
        "s" => ns(1_000_000_000),
        "bytes" => Some(size_text(number)),
        _ => None,
    }
}

/// A TOML value without its spans. What fits no JSON type stays text and fails its check.
fn plain(value: &Spanned<DeValue<'_>>) -> Value {
    match value.get_ref() {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(value) => Value::from(*value),
        DeValue::Integer(number) => {
            let (digits, radix) = (number.as_str(), number.radix());
            u64::from_str_radix(digits, radix)
                .map(Value::from)
                .or_else(|_| i64::from_str_radix(digits, radix).map(Value::from))
                .unwrap_or_else(|_| Value::from(digits))
        }
        DeValue::Float(number) => number
            .as_str()
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
            .map_or_else(|| Value::from(number.as_str()), Value::from),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(items) => items.iter().map(plain).collect(),
        DeValue::Table(table) => {
            let pair = |(key, value): (&Spanned<_>, _)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                (key.to_string(), plain(value))
            };
            Value::Object(table.iter().map(pair).collect())
        }
    }
}

/// Reads a value as TOML would; what that can't read is text.
fn parse_value(text: &str) -> Value {
    DeValue::parse(text).map_or_else(|_| Value::from(text), |value| plain(&value))
}

/// An item of a list with commas: a number, else text.
fn parse_item(text: &str) -> Value {
    text.parse::<u64>()
        .map_or_else(|_| Value::from(text), Value::from)
}

/// Says that there is no such key, and which one may be meant.
fn unknown(path: &str, known: &[Setting]) -> String {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let wanted = last(path);
    let sections = known
        .iter()
        .filter_map(|s| Some(s.path.rsplit_once('.')?.0));
    let candidates = known.iter().map(|s| s.path.as_str()).chain(sections);
    let candidates = candidates.map(|path| (path, path));
    let former = known
        .iter()
        .filter_map(|s| Some((s.former.as_deref()?, s.path.as_str())));
    let likeness = |other: &str| {
        let whole = strsim::normalized_damerau_levenshtein(path, other);
        // A known name in the wrong section is a good guess, too.
        let part = strsim::normalized_damerau_levenshtein(&wanted, &last(other));
        whole.max(0.95 * part)
    };
    let best = candidates
        .chain(former)
        .map(|(name, path)| (likeness(name), path))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((likeness, other)) if likeness > 0.7 => {
            format!("unknown key; did you mean `{other}`?")
        }
        _ => "unknown key; `sensor config show` lists all".to_owned(),
    }
}
