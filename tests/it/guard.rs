//! Addresses that must stay reachable are never blocked, on a host with routes, routers, servers
//! and sessions.
//!
//! Needs root.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use sensor_tests::{Network, Running, needs_root, run, wait_until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(15);
/// Within which a change of the host must be followed.
const AT_ONCE: Duration = Duration::from_secs(1);

fn network() -> Network {
    needs_root();
    Network::new().unwrap()
}

fn enforcing(network: &Network) -> Running {
    let sensor = Running::start(network, "--mode enforce").unwrap();
    wait_until(LIMIT, || sensor.socket().exists().then_some(())).expect("a socket");
    sensor
}

/// The entry of a network in `allow list`, as text.
fn why(sensor: &Running, target: &str) -> Option<String> {
    let output = sensor.ask("allow list --json").unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let entries = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found = entries.into_iter().find(|entry| entry["network"] == target);
    found.map(|entry| entry["why"].as_str().unwrap().to_owned())
}

fn wait_why(sensor: &Running, target: &str, wanted: &str) {
    let found = wait_until(LIMIT, || {
        why(sensor, target).filter(|why| why.contains(wanted))
    });
    let now = why(sensor, target);
    assert!(
        found.is_some(),
        "{target}: {now:?}, not {wanted}\n{}",
        sensor.log()
    );
}

/// Answer to an order to block.
fn block(sensor: &Running, target: &str) -> (bool, String) {
    let output = sensor
        .ask(&format!("block add {target} --ttl 60s"))
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

fn refused(sensor: &Running, target: &str, wanted: &str) {
    let (is_done, said) = block(sensor, target);
    assert!(!is_done && said.contains(wanted), "{target}: {said}");
}

/// The link-local address of a host's interface.
fn link_local(network: &Network, host: &str, device: &str) -> String {
    let line = format!("ip -6 -o address show dev {device} scope link");
    let found = wait_until(LIMIT, || {
        let output = network.run(host, &line).unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.contains("tentative") {
            return None;
        }
        let (_, rest) = text.split_once("inet6 ")?;
        Some(rest.split('/').next()?.to_owned())
    });
    found.expect("a link-local address")
}

fn answers(network: &Network, host: &str, target: &str) -> bool {
    let line = format!("ping -c 2 -i 0.2 -W 1 {target}");
    network.run(host, &line).is_ok()
}

#[test]
fn the_gateway_may_flood_and_is_never_blocked() {
    let network = network();
    let server = |line: &str| network.run("server", line).unwrap();
    server("ip route add default via 10.99.2.2");
    let sensor = enforcing(&network);
    wait_why(&sensor, "10.99.2.2", "gateway (main table on attacker)");
    let flood = "hping3 -q -S -p 80 -i u100 -c 40000 10.99.2.1";
    let _flood = network.start("attacker", flood).unwrap();
    let decision = sensor.wait_for(LIMIT, |v| v["kind"] == "decision");
    let decision = decision.unwrap_or_else(|| panic!("no decision: {}", sensor.log()));
    assert_eq!(decision["decision.target"], "10.99.2.2");
    assert_eq!(decision["guard"], "refused: gateway");
    assert!(answers(&network, "attacker", "10.99.2.1"));
}

#[test]
fn next_hops_of_every_table_and_family_are_protected() {
    let network = network();
    let server = |line: &str| network.run("server", line).unwrap();
    // Routes then tell the number of their next hop object alone.
    server("sysctl -qw net.ipv4.nexthop_compat_mode=0");
    for line in [
        "ip route add 192.0.2.0/24 via 10.99.1.7 dev client table 100",
        "ip route add 198.51.100.0/24 table 200 nexthop via 10.99.1.8 dev client \
         nexthop via 10.99.2.8 dev attacker",
        "ip nexthop add id 5 via 10.99.2.9 dev attacker",
        "ip route add 203.0.113.0/24 nhid 5",
        "ip -6 route add default via fe80::77 dev client table 300",
        "ip route add 192.0.2.0/25 via inet6 fe80::78 dev client",
        "ip route add local 198.18.5.0/24 dev lo",
        "ip address add 10.50.0.1 peer 10.50.0.2 dev client",
    ] {
        server(line);
    }
    let sensor = enforcing(&network);
    let expected = [
        ("10.99.1.7", "gateway (table 100 on client)"),
        ("10.99.1.8", "gateway (table 200 on client)"),
        ("10.99.2.8", "gateway (table 200 on attacker)"),
        ("10.99.2.9", "gateway (next hop 5 on attacker)"),
        ("fe80::77", "gateway (table 300 on client)"),
        ("fe80::78", "gateway (main table on client)"),
        ("198.18.5.0/24", "own address (local route of local table)"),
        ("10.50.0.1", "own address (client)"),
        ("10.50.0.2", "point-to-point peer (client)"),
        ("10.99.1.1", "own address (client)"),
    ];
    for (target, wanted) in expected {
        wait_why(&sensor, target, wanted);
        let reason = wanted.split(" (").next().unwrap();
        refused(&sensor, target, reason);
    }
    let (is_done, said) = block(&sensor, "10.99.1.2");
    assert!(is_done, "nobody's gateway: {said}");
}

#[test]
fn routers_and_link_local_addresses_of_gateways_are_protected() {
    let network = network();
    // A gateway by its IPv4 address only; and somebody who advertises to be a router.
    let client = link_local(&network, "client", "eth0");
    let attacker = link_local(&network, "attacker", "eth0");
    network
        .run("server", "ip route add default via 10.99.1.2")
        .unwrap();
    network
        .run("attacker", "sysctl -qw net.ipv6.conf.all.forwarding=1")
        .unwrap();
    let sensor = enforcing(&network);
    for (target, device) in [
        ("10.99.1.2", "client"),
        (client.as_str(), "client"),
        (attacker.as_str(), "attacker"),
    ] {
        let line = format!("ping -c 1 -W 2 -I {device} {target}");
        network.run("server", &line).unwrap();
    }
    wait_why(
        &sensor,
        &client,
        "gateway (link-local address of 10.99.1.2 on client)",
    );
    wait_why(&sensor, &attacker, "router (attacker)");
    refused(&sensor, &client, "gateway");
    refused(&sensor, &attacker, "router");
}

#[test]
fn what_is_new_is_protected_within_a_second() {
    let network = network();
    let sensor = enforcing(&network);
    let changes = [
        ("ip address add 192.0.2.9/32 dev client", "192.0.2.9"),
        (
            "ip address add 2001:db8::9/128 dev client nodad",
            "2001:db8::9",
        ),
        (
            "ip route add 198.51.100.0/24 via 10.99.2.2 table 9",
            "10.99.2.2",
        ),
        ("ip nexthop add id 8 via 10.99.1.8 dev client", "10.99.1.8"),
    ];
    for (line, target) in changes {
        assert_eq!(why(&sensor, target), None);
        let (is_done, said) = block(&sensor, target);
        assert!(is_done, "{target}: {said}");
        network.run("server", line).unwrap();
        let start = Instant::now();
        let found = wait_until(LIMIT, || why(&sensor, target));
        let took = start.elapsed();
        assert!(found.is_some() && took < AT_ONCE, "{line}: {took:?}");
        refused(&sensor, target, "must stay reachable");
        let blocks = sensor.ask("block list --json").unwrap();
        let blocks = String::from_utf8_lossy(&blocks.stdout).into_owned();
        assert!(!blocks.contains(target), "its block stays: {blocks}");
    }
    // And is so no longer when it is gone.
    network
        .run("server", "ip address del 192.0.2.9/32 dev client")
        .unwrap();
    let gone = wait_until(LIMIT, || why(&sensor, "192.0.2.9").is_none().then_some(()));
    assert!(gone.is_some(), "{:?}", why(&sensor, "192.0.2.9"));
}

/// A folder of the test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("sensor-guard-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _absent = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn servers_of_chronyd_are_protected() {
    let network = network();
    let folder = Folder::new("chrony");
    let config = folder.file(
        "chrony.conf",
        &format!(
            "server 10.99.1.2 iburst\nserver fd99:1::2\npidfile {}\nbindcmdaddress {}\n\
             bindcmdaddress 127.0.0.1\nuser root\n",
            folder.path("pid"),
            folder.path("chronyd.sock")
        ),
    );
    // Without the clock: `-x`.
    let _chronyd = network
        .start("server", &format!("chronyd -x -d -f {config}"))
        .unwrap();
    let sensor = enforcing(&network);
    sensor.signal("HUP").unwrap();
    wait_why(&sensor, "10.99.1.2", "time server (chronyd)");
    wait_why(&sensor, "fd99:1::2", "time server (chronyd)");
    refused(&sensor, "10.99.1.2", "time server");
}

