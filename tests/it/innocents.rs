//! Those whom enforcement must not hurt: what they do leads to no decision at all, however it looks.

use std::net::Ipv6Addr;

use sensor_common::packet::protocol;
use sensor_tests::frames::ipv4::{ACK, FIN_ACK, Ip, PSH_ACK, RST_ACK, SYN, SYN_ACK, icmp as echo};
use sensor_tests::frames::{IPV6, ethernet, ipv6_between};

use crate::content::{Frame, START_US};
use crate::replay::{capture, replay};
use crate::shapes::{MS, S, port, refused, scattered, session, tcp, udp};

/// A crowd behind one address, or one program that stands for many.
const MANY: Ip = [198, 51, 100, 9];
const SERVER: Ip = [192, 0, 2, 10];

fn decisions(name: &str, mut frames: Vec<Frame>) -> Vec<String> {
    frames.sort_by_key(|(at_us, _)| *at_us);
    let path = capture(&format!("innocent-{name}"), &frames);
    let output = replay(&[&path]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter(|line| line.contains(r#""kind":"decision""#))
        .map(str::to_owned)
        .collect()
}

/// Asserts that nothing is decided, over IPv4 and over IPv6.
#[track_caller]
fn is_let_alone(name: &str, frames: Vec<Frame>) {
    let other = frames
        .iter()
        .map(|(at_us, frame)| (*at_us, in_ipv6(frame)))
        .collect();
    for (name, frames) in [(name.to_owned(), frames), (format!("{name}-6"), other)] {
        let made = decisions(&name, frames);
        assert!(made.is_empty(), "{name}: {made:#?}");
    }
}

/// A frame of [`sensor_tests::frames::ipv4`] in IPv6: hosts of a /24 are of one /64.
fn in_ipv6(frame: &[u8]) -> Vec<u8> {
    const ICMP_TYPES: [(u8, u8); 2] = [(8, 128), (0, 129)];
    let (header, payload) = frame[14..].split_at(20);
    let address = |at: usize| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|n| u16::from(header[at + n]));
        Ipv6Addr::new(0x2001, 0xdb8, a << 8 | b, c << 8, 0, 0, 0, d)
    };
    let mut payload = payload.to_vec();
    let (next, sum_at) = match header[9] {
        protocol::ICMP => {
            let known = ICMP_TYPES.iter().find(|(old, _)| *old == payload[0]);
            payload[0] = known.map_or(payload[0], |(_, new)| *new);
            (protocol::ICMPV6, 2)
        }
        protocol::UDP => (protocol::UDP, 6),
        other => (other, 16),
    };
    payload[sum_at..sum_at + 2].fill(0);
    ethernet(
        IPV6,
        &ipv6_between(next, [address(12), address(16)], payload, sum_at),
    )
}

/// Messages of a connection after its keys: bytes, positive from the client, and the time before each.
type Turns<'a> = &'a [(i32, u64)];

/// An SSH connection whose login goes by these messages.
fn ssh(at_us: u64, client: (Ip, u16), turns: Turns<'_>, ends: bool) -> Vec<Frame> {
    let server = (SERVER, 22);
    let (mut frames, mut now_us) = (Vec::new(), at_us);
    let mut say = |after_us: u64, is_client: bool, flags: u8, payload: &[u8]| {
        now_us += after_us;
        let (from, to) = if is_client {
            (client, server)
        } else {
            (server, client)
        };
        let n_options = if flags & SYN != 0 { 20 } else { 0 };
        let frame = if payload.is_empty() {
            tcp(from, to, flags, n_options, 0)
        } else {
            sensor_tests::frames::ipv4::tcp(from, to, flags, payload)
        };
        frames.push((now_us, frame));
    };
    let new_keys = [0, 0, 0, 12, 10, 21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let plain: [(bool, Vec<u8>); 7] = [
        (true, b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        (false, b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        (true, vec![20; 900]),
        (false, vec![20; 900]),
        (true, vec![30; 48]),
        (false, vec![31; 500]),
        (true, new_keys.to_vec()),
    ];
    say(0, true, SYN, b"");
    say(MS, false, SYN_ACK, b"");
    say(MS, true, ACK, b"");
    for (is_client, payload) in &plain {
        say(MS, *is_client, PSH_ACK, payload);
    }
    for (n_bytes, after_us) in turns {
        let payload = vec![0xe5; n_bytes.unsigned_abs() as usize];
        say(*after_us, *n_bytes > 0, PSH_ACK, &payload);
    }
    if ends {
        say(MS, true, FIN_ACK, b"");
        say(MS, false, FIN_ACK, b"");
        say(MS, true, ACK, b"");
    }
    frames
}

/// Service, no method, a question for a password that takes the directory its time, one for a second factor that a
/// phone confirms, success, and a session with a command and its output.
const SECOND_FACTOR: Turns<'_> = &[
    (44, MS),
    (-44, MS),
    (60, MS),
    (-52, 400 * MS),
    (84, 10 * MS),
    (-68, 10 * MS),
    (84, 20 * MS),
    (-68, 600 * MS),
    (84, 20 * MS),
    (-68, 2 * S),
    (84, 5 * MS),
    (-28, 500 * MS),
    (112, MS),
    (-256, MS),
    (176, MS),
    (-72, MS),
    (44, MS),
    (-124, MS),
];

#[test]
fn logins_that_take_their_time_are_let_alone_however_many_at_once() {
    let frames = (0..40)
        .flat_map(|n| {
            ssh(
                START_US + n * 100 * MS,
                (MANY, port(n)),
                SECOND_FACTOR,
                true,
            )
        })
        .collect();
    is_let_alone("second-factor", frames);
}

#[test]
fn people_behind_one_address_who_mistype_are_let_alone() {
    // Each is refused twice, types, and is let in; somebody in a minute gives up after three.
    let typed: Turns<'_> = &[
        (44, MS),
        (-44, MS),
        (60, MS),
        (-52, MS),
        (84, 3 * S),
        (-52, 2 * S),
        (84, 4 * S),
        (-52, 2 * S),
        (84, 4 * S),
        (-28, 300 * MS),
        (112, MS),
        (-256, MS),
    ];
    let given_up = &typed[..8];
    let mut frames = Vec::new();
    for n in 0..40 {
        let turns = if n % 10 == 9 { given_up } else { typed };
        frames.extend(ssh(START_US + n * 6 * S, (MANY, port(n)), turns, true));
    }
    is_let_alone("mistyped", frames);
}

#[test]
fn a_host_that_was_restarted_and_its_clients_that_come_again_are_let_alone() {
    // A balancer's thousand kept connections are reset when they are used, and begun anew.
    let mut frames = Vec::new();
    for n in 0..1_000 {
        let (at_us, server) = (START_US + n * 2 * MS, (SERVER, 8_080));
        let old = (MANY, port(n));
        frames.push((at_us, tcp(old, server, PSH_ACK, 0, 300)));
        frames.push((at_us + 100, tcp(server, old, RST_ACK, 0, 0)));
        frames.extend(session(at_us + MS, (MANY, port(n + 20_000)), server, true));
    }
    is_let_alone("balancer-restart", frames);
    // Keep-alives of what nobody uses: a gateway's three thousand within a minute, and nobody comes again.
    let mut frames = Vec::new();
    for n in 0..3_000 {
        let (at_us, server, old) = (START_US + n * 20 * MS, (SERVER, 1_883), (MANY, port(n)));
        frames.push((at_us, tcp(old, server, ACK, 0, 0)));
        frames.push((at_us + 100, tcp(server, old, RST_ACK, 0, 0)));
    }
    is_let_alone("keep-alives", frames);
}

#[test]
fn a_service_that_is_down_for_a_while_costs_none_of_its_clients() {
    let mut frames = Vec::new();
    for client in 0..20 {
        let from = scattered(client);
        for n in 0..600 {
            let at_us = START_US + n * 100 * MS + client * MS;
            let (client, server) = ((from, port(n)), (SERVER, 443));
            // Ten seconds of each minute nobody listens: a deploy.
            if (100..200).contains(&n) {
                frames.extend(refused(at_us, client, server, 20));
            } else {
                frames.extend(session(at_us, client, server, true));
            }
        }
    }
    is_let_alone("deploy", frames);
    // Health checks of one that stays down, ten a second from two checkers.
    let checks = (0..1_200).flat_map(|n| {
        let from = if n % 2 == 0 { MANY } else { [198, 51, 100, 10] };
        refused(START_US + n * 50 * MS, (from, port(n)), (SERVER, 8_080), 20)
    });
    is_let_alone("health-checks", checks.collect());
}

#[test]
fn a_balancer_without_keep_alive_and_monitoring_from_outside_are_let_alone() {
    // A connection for each request, several at a time: answers take 50 ms.
    let balancer = (0..6_000).flat_map(|n| {
        let (at_us, client) = (START_US + n * 10 * MS, (MANY, port(n)));
        let late = move |(frame_us, frame): Frame| {
            let is_answer = frame_us >= at_us + 8 * MS;
            (frame_us + if is_answer { 50 * MS } else { 0 }, frame)
        };
        session(at_us, client, (SERVER, 8_080), true)
            .into_iter()
            .map(late)
    });
    is_let_alone("balancer-of-many", balancer.collect());
    let balancer = (0..6_000).flat_map(|n| {
        session(
            START_US + n * 10 * MS,
            (MANY, port(n)),
            (SERVER, 8_080),
            true,
        )
    });
    is_let_alone("balancer", balancer.collect());
    // Each of twenty ports once in ten seconds, three of them closed, and pings beside.
    let mut frames = Vec::new();
    for round in 0..30u64 {
        for n in 0..20u64 {
            let at_us = START_US + round * 10 * S + n * 50 * MS;
            let (checker, server) = ((MANY, port(round * 20 + n)), (SERVER, 8_000 + n as u16));
            if n % 7 == 3 {
                frames.extend(refused(at_us, checker, server, 20));
            } else {
                frames.extend(session(at_us, checker, server, true));
            }
            frames.push((at_us + 20 * MS, echo(MANY, SERVER, 8)));
            frames.push((at_us + 21 * MS, echo(SERVER, MANY, 0)));
        }
    }
    is_let_alone("monitoring", frames);
}

#[test]
fn automation_relays_and_crawlers_are_let_alone() {
    let accepted: Turns<'_> = &[
        (44, MS),
        (-44, MS),
        (60, MS),
        (-52, MS),
        (308, MS),
        (-28, MS),
        (112, MS),
        (-256, MS),
        (176, MS),
        (-72, MS),
    ];
    let ansible = (0..300).flat_map(|n| {
        // Twenty at a time, each as soon as the one before is done.
        let at_us = START_US + (n / 20) * S + (n % 20) * 2 * MS;
        ssh(at_us, (MANY, port(n)), accepted, true)
    });
    is_let_alone("ansible", ansible.collect());
    let relay = (0..600)
        .flat_map(|n| session(START_US + n * 100 * MS, (MANY, port(n)), (SERVER, 25), true));
    is_let_alone("relay", relay.collect());
    // Four at a time, thirty a second, a page after the other.
    let crawler = (0..1_800)
        .flat_map(|n| session(START_US + n * 33 * MS, (MANY, port(n)), (SERVER, 443), true));
    is_let_alone("crawler", crawler.collect());
}

#[test]
fn tunnels_resolvers_and_uploads_are_let_alone() {
    // A concentrator's tunnel: nobody answers for ten seconds of a restart.
    let mut frames = Vec::new();
    for n in 0..12_000u64 {
        let at_us = START_US + n * 5 * MS;
        frames.push((at_us, udp((MANY, 51_820), (SERVER, 51_820), 1_200)));
        if !(4_000..6_000).contains(&n) {
            frames.push((at_us + MS, udp((SERVER, 51_820), (MANY, 51_820), 1_200)));
        }
    }
    is_let_alone("tunnel", frames);
    // A busy resolver asks a name server from a port of its own each time; a tenth is not answered.
    let mut frames = Vec::new();
    for n in 0..9_000u64 {
        let at_us = START_US + n * 5 * MS;
        let (asker, server) = ((MANY, port(n)), (SERVER, 53));
        frames.push((at_us, udp(asker, server, 40)));
        if n % 10 != 0 {
            frames.push((at_us + MS, udp(server, asker, 120)));
        }
    }
    is_let_alone("resolver", frames);
    let (client, server) = ((MANY, port(1)), (SERVER, 443));
    let mut frames = session(START_US, client, server, false);
    for n in 0..30_000u64 {
        let at_us = START_US + S + n * MS;
        frames.push((at_us, tcp(client, server, ACK, 0, 1_400)));
        if n % 2 == 0 {
            frames.push((at_us + 100, tcp(server, client, ACK, 0, 0)));
        }
    }
    is_let_alone("upload", frames);
}

/// Host of a network that `MANY` asks, all of them in one /24.
const fn host(n: u64) -> Ip {
    [192, 0, 2, 20 + (n % 200) as u8]
}

/// A SYN that nobody answers, and what a client sends again after one, three and seven seconds.
fn unanswered(at_us: u64, client: (Ip, u16), server: (Ip, u16)) -> impl Iterator<Item = Frame> {
    [0, 1, 3, 7]
        .into_iter()
        .map(move |after_s| (at_us + after_s * S, tcp(client, server, SYN, 20, 0)))
}

/// Rounds of a program that asks `n_hosts` for a service, each `gap_us` after the other and all again after `round_s`;
/// those that `fails` names refuse it, or say nothing where they are told to be silent.
fn rounds(
    (n_rounds, round_s): (u64, u64),
    (n_hosts, gap_us): (u64, u64),
    service: u16,
    fails: impl Fn(u64) -> Option<bool>,
) -> Vec<Frame> {
    let mut frames = Vec::new();
    for round in 0..n_rounds {
        for n in 0..n_hosts {
            let at_us = START_US + round * round_s * S + n * gap_us;
            let (client, server) = ((MANY, port(round * n_hosts + n)), (host(n), service));
            match fails(n) {
                None => frames.extend(session(at_us, client, server, true)),
                Some(false) => frames.extend(refused(at_us, client, server, 20)),
                Some(true) => frames.extend(unanswered(at_us, client, server)),
            }
        }
    }
    frames
}

const REFUSES: Option<bool> = Some(false);
const IS_SILENT: Option<bool> = Some(true);

#[test]
fn a_monitor_some_of_whose_hosts_are_gone_is_let_alone() {
    for (gap_us, round_s) in [(MS / 2, 30), (100 * MS, 60)] {
        let each = (4, round_s);
        for service in [22, 9_100] {
            let name = |what: &str| format!("monitor-{what}-{service}-{gap_us}");
            let scattered = |n| (n % 10 < 3).then_some(false);
            let frames = rounds(each, (100, gap_us), service, scattered);
            is_let_alone(&name("scattered"), frames);
            let first = |n| (n < 30).then_some(false);
            is_let_alone(&name("first"), rounds(each, (100, gap_us), service, first));
            let silent = |n| (n % 3 == 0).then_some(true);
            is_let_alone(
                &name("silent"),
                rounds(each, (100, gap_us), service, silent),
            );
        }
    }
    // By echoes as well: three of ten hosts say nothing.
    let echoes = (0..600u64).flat_map(|n| {
        let (at_us, to) = (START_US + n * 20 * MS, host(n % 100));
        let answer = (n % 10 >= 3).then(|| (at_us + MS, echo(to, MANY, 0)));
        std::iter::once((at_us, echo(MANY, to, 8))).chain(answer)
    });
    is_let_alone("monitor-echoes", echoes.collect());
    // By datagrams (SNMP): three of ten hosts say nothing.
    let polls = (0..800u64).flat_map(|n| {
        let (at_us, from, to) = (
            START_US + n * 10 * MS,
            (MANY, port(n)),
            (host(n % 200), 161),
        );
        let answer = (n % 10 >= 3).then(|| (at_us + MS, udp(to, from, 90)));
        std::iter::once((at_us, udp(from, to, 60))).chain(answer)
    });
    is_let_alone("monitor-datagrams", polls.collect());
}

#[test]
fn an_agent_whom_all_its_hosts_refuse_is_let_alone() {
    for (n_hosts, gap_us) in [(30, 200 * MS), (90, 5 * MS), (150, 12 * MS)] {
        for service in [22, 443, 10_050] {
            for fails in [REFUSES, IS_SILENT] {
                let name = format!("agent-{n_hosts}-{gap_us}-{service}-{}", fails == REFUSES);
                is_let_alone(
                    &name,
                    rounds((5, 30), (n_hosts, gap_us), service, |_| fails),
                );
            }
        }
    }
    // A relay with mail for servers that are gone, again every quarter of an hour.
    let relay = rounds((3, 900), (60, 300 * MS), 25, |_| IS_SILENT);
    is_let_alone("relay-of-dead", relay);
}

#[test]
fn a_checker_of_many_ports_half_of_them_closed_is_let_alone() {
    for (n_ports, gap_us, closed_of_ten) in
        [(40, MS, 5), (40, 100 * MS, 5), (90, MS, 9), (400, MS, 6)]
    {
        let mut frames = Vec::new();
        for n in 0..n_ports * 6u64 {
            let at_us = START_US + n / n_ports * 20 * S + n % n_ports * gap_us;
            let server = (SERVER, 2_000 + (n % n_ports * 7) as u16);
            let is_closed = n % n_ports * 7 % 10 < closed_of_ten;
            if is_closed {
                frames.extend(refused(at_us, (MANY, port(n)), server, 20));
            } else {
                frames.extend(session(at_us, (MANY, port(n)), server, true));
            }
        }
        is_let_alone(
            &format!("checker-{n_ports}-{gap_us}-{closed_of_ten}"),
            frames,
        );
    }
}

/// Somebody else is served from the beginning, a page every half a second.
fn others() -> impl Iterator<Item = Frame> {
    (0..400).flat_map(|n| {
        let client = ([203, 0, 113, 40], port(n));
        session(START_US + n * S / 2, client, (SERVER, 443), true)
    })
}

#[test]
fn who_is_served_and_comes_after_the_first_minute_is_let_alone() {
    for (gap_us, answers_after_us) in [(10 * MS, 50 * MS), (5 * MS, 300 * MS)] {
        for service in [443, 3_306, 9_999] {
            let begin_us = START_US + 100 * S;
            let balancer = (0..3_000).flat_map(|n| {
                let (at_us, client) = (begin_us + n * gap_us, (MANY, port(n)));
                let late = move |(frame_us, frame): Frame| {
                    let is_answer = frame_us >= at_us + 8 * MS;
                    (
                        frame_us + if is_answer { answers_after_us } else { 0 },
                        frame,
                    )
                };
                session(at_us, client, (SERVER, service), true)
                    .into_iter()
                    .map(late)
            });
            let name = format!("late-balancer-{service}-{gap_us}-{answers_after_us}");
            is_let_alone(&name, others().chain(balancer).collect());
        }
    }
}

#[test]
fn peers_of_a_swarm_that_are_gone_and_a_crawler_of_dead_hosts_are_let_alone() {
    // A program outside whose peers of before are here, two thirds of them gone.
    let swarm = (0..300u64).flat_map(|n| {
        let (at_us, peer) = (
            START_US + n * 40 * MS,
            (host(n), 20_000 + (n * 97 % 40_000) as u16),
        );
        if n % 3 == 0 {
            session(at_us, (MANY, port(n)), peer, true)
        } else {
            unanswered(at_us, (MANY, port(n)), peer).collect()
        }
    });
    is_let_alone("swarm", swarm.collect());
    // A crawler whose list is old: four of ten hosts refuse or say nothing, the others give it many pages.
    let mut frames = Vec::new();
    for n in 0..150u64 {
        let (at_us, server) = (START_US + n * 300 * MS, (host(n), 443));
        match n % 10 {
            0 | 1 => frames.extend(refused(at_us, (MANY, port(n * 8)), server, 20)),
            2 | 3 => frames.extend(unanswered(at_us, (MANY, port(n * 8)), server)),
            _ => frames.extend((0..8).flat_map(|page| {
                session(
                    at_us + page * 30 * MS,
                    (MANY, port(n * 8 + page)),
                    server,
                    true,
                )
            })),
        }
    }
    is_let_alone("crawler-of-dead", frames);
}

#[test]
fn a_search_beyond_the_rate_of_a_limit_is_decided_on() {
    // A scanner that knocks as fast, however many of its ports are open.
    for open_of in [40, 10] {
        let mut frames = Vec::new();
        for n in 0..3_000u64 {
            let (at_us, server) = (START_US + n * 2 * MS, (SERVER, 1 + n as u16));
            if n % open_of == 3 {
                frames.extend(session(at_us, (MANY, port(n)), server, true));
            } else {
                frames.extend(refused(at_us, (MANY, port(n)), server, 20));
            }
        }
        assert!(!decisions(&format!("search-{open_of}"), frames).is_empty());
    }
    let sweep = (0..2_000u64).flat_map(|n| {
        let [.., high, low] = n.to_be_bytes();
        let server = ([192, 1, high, low], 22);
        refused(START_US + n * 4 * MS, (MANY, port(n)), server, 20)
    });
    assert!(!decisions("search-hosts", sweep.collect()).is_empty());
}

#[test]
fn an_attack_is_decided_on_here() {
    let frames = (0..2_000)
        .flat_map(|n| {
            refused(
                START_US + n * MS,
                (MANY, port(1)),
                (SERVER, 1 + n as u16),
                0,
            )
        })
        .collect();
    assert!(!decisions("attack", frames).is_empty());
}
