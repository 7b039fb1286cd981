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

impl Replayed {
    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.lines.iter().filter(move |line| line["kind"] == kind)
    }

    /// Family and sources of each incident that opened.
    fn opened(&self) -> Vec<(String, Vec<Value>)> {
        let opened = self
            .of_kind("incident")
            .filter(|line| line["incident.state"] == "opened");
        let family = |line: &Value| line["incident.family"].as_str().unwrap().to_owned();
        let sources = |line: &Value| line["source.ips"].as_array().cloned().unwrap_or_default();
        opened.map(|line| (family(line), sources(line))).collect()
    }

    fn targets(&self) -> Vec<&str> {
        let decisions = self.of_kind("decision");
        decisions
            .map(|line| line["decision.target"].as_str().unwrap())
            .collect()
    }
}

/// Sender of the floods.
const FLOODER: &str = "203.0.113.66";

#[test]
fn junk_on_a_tunnel_port_is_the_flood_that_it_is_on_any_other() {
    let [tunnel, control] =
        ["4789_junk", "4790_control"].map(|it| Replayed::new(&format!("flood_udp{it}.pcap.zst")));
    assert_eq!(tunnel.opened(), control.opened());
    assert_eq!(tunnel.opened()[0].0, "udp_flood");
    assert_eq!(tunnel.targets(), [FLOODER]);
    assert_eq!(control.targets(), [FLOODER]);
}

#[test]
fn floods_with_odd_headers_are_found_and_their_sender_is_blamed() {
    for name in ["flood_ipip_junk", "flood_tcp_doff0"] {
        let replayed = Replayed::new(&format!("{name}.pcap.zst"));
        let opened = replayed.opened();
        assert!(!opened.is_empty(), "{name}");
        for (family, sources) in opened {
            assert!(family.ends_with("_flood"), "{name}: {family}");
            assert_eq!(sources, [FLOODER], "{name}");
        }
        assert_eq!(replayed.targets(), [FLOODER], "{name}");
    }
    let malformed = Replayed::new("flood_tcp_doff0.pcap.zst");
    let malformed = &malformed.summary()["malformed"];
    assert_eq!(malformed["tcp_bad_data_offset"], 20_000, "{malformed}");
}

#[test]
fn addresses_within_a_tunnel_that_anybody_may_write_into_are_never_decided_on() {
    let replayed = Replayed::new("vxlan_forged_inner.pcap.zst");
    let targets = replayed.targets();
    assert!(!targets.is_empty());
    assert!(
        targets.iter().all(|target| *target == FLOODER),
        "{targets:?}"
    );
    for (family, sources) in replayed.opened() {
        assert_eq!(sources, [FLOODER], "{family}");
    }
    let within = replayed
        .of_kind("flow")
        .find(|flow| flow["source.ip"] == "8.8.8.8")
        .expect("the flow within the tunnel");
    assert_eq!(within["tunnel.type"], "vxlan", "{within}");
    assert_eq!(within["tunnel.source.ip"], FLOODER, "{within}");
    assert_eq!(within["tunnel.configured"], false, "{within}");
}

#[test]
fn ssh_guesses_of_one_ipv6_address_are_found_and_the_address_is_decided_on() {
    let replayed = Replayed::new("ipv6_ssh_guess_one_address.pcap.zst");
    let guesser = "2001:db8:bad:1::1";
    let opened = replayed.opened();
    assert!(!opened.is_empty());
    for (family, sources) in opened {
        assert_eq!(
            (family.as_str(), sources),
            ("brute_force", vec![guesser.into()])
        );
    }
    assert_eq!(replayed.targets(), [guesser]);
}

#[test]
fn a_program_that_logs_in_for_each_query_is_no_guesser() {
    let replayed = Replayed::new("mysql_one_login_per_s.pcap.zst");
    assert_eq!(replayed.opened(), []);
    assert_eq!(replayed.targets(), [] as [&str; 0]);
}

#[test]
fn guesses_through_the_addresses_of_a_network_are_its_own_and_it_is_decided_on() {
    let replayed = Replayed::new("ipv6_ssh_guess_rotating_in_64.pcap.zst");
    let opened = replayed.opened();
    assert!(!opened.is_empty());
    assert!(opened.iter().all(|(family, _)| family == "brute_force"));
    assert_eq!(replayed.targets(), ["2001:db8:bad:1::/64"]);
}

#[test]
fn flows_are_read_through_pppoe_and_hsr() {
    for name in ["pppoe.pcap", "hsr.pcap"] {
        let replayed = Replayed::new(name);
        assert_eq!(replayed.of_kind("flow").count(), 1, "{name}");
        assert!(
            replayed.summary()["not_ip"].as_object().unwrap().is_empty(),
            "{name}"
        );
    }
}

