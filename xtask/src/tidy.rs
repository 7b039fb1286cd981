//! The house rules that neither the compiler, clippy nor cargo-deny checks.

mod paths;
mod walls;

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

/// Stages from the pipeline to the printers: they hand on records, never JSON.
const TYPED: &[&str] = &["sensor/record/src", "sensor/respond/src", "sensor/src"];

/// Edges within them where values become JSON or are read from it, each with its reason.
const EDGES: &[(&str, &str)] = &[
    ("sensor/record/src/json.rs", "writes and reads records"),
    ("sensor/record/src/page.rs", "reads the schemas of records"),
    (
        "sensor/src/agent/api/routes.rs",
        "makes requests of paths, queries and bodies, and the other way round",
    ),
    (
        "sensor/src/agent/feeds/crowdsec.rs",
        "reads the answers of CrowdSec",
    ),
    (
        "sensor/src/agent/alert_input/ask.rs",
        "reads the answers of Vectra",
    ),
    (
        "sensor/src/agent/api/openapi.rs",
        "describes them by their schemas",
    ),
    (
        "sensor/respond/src/saved.rs",
        "writes and reads the state file",
    ),
    (
        "sensor/src/config",
        "settings are a tree until they are checked",
    ),
    ("sensor/src/config.rs", "the same"),
    ("sensor/src/cli/config.rs", "shows that tree"),
    (
        "sensor/src/cli/evidence.rs",
        "writes files of evidence that are no records",
    ),
    ("sensor/src/evidence/verify.rs", "reads one of them back"),
    ("sensor/src/cli/run.rs", "puts flags into that tree"),
    (
        "sensor/src/networks.rs",
        "manifests of networks, which their training writes",
    ),
];

/// Folders whose docs begin with a verb or a noun.
const PLAIN_DOCS: &[&str] = &[
    "fuzz",
    "sensor-common",
    "sensor-ebpf",
    "sensor",
    "tests",
    "xtask",
];

/// Beginnings that announce the answer instead of giving it.
const RIDDLES: &[&str] = &[
    "What", "Where", "Which", "When", "Who", "Whose", "Whoever", "How", "Whether", "That", "If",
    "The same",
];

/// Checks everything and names each place.
pub fn check() -> Result {
    let root = proc::workspace_root();
    let mut faults = Vec::new();
    let mut files = Vec::new();
    for path in sources(&root)? {
        let text = read(&root.join(&path))?;
        faults.extend(size(&path, &text));
        faults.extend(imports(&path, &text));
        faults.extend(docs(&path, &text));
        faults.extend(json(&path, &text));
        files.push((path, text));
    }
    faults.extend(walls::imports(&files));
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

/// JSON within a stage that is not an edge; tests may look at it.
fn json(path: &Path, text: &str) -> Vec<String> {
    let is_typed = TYPED.iter().any(|folder| path.starts_with(folder));
    let is_edge = EDGES.iter().any(|(edge, _)| path.starts_with(edge));
    let is_test = path.file_name().is_some_and(|name| name == "tests.rs");
    if !is_typed || is_edge || is_test {
        return Vec::new();
    }
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_start().starts_with("//"));
    lines
        .filter(|(_, line)| line.contains("serde_json") || has_macro(line))
        .map(|(n, _)| {
            format!(
                "{}:{}: JSON within a stage: hand on a record of sensor-record, or name the edge in \
                 xtask/src/tidy.rs",
                path.display(),
                n + 1
            )
        })
        .collect()
}

/// True for a use of `json!`, not of a macro whose name ends so.
fn has_macro(line: &str) -> bool {
    line.match_indices("json!").any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
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
        faults.extend(walls::crates(path, &text));
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
    fn stages_hand_on_records_and_no_json() {
        let text = "// serde_json is not here\nuse serde_json::Value;\nlet a = json!({});\n\
                    let b = my_json!(1);\n#[cfg(test)]\nuse serde_json::Value;\n";
        let of = |path: &str| json(Path::new(path), text);
        let faults = of("sensor/src/pipeline.rs");
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].starts_with("sensor/src/pipeline.rs:2: JSON within a stage"));
        assert!(faults[1].starts_with("sensor/src/pipeline.rs:3: "));
        for path in [
            "sensor/record/src/json.rs",
            "sensor/src/config/layers.rs",
            "sensor/record/src/tests.rs",
            "sensor/evaluate/src/report.rs",
        ] {
            assert_eq!(of(path), [] as [String; 0], "{path}");
        }
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