#[test]
fn who_logged_in_by_ssh_is_protected_and_who_only_connects_is_not() {
    let network = network();
    let folder = Folder::new("ssh");
    for name in ["host", "user"] {
        let line = format!("-q -t ed25519 -N  -f {}", folder.path(name));
        let arguments: Vec<&str> = line.split(' ').collect();
        run(Command::new("ssh-keygen").args(arguments)).unwrap();
    }
    std::fs::create_dir_all("/run/sshd").unwrap();
    let server = format!(
        "/usr/sbin/sshd -D -e -f /dev/null -p 2222 -h {} -o AuthorizedKeysFile={}.pub \
         -o StrictModes=no -o UsePAM=no -o PermitRootLogin=yes -o PidFile=none",
        folder.path("host"),
        folder.path("user")
    );
    let _sshd = network.start("server", &server).unwrap();
    let sensor = enforcing(&network);
    let client = format!(
        "ssh -F /dev/null -p 2222 -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
         root@10.99.1.1 sleep 60",
        folder.path("user")
    );
    // A connection without a login, as one who guesses passwords has it.
    let stranger = folder.file(
        "connect.py",
        "import socket, time\n\
         there = socket.create_connection(('10.99.2.1', 2222), timeout=10)\n\
         time.sleep(60)\n",
    );
    let _stranger = network
        .start("attacker", &format!("python3 {stranger}"))
        .unwrap();
    let _session = network.start("client", &client).unwrap();
    wait_why(&sensor, "10.99.1.2", "SSH session (to port 2222)");
    refused(&sensor, "10.99.1.2", "SSH session");
    let line = "ss -Htn state established sport = :2222";
    let output = network.run("server", line).unwrap();
    let connections = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(connections.contains("10.99.2.2"), "{connections}");
    assert_eq!(why(&sensor, "10.99.2.2"), None);
    let (is_done, said) = block(&sensor, "10.99.2.2");
    assert!(is_done, "{said}");
}

