//! The harness of the test binary `it`: libtest's command line and output, and a status of its own
//! for tests that can't run on this machine.

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

pub use inventory;

/// A registered test; `#[test]` makes it.
#[derive(Debug)]
pub struct Test {
    /// Path of its function, the crate's name in front.
    pub path: &'static str,
    pub run: fn(),
}

inventory::collect!(Test);

/// Called by `#[test]` with the name of the function.
#[macro_export]
macro_rules! register_test {
    ($function:ident) => {
        $crate::harness::inventory::submit! {
            $crate::harness::Test {
                path: concat!(module_path!(), "::", stringify!($function)),
                run: $function,
            }
        }
    };
}

/// The reason why a test can't run here; unwinds out of it.
struct Skipped(String);

/// Set once tests run, as opposed to the lab and the benchmarks.
static IN_TESTS: OnceLock<()> = OnceLock::new();

thread_local! {
    /// Message and place of the panic that ends the test of this thread.
    static PANIC: Cell<Option<String>> = const { Cell::new(None) };
}

/// Ends the test as skipped; `reason` says what it needs and where that comes from.
///
/// # Panics
/// Outside of tests, with the reason.
pub fn skip(reason: impl Into<String>) -> ! {
    let reason = reason.into();
    assert!(IN_TESTS.get().is_some(), "{reason}");
    // No panic, which would print a message.
    resume_unwind(Box::new(Skipped(reason)))
}

/// Skips the test without the privileges that namespaces and BPF need.
pub fn needs_root() {
    if !is_root() {
        skip("needs root: sudo -E env PATH=$PATH cargo xtask test");
    }
}

/// True where a program is installed.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Skips the test where a program is not installed.
pub fn needs_program(name: &str) {
    if !has_program(name) {
        skip(format!("needs {name}, which is not in PATH"));
    }
}

/// A Python that has the modules; skips the test without one.
pub fn python(modules: &str) -> PathBuf {
    let named = std::env::var_os("SENSOR_TEST_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| "python3".into());
    let mut command = std::process::Command::new(&python);
    let imported = command.args(["-c", &format!("import {modules}")]).output();
    if !imported.is_ok_and(|output| output.status.success()) {
        skip(format!(
            "needs {modules} for Python: SENSOR_TEST_PYTHON names one that has them"
        ));
    }
    python
}

/// A file or folder of captures that lie beside the project and don't belong to it; skips the test
/// where there are none. `SENSOR_TEST_DATA` names another place for them.
pub fn shared_data(name: &str) -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("SENSOR_TEST_DATA").map_or_else(beside, PathBuf::from);
    let path = folder.join(name);
    if !path.exists() {
        skip(format!(
            "needs captures at {}: SENSOR_TEST_DATA names their folder",
            path.display()
        ));
    }
    path
}

/// True with the privileges that namespaces and BPF need.
pub fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .unwrap_or_default()
        .lines()
        .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}

/// Runs the registered tests that the command line asks for.
pub fn main() -> ExitCode {
    IN_TESTS.get_or_init(|| ());
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANIC.set(Some(info.to_string()));
        print(info);
    }));
    let mut trials: Vec<Trial> = inventory::iter::<Test>().map(trial).collect();
    trials.sort_by(|a, b| a.name().cmp(b.name()));
    let mut arguments = Arguments::from_args();
    // They wait for sensors and programs more than they work.
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(cpus + cpus / 2);
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !conclusion.has_failed() {
        clear_away(&std::env::temp_dir(), &std::process::id().to_string());
    }
    conclusion.exit_code()
}

/// Removes captures and other files of this run, which bear its process's number. After a failure they are kept to be
/// looked at.
fn clear_away(folder: &Path, process: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| {
            name.strip_prefix("sensor-")
                .is_some_and(|rest| rest.split(['-', '.']).any(|part| part == process))
        });
        if !is_ours {
            continue;
        }
        let path = entry.path();
        // What can't be removed is left: the next boot clears the folder.
        let _ = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
            _ => fs::remove_file(&path),
        };
    }
}

fn trial(test: &'static Test) -> Trial {
    let name = test
        .path
        .split_once("::")
        .map_or(test.path, |(_, name)| name);
    Trial::ignorable_test(name, || {
        let thread = std::thread::spawn(|| outcome(test));
        thread
            .join()
            .unwrap_or_else(|_| Err("the test's thread ended by itself".into()))
    })
}

/// Runs a test, in a thread of its own: one that pins its thread to a processor would leave the next
/// ones of a shared thread there.
fn outcome(test: &Test) -> Result<Completion, Failed> {
    match catch_unwind(AssertUnwindSafe(test.run)) {
        Ok(()) => Ok(Completion::Completed),
        Err(payload) => match payload.downcast::<Skipped>() {
            Ok(skipped) => Ok(Completion::ignored_with(skipped.0)),
            Err(_) => Err(PANIC.take().unwrap_or_default().into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_this_run_are_cleared_away_and_no_others() {
        let folder = std::env::temp_dir().join(format!("harness-{}", std::process::id()));
        fs::create_dir_all(folder.join("sensor-live-42")).unwrap();
        let others = [
            "sensor-43-shape.pcap",
            "sensor-420",
            "capture-42",
            "sensor-it-142-x",
        ];
        for name in [
            "sensor-42-shape.pcap",
            "sensor-it-42-clock",
            "sensor-share-42.pcap",
        ]
        .iter()
        .chain(&others)
        {
            fs::write(folder.join(name), "x").unwrap();
        }
        clear_away(&folder, "42");
        let mut left: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        fs::remove_dir_all(&folder).unwrap();
        let mut others = others.map(str::to_owned);
        others.sort();
        assert_eq!(left, others);
    }
}
