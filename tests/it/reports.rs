//! Small captures after public reports of neighbouring tools, each with what is right. They lie in
//! `tests/data/reports`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sensor_tests::binary;
use serde_json::Value;

fn report(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/reports");
    folder.join(name)
}

/// Output of a replay, and its log.
struct Replayed {
    lines: Vec<Value>,
    log: String,
    code: Option<i32>,
}

impl Replayed {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let lines = text.lines().map(serde_json::from_str);
        Self {
            lines: lines.collect::<Result<_, _>>().expect("JSON lines"),
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }

    fn new(name: &str) -> Self {
        let mut command = Command::new(binary().unwrap());
        command.args(["replay", "--json", "--flows"]);
        Self::of(&command.arg(report(name)).output().unwrap())
    }

    fn summary(&self) -> &Value {
        let is_one = |line: &&Value| line["kind"] == "summary";
        self.lines.iter().find(is_one).expect("a summary")
    }

    /// Lines of the log that name a fault.
    fn faults(&self) -> Vec<&str> {
        self.log.lines().collect()
    }
}

/// Right answers for a capture whose stamps, lengths or framing are wrong.
struct Capture {
    name: &'static str,
    packets: u64,
    bytes: u64,
    flows: u64,
    start: &'static str,
    end: &'static str,
    /// Words of its one fault; none where all of it is right.
    fault: Option<&'static [&'static str]>,
}

const CAPTURES: [Capture; 6] = [
    Capture {
        name: "epoch0.pcap",
        packets: 3,
        bytes: 186,
        flows: 1,
        start: "1970-01-01T00:00:00.000000000Z",
        end: "1970-01-01T00:00:01.000000000Z",
        fault: None,
    },
    Capture {
        name: "future_glitch.pcap",
        packets: 121,
        bytes: 7_502,
        flows: 1,
        start: "2023-11-14T22:13:20.000000000Z",
        end: "2023-11-14T22:13:31.900000000Z",
        fault: Some(&["frame 21 is stamped", "after those around it"]),
    },
    Capture {
        name: "two_interfaces_3s_blocks.pcapng",
        packets: 60,
        bytes: 3_720,
        flows: 1,
        start: "2023-11-14T22:13:20.000000000Z",
        end: "2023-11-14T22:13:28.700000000Z",
        fault: None,
    },
    Capture {
        name: "two_files_concatenated.pcap",
        packets: 4,
        bytes: 248,
        flows: 1,
        start: "2023-11-14T22:13:20.000000000Z",
        end: "2023-11-14T22:13:21.000000000Z",
        fault: None,
    },
    Capture {
        name: "gzip_trailing_zeros.pcap.gz",
        packets: 2,
        bytes: 124,
        flows: 1,
        start: "2023-11-14T22:13:20.000000000Z",
        end: "2023-11-14T22:13:21.000000000Z",
        fault: None,
    },
    Capture {
        name: "wire_length_4GiB.pcap",
        packets: 3,
        bytes: 224,
        flows: 1,
        start: "2023-11-14T22:13:20.000000000Z",
        end: "2023-11-14T22:13:21.000005000Z",
        fault: Some(&["claims 4294967295 bytes on the wire"]),
    },
];

#[test]
fn captures_with_odd_stamps_lengths_and_framing_are_read_rightly() {
    for capture in &CAPTURES {
        let name = capture.name;
        let replayed = Replayed::new(name);
        let summary = replayed.summary();
        assert_eq!(summary["packets"], capture.packets, "{name}: {summary}");
        assert_eq!(summary["bytes"], capture.bytes, "{name}: {summary}");
        assert_eq!(summary["flows"], capture.flows, "{name}: {summary}");
        assert_eq!(summary["event.start"], capture.start, "{name}: {summary}");
        assert_eq!(summary["event.end"], capture.end, "{name}: {summary}");
        let faults = replayed.faults();
        match capture.fault {
            None => {
                assert_eq!(faults, [] as [&str; 0], "{name}");
                assert_eq!(replayed.code, Some(0), "{name}");
            }
            Some(words) => {
                assert_eq!(replayed.code, Some(3), "{name}: {faults:?}");
                let is_named = |line: &&str| words.iter().all(|word| line.contains(word));
                assert!(faults.iter().any(is_named), "{name}: {faults:?}");
            }
        }
    }
}

#[test]
fn flows_begin_and_end_at_their_own_packets_whatever_a_glitch_says() {
    let replayed = Replayed::new("future_glitch.pcap");
    let flows = replayed.lines.iter().filter(|line| line["kind"] == "flow");
    for flow in flows {
        for key in ["event.start", "event.end"] {
            let at = flow[key].as_str().unwrap();
            assert!(at.starts_with("2023-11-14T22:13:"), "{flow}");
        }
    }
}

#[test]
fn standard_input_reads_as_the_file_does() {
    for name in ["future_glitch.pcap", "gzip_trailing_zeros.pcap.gz"] {
        let bytes = std::fs::read(report(name)).unwrap();
        let mut child = Command::new(binary().unwrap())
            .args(["replay", "--json", "--flows", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let piped = Replayed::of(&child.wait_with_output().unwrap());
        let read = Replayed::new(name);
        let rest = |replayed: &Replayed| {
            let mut lines = replayed.lines.clone();
            lines
                .iter_mut()
                .for_each(|line| line["wall_time_s"] = Value::Null);
            lines
        };
        assert_eq!(rest(&piped), rest(&read), "{name}");
        assert_eq!(piped.code, read.code, "{name}");
        assert!(piped.log.is_empty() || piped.log.contains("standard input: "));
    }
}
