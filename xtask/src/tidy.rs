//! The house rules that a machine can check.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::proc::{self, Result};

/// Lines of a function, its signature and closing brace included.
const MAX_FUNCTION_LINES: usize = 70;
const MAX_FILE_LINES: usize = 900;

/// Licences that a dependency may have; one of the alternatives it offers is enough.
const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unlicense",
    "0BSD",
    "CC0-1.0",
    "BSL-1.0",
];

/// Never linked, whatever would pull it in.
const BANNED: &[&str] = &["openssl", "openssl-sys", "native-tls"];

/// A stage of the engine and what it must not know: the stages after it.
const UPSTREAM: &[(&str, &[&str])] = &[
    ("flow", &["features", "detect", "decide"]),
    ("features", &["detect", "decide"]),
    ("models", &["detect", "decide"]),
    ("detect", &["decide"]),
];

/// Checks everything and names each place.
pub fn check() -> Result {
    let root = proc::workspace_root();
    let mut faults = Vec::new();
    for path in sources(&root)? {
        let text = read(&root.join(&path))?;
        faults.extend(sizes(&path, &text));
        faults.extend(imports(&path, &text));
    }
    faults.extend(manifests(&root)?);
    faults.extend(dependencies()?);
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

/// What is too long. rustfmt puts the closing brace where the function began.
fn sizes(path: &Path, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut faults = Vec::new();
    if lines.len() > MAX_FILE_LINES {
        let n = lines.len();
        faults.push(format!(
            "{}: {n} lines, at most {MAX_FILE_LINES}: split it",
            path.display()
        ));
    }
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = format!("{indent}}}");
        let rest = lines.get(start..).unwrap_or_default();
        let is_declared_only = rest.iter().find_map(|line| {
            Some(line.trim_end().chars().last()?).filter(|c| matches!(c, '{' | '}' | ';'))
        }) != Some('{');
        let Some(n) = rest.iter().position(|line| *line == end).map(|n| n + 1) else {
            continue;
        };
        if !is_declared_only && n > MAX_FUNCTION_LINES {
            faults.push(format!(
                "{}:{}: {name} has {n} lines, at most {MAX_FUNCTION_LINES}: split it",
                path.display(),
                start + 1
            ));
        }
    }
    faults
}

/// Name of the function that a line begins.
fn function_name(line: &str) -> Option<&str> {
    let mut words = line.trim_start().split(' ');
    let qualifiers = [
        "pub",
        "pub(crate)",
        "pub(super)",
        "const",
        "async",
        "unsafe",
        "extern",
        "\"C\"",
    ];
    let word = words.find(|word| !qualifiers.contains(word))?;
    if word != "fn" {
        return None;
    }
    words.next()?.split(['(', '<']).next()
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

/// Dependencies under other licences, or banned.
fn dependencies() -> Result<Vec<String>> {
    let tree = proc::capture(proc::cargo().args([
        "tree",
        "--workspace",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}|{l}",
    ]))?;
    let lines: BTreeSet<&str> = tree.lines().collect();
    let mut faults = Vec::new();
    for line in lines {
        let line = line.trim_end_matches(" (*)");
        let Some((package, licence)) = line.split_once('|') else {
            continue;
        };
        let name = package.split(' ').next().unwrap_or_default();
        if BANNED.contains(&name) {
            faults.push(format!(
                "{package}: banned, find what pulls it in by `cargo tree -i {name}`"
            ));
        }
        if !is_permissive(licence) {
            faults.push(format!(
                "{package}: licence `{licence}` is not among those allowed"
            ));
        }
    }
    Ok(faults)
}

/// SPDX expressions as crates write them: alternatives by OR or a slash, AND within them.
fn is_permissive(licence: &str) -> bool {
    let plain = licence.replace(['(', ')'], "").replace('/', " OR ");
    if plain.contains(" AND ") {
        // Each part has to have an alternative that is allowed.
        return plain.split(" AND ").all(is_permissive);
    }
    plain
        .split(" OR ")
        .any(|one| LICENCES.contains(&one.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_needs_one_good_alternative() {
        assert!(is_permissive("MIT/Apache-2.0"));
        assert!(is_permissive("GPL-2.0 OR BSD-3-Clause"));
        assert!(is_permissive("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!is_permissive("MIT AND GPL-3.0-only"));
        assert!(!is_permissive("GPL-3.0-only"));
        assert!(!is_permissive(""));
    }

    #[test]
    fn a_long_function_is_named_with_its_place() {
        let body = "    work();\n".repeat(MAX_FUNCTION_LINES);
        let text =
            format!("/// Docs.\npub fn long(\n    a: u8,\n) {{\n{body}}}\n\nfn short() {{\n}}\n");
        let faults = sizes(Path::new("a.rs"), &text);
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].starts_with("a.rs:2: long has 74 lines"),
            "{faults:?}"
        );
    }

    #[test]
    fn a_declaration_has_no_body() {
        let rest = "    /// Docs.\n".repeat(MAX_FUNCTION_LINES);
        let text = format!(
            "trait T {{\n    fn one(\n        &self,\n    ) -> u8;\n{rest}    fn two() {{\n    }}\n}}\n"
        );
        assert_eq!(sizes(Path::new("a.rs"), &text), Vec::<String>::new());
    }

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
}
