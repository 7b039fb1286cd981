//! Replay of captures that the test writes itself.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use sensor_tests::binary;
use sensor_tests::frames::ipv4::{ACK, FIN_ACK, PSH_ACK, RST_ACK, SYN, SYN_ACK, tcp};
use sensor_tests::pcap::{PcapWriter, Stamps};

/// A classic pcap of Ethernet frames, each with its time in microseconds.
pub(crate) fn capture(name: &str, frames: &[(u64, Vec<u8>)]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("sensor-{}-{name}.pcap", std::process::id()));
    let mut file = PcapWriter::new(fs::File::create(&path).unwrap(), Stamps::Microseconds).unwrap();
    for (at_us, frame) in frames {
        file.frame(at_us * 1_000, frame).unwrap();
    }
    path
}

pub(crate) fn replay(paths: &[&PathBuf]) -> Output {
    Command::new(binary().unwrap())
        .arg("replay")
        .arg("--json")
        .args(paths)
        .output()
        .unwrap()
}

/// Incidents opened, by family, in the order of their lines.
pub(crate) fn families(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON lines"));
    lines
        .filter(|v: &serde_json::Value| v["incident.state"] == "opened")
        .map(|v| v["incident.family"].as_str().unwrap().to_owned())
        .collect()
}

/// A scan of a thousand ports in one second, each refused.
pub(crate) fn scan() -> Vec<(u64, Vec<u8>)> {
    let (attacker, victim) = ([198, 51, 100, 7], [192, 0, 2, 1]);
    let probe = |port: u16| {
        let at_us = 1_700_000_000_000_000 + u64::from(port) * 1000;
        [
            (at_us, tcp((attacker, 40_000), (victim, port), SYN, &[])),
            (
                at_us + 50,
                tcp((victim, port), (attacker, 40_000), RST_ACK, &[]),
            ),
        ]
    };
    (1..=1000).flat_map(probe).collect()
}

/// A handshake, some data and its end, again and again to one service.
pub(crate) fn benign() -> Vec<(u64, Vec<u8>)> {
    let (client, server) = ([192, 0, 2, 9], [192, 0, 2, 1]);
    let connection = |n: u64| {
        let port = 40_000 + n as u16;
        let flags = [
            (true, SYN),
            (false, SYN_ACK),
            (true, ACK),
            (true, PSH_ACK),
            (false, PSH_ACK),
            (true, FIN_ACK),
            (false, FIN_ACK),
            (true, ACK),
        ];
        flags
            .into_iter()
            .enumerate()
            .map(move |(i, (is_client, flags))| {
                let at_us = 1_700_000_000_000_000 + n * 500_000 + i as u64 * 1000;
                let frame = if is_client {
                    tcp((client, port), (server, 443), flags, &[])
                } else {
                    tcp((server, 443), (client, port), flags, &[])
                };
                (at_us, frame)
            })
    };
    (0..100).flat_map(connection).collect()
}

#[test]
fn a_scan_is_found_and_its_source_named() {
    let path = capture("scan", &scan());
    let output = replay(&[&path]);
    assert!(output.status.success());
    assert_eq!(families(&output), ["port_scan"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains(r#""source.ips":["198.51.100.7"]"#));
}

#[test]
fn benign_connections_raise_nothing() {
    let path = capture("benign", &benign());
    let output = replay(&[&path]);
    assert!(output.status.success());
    assert_eq!(families(&output), [] as [&str; 0]);
}

#[test]
fn replays_of_one_capture_are_equal() {
    let path = capture("again", &scan());
    let lines = |output: Output| {
        let text = String::from_utf8(output.stdout).unwrap();
        // The summary alone carries wall time.
        text.lines()
            .filter(|line| !line.contains("wall_time_s"))
            .map(str::to_owned)
            .collect()
    };
    let first: Vec<String> = lines(replay(&[&path]));
    assert_eq!(first, lines(replay(&[&path])));
    assert!(!first.is_empty());
}

/// Guesses and a scan at once, among ordinary connections: flows are looked at out of turn.
fn much_at_once() -> Vec<(u64, Vec<u8>)> {
    let mut frames = [scan(), benign()].concat();
    for n in 0..3_000u64 {
        let at_us = 1_700_000_002_000_000 + n * 2_000;
        let client = ([203, 0, 113, (n % 200) as u8], 30_000 + (n / 200) as u16);
        frames.push((at_us, tcp(client, ([192, 0, 2, 5], 80), SYN, &[])));
    }
    frames.sort_by_key(|(at_us, _)| *at_us);
    frames
}

#[test]
fn with_any_number_of_threads_a_replay_says_the_same() {
    let path = capture("threads", &much_at_once());
    let said = |threads: &str| {
        let output = Command::new(binary().unwrap())
            .args(["replay", "--json", "--flows", "--findings", "--threads"])
            .args([threads, path.to_str().unwrap()])
            .output()
            .unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(str::to_owned);
        // The summary tells how long it took.
        let lines = lines.filter(|line| !line.contains("wall_time_s"));
        lines.collect::<Vec<_>>()
    };
    let one = said("1");
    assert!(one.len() > 1_000, "{}", one.len());
    assert_eq!(one, said("2"));
    fs::remove_file(&path).unwrap();
}

#[test]
fn bad_input_is_named_and_the_rest_is_read() {
    let (good, bad) = (capture("good", &scan()), capture("bad", &scan()));
    let bytes = fs::read(&bad).unwrap();
    fs::write(&bad, &bytes[..bytes.len() - 7]).unwrap();
    let output = replay(&[&bad, &good]);
    assert_eq!(output.status.code(), Some(3));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains(bad.to_str().unwrap()), "{log}");
    assert!(!families(&output).is_empty());
}
