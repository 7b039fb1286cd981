//! Layers of settings: files, environment and flags become a list of keys with values and origins.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use toml::de::DeTable;

use super::fault::Fault;
use super::leaf::{Given, Leaf, Origin};
use super::read::Reader;
use super::{DEFAULT_FILE, DEFAULT_FOLDER, ENVIRONMENT_PREFIX, Sources};

/// Values of all keys, each of the strongest layer that sets it.
#[derive(Default)]
pub struct Layers {
    leaves: BTreeMap<String, Leaf>,
}

impl Layers {
    /// Reads all layers.
    pub fn read(sources: &Sources, reader: &mut Reader<'_>) -> Self {
        let mut layers = Self::default();
        for path in files(sources, reader.faults) {
            match fs::read_to_string(&path) {
                Ok(text) => layers.add_file(&path, &text, reader),
                Err(cause) => reader.faults.push(unreadable(&path, &cause)),
            }
        }
        layers.add_assigned(sources, reader);
        for given in &sources.overrides {
            let origin = Origin::Flag(given.flag);
            layers.put(Leaf {
                path: given.path.to_owned(),
                given: match &given.value {
                    Value::Array(items) => Given::List(
                        items
                            .iter()
                            .map(|item| (item.clone(), origin.clone()))
                            .collect(),
                    ),
                    value => Given::Value(value.clone()),
                },
                origin,
            });
        }
        layers
    }

    pub fn into_leaves(self) -> Vec<Leaf> {
        self.leaves.into_values().collect()
    }

    fn put(&mut self, leaf: Leaf) {
        self.leaves.insert(leaf.path.clone(), leaf);
    }

    /// Tables of a list of tables follow those of the files before.
    pub fn add_file(&mut self, path: &Path, text: &str, reader: &mut Reader<'_>) {
        let at = |offset: usize| Origin::File {
            path: path.to_owned(),
            line: line_of(text, offset),
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let origin = at(error.span().map_or(0, |span| span.start));
            let fault = Fault::at(&origin, "", error.message().to_owned());
            reader.faults.push(fault);
        }
        // What follows from a broken line would only confuse.
        if !errors.is_empty() {
            return;
        }
        let before = |path: &str| match self.leaves.get(path).map(|leaf| &leaf.given) {
            Some(Given::Tables(items)) => items.len(),
            _ => 0,
        };
        for leaf in reader.document(table.get_ref(), &at, &before) {
            match (self.leaves.get_mut(&leaf.path), leaf.given) {
                (
                    Some(Leaf {
                        given: Given::Tables(items),
                        ..
                    }),
                    Given::Tables(more),
                ) => items.extend(more),
                (_, given) => self.put(Leaf { given, ..leaf }),
            }
        }
    }

    /// Adds environment variables, then `--set`.
    pub fn add_assigned(&mut self, sources: &Sources, reader: &mut Reader<'_>) {
        for (name, text) in &sources.environment {
            self.add_variable(name, text, reader);
        }
        for (key, text) in &sources.assignments {
            self.add_text(key, text, &Origin::Flag("--set"), reader);
        }
    }

    /// Reads `SENSOR__TICK__HOSTS_INTERVAL=50ms`, that is `tick.hosts_interval = "50ms"`.
    fn add_variable(&mut self, name: &str, text: &str, reader: &mut Reader<'_>) {
        let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) else {
            return;
        };
        let path = key.to_ascii_lowercase().replace("__", ".");
        self.add_text(&path, text, &Origin::Environment(name.to_owned()), reader);
    }

    /// Sets a key to a text: words as they are, lists with commas or as TOML, all else as TOML.
    fn add_text(&mut self, path: &str, text: &str, origin: &Origin, reader: &mut Reader<'_>) {
        match reader.known(path) {
            Some(setting) => {
                if let Some(leaf) = reader.text(setting, path, text, origin) {
                    self.put(leaf);
                }
            }
            None => reader.unknown(path, origin),
        }
    }
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

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}
