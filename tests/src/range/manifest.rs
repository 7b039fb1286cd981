//! Writes samples as a folder of labelled captures: `pcap/`, `labels/` and `manifest.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::label::{Label, seconds};
use super::recipe::{Scenario, Side};
use super::scene::Sample;

/// A folder of labelled captures. What it holds already stays, unless it is made anew.
pub struct Folder {
    path: PathBuf,
    entries: Mutex<BTreeMap<String, Value>>,
}

impl Folder {
    /// Opens or makes it.
    ///
    /// # Errors
    /// The system's, and where there is a `manifest.json` that isn't one of ours.
    pub fn open(path: &Path) -> Result<Self> {
        for folder in ["pcap", "labels"] {
            let folder = path.join(folder);
            fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        let entries = read(&path.join("manifest.json"))?;
        Ok(Self {
            path: path.to_owned(),
            entries: Mutex::new(entries),
        })
    }

    /// Tells if the folder has it by now: others may write into it, too.
    pub fn has(&self, id: &str) -> bool {
        let entries = read(&self.path.join("manifest.json"));
        entries.is_ok_and(|entries| entries.contains_key(id))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Value>> {
        self.entries
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Writes a sample's files and its entry.
    ///
    /// # Errors
    /// The system's.
    pub fn add(
        &self,
        scenario: &Scenario,
        seed: u64,
        sample: &Sample,
        programs: &BTreeMap<&'static str, String>,
    ) -> Result<Value> {
        let id = scenario.id();
        let (bytes, hash) = sample
            .frames
            .write(&self.path.join(format!("pcap/{id}.pcap.zst")))?;
        let attack = scenario.recipe.attack;
        let labels = &sample.labels;
        fs::write(
            self.path.join(format!("labels/{id}.csv")),
            labels.episodes_csv(attack),
        )?;
        fs::write(
            self.path.join(format!("labels/{id}.pkt.csv")),
            labels.packets_csv(attack),
        )?;
        let mut entry = describe(scenario, seed, sample);
        entry["zst_bytes"] = json!(bytes);
        entry["pcap_sha256"] = json!(hash);
        entry["programs"] = json!(programs);
        self.insert(id, entry.clone())?;
        Ok(entry)
    }

    /// Adds an entry to what the manifest holds by now: others may write into the folder, too.
    fn insert(&self, id: String, entry: Value) -> Result<()> {
        let mut entries = self.lock();
        let lock = fs::File::create(self.path.join("manifest.lock"))?;
        lock.lock()?;
        *entries = read(&self.path.join("manifest.json"))?;
        entries.insert(id, entry);
        let captures: Vec<&Value> = entries.values().collect();
        let text = serde_json::to_string_pretty(&json!({ "captures": captures }))?;
        // Never half a manifest, whenever it is interrupted.
        let part = self.path.join("manifest.json.part");
        fs::write(&part, text + "\n")?;
        Ok(fs::rename(part, self.path.join("manifest.json"))?)
    }
}

/// Entries of a manifest, by name; none where there is no manifest.
fn read(manifest: &Path) -> Result<BTreeMap<String, Value>> {
    let mut entries = BTreeMap::new();
    if manifest.exists() {
        let text = fs::read_to_string(manifest)?;
        let value: Value = serde_json::from_str(&text)
            .with_context(|| format!("{}: not JSON; name another folder", manifest.display()))?;
        for entry in value["captures"].as_array().into_iter().flatten() {
            let id = entry["id"].as_str().unwrap_or_default();
            entries.insert(id.to_owned(), entry.clone());
        }
    }
    Ok(entries)
}

/// An entry of the manifest, without what is known of its file only.
fn describe(scenario: &Scenario, seed: u64, sample: &Sample) -> Value {
    let (recipe, variant) = (scenario.recipe, scenario.variant);
    let [n_benign, n_attack, n_ignore] = sample.labels.n;
    let frames = &sample.frames.list;
    let span = frames.first().zip(frames.last());
    let (first_ns, last_ns) = span.map_or((0, 0), |(first, last)| (first.at_ns, last.at_ns));
    let kind = match (recipe.is_attack(), variant.has_background) {
        (false, _) => "benign",
        (true, true) => "mixed",
        (true, false) => "attack",
    };
    let attacks: Vec<&str> = [recipe.attack]
        .into_iter()
        .filter(|name| !name.is_empty())
        .collect();
    let hosts: BTreeMap<&str, [&str; 2]> = sample
        .hosts
        .iter()
        .map(|(name, v4, v6)| (name.as_str(), [v4.as_str(), v6.as_str()]))
        .collect();
    json!({
        "id": scenario.id(),
        "kind": kind,
        "group": recipe.group,
        "recipe": recipe.name,
        "variant": variant.name,
        "about": recipe.about,
        "packets": frames.len(),
        "duration_s": (last_ns - first_ns) / 1_000_000 * 1_000 / 1_000_000,
        "first_ts": seconds(first_ns),
        "benign": n_benign,
        "attack": n_attack,
        "ignore": n_ignore,
        "attacks": attacks,
        "episodes": sample.labels.episodes.iter().filter(|e| e.label == Label::Attack).count(),
        "service": variant.state.label(),
        "path": variant.path.name,
        "settings": variant.settings.iter().copied().collect::<BTreeMap<_, _>>(),
        "plan": sample.plan,
        "hosts": hosts,
        "captured": if recipe.at == Side::Inside { "inside" } else { "outside" },
        "seed": seed,
        "label_source": "construction: the scenario knows which host did what",
    })
}
