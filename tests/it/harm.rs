//! Nobody can turn the response against the innocent, nor use up what real offenders need: forged
//! sources by the thousand, raw and in tunnels, scans with decoys, reflectors, services that are down.

use std::time::Duration;

use serde_json::Value;

use sensor_tests::frames::ipv4::{ACK, FIN_ACK, Ip, PSH_ACK, RST_ACK, SYN, SYN_ACK};
use sensor_tests::frames::{self, ipv4};
use sensor_tests::{Network, Running, Sender, needs_root, wait_until};

use crate::content::{Frame, START_US};
use crate::replay::{capture, replay};
use crate::shapes::{MS, S, port, refused, scattered, session, tcp, udp};

const VICTIM: Ip = [192, 0, 2, 1];
const ATTACKER: Ip = [198, 51, 100, 66];

/// Records that a capture gives.
fn records(name: &str, mut frames: Vec<Frame>) -> Vec<Value> {
    frames.sort_by_key(|(at_us, _)| *at_us);
    let path = capture(&format!("harm-{name}"), &frames);
    let output = replay(&[&path]);
    std::fs::remove_file(&path).unwrap();
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// Decisions as source, action and seconds of the day.
fn decisions(records: &[Value]) -> Vec<(String, String, f64)> {
    let decided = records.iter().filter(|v| v["kind"] == "decision");
    let one = |v: &Value| {
        let time = v["@timestamp"].as_str().unwrap();
        let (_, time) = time.trim_end_matches('Z').split_once('T').unwrap();
        let parts = time.split(':').map(|part| part.parse::<f64>().unwrap());
        let seconds = parts.fold(0.0, |sum, part| sum * 60.0 + part);
        let text = |name: &str| v[name].as_str().unwrap().to_owned();
        (text("decision.target"), text("decision.action"), seconds)
    };
    decided.map(one).collect()
}

/// True for an action under which everybody who is real begins connections as before.
fn is_mild(action: &str) -> bool {
    matches!(action, "limit" | "challenge")
}

fn opened(records: &[Value]) -> Vec<&Value> {
    let is_opened = |v: &&Value| v["incident.state"] == "opened";
    records.iter().filter(is_opened).collect()
}

/// Seconds from `start_us` to the first decision on the attacker.
fn delay(name: &str, records: &[Value], start_us: u64) -> f64 {
    let decided = decisions(records);
    let attacker = std::net::Ipv4Addr::from(ATTACKER).to_string();
    let first = decided.iter().find(|(target, ..)| *target == attacker);
    let (.., at_s) = first.unwrap_or_else(|| panic!("{name}: {} decisions", decided.len()));
    at_s - (start_us / S % 86_400) as f64 - (start_us % S) as f64 / 1e6
}

/// Frames of a real attacker from a time on.
type Attack = fn(u64) -> Vec<Frame>;

fn scans(at_us: u64) -> Vec<Frame> {
    let probe = |n: u64| {
        refused(
            at_us + n * 2 * MS,
            (ATTACKER, 50_000),
            (VICTIM, n as u16),
            0,
        )
    };
    (1..=1_000).flat_map(probe).collect()
}

fn floods(at_us: u64) -> Vec<Frame> {
    let syn = |n: u64| {
        let syn = tcp((ATTACKER, port(n)), (VICTIM, 443), SYN, 0, 0);
        (at_us + n * 500, syn)
    };
    (0..10_000).map(syn).collect()
}

/// Logins that the server refuses, three a connection, each with another password.
fn guesses(at_us: u64) -> Vec<Frame> {
    let says = |from, to, text: &[u8]| ipv4::tcp(from, to, PSH_ACK, text);
    let guess = |n: u64| {
        let (client, server) = ((ATTACKER, port(n)), (VICTIM, 21));
        let mut frames = vec![
            tcp(client, server, SYN, 20, 0),
            tcp(server, client, SYN_ACK, 20, 0),
            tcp(client, server, ACK, 0, 0),
            says(server, client, b"220 ready\r\n"),
        ];
        for i in 0..3 {
            let secret = format!("PASS secret{n}-{i}\r\n");
            frames.push(says(client, server, b"USER root\r\n"));
            frames.push(says(server, client, b"331 password?\r\n"));
            frames.push(says(client, server, secret.as_bytes()));
            frames.push(says(server, client, b"530 Login incorrect.\r\n"));
        }
        frames.push(tcp(client, server, FIN_ACK, 0, 0));
        frames.push(tcp(server, client, FIN_ACK, 0, 0));
        let at = move |(i, frame)| (at_us + n * S / 4 + i as u64 * MS, frame);
        frames.into_iter().enumerate().map(at)
    };
    (0..80).flat_map(guess).collect()
}

const ATTACKS: [(&str, Attack); 3] = [("scan", scans), ("flood", floods), ("guessing", guesses)];

/// Within twice the time that it takes without what went before; a look apart is none.
#[track_caller]
fn is_in_time(name: &str, before: &[Frame], attacks: &[(&str, Attack)]) {
    let start_us = before.iter().map(|(at_us, _)| *at_us).max().unwrap() + MS;
    for (what, attack) in attacks {
        let alone = records(&format!("{name}-{what}-alone"), attack(start_us));
        let alone_s = delay(what, &alone, start_us);
        let mut frames = before.to_vec();
        frames.extend(attack(start_us));
        let after = records(&format!("{name}-{what}"), frames);
        let after_s = delay(what, &after, start_us);
        assert!(
            after_s <= 2.0 * alone_s + 0.2,
            "{name}, {what}: {after_s:.2} s where it is {alone_s:.2} s alone"
        );
        let stopped = decisions(&after);
        let attacker = std::net::Ipv4Addr::from(ATTACKER).to_string();
        let innocent = stopped
            .iter()
            .find(|(target, action, _)| *target != attacker && !is_mild(action));
        assert_eq!(innocent, None, "{name}, {what}");
    }
}

fn forged(n: u64) -> Ip {
    let [.., a, b, c] = (n + 1).to_be_bytes();
    [45, a, b, c]
}

/// Scans by so many made-up sources, each of 16 ports, refused.
fn forged_scans(n: u64) -> Vec<Frame> {
    let scan = move |i: u64| {
        let probe = move |p: u64| {
            let at_us = START_US + (i * 16 + p) * 50;
            refused(at_us, (forged(i), 40_000), (VICTIM, 1 + p as u16), 0)
        };
        (0..16).flat_map(probe)
    };
    (0..n).flat_map(scan).collect()
}

#[test]
fn five_thousand_forged_scanners_are_few_incidents_and_hide_no_real_attacker() {
    let before = forged_scans(5_000);
    is_in_time("scanners", &before, &ATTACKS);
    let records = records("scanners", before);
    let opened = opened(&records);
    let scans = opened
        .iter()
        .filter(|v| v["incident.family"] == "port_scan");
    let n = scans.count();
    assert!((2..=40).contains(&n), "{n} incidents");
    let n = decisions(&records).len();
    assert!(n <= 40, "{n} decisions");
}

#[test]
fn a_hundred_thousand_forged_sources_hide_no_real_attacker() {
    let syn = |n: u64| {
        let syn = tcp((forged(n), port(n)), (VICTIM, 443), SYN, 0, 0);
        (START_US + n * 50, syn)
    };
    let before: Vec<Frame> = (0..100_000).map(syn).collect();
    is_in_time("sources", &before, &ATTACKS);
    let n = decisions(&records("sources", before)).len();
    assert_eq!(n, 0, "decisions on nobody in particular");
}

#[test]
fn forged_sources_within_a_tunnel_hide_no_real_attacker() {
    let outer: (Ip, Ip) = ([203, 0, 113, 9], VICTIM);
    let wrap = |(at_us, frame): Frame| {
        (
            at_us,
            ipv4::packet(17, outer.0, outer.1, &frames::vxlan(&frame)),
        )
    };
    let before: Vec<Frame> = forged_scans(5_000).into_iter().map(wrap).collect();
    is_in_time("tunnel", &before, &ATTACKS);
}

/// 255 neighbours whose addresses somebody floods in: none is stopped, and none blamed for long.
#[test]
fn a_flood_in_the_names_of_the_own_network_stops_no_neighbour() {
    let syn = |n: u64| {
        let neighbour = [192, 0, 2, 2 + (n % 253) as u8];
        (
            START_US + n * 200,
            tcp((neighbour, port(n)), (VICTIM, 80), SYN, 0, 0),
        )
    };
    let records = records("own", (0..50_000).map(syn).collect());
    let families: Vec<&Value> = opened(&records)
        .iter()
        .map(|v| &v["incident.family"])
        .collect();
    assert!(
        families.contains(&&Value::from("syn_flood")),
        "{families:?}"
    );
    let decided = decisions(&records);
    assert!(decided.is_empty(), "{} of {decided:?}", decided.len());
}

/// Addresses that a scan names beside its own are no more than limited, which their flows don't feel.
#[test]
fn decoys_of_a_scan_are_not_stopped() {
    let names: [Ip; 5] = [
        [45, 1, 1, 1],
        [45, 1, 1, 2],
        [45, 1, 1, 3],
        [45, 1, 1, 4],
        ATTACKER,
    ];
    let probe = |n: u64| {
        let [a, b, c, d, e] =
            names.map(|name| refused(START_US + n * 5 * MS, (name, 50_000), (VICTIM, n as u16), 0));
        [a, b, c, d, e].concat()
    };
    let records = records("decoys", (1..=500).flat_map(probe).collect());
    let decided = decisions(&records);
    assert!(!decided.is_empty());
    assert!(
        decided.iter().all(|(_, action, _)| is_mild(action)),
        "{decided:?}"
    );
}

/// Answers by 44 servers that nobody asked: the servers are abused themselves.
#[test]
fn reflectors_are_not_stopped() {
    let answer = |n: u64| {
        let reflector = [45, 2, 2, 1 + (n % 44) as u8];
        let frame = udp((reflector, 53), (VICTIM, port(n / 44)), 1_200);
        (START_US + n * 500, frame)
    };
    let records = records("reflectors", (0..20_000).map(answer).collect());
    let families: Vec<&Value> = opened(&records)
        .iter()
        .map(|v| &v["incident.family"])
        .collect();
    assert!(
        families.contains(&&Value::from("reflection")),
        "{families:?}"
    );
    let decided = decisions(&records);
    assert!(
        decided.iter().all(|(_, action, _)| is_mild(action)),
        "{decided:?}"
    );
}

/// Failures of a service are not its clients' doing, be they a load balancer that looks whether it is
/// back, a proxy that opens a connection for each request, or a program with its database.
#[test]
fn nothing_is_decided_while_a_service_is_down_for_everybody() {
    for (what, service, gap_us, n_clients) in [
        ("balancer", 8_080, 20 * MS, 1),
        ("proxy", 80, 10 * MS, 1),
        ("database", 5_432, 50 * MS, 3),
    ] {
        let client = |n: u64| ([10, 0, 0, 10 + (n % n_clients) as u8], port(n));
        let server = (VICTIM, service);
        let mut frames: Vec<Frame> = Vec::new();
        for n in 0..600 {
            let at_us = START_US + n * gap_us;
            if (200..400).contains(&n) {
                frames.extend(refused(at_us, client(n), server, 20));
            } else {
                frames.extend(session(at_us, client(n), server, true));
            }
        }
        let decided = decisions(&records(what, frames));
        assert!(decided.is_empty(), "{what}: {decided:?}");
    }
}

/// Three people behind one address, each with some forty connections of a page at a time.
#[test]
fn browsers_behind_one_address_are_left_alone() {
    let mut frames = Vec::new();
    for page in 0..20u64 {
        for connection in 0..40u64 {
            let at_us = START_US + page * 3 * S + connection * 10 * MS;
            let client = ([10, 0, 0, 7], port(page * 40 + connection));
            let service = if connection % 2 == 0 { 443 } else { 80 };
            frames.extend(session(at_us, client, (VICTIM, service), true));
        }
    }
    let decided = decisions(&records("browsers", frames));
    assert!(
        decided.iter().all(|(_, action, _)| is_mild(action)),
        "{decided:?}"
    );
}

/// Half-open handshakes in the name of a client that is served all the while: he is no more than limited.
#[test]
fn forged_syns_stop_no_client_that_is_served() {
    let client: Ip = [10, 0, 0, 8];
    let mut frames: Vec<Frame> = Vec::new();
    for n in 0..100 {
        frames.extend(session(
            START_US + n * S / 5,
            (client, port(n)),
            (VICTIM, 443),
            true,
        ));
    }
    for n in 0..4_000 {
        let at_us = START_US + 5 * S + n * MS;
        let ports = ((client, 61_000 + (n % 4_000) as u16), (VICTIM, 443));
        frames.push((at_us, tcp(ports.0, ports.1, SYN, 0, 0)));
        frames.push((at_us + 50, tcp(ports.1, ports.0, SYN_ACK, 20, 0)));
        // The client resets what it never began.
        let reset = if n % 2 == 0 { RST_ACK } else { ACK | 0x04 };
        frames.push((at_us + 90, tcp(ports.0, ports.1, reset, 0, 0)));
    }
    let spread = |n: u64| (scattered(n), port(n));
    for n in 0..50 {
        let at_us = START_US + 5 * S + n * 100 * MS;
        frames.extend(session(at_us, spread(n), (VICTIM, 443), true));
    }
    let decided = decisions(&records("client", frames));
    assert!(
        decided.iter().all(|(_, action, _)| is_mild(action)),
        "{decided:?}"
    );
}

const LIMIT: Duration = Duration::from_secs(20);

/// Says again what it hears, a line at a time, to one client after the other.
const ECHO_SERVER: &str = "import socket, threading
def serve(there):
    while (heard := there.recv(100)):
        there.sendall(heard)
listener = socket.create_server(('10.99.1.1', 7000), backlog=64)
while True:
    there, _ = listener.accept()
    threading.Thread(target=serve, args=(there,), daemon=True).start()
";

/// Talks on one connection and writes down how often it was answered; then begins anew, as often.
const ECHO_CLIENT: &str = "import socket, time
there = socket.create_connection(('10.99.1.1', 7000), timeout=2)
n = 0
while True:
    there.sendall(b'line')
    assert there.recv(100) == b'line'
    n += 1
    with open('COUNT', 'w') as f:
        f.write(str(n))
    time.sleep(0.02)
";

/// Begins a connection, or fails.
const ECHO_BEGIN: &str = "import socket
socket.create_connection(('10.99.1.1', 7000), timeout=1)
";

/// A program of the client that counts into a file.
struct Session {
    folder: std::path::PathBuf,
}

impl Session {
    fn new(name: &str) -> Self {
        let name = format!("sensor-harm-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let count = folder.join("count").display().to_string();
        std::fs::write(folder.join("server.py"), ECHO_SERVER).unwrap();
        std::fs::write(folder.join("begin.py"), ECHO_BEGIN).unwrap();
        std::fs::write(
            folder.join("client.py"),
            ECHO_CLIENT.replace("COUNT", &count),
        )
        .unwrap();
        Self { folder }
    }

    fn command(&self, program: &str) -> String {
        format!("python3 {}", self.folder.join(program).display())
    }

    fn count(&self) -> u64 {
        let count = std::fs::read_to_string(self.folder.join("count"));
        count.ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Waits for so many more answers.
    fn goes_on(&self, n: u64) -> bool {
        let before = self.count();
        wait_until(LIMIT, || (self.count() >= before + n).then_some(())).is_some()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// SYNs to every port in turn, in the name of the client, from where the attacker is.
fn forge(network: &Network, rate: u64, n: u64) -> Sender {
    let mut head = network.mac("server", "attacker").unwrap();
    head.extend(network.mac("attacker", "eth0").unwrap());
    let frame = move |n: u64| {
        let target = ([10, 99, 1, 1], 1 + (n % 60_000) as u16);
        let mut frame = tcp(([10, 99, 1, 2], 40_000), target, SYN, 0, 0);
        frame[..12].copy_from_slice(&head);
        frame
    };
    Sender::start(network, "attacker", rate, n, frame).unwrap()
}

/// Waits until the server takes connections.
fn wait_served(network: &Network, session: &Session) {
    let begin = session.command("begin.py");
    let served = wait_until(LIMIT, || network.run("client", &begin).ok());
    served.expect("a server");
}

/// A client with a live session, in whose name somebody scans the server: a limit comes, and neither
/// the session nor a new one feels it once the forger is gone.
#[test]
fn a_live_session_goes_on_while_its_address_is_forged() {
    needs_root();
    let network = Network::new().unwrap();
    let sensor = Running::start(&network, "--mode enforce").unwrap();
    let session = Session::new("forged");
    let _server = network
        .start("server", &session.command("server.py"))
        .unwrap();
    wait_served(&network, &session);
    let _client = network
        .start("client", &session.command("client.py"))
        .unwrap();
    assert!(session.goes_on(10), "{}", sensor.log());
    // Sixteen are enough to be taken for a scan, and many keep a limit exhausted.
    drop(forge(&network, 1_000, 16));
    let flood = forge(&network, 2_000, 1_000_000);
    let is_on_client = |v: &Value| v["decision.target"] == "10.99.1.2";
    let decision = sensor.wait_for(LIMIT, is_on_client);
    let decision = decision.unwrap_or_else(|| panic!("no decision: {}", sensor.log()));
    assert_eq!(decision["decision.action"], "challenge");
    assert_eq!(decision["decision.outcome"], "applied");
    let limited = wait_until(LIMIT, || {
        let status = sensor.ask("status --json").ok()?;
        let status: Value = serde_json::from_slice(&status.stdout).ok()?;
        let n = |event: &str| status["events"][event].as_u64().unwrap();
        (n("rate_limited") + n("challenged") > 1_000).then_some(())
    });
    assert!(
        limited.is_some(),
        "the forger is not limited: {}",
        sensor.log()
    );
    assert!(session.goes_on(100), "the session starves under the limit");
    assert!(flood.n_sent() > 0);
    drop(flood);
    let other = Session::new("after");
    let _client = network
        .start("client", &other.command("client.py"))
        .unwrap();
    assert!(other.goes_on(10), "a new session is refused");
    let stopped =
        sensor.lines(|v| is_on_client(v) && !is_mild(v["decision.action"].as_str().unwrap()));
    assert!(stopped.is_empty(), "{stopped:?}");
}

/// A quarantine by hand of somebody who is innocent: what he began goes on, what he begins does not.
#[test]
fn a_quarantine_ends_no_session_and_lets_none_begin() {
    needs_root();
    let network = Network::new().unwrap();
    let sensor = Running::start(&network, "--mode enforce").unwrap();
    let session = Session::new("quarantine");
    let _server = network
        .start("server", &session.command("server.py"))
        .unwrap();
    wait_served(&network, &session);
    let _client = network
        .start("client", &session.command("client.py"))
        .unwrap();
    assert!(session.goes_on(10), "{}", sensor.log());
    let added = sensor
        .ask("block add 10.99.1.2 --action quarantine --ttl 60s")
        .unwrap();
    assert!(added.status.success(), "{added:?}");
    assert!(session.goes_on(50), "the session ended");
    let ping = network.run("client", "ping -c 2 -i 0.2 -W 1 10.99.1.1");
    assert!(ping.is_err(), "an echo began something");
    let begin = network.run("client", &session.command("begin.py"));
    assert!(begin.is_err(), "a new connection came about");
    let listed = sensor.ask("block list --json").unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["action"], "quarantine");
    assert!(listed["packets"].as_u64() > Some(0), "{listed}");
    let gone = sensor.ask("block del 10.99.1.2").unwrap();
    assert!(gone.status.success(), "{gone:?}");
    assert!(network.run("client", "ping -c 1 -W 2 10.99.1.1").is_ok());
    assert!(session.goes_on(10));
}
