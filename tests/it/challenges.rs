//! Challenges: who is forged goes on beginning connections, and the forger begins none. Needs root.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use sensor_common::packet::protocol;
use sensor_tests::frames::ipv4::{self, ACK, Ip, SYN};
use sensor_tests::frames::{self, IPV6, ethernet, ipv6_between};
use sensor_tests::{Network, Running, Sender, needs_root, wait_until};

const LIMIT: Duration = Duration::from_secs(30);
const CLIENT: Ip = [10, 99, 1, 2];
const SERVER: Ip = [10, 99, 1, 1];
const CLIENT_6: Ipv6Addr = Ipv6Addr::new(0xfd99, 1, 0, 0, 0, 0, 0, 2);
const SERVER_6: Ipv6Addr = Ipv6Addr::new(0xfd99, 1, 0, 0, 0, 0, 0, 1);
const PORT: u16 = 8_080;

/// A sensor that decides nothing by itself.
fn start(network: &Network, mode: &str) -> Running {
    let arguments = format!("--mode {mode} --attach generic");
    let preset = [("SENSOR__RESPOND__PRESET", "observe")];
    let sensor = Running::start_with(network, &arguments, &preset).unwrap();
    wait_until(LIMIT, || sensor.socket().exists().then_some(())).expect("a socket");
    sensor
}

/// Carries a command out; its lines.
#[track_caller]
fn ask(sensor: &Running, command: &str) -> Vec<Value> {
    let output = sensor.ask(command).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {said}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn event(sensor: &Running, name: &str) -> u64 {
    ask(sensor, "status --json")[0]["events"][name]
        .as_u64()
        .unwrap()
}

#[track_caller]
fn wait_event(sensor: &Running, name: &str, least: u64) {
    let reached = wait_until(LIMIT, || (event(sensor, name) >= least).then_some(()));
    assert!(reached.is_some(), "{name}: {}", event(sensor, name));
}

fn syncookies(network: &Network) -> String {
    let path = "cat /proc/sys/net/ipv4/tcp_syncookies";
    let output = network.run("server", path).unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A server that keeps what connects, for as long as the test runs.
fn serve(network: &Network) {
    let serve = || {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)).unwrap();
        thread::spawn(move || {
            let _held: Vec<TcpStream> = listener.incoming().map_while(Result::ok).collect();
        });
    };
    network.within("server", serve).unwrap().join().unwrap();
}

/// Connections of the client that come about within half a second, of `n` by each family: a second later
/// would be a SYN that was lost.
fn connections(network: &Network, n: usize) -> [usize; 2] {
    let work = move || {
        [IpAddr::from(SERVER), SERVER_6.into()].map(|to| {
            let to = SocketAddr::new(to, PORT);
            let begin = || TcpStream::connect_timeout(&to, Duration::from_millis(500));
            (0..n).filter(|_| begin().is_ok()).count()
        })
    };
    network.within("client", work).unwrap().join().unwrap()
}

fn port(n: u64) -> u16 {
    1_024 + (n * 31 % 60_000) as u16
}

/// Segments to the service in the client's name, of both families.
fn forge(network: &Network, flags: u8, rate: u64) -> [Sender; 2] {
    let v4 = move |n| ipv4::tcp((CLIENT, port(n)), (SERVER, PORT), flags, &[]);
    let v6 = move |n| {
        let tcp = frames::tcp((port(n), PORT), flags, &[]);
        let ends = [CLIENT_6, SERVER_6];
        ethernet(IPV6, &ipv6_between(protocol::TCP, ends, tcp, 16))
    };
    let start = |frame: Box<dyn Fn(u64) -> Vec<u8> + Send>| {
        Sender::start(network, "attacker", rate, 1 << 24, frame).unwrap()
    };
    [start(Box::new(v4)), start(Box::new(v6))]
}

fn challenge(sensor: &Running) {
    for client in [IpAddr::from(CLIENT), CLIENT_6.into()] {
        let scope = "--protocol tcp --port 8080 --ttl 60s";
        ask(
            sensor,
            &format!("block add {client} --action challenge --rate 10 {scope} --json"),
        );
    }
}

#[test]
fn a_forged_client_goes_on_beginning_connections_and_the_forger_begins_none() {
    needs_root();
    let network = Network::new().unwrap();
    serve(&network);
    let sensor = start(&network, "enforce");
    assert_eq!(syncookies(&network), "1");
    challenge(&sensor);
    assert_eq!(syncookies(&network), "2");
    let _forgers = forge(&network, SYN, 2_000);
    wait_event(&sensor, "challenged", 1_000);
    assert_eq!(connections(&network, 8), [8, 8]);
    wait_event(&sensor, "challenge_met", 14);
    let listed = ask(&sensor, "block list --json");
    assert_eq!(listed.len(), 2);
    for entry in &listed {
        assert_eq!(entry["action"], "challenge");
        assert_eq!(entry["rate_packets_per_s"], 10);
        assert!(entry["packets"].as_u64() > Some(100), "{entry}");
    }
    ask(&sensor, "block flush --json");
    let put_back = wait_until(LIMIT, || (syncookies(&network) == "1").then_some(()));
    assert!(put_back.is_some(), "{}", syncookies(&network));
}

#[test]
fn connections_that_a_challenge_lets_through_have_a_rate_too() {
    needs_root();
    let network = Network::new().unwrap();
    serve(&network);
    let sensor = start(&network, "enforce");
    challenge(&sensor);
    let _forgers = forge(&network, SYN, 2_000);
    wait_event(&sensor, "challenged", 1_000);
    // Ten at once and ten a second; the acknowledgements of the others are dropped.
    let begun = connections(&network, 60);
    assert!(
        begun.iter().all(|n| *n == 60),
        "a client never knows: {begun:?}"
    );
    wait_event(&sensor, "rate_limited", 20);
    let met = event(&sensor, "challenge_met");
    assert!((20..100).contains(&met), "{met} met it");
}

#[test]
fn segments_that_belong_to_nothing_are_held_by_a_challenge() {
    needs_root();
    let network = Network::new().unwrap();
    serve(&network);
    let sensor = start(&network, "enforce");
    challenge(&sensor);
    let _forgers = forge(&network, ACK, 2_000);
    wait_event(&sensor, "rate_limited", 2_000);
    assert_eq!(connections(&network, 8), [8, 8]);
}

#[test]
fn a_challenge_without_enforcement_counts_and_changes_nothing() {
    needs_root();
    let network = Network::new().unwrap();
    serve(&network);
    let sensor = start(&network, "monitor");
    challenge(&sensor);
    assert_eq!(syncookies(&network), "1");
    {
        let _forgers = forge(&network, SYN, 1_000);
        wait_event(&sensor, "would_challenge", 500);
    }
    let _forgers = forge(&network, ACK, 1_000);
    wait_event(&sensor, "would_drop", 500);
    assert_eq!(
        event(&sensor, "challenged") + event(&sensor, "rate_limited"),
        0
    );
}
