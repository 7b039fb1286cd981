//! Walls: which crate may use which, which module of the shell, and no circles of imports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::paths::{Named, named};

/// Crates of the workspace by folder, with those of ours that each may use: data flows one way.
const CRATES: &[(&str, &[&str])] = &[
    ("sensor-common", &[]),
    ("sensor-ebpf", &["sensor-common"]),
    ("sensor/engine", &["sensor-common"]),
    (
        "sensor/capture",
        &["sensor-common", "sensor-engine", "sensor-netflow"],
    ),
    ("sensor/alerts", &[]),
    ("sensor/netflow", &[]),
    ("sensor/networks", &[]),
    ("sensor/record", &["sensor-common", "sensor-engine"]),
    ("sensor/deliver", &["sensor-record"]),
    (
        "sensor/respond",
        &[
            "sensor-capture",
            "sensor-common",
            "sensor-engine",
            "sensor-record",
        ],
    ),
    (
        "sensor/evaluate",
        &[
            "sensor-capture",
            "sensor-common",
            "sensor-engine",
            "sensor-record",
        ],
    ),
    (
        "sensor/store",
        &["sensor-common", "sensor-engine", "sensor-record"],
    ),
    ("xtask", &[]),
];

/// The shell, `sensor/src`.
const SHELL: &str = "sensor/src";

/// Modules of the shell, each with those that it may use. Nobody uses the command line, and it alone
/// uses the agent.
const SHELL_MODULES: &[(&str, &[&str])] = &[
    ("checkpoint", &[]),
    ("columns", &[]),
    ("evidence", &[]),
    ("naming", &[]),
    ("networks", &[]),
    ("print", &[]),
    ("queue", &[]),
    ("stream", &["queue"]),
    ("tables", &[]),
    ("tokens", &[]),
    ("windows", &[]),
    ("config", &["naming", "print", "windows"]),
    ("ring", &["config", "evidence", "queue"]),
    ("conditions", &["config"]),
    ("confine", &["config"]),
    ("export", &["config", "queue", "stream"]),
    ("identity", &["config"]),
    (
        "pipeline",
        &["config", "export", "networks", "print", "tables"],
    ),
    (
        "agent",
        &[
            "checkpoint",
            "conditions",
            "config",
            "confine",
            "evidence",
            "export",
            "networks",
            "pipeline",
            "print",
            "queue",
            "ring",
            "stream",
            "tokens",
        ],
    ),
    (
        "cli",
        &[
            "agent",
            "columns",
            "conditions",
            "config",
            "confine",
            "evidence",
            "identity",
            "naming",
            "networks",
            "pipeline",
            "print",
            "stream",
            "tables",
            "tokens",
        ],
    ),
];

/// Sources of a crate whose modules import each other one way only.
const NO_CIRCLES: &[&str] = &[
    "sensor-common/src",
    "sensor-ebpf/src",
    "sensor/alerts/src",
    "sensor/capture/src",
    "sensor/deliver/src",
    "sensor/engine/src",
    "sensor/evaluate/src",
    "sensor/netflow/src",
    "sensor/networks/src",
    "sensor/record/src",
    "sensor/respond/src",
    "sensor/store/src",
    SHELL,
    "xtask/src",
];

/// Modules whose own imports may close a circle, each with the reason.
const LISTS: &[(&str, &str, &str)] = &[
    (
        "sensor/engine/src",
        "config",
        "it holds the models and exceptions that stages are given",
    ),
    (
        "sensor/engine/src",
        "detect::registry",
        "it lists every detector",
    ),
];

/// Crates of ours in a manifest that its crate may not use.
pub fn crates(path: &str, manifest: &str) -> Vec<String> {
    let folder = path.trim_end_matches("/Cargo.toml");
    let Some((_, allowed)) = CRATES.iter().find(|(name, _)| *name == folder) else {
        return Vec::new();
    };
    let mut section = "";
    let mut faults = Vec::new();
    for (n, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            section = line;
        }
        let name = line.split([' ', '.', '=']).next().unwrap_or_default();
        let is_ours = name == "sensor" || name.starts_with("sensor-");
        if section == "[dependencies]" && is_ours && !allowed.contains(&name) {
            faults.push(format!(
                "{path}:{}: {folder} uses {name}, which lies behind a wall: pass what it needs as a \
                 value, or change the table in xtask/src/tidy/walls.rs",
                n + 1
            ));
        }
    }
    faults
}

