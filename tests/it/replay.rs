//! Replay of captures that the test writes itself.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use sensor_tests::binary;

/// A classic pcap of Ethernet frames, each with its time in microseconds.
pub(crate) fn capture(name: &str, frames: &[(u64, Vec<u8>)]) -> PathBuf {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for (at_us, frame) in frames {
        let length = frame.len() as u32;
        let (seconds, fraction) = ((at_us / 1_000_000) as u32, (at_us % 1_000_000) as u32);
        for word in [seconds, fraction, length, length] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(frame);
    }
    let path = std::env::temp_dir().join(format!("sensor-{}-{name}.pcap", std::process::id()));
    fs::write(&path, bytes).unwrap();
    path
}

pub(crate) fn tcp(source: [u8; 4], destination: [u8; 4], ports: (u16, u16), flags: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
    frame.extend(source);
    frame.extend(destination);
    frame.extend(ports.0.to_be_bytes());
    frame.extend(ports.1.to_be_bytes());
    frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0]);
    frame
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
            (at_us, tcp(attacker, victim, (40_000, port), 0x02)),
            (at_us + 50, tcp(victim, attacker, (port, 40_000), 0x14)),
        ]
    };
    (1..=1000).flat_map(probe).collect()
}

/// A handshake, some data and its end, again and again to one service.
fn benign() -> Vec<(u64, Vec<u8>)> {
    let (client, server) = ([192, 0, 2, 9], [192, 0, 2, 1]);
    let connection = |n: u64| {
        let port = 40_000 + n as u16;
        let flags = [
            (true, 0x02),
            (false, 0x12),
            (true, 0x10),
            (true, 0x18),
            (false, 0x18),
            (true, 0x11),
            (false, 0x11),
            (true, 0x10),
        ];
        flags
            .into_iter()
            .enumerate()
            .map(move |(i, (is_client, flags))| {
                let at_us = 1_700_000_000_000_000 + n * 500_000 + i as u64 * 1000;
                let frame = if is_client {
                    tcp(client, server, (port, 443), flags)
                } else {
                    tcp(server, client, (443, port), flags)
                };
                (at_us, frame)
            })
    };
    (0..100).flat_map(connection).collect()
}

#[test]
fn finds_the_scan_and_blames_the_scanner() {
    let path = capture("scan", &scan());
    let output = replay(&[&path]);
    assert!(output.status.success());
    assert_eq!(families(&output), ["port_scan"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains(r#""source.ips":["198.51.100.7"]"#));
}

#[test]
fn is_silent_on_benign_connections() {
    let path = capture("benign", &benign());
    let output = replay(&[&path]);
    assert!(output.status.success());
    assert_eq!(families(&output), [] as [&str; 0]);
}

#[test]
fn says_the_same_every_time() {
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

#[test]
fn names_bad_input_and_goes_on() {
    let (good, bad) = (capture("good", &scan()), capture("bad", &scan()));
    let bytes = fs::read(&bad).unwrap();
    fs::write(&bad, &bytes[..bytes.len() - 7]).unwrap();
    let output = replay(&[&bad, &good]);
    assert_eq!(output.status.code(), Some(3));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains(bad.to_str().unwrap()), "{log}");
    assert!(!families(&output).is_empty());
}
