//! Sources of captures.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Source of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Name of the folder that holds `pcap/`.
    pub folder: String,
    /// Data set, site or tool: `group` of its entry in `manifest.json`, else the repository of its
    /// first source, else the folder.
    pub name: String,
}

/// Looks sources up, a manifest once.
#[derive(Default)]
pub(crate) struct Sources(HashMap<PathBuf, BTreeMap<String, String>>);

impl Sources {
    /// The source of a capture; a manifest that is not there or can't be read names none.
    pub(crate) fn of(&mut self, id: &str, capture: &Path) -> Source {
        let beside = capture.parent().unwrap_or(Path::new("."));
        let folder = match beside.file_name() {
            Some(name) if name == "pcap" => beside.parent().unwrap_or(beside),
            _ => beside,
        };
        let names = self.0.entry(folder.to_owned());
        let names = names.or_insert_with(|| read(&folder.join("manifest.json")));
        let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        let name = real.file_name().unwrap_or_default().to_string_lossy();
        Source {
            name: names.get(id).cloned().unwrap_or_else(|| name.to_string()),
            folder: name.into_owned(),
        }
    }
}

/// Sources by capture.
fn read(manifest: &Path) -> BTreeMap<String, String> {
    let text = fs::read(manifest).unwrap_or_default();
    let value: Value = serde_json::from_slice(&text).unwrap_or_default();
    let captures = value["captures"].as_array().into_iter().flatten();
    captures
        .filter_map(|entry| {
            let name = entry["group"].as_str();
            let name = name.or_else(|| entry["sources"][0]["repo"].as_str())?;
            Some((entry["id"].as_str()?.to_owned(), name.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sources_are_named_by_group_then_repository_then_folder() {
        let folder = std::env::temp_dir().join(format!("sensor-sources-{}", std::process::id()));
        fs::create_dir_all(folder.join("pcap")).unwrap();
        let manifest = json!({ "captures": [
            { "id": "a", "group": "hydra", "sources": [{ "repo": "x/y" }] },
            { "id": "b", "sources": [{ "repo": "x/y" }] },
        ] });
        fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
        let mut sources = Sources::default();
        let mut name = |id: &str| {
            let capture = folder.join(format!("pcap/{id}.pcap"));
            sources.of(id, &capture).name
        };
        let names = ["a", "b", "c"].map(&mut name);
        fs::remove_dir_all(&folder).unwrap();
        let own = folder.file_name().unwrap().to_str().unwrap();
        assert_eq!(names, ["hydra", "x/y", own]);
    }
}
