//! Check of a folder against its own list of hashes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::custody::Custody;
use super::folder::{SUMS, hash_file};

/// Longest list that is read.
const MOST: u64 = 1 << 20;

/// Result of a check.
pub struct Verified {
    pub n_files: usize,
    /// SHA-256 of the list of hashes, to be held against the one that was noted down.
    pub sums: String,
    pub faults: Vec<String>,
}

/// Compares every file with the list, and looks for those that are in one of them alone.
///
/// # Errors
/// When the list can't be read, or is none.
pub fn verify(folder: &Path) -> Result<Verified> {
    let path = folder.join(SUMS);
    let shown = path.display().to_string();
    let about = fs::metadata(&path).with_context(|| format!("{shown}: no folder of evidence"))?;
    if about.len() > MOST {
        bail!("{shown}: too long for a list of hashes");
    }
    let (_, sums) = hash_file(&path)?;
    let text = fs::read_to_string(&path).with_context(|| shown.clone())?;
    let mut listed = BTreeMap::new();
    for (n, line) in text.lines().enumerate() {
        let (hash, name) = line
            .split_once("  ")
            .filter(|(hash, name)| hash.len() == 64 && !name.contains('/'))
            .with_context(|| format!("{shown}:{}: no hash and name of a file", n + 1))?;
        listed.insert(name.to_owned(), hash.to_owned());
    }
    let mut faults = Vec::new();
    for (name, wanted) in &listed {
        match hash_file(&folder.join(name)) {
            Ok((_, found)) if found == *wanted => {}
            Ok(_) => faults.push(format!("{name}: changed")),
            Err(cause) => faults.push(format!("{name}: {cause}")),
        }
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != SUMS && !listed.contains_key(&name) {
            faults.push(format!("{name}: was not part of it"));
        }
    }
    faults.extend(against_custody(folder, &listed)?);
    Ok(Verified {
        n_files: listed.len(),
        sums,
        faults,
    })
}

/// Faults where the chain of custody names another hash, or none.
fn against_custody(folder: &Path, listed: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let path = folder.join("custody.json");
    let Ok(text) = fs::read(&path) else {
        // It is named as missing.
        return Ok(Vec::new());
    };
    let custody: Custody =
        serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    let mut faults = Vec::new();
    for item in custody.items {
        if listed.get(&item.file) != Some(&item.sha256) {
            let name = item.file;
            faults.push(format!("{name}: custody.json and {SUMS} differ"));
        }
    }
    Ok(faults)
}
