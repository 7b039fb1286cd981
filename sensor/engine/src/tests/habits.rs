//! Behaviour that is judged by a host's past: uploads, logins, slow scans.

use super::*;
use sensor_common::packet::protocol::TCP;

const SECOND: u64 = 1000 * MS;
const WINDOW: u64 = 600 * SECOND;

fn outside(last: u8) -> Address {
    v4_mapped(u32::from_ne_bytes([203, 0, 113, last]))
}

/// A connection that sends and gets so many bytes.
fn transfer(at_ns: u64, ends: &Ends, sent: u32, got: u32) -> Flow {
    let part = |bytes: u32| Direction {
        packets: 1_000,
        bytes,
        n_flags: [1, 0, 0, 0, 999],
        ..packets(1_000, at_ns, at_ns, 0x10)
    };
    let mut flow = flow(ends, 0, (at_ns / SECOND) as u32, [part(sent), part(got)]);
    flow.directions[0].n_flags = [1, 0, 0, 0, 999];
    flow
}

struct Site {
    engine: Engine,
    out: Vec<Output>,
    port: u16,
}

impl Site {
    fn new() -> Self {
        let (engine, out) = (engine(), Vec::new());
        let port = 10_000;
        Self { engine, out, port }
    }

    fn send(&mut self, at_ns: u64, to: Address, sent: u32, got: u32) {
        self.port += 1;
        let ends = Ends {
            a: (ip(9), self.port),
            b: (to, 443),
            protocol: TCP,
        };
        let flow = transfer(at_ns, &ends, sent, got);
        self.engine
            .handle(at_ns, Input::FlowSent(&flow), &mut self.out);
        tick(&mut self.engine, at_ns + SECOND, &mut self.out);
    }

    /// Four hours of a megabyte now and then.
    fn with_past() -> Self {
        let mut site = Self::new();
        for i in 0..24 {
            site.send(T0 + i * WINDOW, outside(1), 1_000_000, 3_000_000);
        }
        site
    }
}

const LATER: u64 = T0 + 30 * WINDOW;

#[test]
fn an_upload_beyond_all_before_is_found() {
    let mut site = Site::with_past();
    site.send(LATER, outside(7), 60_000_000, 500_000);
    assert_eq!(families(&site.out), [Family::Exfiltration]);
    let found = incidents(&site.out);
    // A first backup looks the same.
    assert_eq!(found[0].severity.label(), "low");
    assert!(found[0].sources.contains(&crate::to_ip(&ip(9))));
    assert!(!site.out.iter().any(|o| matches!(o, Output::Decision(_))));
}

#[test]
fn downloads_calls_and_what_is_sent_within_the_site_are_silent() {
    for (to, sent, got) in [
        (outside(7), 1_000_000, 400_000_000),
        (outside(7), 60_000_000, 50_000_000),
        (ip(20), 400_000_000, 1_000),
        (outside(7), 6_000_000, 1_000),
    ] {
        let mut site = Site::with_past();
        site.send(LATER, to, sent, got);
        assert_eq!(families(&site.out), []);
    }
}

#[test]
fn a_repeated_backup_is_reported_once() {
    let mut site = Site::new();
    let day = 144 * WINDOW;
    site.send(T0, outside(7), 80_000_000, 100_000);
    assert_eq!(families(&site.out), [Family::Exfiltration]);
    assert_eq!(incidents(&site.out)[0].severity.label(), "low");
    site.out.clear();
    for night in 1..4 {
        site.send(T0 + night * day, outside(7), 90_000_000, 100_000);
    }
    let opened = incidents(&site.out)
        .iter()
        .filter(|i| i.state.label() == "opened")
        .count();
    assert_eq!(opened, 0);
}

fn login(engine: &mut Engine, out: &mut Vec<Output>, at_ns: u64, from: u16, to: u16) {
    login_at(engine, out, at_ns, (from, to), 3389);
}

fn login_at(
    engine: &mut Engine,
    out: &mut Vec<Output>,
    at_ns: u64,
    (from, to): (u16, u16),
    port: u16,
) {
    let ends = Ends {
        a: (ip(from), 40_000 + to),
        b: (ip(to), port),
        protocol: TCP,
    };
    let flow = transfer(at_ns, &ends, 10_000, 10_000);
    engine.handle(at_ns, Input::FlowSent(&flow), out);
    tick(engine, at_ns + SECOND, out);
}

#[test]
fn first_logins_at_many_hosts_are_lateral_movement() {
    let (mut engine, mut out) = (engine(), Vec::new());
    login(&mut engine, &mut out, T0, 1, 2);
    for i in 0..6 {
        login(
            &mut engine,
            &mut out,
            T0 + 4 * WINDOW + u64::from(i) * 20 * SECOND,
            9,
            20 + i,
        );
    }
    assert_eq!(families(&out), [Family::LateralMovement]);
    assert_eq!(blamed_of(&out), [crate::to_ip(&ip(9))]);
}

#[test]
fn a_host_that_was_just_entered_is_reported_sooner() {
    let (mut engine, mut out) = (engine(), Vec::new());
    login(&mut engine, &mut out, T0, 1, 2);
    let then = T0 + 4 * WINDOW;
    login(&mut engine, &mut out, then, 66, 9);
    for i in 0..3 {
        login(
            &mut engine,
            &mut out,
            then + u64::from(i + 1) * 20 * SECOND,
            9,
            20 + i,
        );
    }
    assert_eq!(families(&out), [Family::LateralMovement]);
}

