//! Golden replays of behaviour with a definite shape: each detector fires on it and stays silent on
//! what looks like it.

use sensor_tests::frames::ipv4::{
    self, ACK, End, FIN_ACK, Ip, PSH_ACK, RST_ACK, SYN, SYN_ACK, icmp as echo,
};

use crate::content::{Frame, START_US};
use crate::replay::{capture, families, replay};

const CLIENT: Ip = [192, 0, 2, 9];
const SERVER: Ip = [192, 0, 2, 1];
const OUTSIDE: Ip = [203, 0, 113, 5];
pub(crate) const MS: u64 = 1_000;
pub(crate) const S: u64 = 1_000_000;

/// `n_options` bytes of TCP options: none is what tools send, 20 what systems do.
pub(crate) fn tcp(from: End, to: End, flags: u8, n_options: usize, n_payload: usize) -> Vec<u8> {
    ipv4::tcp_with_options(from, to, flags, n_options, &vec![b'x'; n_payload])
}

pub(crate) fn udp(from: End, to: End, n_payload: usize) -> Vec<u8> {
    ipv4::udp(from, to, &vec![0; n_payload])
}

/// A handshake, a question and its answer, and an end by both if `ends`.
pub(crate) fn session(at_us: u64, client: End, server: End, ends: bool) -> Vec<Frame> {
    let mut frames = vec![
        (0, tcp(client, server, SYN, 20, 0)),
        (1, tcp(server, client, SYN_ACK, 20, 0)),
        (2, tcp(client, server, ACK, 0, 0)),
        (3, tcp(client, server, PSH_ACK, 0, 120)),
        (4, tcp(server, client, ACK, 0, 0)),
        (8, tcp(server, client, PSH_ACK, 0, 300)),
        (9, tcp(client, server, ACK, 0, 0)),
    ];
    if ends {
        frames.push((10, tcp(server, client, FIN_ACK, 0, 0)));
        frames.push((11, tcp(client, server, FIN_ACK, 0, 0)));
        frames.push((12, tcp(server, client, ACK, 0, 0)));
    }
    let at = |(ms, frame)| (at_us + ms * MS, frame);
    frames.into_iter().map(at).collect()
}

/// A SYN and the RST that refuses it.
pub(crate) fn refused(at_us: u64, client: End, server: End, n_options: usize) -> [Frame; 2] {
    [
        (at_us, tcp(client, server, SYN, n_options, 0)),
        (at_us + 100, tcp(server, client, RST_ACK, 0, 0)),
    ]
}

pub(crate) fn port(n: u64) -> u16 {
    20_000 + (n % 40_000) as u16
}

pub(crate) fn scattered(n: u64) -> Ip {
    let [.., a, b, c] = (n.wrapping_mul(2_654_435_761)).to_be_bytes();
    [45 + (n % 100) as u8, a, b, c]
}

fn families_of(name: &str, mut frames: Vec<Frame>) -> Vec<String> {
    frames.sort_by_key(|(at_us, _)| *at_us);
    families(&replay(&[&capture(&format!("shape-{name}"), &frames)]))
}

#[track_caller]
fn finds(name: &str, mut frames: Vec<Frame>, expected: &[&str]) {
    frames.sort_by_key(|(at_us, _)| *at_us);
    let path = capture(&format!("shape-{name}"), &frames);
    let output = replay(&[&path]);
    assert!(output.status.success());
    let mut found = families(&output);
    found.dedup();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(found, expected, "{name}: {text}");
}

#[test]
fn refused_connection_attempts_become_floods_above_a_rate() {
    let hammer = |n_options, gap_ms: u64, n: u64| -> Vec<Frame> {
        (0..n)
            .flat_map(|i| {
                let at_us = START_US + i * gap_ms * MS;
                refused(at_us, (CLIENT, port(i)), (SERVER, 80), n_options)
            })
            .collect()
    };
    finds("bare", hammer(0, 50, 100), &["syn_flood"]);
    // What programs ask a service that answers nobody is its outage; while it serves others it is not.
    finds("connects", hammer(20, 50, 200), &["service_down"]);
    let served =
        (0..20).flat_map(|i| session(START_US + i * S / 2, (OUTSIDE, port(i)), (SERVER, 80), true));
    let refused: Vec<Frame> = hammer(20, 50, 200).into_iter().chain(served).collect();
    finds("connects-in-vain", refused, &["http_flood"]);
    // A program whose server is down, twice a second.
    finds("retries", hammer(20, 500, 100), &[]);
}