#[test]
fn frames_that_carry_no_ip_that_is_read_are_counted_by_kind_and_told() {
    let replayed = Replayed::new("dsa.pcap");
    let summary = replayed.summary();
    assert_eq!(summary["not_ip"]["dsa"], summary["packets"], "{summary}");
    let mut command = Command::new(binary().unwrap());
    let told = command
        .arg("replay")
        .arg(report("dsa.pcap"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.contains("most frames carry no IP packet that is read"),
        "{told}"
    );
}

#[test]
fn equal_addresses_in_two_vlans_are_two_flows() {
    let replayed = Replayed::new("vlan_overlap.pcap");
    let mut vlans: Vec<_> = replayed
        .of_kind("flow")
        .map(|flow| flow["network.vlan.id"].as_u64().unwrap())
        .collect();
    vlans.sort_unstable();
    vlans.dedup();
    assert_eq!(vlans.len(), 2, "{vlans:?}");
    assert_eq!(replayed.of_kind("flow").count(), 2);
}

/// Flow of a report: source, destination, start, and packets both ways.
type FlowOfReport = (&'static str, &'static str, &'static str, u64, u64);

const CLIENT: &str = "192.0.2.10:40000";
const SERVER: &str = "198.51.100.20:80";

const FLOWS: [(&str, &[FlowOfReport]); 6] = [
    ("synack_first.pcap", &[(CLIENT, SERVER, "20.000", 2, 2)]),
    (
        "idle_then_server.pcap",
        &[
            (CLIENT, SERVER, "20.000", 2, 1),
            (CLIENT, SERVER, "50.000", 1, 1),
        ],
    ),
    (
        "reuse_3s.pcap",
        &[
            (CLIENT, SERVER, "20.000", 4, 3),
            (CLIENT, SERVER, "23.000", 4, 3),
        ],
    ),
    (
        "reuse_0.5s.pcap",
        &[
            (CLIENT, SERVER, "20.000", 4, 3),
            (CLIENT, SERVER, "20.500", 4, 3),
        ],
    ),
    ("late_last_ack.pcap", &[(CLIENT, SERVER, "20.000", 4, 2)]),
    (
        "icmp_unreach_quotes.pcap",
        &[
            ("10.0.0.1:5000", "10.0.0.2:9999", "20.000", 1, 0),
            ("10.0.0.2:771", "10.0.0.1:771", "20.001", 1, 0),
        ],
    ),
];

#[test]
fn flows_begin_with_their_initiator_and_where_they_begin() {
    for (name, expected) in FLOWS {
        let replayed = Replayed::new(name);
        let flows = replayed.lines.iter().filter(|line| line["kind"] == "flow");
        let end = |flow: &Value, side: &str| {
            let address = flow[format!("{side}.ip")].as_str().unwrap();
            format!("{address}:{}", flow[format!("{side}.port")])
        };
        let found: Vec<_> = flows
            .map(|flow| {
                let packets = |side: &str| flow[format!("{side}.packets")].as_u64().unwrap();
                let start = flow["event.start"].as_str().unwrap();
                (
                    end(flow, "source"),
                    end(flow, "destination"),
                    start[17..23].to_owned(),
                    packets("source"),
                    packets("destination"),
                )
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(source, destination, start, sent, got)| {
                let [source, destination, start] =
                    [source, destination, start].map(|s| (*s).to_owned());
                (source, destination, start, *sent, *got)
            })
            .collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn an_icmp_error_is_told_of_the_flow_that_it_quotes() {
    let replayed = Replayed::new("icmp_unreach_quotes.pcap");
    let is_quoted = |line: &&Value| line["destination.port"] == 9_999;
    let flow = replayed.lines.iter().find(is_quoted).expect("a flow");
    assert_eq!(flow["icmp.error"], "port unreachable");
}

#[test]
fn multicast_video_is_no_flood() {
    let replayed = Replayed::new("iptv_multicast_8kpps.pcap.zst");
    let is_verdict = |line: &&Value| line["kind"] == "incident" || line["kind"] == "decision";
    let verdicts: Vec<_> = replayed.lines.iter().filter(is_verdict).collect();
    assert!(verdicts.is_empty(), "{verdicts:#?}");
}

#[test]
fn programs_that_connect_again_and_again_raise_nothing_above_low() {
    for name in [
        "mysql_one_login_per_s",
        "reverse_proxy_5_per_s",
        "lb_health_check_5s_public",
    ] {
        let replayed = Replayed::new(&format!("{name}.pcap.zst"));
        assert!(replayed.of_kind("flow").count() >= 30, "{name}");
        assert_eq!(replayed.targets(), [] as [&str; 0], "{name}");
        let mut incidents = replayed.of_kind("incident");
        assert!(incidents.all(|line| line["severity"] == "low"), "{name}");
    }
}

#[test]
fn every_report_is_replayed_by_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/reports");
    let tests = include_str!("reports.rs");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stem = name.split(".pcap").next().unwrap();
        // Two are named by what they differ in.
        let stem = stem.strip_prefix("flood_udp").unwrap_or(stem);
        assert!(tests.contains(stem), "no test replays {name}");
    }
}
