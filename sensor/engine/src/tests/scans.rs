use super::*;
use sensor_common::packet::protocol::{ICMP, TCP, UDP};

const SYN: u8 = 0x02;
const RST_ACK: u8 = 0x14;

fn feed(engine: &mut Engine, out: &mut Vec<Output>, flows: &[Flow]) {
    for record in flows {
        engine.handle(T0 + MS, Input::FlowLive(record), out);
    }
    tick(engine, T0 + 500 * MS, out);
    tick(engine, T0 + 2_000 * MS, out);
    tick(engine, T0 + 3_000 * MS, out);
}

fn probes(n: u16, protocol: u8, answer: Direction) -> Vec<Flow> {
    (1..=n)
        .map(|port| {
            let ends = Ends {
                a: (ip(9), 50_000),
                b: (ip(1), port),
                protocol,
            };
            let flags = if protocol == TCP { SYN } else { 0 };
            flow(&ends, 0, 1, [packets(1, T0, T0, flags), answer])
        })
        .collect()
}

fn blamed(out: &[Output]) -> Vec<std::net::IpAddr> {
    incidents(out)
        .iter()
        .flat_map(|i| i.sources.clone())
        .collect()
}

#[test]
fn only_the_scanner_is_named_for_a_refused_scan() {
    let (mut engine, mut out) = (engine(), Vec::new());
    let answer = packets(1, T0 + 1, T0 + 1, RST_ACK);
    feed(&mut engine, &mut out, &probes(300, TCP, answer));
    assert_eq!(families(&out), [Family::PortScan]);
    assert!(
        blamed(&out)
            .iter()
            .all(|ip| *ip == crate::to_ip(&super::ip(9)))
    );
    assert!(out.iter().any(|o| matches!(o, Output::Decision(_))));
}

#[test]
fn unanswered_udp_and_fast_scans_are_found() {
    for (n, protocol) in [(300, UDP), (300, TCP), (3000, TCP)] {
        let (mut engine, mut out) = (engine(), Vec::new());
        let flows = probes(n, protocol, Direction::EMPTY);
        feed(&mut engine, &mut out, &flows);
        assert_eq!(families(&out), [Family::PortScan]);
    }
}

#[test]
fn a_host_sweep_is_found() {
    let (mut engine, mut out) = (engine(), Vec::new());
    let flows: Vec<Flow> = (100..160)
        .map(|host| {
            let ends = Ends {
                a: (ip(9), 50_000),
                b: (ip(host), 445),
                protocol: TCP,
            };
            flow(&ends, 0, 1, [packets(1, T0, T0, SYN), Direction::EMPTY])
        })
        .collect();
    feed(&mut engine, &mut out, &flows);
    assert_eq!(families(&out), [Family::HostSweep]);
}

#[test]
fn unsolicited_answers_are_no_scan() {
    let (mut engine, mut out) = (engine(), Vec::new());
    let mut flows = Vec::new();
    for port in 1..=500u16 {
        let tcp = Ends {
            a: (ip(1), 80),
            b: (ip(port % 250 + 500), 2000 + port),
            protocol: TCP,
        };
        let flags = if port % 2 == 0 { 0x12 } else { RST_ACK };
        flows.push(flow(
            &tcp,
            0,
            1,
            [packets(1, T0, T0, flags), Direction::EMPTY],
        ));
        let icmp = Ends {
            a: (ip(1), 0x0303),
            b: (ip(port + 1000), 0x0303),
            protocol: ICMP,
        };
        flows.push(flow(&icmp, 0, 1, [packets(1, T0, T0, 0), Direction::EMPTY]));
        let dns = Ends {
            a: (ip(2), 53),
            b: (ip(3), 20_000 + port),
            protocol: UDP,
        };
        flows.push(flow(&dns, 0, 1, [packets(1, T0, T0, 0), Direction::EMPTY]));
    }
    feed(&mut engine, &mut out, &flows);
    assert_eq!(families(&out), []);
}

#[test]
fn resolver_client_is_silent() {
    let (mut engine, mut out) = (engine(), Vec::new());
    let flows: Vec<Flow> = (0..2000u16)
        .map(|i| {
            let ends = Ends {
                a: (ip(9), 20_000 + i),
                b: (ip(100 + i % 500), 53),
                protocol: UDP,
            };
            let both = [packets(1, T0, T0, 0), packets(1, T0 + 1, T0 + 1, 0)];
            flow(&ends, 0, 1, both)
        })
        .collect();
    feed(&mut engine, &mut out, &flows);
    assert_eq!(families(&out), []);
}

#[test]
fn password_guessing_is_found() {
    let (mut engine, mut out) = (engine(), Vec::new());
    let flows: Vec<Flow> = (0..30u16)
        .map(|i| {
            let ends = Ends {
                a: (ip(9), 20_000 + i),
                b: (ip(1), 22),
                protocol: TCP,
            };
            let mut sent = packets(10, T0, T0, 0x10);
            (sent.n_flags[0], sent.n_flags[1], sent.n_flags[4]) = (1, 1, 9);
            let mut got = packets(10, T0 + 1, T0 + 1, 0x10);
            (got.n_flags[0], got.n_flags[1]) = (1, 1);
            flow(&ends, 0, 1, [sent, got])
        })
        .collect();
    feed(&mut engine, &mut out, &flows);
    assert_eq!(families(&out), [Family::BruteForce]);
}

#[test]
fn an_excepted_scan_is_a_finding_and_no_incident() {
    let exception = crate::Exception {
        family: Some(Family::PortScan),
        source: Some(crate::to_ip(&ip(9)).into()),
        reason: "audit".to_owned(),
        ..crate::Exception::default()
    };
    let config = Config {
        exceptions: vec![exception],
        ..Config::default()
    };
    let (mut engine, mut out) = (Engine::new(config.clone()), Vec::new());
    let answer = packets(1, T0 + 1, T0 + 1, RST_ACK);
    feed(&mut engine, &mut out, &probes(300, TCP, answer));
    assert_eq!(families(&out), []);
    assert!(!out.iter().any(|o| matches!(o, Output::Decision(_))));
    let found = out.iter().filter_map(|output| match output {
        Output::Finding(finding) => Some(finding),
        _ => None,
    });
    let notes: Vec<_> = found.flat_map(|finding| &finding.notes).collect();
    assert!(!notes.is_empty());
    assert!(
        notes
            .iter()
            .all(|note| (note.name, note.value.as_str()) == ("sensor.exception", "audit"))
    );
    assert_eq!(engine.exceptions()[0].n_findings, notes.len() as u64);
    // Without it the same scan is an incident.
    let other = Config::default();
    let (mut engine, mut out) = (Engine::new(config), Vec::new());
    engine.configure(&other);
    feed(&mut engine, &mut out, &probes(300, TCP, answer));
    assert_eq!(families(&out), [Family::PortScan]);
}