/// Imports against the walls, in all files.
pub fn imports(files: &[(PathBuf, String)]) -> Vec<String> {
    let mut faults = Vec::new();
    for folder in NO_CIRCLES {
        let sources = Sources::of(folder, files);
        if *folder == SHELL {
            faults.extend(sources.shell());
        }
        faults.extend(sources.circles());
    }
    faults
}

/// Place of a module below its crate, as `["agent", "socket"]`.
type Module = Vec<String>;

/// An import of one module by another.
struct Import {
    from: Module,
    to: Module,
    place: String,
}

/// Modules of a crate, and what each imports of the others.
struct Sources {
    folder: &'static str,
    modules: BTreeSet<Module>,
    imports: Vec<Import>,
}

impl Sources {
    fn of(folder: &'static str, files: &[(PathBuf, String)]) -> Self {
        let inside = files.iter().filter_map(|(path, text)| {
            let module = module(path.strip_prefix(folder).ok()?)?;
            Some((module, path, text))
        });
        let inside: Vec<_> = inside.collect();
        let modules = inside.iter().map(|(module, ..)| module.clone()).collect();
        let mut sources = Self {
            folder,
            modules,
            imports: Vec::new(),
        };
        for (from, path, text) in inside {
            for path_named in named(text) {
                let Some(to) = sources.target(&from, &path_named) else {
                    continue;
                };
                sources.imports.push(Import {
                    from: from.clone(),
                    to,
                    place: format!("{}:{}", path.display(), path_named.line),
                });
            }
        }
        sources
    }

    /// Module that a path names something of.
    fn target(&self, from: &Module, named: &Named) -> Option<Module> {
        let mut parts = named.parts.as_slice();
        let mut to = from.clone();
        match parts.first()?.as_str() {
            "crate" => (to, parts) = (Module::new(), &parts[1..]),
            "self" => parts = &parts[1..],
            "super" => {
                while let Some(("super", rest)) = parts.split_first().map(|(a, b)| (a.as_str(), b))
                {
                    to.pop();
                    parts = rest;
                }
            }
            child => {
                to.push(child.to_owned());
                if !self.modules.contains(&to) {
                    return None;
                }
                parts = &parts[1..];
            }
        }
        for part in parts {
            to.push(part.clone());
            if !self.modules.contains(&to) {
                to.pop();
                break;
            }
        }
        Some(to)
    }

    /// Imports between modules of the shell that its table does not have.
    fn shell(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for import in &self.imports {
            let (Some(from), Some(to)) = (import.from.first(), import.to.first()) else {
                continue;
            };
            let row = SHELL_MODULES.iter().find(|(name, _)| name == from);
            if from != to && !row.is_some_and(|(_, allowed)| allowed.contains(&to.as_str())) {
                faults.push(format!(
                    "{}: {from} uses {to}, which lies behind a wall: pass what it needs as a value, or \
                     change the table in xtask/src/tidy/walls.rs",
                    import.place
                ));
            }
        }
        faults
    }

    /// Imports between neighbours that lead back to where they begin.
    fn circles(&self) -> BTreeSet<String> {
        let mut faults = BTreeSet::new();
        let parents: BTreeSet<&[String]> = self
            .modules
            .iter()
            .filter_map(|module| Some(module.split_last()?.1))
            .collect();
        for parent in parents {
            let between: Vec<_> = self
                .imports
                .iter()
                .filter_map(|import| self.between(parent, import))
                .collect();
            let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for (from, to, _) in &between {
                edges.entry(*from).or_default().insert(*to);
            }
            for (from, to, place) in between {
                if leads(&edges, to, from) {
                    faults.insert(format!(
                        "{place}: {from} imports {to}, which leads back to {from}: put what both need \
                         into a module of its own"
                    ));
                }
            }
        }
        faults
    }