#[test]
fn spoofed_syn_flood_is_found_and_as_many_served_clients_are_not() {
    let flood: Vec<Frame> = (0..600)
        .map(|i| {
            let syn = tcp((scattered(i), port(i)), (SERVER, 443), SYN, 0, 0);
            (START_US + i * 10 * MS, syn)
        })
        .collect();
    finds("spoofed", flood, &["syn_flood"]);
    // As many clients that are served.
    let served: Vec<Frame> = (0..600)
        .flat_map(|i| {
            let client = (scattered(i), port(i));
            session(START_US + i * 10 * MS, client, (SERVER, 443), true)
        })
        .collect();
    finds("served", served, &[]);
}

#[test]
fn syn_flood_over_random_ports_is_no_scan() {
    let mut flood = Vec::new();
    for i in 0..3_000u64 {
        let to = (SERVER, (1_000 + i * 7 % 50_000) as u16);
        flood.extend(refused(START_US + i * 200, (CLIENT, port(i)), to, 0));
    }
    finds("random-ports", flood, &["syn_flood"]);
}

#[test]
fn http_flood_and_slow_http_are_found_and_browsers_are_not() {
    let sessions = |gap_ms: u64, n: u64, ends| -> Vec<Frame> {
        (0..n)
            .flat_map(|i| {
                let at_us = START_US + i * gap_ms * MS;
                session(at_us, (CLIENT, port(i)), (SERVER, 80), ends)
            })
            .collect()
    };
    finds("sessions", sessions(10, 1_500, true), &["http_flood"]);
    // Eight at any time, of a server that takes 600 ms for each.
    let waiting: Vec<Frame> = (0..200u64)
        .flat_map(|i| {
            let [begin_us, end_us] = [i * 75 * MS, i * 75 * MS + 600 * MS];
            let frames = session(START_US, (CLIENT, port(i)), (SERVER, 80), true);
            let at = |(n, (at_us, frame)): (usize, Frame)| {
                let from_us = if n < 5 { begin_us } else { end_us };
                (at_us + from_us, frame)
            };
            frames
                .into_iter()
                .enumerate()
                .map(at)
                .collect::<Vec<Frame>>()
        })
        .collect();
    finds("at-once", waiting, &["http_flood"]);
    // One after the other, each as soon as the one before was answered: a loop of a script.
    finds("loop", sessions(100, 150, true), &[]);
    finds("kept", sessions(100, 40, false), &["slow_http"]);
    // Twice a second, as an application polls; six at once, as a browser keeps.
    finds("polls", sessions(500, 100, true), &[]);
    finds("browser", sessions(10, 6, false), &[]);
}

#[test]
fn connections_that_end_in_silence_are_not_open_for_ever() {
    // Each is used for two minutes, the period after which what lasts is exported, and then dropped.
    let mut frames = Vec::new();
    for i in 0..40u64 {
        let at_us = START_US + i * 150 * S;
        let (client, server) = ((CLIENT, port(i)), (SERVER, 8_080));
        frames.extend(session(at_us, client, server, false));
        for part in 1..12 {
            let at_us = at_us + part * 10 * S;
            frames.push((at_us, tcp(client, server, PSH_ACK, 0, 10)));
            frames.push((at_us + MS, tcp(server, client, PSH_ACK, 0, 10)));
        }
    }
    // A timer it may be, but at no time two connections.
    let found = families_of("dropped", frames);
    assert!(!found.contains(&"slow_http".to_owned()), "{found:?}");
}