fn status(sensor: &Running) -> Value {
    let output = sensor.ask("status --json").unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A file of resolvers that can't be read, from the first moment on: the host's is covered.
#[test]
fn a_start_that_cannot_read_a_fact_blocks_nothing_and_says_so() {
    let network = network();
    let folder = Folder::new("unread");
    let pipe = folder.path("pipe");
    run(Command::new("mkfifo").arg(&pipe)).unwrap();
    let launcher = folder.file(
        "launch",
        &format!("#!/bin/sh\nmount --bind {pipe} /etc/resolv.conf && exec \"$@\"\n"),
    );
    run(Command::new("chmod").args(["755", &launcher])).unwrap();
    let launcher = format!("unshare -m {launcher}");
    let sensor = Running::start_under(&network, &launcher, "--mode enforce", &[]).unwrap();
    wait_until(LIMIT, || sensor.socket().exists().then_some(())).expect("a socket");
    let cause = "resolvers: /etc/resolv.conf: can't be read: not a file";
    let guard = wait_until(LIMIT, || {
        let guard = status(&sensor)["guard"].clone();
        (guard["known"] == false).then_some(guard)
    });
    let guard = guard.expect("a guard that is not known");
    assert!(
        guard["missing"].as_str().unwrap().contains(cause),
        "{guard}"
    );
    let shown = sensor.ask("status").unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("guard incomplete") && shown.contains(cause),
        "{shown}"
    );
    assert!(
        sensor.log().contains("guard incomplete"),
        "{}",
        sensor.log()
    );

    refused(&sensor, "10.99.2.2", "nothing is blocked until");
    let flood = "hping3 -q -S -p 80 -i u100 -c 30000 10.99.2.1";
    let _flood = network.start("attacker", flood).unwrap();
    let decision = sensor.wait_for(LIMIT, |v| v["kind"] == "decision").unwrap();
    let outcome = decision["guard"].as_str().unwrap();
    assert!(
        outcome.starts_with("refused: the guard is incomplete"),
        "{outcome}"
    );
    assert!(answers(&network, "attacker", "10.99.2.1"));

    // The file is back: enforcement begins.
    let process = sensor.id().to_string();
    run(Command::new("nsenter").args(["-t", &process, "-m", "umount", "/etc/resolv.conf"]))
        .unwrap();
    let known = wait_until(LIMIT, || {
        (status(&sensor)["guard"]["known"] == true).then_some(())
    });
    assert!(known.is_some(), "{}", sensor.log());
    let (is_done, said) = block(&sensor, "10.99.2.2");
    assert!(is_done, "{said}");
    assert!(!answers(&network, "attacker", "10.99.2.1"));
}

/// The system gives no descriptor any more: no netlink socket, no file.
#[test]
fn a_running_sensor_that_can_read_nothing_keeps_its_guard() {
    let network = network();
    network
        .run("server", "ip route add default via 10.99.2.2")
        .unwrap();
    let sensor = enforcing(&network);
    wait_why(&sensor, "10.99.2.2", "gateway");
    let process = sensor.id();
    let limit = |n: &str| {
        let line = format!("--pid {process} --nofile={n}:");
        run(Command::new("prlimit").args(line.split_whitespace())).unwrap();
    };
    // The three standard ones are taken.
    limit("3");
    network
        .run("server", "ip address add 192.0.2.9/32 dev client")
        .unwrap();
    let facts = [
        "addresses",
        "routes",
        "neighbours",
        "resolvers",
        "time_servers",
        "ssh_sessions",
    ];
    sensor.signal("HUP").unwrap();
    let failed = wait_until(LIMIT, || {
        let log = sensor.log();
        let is_told = |fact: &str| log.contains(&format!("fact=\"{fact}\""));
        facts.iter().all(|fact| is_told(fact)).then_some(())
    });
    limit("1024");
    assert!(failed.is_some(), "{}", sensor.log());
    assert!(sensor.log().contains("what was known of it stays in force"));

    let guard = wait_until(LIMIT, || {
        let guard = status(&sensor)["guard"].clone();
        let is_read_again = |fact: &str| {
            let fact = &guard["facts"][fact];
            fact["error"].is_null() && fact["errors"].as_u64() > Some(0)
        };
        facts
            .iter()
            .all(|fact| is_read_again(fact))
            .then_some(guard)
    });
    let guard = guard.unwrap_or_else(|| panic!("{}\n{}", status(&sensor)["guard"], sensor.log()));
    assert_eq!(guard["known"], true, "{guard}");
    refused(&sensor, "10.99.2.2", "gateway");
    wait_why(&sensor, "192.0.2.9", "own address");
}
