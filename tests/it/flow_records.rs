//! Flow records as input: what exporters tell of a capture, judged beside the capture itself.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use sensor_netflow::{Exporter, FlowRecord, Protocol};
use sensor_tests::frames::ipv4;
use sensor_tests::{Network, Running, binary, needs_program, needs_root, run, wait_until};
use serde_json::Value;

use crate::flows::Nfcapd;
use crate::replay::{benign, capture, families, replay, scan};

const SECOND_NS: u64 = 1_000_000_000;
const T0: u64 = 1_700_000_000 * SECOND_NS;
const PORT: u16 = 2_055;

/// A capture of datagrams that exporters sent to [`PORT`], each with its time and the exporter's last byte.
fn exported(name: &str, datagrams: &[(u64, u8, Vec<u8>)]) -> PathBuf {
    let frames: Vec<(u64, Vec<u8>)> = datagrams
        .iter()
        .map(|(at_ns, exporter, datagram)| {
            let from = ([203, 0, 113, *exporter], 40_000);
            let frame = ipv4::udp(from, ([203, 0, 113, 250], PORT), datagram);
            (at_ns / 1_000, frame)
        })
        .collect();
    capture(name, &frames)
}

fn replay_records(path: &Path, delay: &str) -> Output {
    let output = Command::new(binary().unwrap())
        .args(["replay", "--json", "--flow-records", "2055", "--flow-delay"])
        .arg(delay)
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

/// Both directions of probes of a thousand ports, each refused, as two exporters may tell of them.
fn probes() -> Vec<FlowRecord> {
    let probe = |port: u16| {
        let at_ns = T0 + u64::from(port) * 1_000_000;
        let asked = FlowRecord {
            source: [198, 51, 100, 7].into(),
            destination: [192, 0, 2, 1].into(),
            source_port: 40_000,
            destination_port: port,
            protocol: 6,
            tcp_flags: 0x02,
            packets: 1,
            bytes: 44,
            first_ns: at_ns,
            last_ns: at_ns,
            ..FlowRecord::default()
        };
        let refused = FlowRecord {
            source: asked.destination,
            destination: asked.source,
            source_port: port,
            destination_port: 40_000,
            tcp_flags: 0x14,
            bytes: 40,
            ..asked
        };
        [asked, refused]
    };
    (1..=1000).flat_map(probe).collect()
}

/// Messages of a sensor's own exporter, 15 s after the flows.
fn messages(protocol: Protocol, exporter: u8, records: &[FlowRecord]) -> Vec<(u64, u8, Vec<u8>)> {
    let at_ns = T0 + 16 * SECOND_NS;
    let mut wire = Exporter::new(protocol, 7, 1_400, T0 - 3_600 * SECOND_NS);
    wire.add_templates();
    let mut sent = Vec::new();
    for record in records {
        if !wire.add(record) {
            sent.extend(wire.finish(at_ns));
            assert!(wire.add(record));
        }
    }
    sent.extend(wire.finish(at_ns));
    sent.into_iter().map(|one| (at_ns, exporter, one)).collect()
}

#[test]
fn what_flow_records_tell_is_found_and_nothing_is_decided_on_it() {
    for protocol in [Protocol::Ipfix, Protocol::NetflowV9] {
        let path = exported("own-export", &messages(protocol, 1, &probes()));
        let output = replay_records(&path, "20s");
        assert_eq!(families(&output), ["port_scan"], "{protocol:?}");
        let lines = lines(&output);
        let incidents: Vec<&Value> = lines.iter().filter(|v| v["kind"] == "incident").collect();
        for incident in &incidents {
            assert_eq!(incident["evidence.grades"], serde_json::json!(["shape"]));
            let by = incident["confidence.lowered_by"].as_array().unwrap();
            assert!(by.contains(&"flow_records".into()), "{incident:#}");
            let rule = &incident["response"][0]["decision.outcome.rule"];
            assert_eq!(rule, "flow_records", "{incident:#}");
        }
        assert!(lines.iter().all(|v| v["kind"] != "decision"));
        let _gone = fs::remove_file(path);
    }
}

#[test]
fn what_two_exporters_tell_of_is_counted_once() {
    let summary = |path: &Path| {
        let output = replay_records(path, "20s");
        let last = lines(&output).pop().unwrap();
        (last["packets"].clone(), families(&output))
    };
    let one = messages(Protocol::Ipfix, 1, &probes());
    let other = messages(Protocol::NetflowV9, 2, &probes());
    let both: Vec<_> = one.iter().cloned().chain(other).collect();
    let (alone, together) = (exported("alone", &one), exported("together", &both));
    let expected = (Value::from(2_000), vec!["port_scan".to_owned()]);
    assert_eq!(summary(&alone), expected);
    assert_eq!(summary(&together), expected);
    for path in [alone, together] {
        let _gone = fs::remove_file(path);
    }
}

/// Datagrams that softflowd makes of a capture, as it sends them.
fn sent_by_softflowd(capture: &Path, version: &str, more: &[&str]) -> Vec<Vec<u8>> {
    needs_program("softflowd");
    let collector = Collector::new();
    let to = format!("127.0.0.1:{}", collector.port);
    let mut command = Command::new("softflowd");
    command.arg("-r").arg(capture);
    // In the capture's time; without a control socket, which stays open at the end of a capture.
    command.args(["-a", "-d", "-c", "none", "-n", &to, "-v", version]);
    for idle in ["tcp", "udp", "icmp", "general", "tcp.fin", "tcp.rst"] {
        command.args(["-t", &format!("{idle}=5")]);
    }
    run(command.args(["-t", "expint=1"]).args(more)).unwrap();
    collector.finish()
}

/// Datagrams of softflowd in the order of the times in their headers.
fn softflowd(capture: &Path, version: &str, more: &[&str]) -> Vec<(u64, u8, Vec<u8>)> {
    let sent = sent_by_softflowd(capture, version, more).into_iter();
    let mut datagrams: Vec<(u64, u8, Vec<u8>)> = sent
        .map(|datagram| {
            let at = if version == "10" { 4 } else { 8 };
            let seconds = u32::from_be_bytes(datagram[at..at + 4].try_into().unwrap());
            (u64::from(seconds) * SECOND_NS, 1, datagram)
        })
        .collect();
    datagrams.sort_by_key(|(at_ns, ..)| *at_ns);
    datagrams
}

/// A socket with a thread that reads it, so that nothing finds it full.
struct Collector {
    port: u16,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl Collector {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let patience = Some(Duration::from_millis(20));
        socket.set_read_timeout(patience).unwrap();
        let port = socket.local_addr().unwrap().port();
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let mut datagrams = Vec::new();
            let mut buffer = vec![0; 65_536];
            loop {
                let was_over = told.load(Ordering::SeqCst);
                match socket.recv(&mut buffer) {
                    Ok(n) => datagrams.push(buffer[..n].to_vec()),
                    Err(_) if was_over => return datagrams,
                    Err(_) => {}
                }
            }
        });
        Self {
            port,
            is_over,
            thread,
        }
    }

    /// All that was sent until now.
    fn finish(self) -> Vec<Vec<u8>> {
        self.is_over.store(true, Ordering::SeqCst);
        let datagrams = self.thread.join().unwrap();
        assert!(!datagrams.is_empty());
        datagrams
    }
}