#[test]
fn repeated_logins_of_administrators_are_silent() {
    let (mut engine, mut out) = (engine(), Vec::new());
    for round in 0..3u64 {
        for i in 0..30 {
            let at_ns = T0 + round * 10 * WINDOW + u64::from(i) * 10 * SECOND;
            login(&mut engine, &mut out, at_ns, 9, 20 + i);
        }
    }
    // A new server now and then.
    for i in 0..4 {
        login(
            &mut engine,
            &mut out,
            T0 + 40 * WINDOW + u64::from(i) * WINDOW,
            9,
            90 + i,
        );
    }
    assert_eq!(families(&out), []);
}

/// Somebody goes from host to host, each login 20 s after the one before.
fn walk(hosts: &[u16], port: u16, from_ns: u64) -> Vec<Output> {
    let (mut engine, mut out) = (engine(), Vec::new());
    login_at(&mut engine, &mut out, T0, (1, 2), 22);
    for (i, ends) in (0..).zip(hosts.windows(2)) {
        let at_ns = from_ns + i * 20 * SECOND;
        login_at(&mut engine, &mut out, at_ns, (ends[0], ends[1]), port);
    }
    out
}

#[test]
fn a_chain_of_first_logins_is_told_where_nothing_else_is_known() {
    let out = walk(&[66, 9, 20, 30], 22, T0);
    assert_eq!(families(&out), [Family::LateralMovement]);
    assert_eq!(blamed_of(&out), [crate::to_ip(&ip(66))]);
    assert_eq!(incidents(&out)[0].severity.label(), "low");
    assert!(!out.iter().any(|o| matches!(o, Output::Decision(_))));
    // By way of a bastion; and two hops where a day showed that nobody goes there.
    assert_eq!(families(&walk(&[66, 9, 20], 22, T0)), []);
    let later = walk(&[66, 9, 20], 22, T0 + 144 * WINDOW);
    assert_eq!(families(&later), [Family::LateralMovement]);
}

#[test]
fn bastions_domain_servers_and_slow_walks_are_no_chain() {
    // What the servers of a domain ask of each other.
    assert_eq!(families(&walk(&[66, 9, 20, 30, 40], 445, T0)), []);
    // From a bastion that three people use to a server that goes on to others.
    let (mut engine, mut out) = (engine(), Vec::new());
    for user in [60, 61, 62, 63] {
        login_at(&mut engine, &mut out, T0, (user, 9), 22);
    }
    for host in 20..26 {
        let at_ns = T0 + u64::from(host) * SECOND;
        login_at(&mut engine, &mut out, at_ns, (9, host), 22);
        login_at(&mut engine, &mut out, at_ns, (host, 100 + host), 22);
    }
    assert_eq!(families(&out), []);
    let (mut engine, mut out) = (super::engine(), Vec::new());
    for (i, ends) in (0..).zip([(66, 9), (9, 20), (20, 30)]) {
        login_at(&mut engine, &mut out, T0 + i * 2 * WINDOW, ends, 22);
    }
    assert_eq!(families(&out), []);
}

fn blamed_of(out: &[Output]) -> Vec<std::net::IpAddr> {
    let mut blamed: Vec<_> = incidents(out)
        .iter()
        .flat_map(|i| i.sources.clone())
        .collect();
    blamed.sort();
    blamed.dedup();
    blamed
}

/// A refused attempt every `gap_s`, at a port or host of its own or always at the same.
fn knock(gap_s: u64, n: u16, target: impl Fn(u16) -> (Address, u16)) -> Vec<Output> {
    let (mut engine, mut out) = (engine(), Vec::new());
    for i in 0..n {
        let at_ns = T0 + u64::from(i) * gap_s * SECOND;
        let ends = Ends {
            a: (ip(9), 30_000 + i),
            b: target(i),
            protocol: TCP,
        };
        let both = [
            packets(1, at_ns, at_ns, 0x02),
            packets(1, at_ns + 1, at_ns + 1, 0x14),
        ];
        let flow = flow(&ends, 0, u32::from(i), both);
        engine.handle(at_ns, Input::FlowSent(&flow), &mut out);
        tick(&mut engine, at_ns + SECOND, &mut out);
    }
    out
}

#[test]
fn slow_scans_and_sweeps_are_remembered() {
    assert_eq!(
        families(&knock(60, 40, |i| (ip(1), 1_000 + i))),
        [Family::PortScan]
    );
    assert_eq!(
        families(&knock(30, 60, |i| (ip(100 + i), 445))),
        [Family::HostSweep]
    );
}

#[test]
fn slow_failures_of_an_honest_client_are_silent() {
    // A poller of one dead service, somebody who knocks at four ports to be let in, a swarm.
    assert_eq!(families(&knock(10, 300, |_| (ip(1), 161))), []);
    assert_eq!(families(&knock(10, 100, |i| (ip(1), 7_000 + i % 4))), []);
    assert_eq!(families(&knock(20, 100, |i| (ip(100 + i), 6_881))), []);
}

#[test]
fn learned_state_outlives_a_restart() {
    let mut site = Site::with_past();
    login(&mut site.engine, &mut site.out, T0, 9, 20);
    let saved = site.engine.save();
    let mut after = Site::new();
    assert!(after.engine.restore(&saved).is_ok());
    // More than the host's past allows, less than a host without a past may send.
    after.send(LATER, outside(7), 40_000_000, 500_000);
    assert_eq!(families(&after.out), [Family::Exfiltration]);
    after.out.clear();
    // A way that is known; the time to learn is over.
    login(&mut after.engine, &mut after.out, LATER, 9, 20);
    for i in 0..5 {
        login(
            &mut after.engine,
            &mut after.out,
            LATER + u64::from(i) * SECOND,
            9,
            40 + i,
        );
    }
    let movement = incidents(&after.out)
        .into_iter()
        .rfind(|i| i.family == Family::LateralMovement);
    let movement = movement.expect("first logins are told");
    assert_eq!(movement.n_destinations, 5);
}