/// A mirror that drops frames doesn't show how connections end, one that shows one way only no answers either.
#[test]
fn connections_whose_end_a_mirror_lost_are_not_kept_open() {
    // Ten frames each; the client's fourth asks, the eighth and ninth end.
    let pages = |lost: fn(usize) -> bool| -> Vec<Frame> {
        (0..40u64)
            .flat_map(|i| {
                let at_us = START_US + i * 700 * MS;
                session(at_us, (CLIENT, port(i)), (SERVER, 80), true)
            })
            .enumerate()
            .filter(|(n, _)| !lost(n % 10))
            .map(|(_, frame)| frame)
            .collect()
    };
    finds("server-fin-lost", pages(|n| n == 7), &[]);
    finds("one-way", pages(|n| matches!(n, 1 | 4 | 5 | 7 | 9)), &[]);
}

#[test]
fn unanswered_datagrams_become_a_udp_flood() {
    let asked = |is_answered: bool| -> Vec<Frame> {
        let mut frames = Vec::new();
        for i in 0..200 {
            let (client, server) = ((CLIENT, port(i)), (SERVER, 53));
            let at_us = START_US + i * 40 * MS;
            frames.push((at_us, udp(client, server, 40)));
            if is_answered {
                frames.push((at_us + 5 * MS, udp(server, client, 90)));
            }
        }
        frames
    };
    finds("datagrams", asked(false), &["udp_flood"]);
    finds("lookups", asked(true), &[]);
}

#[test]
fn echo_requests_above_a_rate_become_an_icmp_flood() {
    let ping = |gap_ms: u64| -> Vec<Frame> {
        (0..200)
            .flat_map(|i| {
                let at_us = START_US + i * gap_ms * MS;
                [
                    (at_us, echo(CLIENT, SERVER, 8)),
                    (at_us + MS, echo(SERVER, CLIENT, 0)),
                ]
            })
            .collect()
    };
    finds("echoes", ping(40), &["icmp_flood"]);
    finds("ping", ping(200), &[]);
}

#[test]
fn unrequested_answers_of_many_hosts_become_a_reflection() {
    let reflectors = |n_reflectors: u64| -> Vec<Frame> {
        (0..200)
            .map(|i| {
                let from = (scattered(i % n_reflectors), 53);
                let frame = udp(from, (SERVER, port(i)), 1_200);
                (START_US + i * 50 * MS, frame)
            })
            .collect()
    };
    finds("reflection", reflectors(40), &["reflection"]);
    // One resolver whose questions the sensor doesn't see.
    finds("one-way", reflectors(1), &[]);
    let syn_acks: Vec<Frame> = (0..60)
        .map(|i| {
            let frame = tcp((scattered(i % 10), 443), (SERVER, 443), SYN_ACK, 4, 0);
            (START_US + i * S, frame)
        })
        .collect();
    finds("syn-acks", syn_acks, &["reflection"]);
}

#[test]
fn short_sessions_with_a_login_service_become_brute_force() {
    let logins = |gap_ms: u64, n: u64| -> Vec<Frame> {
        (0..n)
            .flat_map(|i| {
                let at_us = START_US + i * gap_ms * MS;
                session(at_us, (CLIENT, port(i)), ([10, 0, 0, 5], 3306), true)
            })
            .collect()
    };
    finds("guesses", logins(500, 60), &["brute_force"]);
    finds("logins", logins(5_000, 60), &[]);
}

#[test]
fn regular_contacts_outside_become_a_beacon() {
    let contacts = |gap: fn(u64) -> u64, host: Ip| -> Vec<Frame> {
        let mut at_us = START_US;
        let mut frames = Vec::new();
        for i in 0..40 {
            frames.extend(session(at_us, (CLIENT, port(i)), (host, 4_444), true));
            at_us += gap(i);
        }
        frames
    };
    // Every five seconds, a tenth of it at random.
    let regular = |i: u64| 5 * S + i * 7_919 % 97 * 10 * MS - 480 * MS;
    let random = |i: u64| S + i * 7_919 % 97 * 150 * MS;
    finds("beacon", contacts(regular, OUTSIDE), &["beacon"]);
    finds("visits", contacts(random, OUTSIDE), &[]);
    finds("poll-inside", contacts(regular, [10, 0, 0, 5]), &[]);
}