#[test]
fn a_scan_that_softflowd_tells_of_is_found_in_every_version() {
    let (scan, benign) = (
        capture("soft-scan", &scan()),
        capture("soft-fine", &benign()),
    );
    assert_eq!(families(&replay(&[&scan])), ["port_scan"]);
    for version in ["5", "9", "10"] {
        for (of, expected) in [(&scan, vec!["port_scan"]), (&benign, Vec::new())] {
            let path = exported("softflowd", &softflowd(of, version, &[]));
            let output = replay_records(&path, "20s");
            assert_eq!(families(&output), expected, "version {version}");
            let _gone = fs::remove_file(path);
        }
    }
    // Both ways in one record (RFC 5103).
    let path = exported("softflowd", &softflowd(&scan, "10", &["-b"]));
    assert_eq!(families(&replay_records(&path, "20s")), ["port_scan"]);
}

#[test]
fn what_nfdump_keeps_and_replays_is_found() {
    for version in ["5", "9"] {
        let nfcapd = Nfcapd::start(2_000_000, None);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (_, _, message) in messages(Protocol::Ipfix, 1, &probes()) {
            sender
                .send_to(&message, ("127.0.0.1", nfcapd.port))
                .unwrap();
        }
        let collector = Collector::new();
        nfcapd.replay(version, collector.port);
        let at_ns = T0 + 16 * SECOND_NS;
        let datagrams = collector.finish().into_iter();
        let datagrams: Vec<_> = datagrams.map(|one| (at_ns, 1, one)).collect();
        let path = exported("nfreplay", &datagrams);
        let output = replay_records(&path, "20s");
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(log.contains("n_records=2000"), "version {version}: {log}");
        assert_eq!(families(&output), ["port_scan"], "version {version}: {log}");
        let _gone = fs::remove_file(path);
    }
}

