//! The house rules that neither the compiler, clippy nor cargo-deny checks.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::proc::{self, Result};

const MAX_FILE_LINES: usize = 900;

/// A stage of the engine and what it must not know: the stages after it.
const UPSTREAM: &[(&str, &[&str])] = &[
    ("flow", &["features", "detect", "decide"]),
    ("features", &["detect", "decide"]),
    ("models", &["detect", "decide"]),
    ("detect", &["decide"]),
];

/// Folders whose docs begin with a verb or a noun.
const PLAIN_DOCS: &[&str] = &["xtask", "fuzz"];

/// Beginnings that announce the answer instead of giving it.
const RIDDLES: &[&str] = &[
    "What", "Where", "Who", "How", "Whoever", "Whether", "That", "The same",
];

/// Checks everything and names each place.
pub fn check() -> Result {
    let root = proc::workspace_root();
    let mut faults = Vec::new();
    for path in sources(&root)? {
        let text = read(&root.join(&path))?;
        faults.extend(size(&path, &text));
        faults.extend(imports(&path, &text));
        faults.extend(docs(&path, &text));
    }
    faults.extend(manifests(&root)?);
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!("\n  {}", faults.join("\n  ")))
}

/// Rust files that git knows, relative to the root.
fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let listed = proc::capture(proc::command("git").args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.rs",
    ]))?;
    let paths = listed.lines().map(PathBuf::from);
    Ok(paths.filter(|path| root.join(path).is_file()).collect())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// A file that is too long.
fn size(path: &Path, text: &str) -> Option<String> {
    let n = text.lines().count();
    (n > MAX_FILE_LINES).then(|| {
        format!(
            "{}: {n} lines, at most {MAX_FILE_LINES}: split it",
            path.display()
        )
    })
}

/// Imports of a stage that comes later.
fn imports(path: &Path, text: &str) -> Vec<String> {
    let Ok(inside) = path.strip_prefix("sensor/engine/src") else {
        return Vec::new();
    };
    let Some(stage) = inside.iter().next().and_then(|part| part.to_str()) else {
        return Vec::new();
    };
    let stage = stage.trim_end_matches(".rs");
    let Some((_, forbidden)) = UPSTREAM.iter().find(|(name, _)| *name == stage) else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    for (n, line) in text.lines().enumerate() {
        for later in *forbidden {
            if line.contains(&format!("crate::{later}::"))
                || line.contains(&format!("use crate::{later};"))
            {
                faults.push(format!(
                    "{}:{}: {stage} uses {later}, a later stage: data flows one way",
                    path.display(),
                    n + 1
                ));
            }
        }
    }
    faults
}

/// Docs that begin with a riddle.
fn docs(path: &Path, text: &str) -> Vec<String> {
    if !PLAIN_DOCS.iter().any(|folder| path.starts_with(folder)) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let mut is_inside = false;
    for (n, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let doc = line.strip_prefix("///").or(line.strip_prefix("//!"));
        let begins = doc.filter(|_| !is_inside).map(str::trim_start);
        is_inside = doc.is_some();
        if let Some(riddle) = begins.and_then(riddle) {
            faults.push(format!(
                "{}:{}: docs begin with `{riddle}`: begin with a verb or a noun",
                path.display(),
                n + 1
            ));
        }
    }
    faults
}

fn riddle(doc: &str) -> Option<&'static str> {
    RIDDLES.iter().copied().find(|riddle| {
        let rest = doc.strip_prefix(riddle);
        rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    })
}

/// Members that did not opt into the lints.
fn manifests(root: &Path) -> Result<Vec<String>> {
    let listed = proc::capture(proc::command("git").args(["ls-files", "*Cargo.toml"]))?;
    let mut faults = Vec::new();
    for path in listed.lines().filter(|path| *path != "Cargo.toml") {
        let text = read(&root.join(path))?;
        // A workspace of its own has no lints to take over.
        if text.contains("[workspace]") {
            continue;
        }
        if !text.contains("[lints]\nworkspace = true") {
            faults.push(format!("{path}: add `[lints]` with `workspace = true`"));
        }
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_must_not_know_a_later_one() {
        let path = Path::new("sensor/engine/src/features/host.rs");
        let faults = imports(
            path,
            "use crate::flow::Totals;\nuse crate::detect::Finding;\n",
        );
        assert_eq!(faults.len(), 1);
        assert!(faults[0].contains("host.rs:2: features uses detect"));
        assert!(
            imports(
                Path::new("sensor/engine/src/engine.rs"),
                "use crate::detect::Finding;"
            )
            .is_empty()
        );
    }

    #[test]
    fn docs_begin_with_a_verb_or_a_noun() {
        let text = [
            "//! Whatever this is, it is no riddle.",
            "",
            "/// What it does.",
            "/// That is a later line.",
            "fn a() {}",
            "",
            "    /// The same, for two.",
            "    fn b() {}",
            "",
            "/// Thatched roofs.",
            "fn c() {}",
        ]
        .join("\n");
        let faults = docs(Path::new("xtask/src/a.rs"), &text);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("a.rs:3: docs begin with `What`"));
        assert!(faults[1].contains("a.rs:7: docs begin with `The same`"));
        assert!(docs(Path::new("elsewhere/src/a.rs"), &text).is_empty());
    }

    #[test]
    fn a_long_file_is_named() {
        let path = Path::new("a.rs");
        assert_eq!(size(path, &"\n".repeat(MAX_FILE_LINES)), None);
        let fault = size(path, &"\n".repeat(MAX_FILE_LINES + 1));
        assert_eq!(
            fault.as_deref(),
            Some("a.rs: 901 lines, at most 900: split it")
        );
    }
}
