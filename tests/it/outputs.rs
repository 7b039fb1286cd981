//! Readers of the output that go away, stall, or have no room.

use std::fs::File;
use std::process::{Command, Output, Stdio};

use sensor_tests::binary;

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
