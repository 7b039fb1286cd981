//! Flow records to real collectors: nfcapd with nfdump, and tshark for a second opinion.

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sensor_netflow::{Exporter, FlowRecord, Protocol, Way};
use sensor_tests::frames::ipv4;
use sensor_tests::pcap::{PcapWriter, Stamps};
use sensor_tests::{Network, Running, needs_program, needs_root, run, wait_until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);
/// 2027-01-15 08:00:00 UTC, and a half.
const NOW_NS: u64 = 1_800_000_000_500_000_000;

/// A folder of a test, removed with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sensor-flows-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// nfcapd, the collector of nfdump.
pub struct Nfcapd {
    folder: Folder,
    pub port: u16,
    server: Child,
}

impl Nfcapd {
    /// Starts it with a socket buffer of `buffer` bytes, by itself or in a namespace.
    pub fn start(buffer: usize, network: Option<&Network>) -> Self {
        for program in ["nfcapd", "nfdump"] {
            needs_program(program);
        }
        let folder = Folder::new();
        let port = free_port();
        fs::create_dir(folder.0.join("flows")).unwrap();
        let line = format!(
            "nfcapd -w {}/flows -b 127.0.0.1 -p {port} -t 3600 -B {buffer}",
            folder.0.display()
        );
        let mut command = network.map_or_else(
            || {
                let mut words = line.split(' ');
                let mut command = Command::new(words.next().unwrap());
                command.args(words);
                command
            },
            |network| network.command("server", &line),
        );
        let log = fs::File::create(folder.0.join("log")).unwrap();
        let both = (log.try_clone().unwrap(), log);
        let server = command
            .stdin(Stdio::null())
            .stdout(both.0)
            .stderr(both.1)
            .spawn()
            .unwrap();
        let nfcapd = Self {
            folder,
            port,
            server,
        };
        let is_up = || nfcapd.log().contains("Startup nfcapd").then_some(());
        wait_until(LIMIT, is_up).unwrap_or_else(|| panic!("{}", nfcapd.log()));
        nfcapd
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.0.join("log")).unwrap_or_default()
    }

    /// True where nothing waits in its socket, one of this host.
    fn has_read(&self) -> bool {
        let sockets = fs::read_to_string("/proc/net/udp").unwrap();
        let end = format!(":{:04X}", self.port);
        sockets.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            let is_own = words.next().is_some_and(|local| local.ends_with(&end));
            is_own
                && words
                    .nth(2)
                    .is_some_and(|queues| queues.ends_with(":00000000"))
        })
    }

    fn end(&mut self) {
        let id = self.server.id().to_string();
        run(Command::new("kill").args(["-s", "TERM", &id])).unwrap();
        self.server.wait().unwrap();
    }

    /// Ends it, and lets nfreplay send what it took to a port of this host.
    pub fn replay(mut self, version: &str, port: u16) {
        needs_program("nfreplay");
        // It leaves what it has not read yet when it ends.
        wait_until(LIMIT, || self.has_read().then_some(()))
            .unwrap_or_else(|| panic!("datagrams are left unread: {}", self.log()));
        self.end();
        let flows = self.folder.0.join("flows");
        let files = fs::read_dir(flows)
            .unwrap()
            .map(|file| file.unwrap().path());
        for file in files {
            let mut command = Command::new("nfreplay");
            command.args([
                "-H",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "-v",
                version,
                "-r",
            ]);
            run(command.arg(file)).unwrap();
        }
    }

    /// Ends it. Its count of what it took and what it missed, and the flows by nfdump.
    fn finish(mut self, filter: &str) -> (String, Vec<Value>) {
        self.end();
        let log = self.log();
        let count = log.lines().rfind(|line| line.contains("Sequence Errors"));
        let flows = nfdump(&self.folder.0.join("flows"), filter);
        (count.unwrap_or(&log).to_owned(), flows)
    }
}