    /// An import between two children of a module, by their names, with its place.
    fn between<'a>(
        &self,
        parent: &[String],
        import: &'a Import,
    ) -> Option<(&'a str, &'a str, &'a str)> {
        let from = import.from.strip_prefix(parent)?.first()?;
        let to = import.to.strip_prefix(parent)?.first()?;
        let module = import.from.join("::");
        let is_list = LISTS.iter().any(|(folder, list, _)| {
            let rest = module.strip_prefix(list);
            *folder == self.folder
                && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        (from != to && !is_list).then_some((from, to, &import.place))
    }
}

/// Module of a source file below `src`; none for programs of their own and what only tests use.
fn module(inside: &Path) -> Option<Module> {
    let inside = inside.with_extension("");
    let parts = inside.iter().map(|part| part.to_str().map(str::to_owned));
    let mut parts = parts.collect::<Option<Module>>()?;
    if parts.first()? == "bin" || ["tests", "invariants"].contains(&parts.last()?.as_str()) {
        return None;
    }
    if parts.len() == 1 && (parts[0] == "lib" || parts[0] == "main") {
        parts.clear();
    }
    Some(parts)
}

/// True if imports lead from one module to another.
fn leads(edges: &BTreeMap<&str, BTreeSet<&str>>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        if module == to {
            return true;
        }
        let further = edges.get(module).into_iter().flatten();
        next.extend(further.copied().filter(|module| seen.insert(*module)));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: &[(&str, &str)]) -> Vec<(PathBuf, String)> {
        let file = |(path, text): &(&str, &str)| (PathBuf::from(path), (*text).to_owned());
        texts.iter().map(file).collect()
    }

    #[test]
    fn a_crate_uses_only_those_before_it() {
        let manifest = "[package]\nname = \"sensor-capture\"\n[dependencies]\nsensor-common.workspace = true\n\
                        sensor-respond = { workspace = true }\n[dev-dependencies]\nsensor-record = \"1\"\n";
        let faults = crates("sensor/capture/Cargo.toml", manifest);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(
            faults[0]
                .starts_with("sensor/capture/Cargo.toml:5: sensor/capture uses sensor-respond")
        );
        assert_eq!(crates("tests/Cargo.toml", manifest), [] as [String; 0]);
    }

    #[test]
    fn nobody_uses_the_command_line() {
        let faults = imports(&files(&[
            (
                "sensor/src/lib.rs",
                "pub mod agent;\npub mod cli;\npub mod config;\n",
            ),
            (
                "sensor/src/agent/reload.rs",
                "use crate::config::Settings;\nuse crate::cli::Cli;\n",
            ),
            ("sensor/src/agent.rs", "mod reload;\n"),
            ("sensor/src/cli.rs", "use crate::{agent, config};\n"),
            ("sensor/src/config.rs", ""),
            ("sensor/src/new.rs", "fn f() { crate::config::read(); }\n"),
        ]));
        let begin = |fault: &String| fault.split(": ").take(2).collect::<Vec<_>>().join(": ");
        let begins: Vec<String> = faults.iter().map(begin).collect();
        assert_eq!(
            begins[..2],
            [
                "sensor/src/agent/reload.rs:2: agent uses cli, which lies behind a wall",
                "sensor/src/new.rs:1: new uses config, which lies behind a wall",
            ]
        );
    }

    #[test]
    fn neighbours_import_one_way() {
        let faults = imports(&files(&[
            (
                "sensor/engine/src/ring.rs",
                "mod a;\nmod b;\nmod c;\npub use a::A;\n",
            ),
            ("sensor/engine/src/ring/a.rs", "use super::b::B;\n"),
            (
                "sensor/engine/src/ring/b.rs",
                "// nothing\nuse crate::ring::c::{self, C};\n",
            ),
            ("sensor/engine/src/ring/c.rs", "fn f(a: super::a::A) {}\n"),
            ("sensor/engine/src/ring/tests.rs", "use super::a;\n"),
            ("sensor/engine/src/config.rs", "use crate::ring::A;\n"),
            (
                "sensor/engine/src/ring/d.rs",
                "use super::a;\nuse crate::config::Config;\n",
            ),
        ]));
        let places: BTreeSet<&str> = faults.iter().filter_map(|f| f.split(": ").next()).collect();
        let wanted =
            ["a.rs:1", "b.rs:2", "c.rs:1"].map(|at| format!("sensor/engine/src/ring/{at}"));
        assert_eq!(places, wanted.iter().map(String::as_str).collect());
    }
}