#[test]
fn sampled_records_count_for_all_packets_and_raise_no_alarm_over_missing_answers() {
    let scan = capture("sampled", &scan());
    let path = exported("softflowd-sampled", &softflowd(&scan, "9", &["-s", "10"]));
    let output = replay_records(&path, "20s");
    assert_eq!(families(&output), [] as [&str; 0]);
    let packets = lines(&output).pop().unwrap()["packets"].as_u64().unwrap();
    assert!((1_900..=2_100).contains(&packets), "{packets}");
}

#[test]
fn a_capture_without_flow_records_is_said_to_be_one() {
    let path = capture("no-records", &benign());
    let output = replay_records(&path, "20s");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("no flow records"), "{log}");
    let lines = lines(&output);
    assert!(lines.len() == 1 && lines[0]["packets"] == 0, "{lines:?}");
}

/// Sends what an exporter on a host tells of [`probes`] of two seconds ago.
fn tell_of_probes(network: &Network, host: &str, to: &'static str) {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let now_ns = u64::try_from(now.as_nanos()).unwrap();
    let shift = now_ns - T0 - 2 * SECOND_NS;
    let mut wire = Exporter::new(Protocol::Ipfix, 7, 1_400, now_ns);
    wire.add_templates();
    let mut sent = Vec::new();
    for record in probes() {
        let record = FlowRecord {
            first_ns: record.first_ns + shift,
            last_ns: record.last_ns + shift,
            ..record
        };
        if !wire.add(&record) {
            sent.extend(wire.finish(now_ns));
            assert!(wire.add(&record));
        }
    }
    sent.extend(wire.finish(now_ns));
    let work = move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for datagram in &sent {
            socket.send_to(datagram, (to, PORT)).unwrap();
        }
    };
    network.within(host, work).unwrap().join().unwrap();
}

#[test]
fn a_running_sensor_takes_records_of_named_exporters_and_blocks_nobody() {
    needs_root();
    let network = Network::new().unwrap();
    let config = std::env::temp_dir().join(format!("sensor-input-{}.toml", std::process::id()));
    let text = "[[capture.flow_input]]\nname = \"routers\"\nlisten = \"0.0.0.0:2055\"\n\
        exporters = [\"10.99.1.2\"]\ndelay = \"2s\"\n";
    fs::write(&config, text).unwrap();
    let arguments = format!("--mode enforce --config {}", config.display());
    let mut sensor = Running::start(&network, &arguments).unwrap();
    // The attacker tells of something, too.
    tell_of_probes(&network, "attacker", "10.99.2.1");
    tell_of_probes(&network, "client", "10.99.1.1");
    let limit = Duration::from_secs(20);
    let is_told = |v: &Value| v["kind"] == "incident" && v["incident.family"] == "port_scan";
    let found = sensor.wait_for(limit, is_told);
    let found = found.unwrap_or_else(|| panic!("{}", sensor.log()));
    assert_eq!(found["source.ips"], serde_json::json!(["198.51.100.7"]));
    let by = found["confidence.lowered_by"].as_array().unwrap();
    assert!(by.contains(&"flow_records".into()), "{found:#}");
    let status = || -> Value {
        let output = sensor.ask("status --json").unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    };
    let input = wait_until(limit, || {
        let input = status()["flow_inputs"]["routers"].clone();
        (input["incidents"] == 1).then_some(input)
    });
    let input = input.unwrap_or_else(|| panic!("{:#}", status()["flow_inputs"]));
    assert_eq!(input["exporters"][0]["ip"], "10.99.1.2", "{input:#}");
    assert_eq!(input["counts"]["records"], 2_000, "{input:#}");
    assert_eq!(input["counts"]["gaps"], 0, "{input:#}");
    assert!(input["counts"]["foreign"].as_u64() > Some(10), "{input:#}");
    assert_eq!(status()["blocks"], 0);
    let doctor = sensor.ask("doctor").unwrap();
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(told.contains("2000 records of 1 exporters"), "{told}");
    sensor.stop().unwrap();
    assert!(sensor.lines(|line| line["kind"] == "decision").is_empty());
    let _gone = fs::remove_file(config);
}