#[test]
fn scans_and_sweeps_are_found_and_peer_to_peer_is_not() {
    let closed = |n: u16, hosts: bool, service: u16| -> Vec<Frame> {
        (1..=n)
            .flat_map(|i| {
                let [high, low] = i.to_be_bytes();
                let to = if hosts {
                    ([10, 0, high, low], service)
                } else {
                    (SERVER, i)
                };
                refused(START_US + u64::from(i) * 200 * MS, (CLIENT, 50_000), to, 4)
            })
            .collect()
    };
    finds("ports", closed(60, false, 0), &["port_scan"]);
    // Ten failures in a row are a random walk's end.
    finds("few-ports", closed(9, false, 0), &[]);
    finds("hosts", closed(120, true, 445), &["host_sweep"]);
    finds("few-hosts", closed(9, true, 445), &[]);
    let pings: Vec<Frame> = (1..=40u8)
        .map(|i| {
            let at_us = START_US + u64::from(i) * 50 * MS;
            (at_us, echo(CLIENT, [192, 0, 2, 100 + i], 8))
        })
        .collect();
    finds("pings", pings, &["host_sweep"]);
    // A peer-to-peer program: a port of its own, half of its peers answer.
    let peers: Vec<Frame> = (0..120u64)
        .flat_map(|i| {
            let (ours, peer) = ((CLIENT, 30_303), (scattered(i), 30_303));
            let at_us = START_US + i * 100 * MS;
            let mut frames = vec![(at_us, udp(ours, peer, 120))];
            if i % 2 == 0 {
                frames.push((at_us + 40 * MS, udp(peer, ours, 120)));
            }
            frames
        })
        .collect();
    finds("peers", peers, &[]);
}

