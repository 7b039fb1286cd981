//! Those whom enforcement must not hurt: what they do leads to no decision at all, however it looks.

use sensor_tests::frames::ipv4::{ACK, FIN_ACK, Ip, PSH_ACK, RST_ACK, SYN, SYN_ACK, icmp as echo};

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

#[track_caller]
fn is_let_alone(name: &str, frames: Vec<Frame>) {
    let made = decisions(name, frames);
    assert!(made.is_empty(), "{name}: {made:#?}");
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
