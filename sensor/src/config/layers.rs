//! From files, environment and flags to a list of keys with values and origins.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Fault;
use super::schema::{Kind, Setting};
use super::{DEFAULT_FILE, DEFAULT_FOLDER, ENVIRONMENT_PREFIX, Sources};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Environment(String),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One key that was set.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    pub path: String,
    pub value: Value,
    pub origin: Origin,
}

/// Reads all layers; of several values for a key the strongest stays. Unknown keys become faults.
pub fn read(sources: &Sources, known: &[Setting], faults: &mut Vec<Fault>) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    for path in files(sources, faults) {
        match fs::read_to_string(&path) {
            Ok(text) => read_toml(&path, &text, known, &mut leaves, faults),
            Err(cause) => faults.push(unreadable(&path, &cause)),
        }
    }
    for (name, text) in &sources.environment {
        leaves.extend(read_variable(name, text, known, faults));
    }
    for given in &sources.overrides {
        leaves.push(Leaf {
            path: given.path.to_owned(),
            value: given.value.clone(),
            origin: Origin::Flag(given.flag),
        });
    }
    let strongest: BTreeMap<String, Leaf> = leaves
        .into_iter()
        .map(|leaf| (leaf.path.clone(), leaf))
        .collect();
    strongest.into_values().collect()
}

/// The files to read, in their order.
fn files(sources: &Sources, faults: &mut Vec<Fault>) -> Vec<PathBuf> {
    if let Some(file) = &sources.file {
        return vec![file.clone()];
    }
    let mut files = Vec::new();
    // Without the file the defaults hold; a file that is there has to be readable.
    if Path::new(DEFAULT_FILE).exists() {
        files.push(PathBuf::from(DEFAULT_FILE));
    }
    let folder = match fs::read_dir(DEFAULT_FOLDER) {
        Ok(folder) => folder,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return files,
        Err(cause) => {
            faults.push(unreadable(Path::new(DEFAULT_FOLDER), &cause));
            return files;
        }
    };
    let mut more: Vec<PathBuf> = folder
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    more.sort();
    files.extend(more);
    files
}

fn unreadable(path: &Path, cause: &io::Error) -> Fault {
    Fault {
        place: path.display().to_string(),
        path: String::new(),
        message: format!("can't be read: {cause}"),
    }
}

fn read_toml(
    path: &Path,
    text: &str,
    known: &[Setting],
    leaves: &mut Vec<Leaf>,
    faults: &mut Vec<Fault>,
) {
    let at = |offset: usize| Origin::File {
        path: path.to_owned(),
        line: line_of(text, offset),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let origin = at(error.span().map_or(0, |span| span.start));
        faults.push(Fault::at(&origin, "", error.message().to_owned()));
    }
    // What follows from a broken line would only confuse.
    if errors.is_empty() {
        walk(table.get_ref(), "", &at, known, leaves, faults);
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

fn walk(
    table: &DeTable<'_>,
    prefix: &str,
    at: &dyn Fn(usize) -> Origin,
    known: &[Setting],
    leaves: &mut Vec<Leaf>,
    faults: &mut Vec<Fault>,
) {
    for (key, value) in table {
        let path = join(prefix, key.get_ref());
        let origin = at(key.span().start);
        if known.iter().any(|setting| setting.path == path) {
            leaves.push(Leaf {
                value: plain(value),
                path,
                origin,
            });
            continue;
        }
        let is_section = known
            .iter()
            .any(|setting| setting.path.starts_with(&format!("{path}.")));
        match value.get_ref().as_table() {
            Some(table) if is_section => walk(table, &path, at, known, leaves, faults),
            None if is_section => {
                let message = format!("is a table; write [{path}]");
                faults.push(Fault::at(&origin, &path, message));
            }
            _ => faults.push(Fault::at(&origin, &path, unknown(&path, known))),
        }
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
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

/// `SENSOR__TICK__HOSTS_MS=50` is `tick.hosts_ms = 50`. Lists may be written with commas.
fn read_variable(
    name: &str,
    text: &str,
    known: &[Setting],
    faults: &mut Vec<Fault>,
) -> Option<Leaf> {
    let key = name.strip_prefix(ENVIRONMENT_PREFIX)?;
    let path = key.to_ascii_lowercase().replace("__", ".");
    let origin = Origin::Environment(name.to_owned());
    let Some(setting) = known.iter().find(|setting| setting.path == path) else {
        faults.push(Fault::at(&origin, &path, unknown(&path, known)));
        return None;
    };
    let value = match setting.kind {
        Kind::Text => Value::from(text),
        Kind::List if !text.trim_start().starts_with('[') => text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(parse_item)
            .collect(),
        _ => parse_value(text),
    };
    Some(Leaf {
        path,
        value,
        origin,
    })
}

/// As TOML would read it; what it can't read is text.
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
    let likeness = |other: &str| {
        let whole = strsim::normalized_damerau_levenshtein(path, other);
        // A known name in the wrong section is a good guess, too.
        let part = strsim::normalized_damerau_levenshtein(&wanted, &last(other));
        whole.max(0.95 * part)
    };
    let best = candidates
        .map(|other| (likeness(other), other))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((likeness, other)) if likeness > 0.7 => {
            format!("unknown key; did you mean `{other}`?")
        }
        _ => "unknown key; `sensor config show` lists all".to_owned(),
    }
}