#[test]
fn probes_that_open_no_connection_are_a_scan_and_late_segments_are_none() {
    // ACK, FIN and ACK (Maimon), RST, SYN and ACK; each answered by RST, or by nothing.
    for (name, flags, is_answered) in [
        ("ack", ACK, true),
        ("maimon", FIN_ACK, true),
        ("rst", 0x04, false),
        ("syn-ack", SYN_ACK, true),
    ] {
        let probes = (1..=60u16).flat_map(|to| {
            let at_us = START_US + u64::from(to) * 100 * MS;
            let (ours, theirs) = ((CLIENT, 50_000), (SERVER, to));
            let probe = (at_us, tcp(ours, theirs, flags, 0, 0));
            let answer = (at_us + 100, tcp(theirs, ours, 0x04, 0, 0));
            std::iter::once(probe).chain(is_answered.then_some(answer))
        });
        finds(&format!("probes-{name}"), probes.collect(), &["port_scan"]);
    }
    // A server whose clients went away, and one that answers whoever forged our address.
    for (name, flags) in [("late", ACK), ("backscatter", SYN_ACK)] {
        let segments = (0..60u64).map(|i| {
            let to = (CLIENT, 33_000 + (i * 401) as u16);
            (
                START_US + i * 100 * MS,
                tcp((SERVER, 8_080), to, flags, 0, 0),
            )
        });
        let found = families_of(&format!("probes-{name}"), segments.collect());
        assert!(
            !found.contains(&"port_scan".to_owned()),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn unusual_ip_protocols_in_vain_are_a_scan_and_those_of_routers_are_none() {
    let packets = |protocols: &[u8], n: u64| -> Vec<Frame> {
        let all = protocols.iter().cycle().take(protocols.len() * n as usize);
        let frame = |(i, number): (usize, &u8)| {
            let frame = ipv4::packet(*number, CLIENT, SERVER, &[0; 40]);
            (START_US + i as u64 * 500 * MS, frame)
        };
        all.enumerate().map(frame).collect()
    };
    let tried: Vec<u8> = (100..130).collect();
    finds("protocols", packets(&tried, 1), &["port_scan"]);
    finds("router-protocols", packets(&[50, 89, 103], 20), &[]);
}

#[test]
fn mail_to_many_servers_is_a_sweep_unless_the_host_is_a_mail_server() {
    let mails = |accepts: bool| -> Vec<Frame> {
        let mut frames = Vec::new();
        if accepts {
            frames.extend(session(START_US, (OUTSIDE, 40_000), (CLIENT, 25), true));
        }
        for i in 0..60 {
            let at_us = START_US + 5 * S + i * 400 * MS;
            frames.extend(session(at_us, (CLIENT, port(i)), (scattered(i), 25), true));
        }
        frames
    };
    finds("spam", mails(false), &["host_sweep"]);
    finds("mail-server", mails(true), &[]);
}

/// One packet each `gap_ms`, made by `make` of its number.
fn each(gap_us: u64, n: u64, make: impl Fn(u64) -> Vec<u8>) -> Vec<Frame> {
    let frame = |i| (START_US + i * gap_us, make(i));
    (0..n).map(frame).collect()
}

#[test]
fn udp_flood_of_many_sources_is_found() {
    let flood = |i| udp((scattered(i), port(i)), (SERVER, 9_999), 100);
    finds("many-datagrams", each(5 * MS, 2_000, flood), &["udp_flood"]);
    // As many clients of a server that answers.
    let asked = (0..1_000).flat_map(|i| {
        let at_us = START_US + i * 10 * MS;
        let client = (scattered(i), port(i));
        let question = (at_us, udp(client, (SERVER, 9_999), 100));
        [question, (at_us + MS, udp((SERVER, 9_999), client, 100))]
    });
    finds("answered-datagrams", asked.collect(), &[]);
}

#[test]
fn icmp_flood_of_many_sources_is_found() {
    let flood = |i| echo(scattered(i), SERVER, 8);
    finds("many-echoes", each(10 * MS, 1_000, flood), &["icmp_flood"]);
    // Probes of a few monitors, which are answered.
    let monitored = (0..600).flat_map(|i| {
        let at_us = START_US + i * 100 * MS;
        let monitor = scattered(i % 5);
        let question = (at_us, echo(monitor, SERVER, 8));
        [question, (at_us + MS, echo(SERVER, monitor, 0))]
    });
    finds("monitors", monitored.collect(), &[]);
}

#[test]
fn segments_outside_connections_become_an_ack_flood() {
    let stray = (0..1_500).flat_map(|i| {
        let at_us = START_US + i * 10 * MS;
        let source = (scattered(i), port(i));
        let refused = tcp((SERVER, 443), source, 0x04, 0, 0);
        [
            (at_us, tcp(source, (SERVER, 443), ACK, 0, 0)),
            (at_us + 100, refused),
        ]
    });
    finds("stray", stray.collect(), &["ack_flood"]);
}

#[test]
fn segments_with_odd_flags_at_a_rate_become_a_flood() {
    // All bits that a Christmas tree has, from ports and addresses made up.
    let odd = |i| tcp((scattered(i), port(i)), (SERVER, 80), 0x29, 0, 0);
    let path = capture("shape-odd-flags", &each(100, 20_000, odd));
    let found = families(&replay(&[&path]));
    assert_eq!(found.first().map(String::as_str), Some("fin_flood"));
}

#[test]
fn chains_of_extension_headers_become_malformed_traffic() {
    use sensor_tests::frames;

    let echo = |n_headers: u8| {
        let mut packet = frames::icmp(128, 0);
        let mut next = 58;
        for _ in 0..n_headers {
            packet = frames::extension(next, 1, &packet);
            next = 60;
        }
        frames::ethernet(0x86dd, &frames::ipv6(next, (1, 2), &packet))
    };
    let chains = each(100 * MS, 15, |_| echo(3));
    finds("chains", chains, &["malformed_traffic"]);
    finds("plain-icmpv6", each(1_000 * MS, 60, |_| echo(0)), &[]);
}