impl Drop for Nfcapd {
    fn drop(&mut self) {
        let _ended = self.server.kill().and_then(|()| self.server.wait());
    }
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

fn nfdump(folder: &Path, filter: &str) -> Vec<Value> {
    let mut command = Command::new("nfdump");
    command.arg("-R").arg(folder).args(["-o", "json", filter]);
    let output = run(command.env("TZ", "UTC")).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match serde_json::from_str(&text) {
        Ok(Value::Array(flows)) => flows,
        _ if text.contains("No matching flows") => Vec::new(),
        other => panic!("{other:?}: {text}"),
    }
}

fn record(n: u64) -> FlowRecord {
    FlowRecord {
        source: [10, (n >> 16) as u8, (n >> 8) as u8, n as u8].into(),
        destination: [198, 51, 100, 7].into(),
        source_port: 50_000,
        destination_port: 443,
        protocol: 6,
        tcp_flags: 0x1b,
        packets: 5_000_000_000,
        bytes: 7_000_000_000_001,
        first_ns: NOW_NS - 61_234_000_000,
        last_ns: NOW_NS - 1_002_000_000,
        end_reason: 2,
        way: Way::Egress,
        ingress: 0,
        egress: 70_000,
        vlan: 12,
        is_denied: false,
    }
}

/// One of each kind, as a message with its templates.
fn examples(protocol: Protocol) -> Vec<u8> {
    let v6 = FlowRecord {
        source: "2001:db8::1".parse().unwrap(),
        destination: "2001:db8::2".parse().unwrap(),
        protocol: 58,
        source_port: 0,
        destination_port: 129 << 8,
        tcp_flags: 0,
        way: Way::Ingress,
        ingress: 4,
        egress: 0,
        ..record(2)
    };
    let dropped = FlowRecord {
        is_denied: true,
        ..record(3)
    };
    let mut exporter = Exporter::new(protocol, 7, 1_400, NOW_NS);
    exporter.add_templates();
    for one in [record(1), v6, dropped] {
        assert!(exporter.add(&one));
    }
    exporter.finish(NOW_NS).unwrap()
}

#[test]
fn nfdump_reads_every_field() {
    for protocol in [Protocol::Ipfix, Protocol::NetflowV9] {
        let nfcapd = Nfcapd::start(200_000, None);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let message = examples(protocol);
        socket
            .send_to(&message, ("127.0.0.1", nfcapd.port))
            .unwrap();
        // It is told to end only when it took the message up.
        let is_read = || nfcapd.log().contains("exporter:").then_some(());
        wait_until(LIMIT, is_read).unwrap_or_else(|| panic!("{}", nfcapd.log()));
        let (count, flows) = nfcapd.finish("any");
        assert!(count.contains("Flows: 3"), "{count}");
        assert!(
            count.contains("Sequence Errors: 0, Bad Packets: 0"),
            "{count}"
        );
        let [first, v6, dropped] = flows.as_slice() else {
            panic!("{flows:?}")
        };
        for (key, value) in [
            ("src4_addr", Value::from("10.0.0.1")),
            ("dst4_addr", "198.51.100.7".into()),
            ("src_port", 50_000.into()),
            ("dst_port", 443.into()),
            ("proto", 6.into()),
            ("tcp_flags", "...AP.SF".into()),
            ("in_packets", 5_000_000_000_u64.into()),
            ("in_bytes", 7_000_000_000_001_u64.into()),
            ("first", "2027-01-15T07:58:59.266".into()),
            ("last", "2027-01-15T07:59:59.498".into()),
            ("output_snmp", 70_000.into()),
        ] {
            assert_eq!(first[key], value, "{protocol:?} {key}: {first:#}");
        }
        assert_eq!(v6["src6_addr"], "2001:db8::1");
        assert_eq!(v6["input_snmp"], 4, "{v6:#}");
        assert_eq!(dropped["src4_addr"], "10.0.0.3", "{dropped:#}");
    }
}

/// Fields of each flow set's first record, as tshark names them.
fn tshark(capture: &Path, port: u16, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command
        .arg("-r")
        .arg(capture)
        .args(["-d", &format!("udp.port=={port},cflow")]);
    command.args(["-T", "fields", "-E", "separator=|"]);
    fields.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    let output = run(&mut command).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let split = |line: &str| line.split('|').map(str::to_owned).collect();
    text.lines().map(split).collect()
}

#[test]
fn tshark_reads_what_nfdump_reads() {
    needs_program("tshark");
    let folder = Folder::new();
    for protocol in [Protocol::Ipfix, Protocol::NetflowV9] {
        let message = examples(protocol);
        let capture = folder.0.join("export.pcap");
        let ends = (([192, 0, 2, 1], 40_000), ([192, 0, 2, 2], 2_055));
        let mut file = fs::File::create(&capture).unwrap();
        let mut writer = PcapWriter::new(&mut file, Stamps::Nanoseconds).unwrap();
        let frame = ipv4::udp(ends.0, ends.1, &message);
        writer.frame(NOW_NS, &frame).unwrap();
        let fields = [
            "cflow.srcaddr",
            "cflow.srcaddrv6",
            "cflow.octets",
            "cflow.outputint",
            "cflow.sequence",
            "cflow.forwarding_status_drop_code",
            "cflow.firewall_event",
            "_ws.malformed",
        ];
        let rows = tshark(&capture, 2_055, &fields);
        assert_eq!(
            rows,
            [[
                "10.0.0.1,10.0.0.3",
                "2001:db8::1",
                "7000000000001,7000000000001,7000000000001",
                "70000,0,70000",
                "0",
                "2",
                "3",
                ""
            ]],
            "{protocol:?}"
        );
    }
}

#[test]
fn flows_and_drops_of_a_running_sensor_reach_nfcapd() {
    needs_root();
    let network = Network::new().unwrap();
    let nfcapd = Nfcapd::start(4_000_000, Some(&network));
    let config = nfcapd.folder.0.join("sensor.toml");
    let text = format!(
        "[[export]]\nname = \"nta\"\naddress = \"127.0.0.1:{}\"\n\n\
         [[export]]\nname = \"away\"\naddress = \"127.0.0.1:9\"\n",
        nfcapd.port
    );
    fs::write(&config, text).unwrap();
    let arguments = format!("--config {} --flows --mode enforce", config.display());
    let mut sensor = Running::start(&network, &arguments).unwrap();
    network.run("client", "ping -c 4 -i 0.2 10.99.1.1").unwrap();
    let scan = "nmap -n -Pn -sS --max-retries 0 -p 1-1000 10.99.2.1";
    network.run("attacker", scan).unwrap();
    let block = sensor.ask("block add 10.99.2.2 --ttl 5m").unwrap();
    assert!(block.status.success(), "{block:?}");
    let _unanswered = network.run("attacker", "ping -c 1 -W 1 10.99.2.1");
    let dropped = |status: &Value| status["events"]["dropped"].as_u64().unwrap_or(0) > 0;
    let status = || -> Value {
        let output = sensor.ask("status --json").unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    };
    wait_until(LIMIT, || dropped(&status()).then_some(())).expect("a drop");
    // The closed port is told of.
    let is_told = || {
        let away = status()["outputs"]["export.away"].clone();
        (away["error"].is_string() && away["lost"].as_u64() > Some(0)).then_some(())
    };
    wait_until(LIMIT, is_told).unwrap_or_else(|| panic!("{:#}", status()["outputs"]));
    sensor.stop().unwrap();
    let lines = sensor.lines(|line| line["kind"] == "flow");
    let (count, flows) = nfcapd.finish("any");
    assert!(
        count.contains("Sequence Errors: 0, Bad Packets: 0"),
        "{count}"
    );
    // nfdump 1.7.1 has no field for what was dropped; there is no other record of those packets.
    let drops = beyond(&lines, &flows);
    assert_eq!(
        drops.keys().collect::<Vec<_>>(),
        ["\"10.99.2.2\" \"10.99.2.1\" 1"]
    );
    let pings: Vec<&Value> = flows
        .iter()
        .filter(|flow| flow["src4_addr"] == "10.99.1.2" && flow["proto"] == 1)
        .collect();
    // 20 bytes of IP, 8 of ICMP and 56 of data each.
    assert_eq!(pings[0]["in_packets"], 4, "{pings:#?}");
    assert_eq!(
        (&pings[0]["in_bytes"], &pings[0]["icmp_type"]),
        (&(4 * 84).into(), &8.into())
    );
}

/// Source, destination and packets, with how many there are of each.
type Tally = BTreeMap<String, i64>;

/// Exported flows that are no records of the same sensor; there must be none the other way round.
fn beyond(lines: &[Value], flows: &[Value]) -> Tally {
    let mut tally = Tally::new();
    let mut add = |from: &Value, to: &Value, packets: &Value, n: i64| {
        if packets.as_u64() > Some(0) {
            *tally.entry(format!("{from} {to} {packets}")).or_default() += n;
        }
    };
    for line in lines {
        let (source, destination) = (&line["source.ip"], &line["destination.ip"]);
        add(source, destination, &line["source.packets"], -1);
        add(destination, source, &line["destination.packets"], -1);
    }
    assert!(lines.len() > 1_000, "{} flows", lines.len());
    for flow in flows {
        let of = |key: &str| match &flow[format!("{key}4_addr")] {
            Value::Null => flow[format!("{key}6_addr")].clone(),
            v4 => v4.clone(),
        };
        add(&of("src"), &of("dst"), &flow["in_packets"], 1);
    }
    tally.retain(|_, n| *n != 0);
    assert!(tally.values().all(|n| *n > 0), "{tally:?}");
    tally
}
