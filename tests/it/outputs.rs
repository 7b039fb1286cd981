//! Readers of the output that go away, stall, or have no room.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::pins::Bpffs;
use sensor_tests::{Network, binary, needs_root, wait_until};
use serde_json::Value;

/// The verifier takes a while on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Commands that need neither an agent nor privileges.
const COMMANDS: [&str; 8] = [
    "config example",
    "config schema",
    "config show",
    "config check",
    "man",
    "completions bash",
    "doctor",
    "explain 000001 --from tests/none.jsonl",
];

fn run(command: &str, stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Output {
    let mut sensor = Command::new(binary().unwrap());
    let sensor = sensor.args(command.split_whitespace());
    let child = sensor.stdout(stdout).stderr(stderr).spawn().unwrap();
    child.wait_with_output().unwrap()
}

/// The end of a pipe that nobody reads.
fn closed() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

const PANICKED: Option<i32> = Some(101);

#[test]
fn no_command_panics_when_its_reader_has_gone() {
    for command in COMMANDS {
        let output = run(command, closed(), Stdio::piped());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_ne!(output.status.code(), PANICKED, "{command}: {told}");
        assert!(!told.contains("roken pipe"), "{command}: {told}");
        // Nobody hears of errors either.
        let output = run(command, closed(), closed());
        assert_ne!(output.status.code(), PANICKED, "{command}");
    }
    let output = run("config example", closed(), Stdio::piped());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_full_disk_fails_a_command_with_the_reason() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for command in ["config example", "config schema", "man"] {
        let output = run(command, full(), Stdio::piped());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{command}: {told}");
        assert!(
            told.contains("No space left on device"),
            "{command}: {told}"
        );
    }
}

/// Sensors that were started by these tests.
static N_STARTED: AtomicU32 = AtomicU32::new(0);

/// A sensor whose outputs the test holds.
struct Held {
    _network: Network,
    child: Child,
    socket: PathBuf,
}

impl Held {
    /// Starts it with JSON lines on `stdout`; everything else goes to `stderr`.
    fn start(arguments: &str, stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Self {
        needs_root();
        let network = Network::new().unwrap();
        // Tests run beside each other: a folder of its own, or one sensor would be refused as the second.
        let (process, n) = (
            std::process::id(),
            N_STARTED.fetch_add(1, Ordering::Relaxed),
        );
        let folder = std::env::temp_dir().join(format!("sensor-held-{process}-{n}"));
        fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("sensor.sock");
        let line = format!(
            "{} run --iface client --iface attacker --json {arguments}",
            binary().unwrap().display()
        );
        let child = network
            .command("server", &line)
            .env("SENSOR__SOCKET__PATH", &socket)
            .env("SENSOR__RESPOND__STATE_FOLDER", folder.join("state"))
            .env("SENSOR__RESPOND__AUDIT_LOG", folder.join("audit.jsonl"))
            .env("SENSOR__SENSOR__ID", "it")
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        Self {
            _network: network,
            child,
            socket,
        }
    }

    fn status(&mut self) -> Value {
        let status = wait_until(START, || {
            let mut command = Command::new(binary().unwrap());
            let asked = command.args(["status", "--json", "--socket"]);
            let output = asked.arg(&self.socket).output().unwrap();
            if let Some(ended) = self.child.try_wait().unwrap() {
                panic!("the sensor ended: {ended}");
            }
            serde_json::from_slice(&output.stdout).ok()
        });
        status.expect("an answer")
    }

    /// Waits until the output is in a state that `is_it` likes.
    fn wait_for_output(&mut self, output: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + START;
        loop {
            let state = self.status()["outputs"][output].clone();
            if is_it(&state) {
                return state;
            }
            assert!(Instant::now() < deadline, "{output}: {state}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends it by SIGTERM; how long that took.
    fn stop(&mut self) -> (Duration, Option<i32>) {
        let asked = Instant::now();
        signal(self.child.id(), "TERM");
        let child = &mut self.child;
        let ended = wait_until(START, || child.try_wait().unwrap());
        (asked.elapsed(), ended.expect("an end").code())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(folder) = self.socket.parent() {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

fn signal(process: u32, name: &str) {
    let id = process.to_string();
    sensor_tests::run(Command::new("kill").args(["-s", name, &id])).unwrap();
}

#[test]
fn a_closed_standard_output_costs_its_lines_and_not_the_sensor() {
    let mut sensor = Held::start("", closed(), closed());
    let state = sensor.wait_for_output("stdout", |state| state["lost"].as_u64() > Some(0));
    assert!(
        state["error"].as_str().unwrap().contains("roken pipe"),
        "{state}"
    );
    sensor.wait_for_output("log", |state| state["lost"].as_u64() > Some(0));
    let (took, code) = sensor.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_full_standard_output_costs_its_lines_and_not_the_sensor() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut sensor = Held::start("", full(), full());
    let state = sensor.wait_for_output("stdout", |state| state["lost"].as_u64() > Some(0));
    assert!(
        state["error"].as_str().unwrap().contains("No space left"),
        "{state}"
    );
    let (took, code) = sensor.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_stalled_reader_does_not_hold_up_the_stop() {
    let (_stalled, stdout) = std::io::pipe().unwrap();
    let (_stalled_too, stderr) = std::io::pipe().unwrap();
    let fill = |pipe: &std::io::PipeWriter| {
        // Up to the last byte of what a pipe takes (pipe(7)).
        let mut pipe = pipe.try_clone().unwrap();
        pipe.write_all(&vec![b'\n'; 1 << 16]).unwrap();
    };
    fill(&stdout);
    fill(&stderr);
    let mut sensor = Held::start("", stdout, stderr);
    sensor.wait_for_output("stdout", |state| state["stalled_s"].as_f64() > Some(0.5));
    let (took, code) = sensor.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_signal_during_the_start_undoes_what_was_done() {
    needs_root();
    let bpffs = Bpffs::new("signal", "");
    // Later and later, until the start was quicker.
    for ms in (10..).step_by(150) {
        let mut sensor = Held::start(&bpffs.arguments(), Stdio::null(), Stdio::piped());
        std::thread::sleep(Duration::from_millis(ms));
        signal(sensor.child.id(), "TERM");
        let child = &mut sensor.child;
        let ended = wait_until(START, || child.try_wait().unwrap()).expect("an end");
        let mut told = String::new();
        let mut stderr = sensor.child.stderr.take().unwrap();
        stderr.read_to_string(&mut told).unwrap();
        // Before the first step nothing is done, and the signal does what it does to anybody.
        assert!(
            ended.success() || ended.signal() == Some(15),
            "{ms} ms: {ended} {told}"
        );
        let left = sensor._network.run("server", "ip -d link show");
        let left = String::from_utf8_lossy(&left.unwrap().stdout).into_owned();
        assert!(!left.contains("xdp"), "{ms} ms: {left}");
        assert!(bpffs.pins().is_empty(), "{ms} ms: {:?}", bpffs.pins());
        if told.contains("control socket listening") {
            assert!(ms > 10, "no start was interrupted");
            return;
        }
    }
}

#[test]
fn a_file_of_records_is_opened_anew_on_hangup() {
    let folder = std::env::temp_dir().join(format!("sensor-file-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("records.jsonl");
    let set = format!("--set output.file={}", file.display());
    let mut sensor = Held::start(&set, closed(), Stdio::null());
    sensor.wait_for_output("file", |state| state["written"].as_u64() > Some(0));
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let old = folder.join("records.jsonl.1");
    fs::rename(&file, &old).unwrap();
    signal(sensor.child.id(), "HUP");
    let lines = |path: &Path, action: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.contains(&format!("\"event.action\":\"{action}\""))
    };
    let reloaded = wait_until(START, || lines(&file, "reload").then_some(()));
    assert!(reloaded.is_some(), "nothing in the new file");
    assert!(lines(&old, "start"));
    sensor.stop();
    assert!(lines(&file, "stop"));
    let _ = fs::remove_dir_all(folder);
}
