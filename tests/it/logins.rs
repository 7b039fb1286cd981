//! Golden replays of what services say: refused logins, broken messages, refusing devices, echoes.

use sensor_tests::frames::ipv4::{self, ACK, FIN_ACK, PSH_ACK, SYN, SYN_ACK};

use crate::content::{Frame, START_US, found};
use crate::replay::{capture, families, replay};

const CLIENT: [u8; 4] = [198, 51, 100, 9];
const SERVER: [u8; 4] = [192, 0, 2, 10];

/// A segment with its payload; `way` is from the client or from the server.
fn tcp(way: Way, ports: (u16, u16), flags: u8, payload: &[u8]) -> Vec<u8> {
    let (source, destination, (from, to)) = match way {
        Way::Out(client, server) => (client, server, ports),
        Way::Back(client, server) => (server, client, (ports.1, ports.0)),
    };
    ipv4::tcp((source, from), (destination, to), flags, payload)
}

#[derive(Clone, Copy)]
enum Way {
    Out([u8; 4], [u8; 4]),
    Back([u8; 4], [u8; 4]),
}

/// A connection: handshake, what both say in turn, beginning with the client, and its end.
fn session(at_us: u64, ports: (u16, u16), turns: &[&[u8]]) -> Vec<Frame> {
    session_of(CLIENT, at_us, ports, turns)
}

fn session_of(client: [u8; 4], at_us: u64, ports: (u16, u16), turns: &[&[u8]]) -> Vec<Frame> {
    let (out, back) = (Way::Out(client, SERVER), Way::Back(client, SERVER));
    let mut frames: Vec<Vec<u8>> = vec![
        tcp(out, ports, SYN, b""),
        tcp(back, ports, SYN_ACK, b""),
        tcp(out, ports, ACK, b""),
    ];
    for (n, turn) in turns.iter().enumerate() {
        let (way, other) = if n % 2 == 0 { (out, back) } else { (back, out) };
        if !turn.is_empty() {
            frames.push(tcp(way, ports, PSH_ACK, turn));
            frames.push(tcp(other, ports, ACK, b""));
        }
    }
    frames.extend([
        tcp(out, ports, FIN_ACK, b""),
        tcp(back, ports, FIN_ACK, b""),
        tcp(out, ports, ACK, b""),
    ]);
    let at = |(n, frame)| (at_us + n as u64 * 1_000, frame);
    frames.into_iter().enumerate().map(at).collect()
}

fn detectors(name: &str, frames: &[Frame]) -> (Vec<String>, String) {
    let path = capture(name, frames);
    let output = replay(&[&path]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (families(&output), text)
}

/// An FTP connection in which these passwords are refused.
fn ftp_refusals(at_us: u64, port: u16, passwords: &[String], last: &[u8]) -> Vec<Frame> {
    let lines: Vec<Vec<u8>> = passwords
        .iter()
        .map(|password| format!("PASS {password}\r\n").into_bytes())
        .collect();
    let mut turns: Vec<&[u8]> = vec![b"", b"220 ready\r\n"];
    for line in &lines {
        turns.extend([
            b"USER root\r\n".as_slice(),
            b"331 password?\r\n",
            line,
            b"530 Login incorrect.\r\n",
        ]);
    }
    if let Some(place) = turns.last_mut() {
        *place = last;
    }
    session(at_us, (port, 21), &turns)
}

/// The first incident above low in the output of a replay.
fn loud(text: &str) -> Option<&str> {
    text.lines()
        .find(|line| line.contains(r#""kind":"incident""#) && !line.contains(r#""severity":"low""#))
}

fn words(n: usize) -> Vec<String> {
    (0..n).map(|n| format!("secret{n}")).collect()
}

const REFUSED: &[u8] = b"530 Login incorrect.\r\n";

#[test]
fn refused_ftp_logins_are_found() {
    // One long connection, so that the number of sessions says nothing.
    let (families, text) = detectors("ftp", &ftp_refusals(START_US, 40_000, &words(15), REFUSED));
    assert_eq!(families, ["brute_force"]);
    assert!(
        text.contains("refused_logins") && text.contains("replies"),
        "{text}"
    );
    assert!(!text.contains(r#""severity":"critical""#), "{text}");
}

#[test]
fn one_guess_in_ten_seconds_is_found() {
    let frames: Vec<Frame> = (0..40)
        .flat_map(|n| {
            let at_us = START_US + n * 10_000_000;
            ftp_refusals(at_us, 40_000 + n as u16, &[format!("secret{n}")], REFUSED)
        })
        .collect();
    let (_, text) = detectors("slow-ftp", &frames);
    assert!(
        loud(&text).is_some_and(|line| line.contains("brute_force")),
        "{text}"
    );
}

#[test]
fn a_login_that_succeeds_after_guesses_is_critical() {
    let frames = ftp_refusals(START_US, 40_000, &words(20), b"230 welcome\r\n");
    let (families, text) = detectors("break-in", &frames);
    assert_eq!(families, ["brute_force"]);
    assert!(text.contains(r#""severity":"critical""#), "{text}");
    assert!(text.contains("a password was found"), "{text}");
}

#[test]
fn a_saved_password_that_is_not_right_any_more_raises_nothing_above_low() {
    for (name, gap_us) in [("saved-minute", 60_000_000), ("saved-second", 1_000_000)] {
        let frames: Vec<Frame> = (0..60)
            .flat_map(|n| {
                let at_us = START_US + n * gap_us;
                ftp_refusals(at_us, 40_000 + n as u16, &["old".to_owned()], REFUSED)
            })
            .collect();
        let (_, text) = detectors(name, &frames);
        assert_eq!(loud(&text), None, "{name}");
        assert!(!text.contains(r#""kind":"decision""#), "{text}");
    }
}

/// An SSH connection up to SSH_MSG_NEWKEYS, then messages of these sizes in turn, beginning with the
/// client.
fn ssh(client: [u8; 4], at_us: u64, ports: (u16, u16), sizes: &[usize]) -> Vec<Frame> {
    let sealed: Vec<Vec<u8>> = sizes.iter().map(|n| vec![0xe5; *n]).collect();
    let new_keys = [0, 0, 0, 12, 10, 21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (lists, reply) = (vec![20; 900], vec![31; 500]);
    let mut first = new_keys.to_vec();
    first.extend(&sealed[0]);
    let mut turns: Vec<&[u8]> = vec![
        b"SSH-2.0-libssh_0.10\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        &lists,
        &lists,
        &reply[..48],
        &reply,
        &first,
    ];
    turns.extend(sealed.iter().skip(1).map(Vec::as_slice));
    session_of(client, at_us, ports, &turns)
}

/// Service, no method, a password; each answered.
const SSH_REFUSED: &[usize] = &[44, 44, 60, 52, 84, 52];
/// Service, no method, a key, a session, a command and its output.
const SSH_ACCEPTED: &[usize] = &[44, 44, 60, 52, 308, 28, 112, 256, 176, 72, 44, 124];

fn ssh_logins(gap_us: u64, port: u16, sizes: &[usize]) -> Vec<Frame> {
    (0..40)
        .flat_map(|n| {
            ssh(
                CLIENT,
                START_US + n * gap_us,
                (40_000 + n as u16, port),
                sizes,
            )
        })
        .collect()
}

#[test]
fn ssh_guessing_is_found_by_sizes_on_any_port_and_automation_is_not() {
    for port in [22, 902] {
        for (rate, gap_us) in [("fast", 400_000), ("slow", 10_000_000)] {
            let name = format!("ssh-{port}-{rate}");
            let (families, text) = detectors(&name, &ssh_logins(gap_us, port, SSH_REFUSED));
            assert!(
                families.iter().any(|family| family == "brute_force"),
                "{name}: {families:?}"
            );
            assert!(
                text.contains("refused_logins") && loud(&text).is_some(),
                "{text}"
            );
            let name = format!("ssh-loop-{port}-{rate}");
            let (_, text) = detectors(&name, &ssh_logins(gap_us, port, SSH_ACCEPTED));
            assert_eq!(loud(&text), None, "{name}");
            assert!(!text.contains(r#""kind":"decision""#), "{text}");
        }
    }
}

#[test]
fn guesses_that_many_sources_share_are_one_incident_and_nobody_is_blocked_for_it() {
    let mut frames: Vec<Frame> = (0..60u64)
        .flat_map(|n| {
            let client = [198, 51, 100, 10 + (n % 20) as u8];
            let at_us = START_US + n * 1_500_000;
            ssh(client, at_us, (40_000 + n as u16, 22), SSH_REFUSED)
        })
        .collect();
    frames.sort_by_key(|(at_us, _)| *at_us);
    let (families, text) = detectors("ssh-shared", &frames);
    assert_eq!(families, ["brute_force"]);
    assert!(text.contains("refused_clients"), "{text}");
    assert!(!text.contains(r#""kind":"decision""#), "{text}");
}

#[test]
fn accepted_logins_raise_nothing() {
    let mut frames = Vec::new();
    for n in 0..40 {
        let at_us = START_US + n * 20_000_000;
        let port = 40_000 + n as u16;
        let ftp: [&[u8]; 6] = [
            b"",
            b"220 ready\r\n",
            b"USER ann\r\n",
            b"331 password?\r\n",
            b"PASS x\r\n",
            if n % 10 == 0 {
                b"530 no\r\n"
            } else {
                b"230 welcome\r\n"
            },
        ];
        frames.extend(session(at_us, (port, 21), &ftp));
        // A browser is asked for its ticket on each connection first.
        let web: [&[u8]; 4] = [
            b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a.example\r\nAuthorization: Negotiate x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ];
        frames.extend(session(at_us + 100_000, (port, 80), &web));
    }
    assert_eq!(found("good-logins", &frames), [] as [&str; 0]);
}

/// Connections of ten requests each, four a second, and their answers.
fn pages(of: impl Fn(u64) -> (String, u16)) -> Vec<Frame> {
    let mut frames = Vec::new();
    for n in 0..12 {
        let turns: Vec<Vec<u8>> = (0..10)
            .flat_map(|i| {
                let (path, status) = of(n * 10 + i);
                [
                    format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n").into_bytes(),
                    format!("HTTP/1.1 {status} -\r\nContent-Length: 0\r\n\r\n").into_bytes(),
                ]
            })
            .collect();
        let turns: Vec<&[u8]> = turns.iter().map(Vec::as_slice).collect();
        frames.extend(session(
            START_US + n * 2_500_000,
            (41_000 + n as u16, 80),
            &turns,
        ));
    }
    frames
}

#[test]
fn pages_tried_from_a_list_are_found() {
    let status = |n: u64| if n.is_multiple_of(12) { 200 } else { 404 };
    let (families, text) = detectors(
        "page-list",
        &pages(|n| (format!("/app/word{n}/"), status(n))),
    );
    assert_eq!(families, ["path_guessing"]);
    assert!(
        text.contains("T1595.003") && loud(&text).is_none(),
        "{text}"
    );
}

#[test]
fn polls_mirrors_caches_and_crawlers_try_no_list() {
    let poll = |n: u64| (format!("/status?n={n}"), 404);
    assert_eq!(found("poll", &pages(poll)), [] as [&str; 0]);
    let mirror = |n: u64| (format!("/pool/p{n}/part.deb"), 404);
    assert_eq!(found("mirror", &pages(mirror)), [] as [&str; 0]);
    let hash = |n: u64| {
        let words = [3u64, 5, 7].map(|of| {
            (n + 1)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(of as u32 * 9)
                ^ of
        });
        let [a, b, c] = words;
        (format!("/{a:016x}{b:016x}{c:016x}.narinfo"), 404)
    };
    assert_eq!(found("cache", &pages(hash)), [] as [&str; 0]);
    let crawl = |n: u64| {
        (
            format!("/page{n}"),
            if n.is_multiple_of(2) { 404 } else { 200 },
        )
    };
    assert_eq!(found("crawl", &pages(crawl)), [] as [&str; 0]);
}

#[test]
fn mqtt_messages_against_the_protocol_are_found() {
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a";
    let accepted = b"\x20\x02\x00\x00";
    let say = |topics: &[&[u8]]| {
        let mut turns: Vec<&[u8]> = vec![connect, accepted];
        for topic in topics {
            turns.extend([*topic, b""]);
        }
        session(START_US, (40_000, 1883), &turns)
    };
    let bad: [&[u8]; 12] = [b"\x30\x05\x00\x03a/#"; 12];
    assert_eq!(found("bad-mqtt", &say(&bad)), ["malformed_traffic"]);
    let good: [&[u8]; 100] = [b"\x30\x06\x00\x03a/b1"; 100];
    assert_eq!(found("good-mqtt", &say(&good)), [] as [&str; 0]);
}

fn modbus(unit: [u8; 4], n: u16, port: u16, function: u8, answer: &[u8]) -> [Frame; 2] {
    let at_us = START_US + u64::from(n) * 200_000;
    let [high, low] = n.to_be_bytes();
    let request = [high, low, 0, 0, 0, 6, 1, function, 0, 0, 0, 1];
    let mut reply = vec![high, low, 0, 0, 0, 1 + answer.len() as u8, 1];
    reply.extend(answer);
    [
        (
            at_us,
            tcp(Way::Out(CLIENT, unit), (port, 502), PSH_ACK, &request),
        ),
        (
            at_us + 5_000,
            tcp(Way::Back(CLIENT, unit), (port, 502), PSH_ACK, &reply),
        ),
    ]
}

#[test]
fn exploring_a_modbus_device_is_found_and_polling_is_not() {
    let poll = |n| modbus(SERVER, n, 40_000, 3, &[3, 2, 0, n as u8]);
    let polls: Vec<Frame> = (0..300).flat_map(poll).collect();
    assert_eq!(found("polls", &polls), [] as [&str; 0]);
    let probe = |n| modbus(SERVER, n, 40_000, 4, &[0x84, 2]);
    let probes: Vec<Frame> = (0..60).flat_map(probe).collect();
    let (families, text) = detectors("probes", &probes);
    assert_eq!(families, ["behaviour_anomaly"]);
    assert!(text.contains("refused_requests"), "{text}");
}

#[test]
fn devices_that_begin_to_talk_are_found() {
    let (one, other) = (SERVER, [192, 0, 2, 11]);
    let mut frames: Vec<Frame> = (0..100)
        .flat_map(|n| {
            let mut both = modbus(one, n, 40_000, 3, &[3, 2, 0, 1]).to_vec();
            both.extend(modbus(other, n, 40_001, 3, &[3, 2, 0, 1]));
            both
        })
        .collect();
    let at_us = START_US + 15_000_000;
    let way = Way::Out(one, other);
    frames.push((at_us, tcp(way, (1617, 4444), SYN, b"")));
    frames.push((
        at_us + 500,
        tcp(Way::Back(one, other), (1617, 4444), SYN_ACK, b""),
    ));
    frames.push((at_us + 900, tcp(way, (1617, 4444), ACK, b"")));
    frames.sort_by_key(|(at_us, _)| *at_us);
    assert_eq!(found("devices", &frames), ["lateral_movement"]);
}

fn echo(n: u64, request: &[u8], reply: &[u8]) -> [Frame; 2] {
    let at_us = START_US + n * 500_000;
    let message = |kind: u8, data: &[u8]| {
        let mut bytes = vec![kind, 0, 0, 0, 0x12, 0x34, 0, n as u8];
        bytes.extend(data);
        bytes
    };
    [
        (at_us, ipv4::packet(1, CLIENT, SERVER, &message(8, request))),
        (
            at_us + 9_000,
            ipv4::packet(1, SERVER, CLIENT, &message(0, reply)),
        ),
    ]
}

#[test]
fn echoes_that_carry_data_are_found() {
    let data = |n: u64, salt: u64| -> Vec<u8> {
        let length = 20 + (n * 37 + salt * 11) % 100;
        (0..length)
            .map(|i| (n * 31 + i * 17 + salt) as u8)
            .collect()
    };
    let tunnel: Vec<Frame> = (0..60)
        .flat_map(|n| echo(n, &data(n, 1), &data(n, 2)))
        .collect();
    assert_eq!(found("icmp-tunnel", &tunnel), ["icmp_tunnel"]);
    let ping = |n: u64| {
        // A time stamp, then the same bytes every time.
        let mut data = (n * 999_983).to_be_bytes().repeat(2);
        data.extend(16..56);
        echo(n, &data, &data)
    };
    let pings: Vec<Frame> = (0..300).flat_map(ping).collect();
    assert_eq!(found("ping", &pings), [] as [&str; 0]);
    // A test of the path sends every length.
    let path_test = |n: u64| echo(n, &vec![b'a'; n as usize * 9], &vec![b'a'; n as usize * 9]);
    let tests: Vec<Frame> = (0..150).flat_map(path_test).collect();
    assert_eq!(found("path-test", &tests), [] as [&str; 0]);
}

#[test]
fn flow_records_carry_notes_of_their_packets() {
    let turns: [&[u8]; 2] = [
        b"GET /index.html HTTP/1.1\r\nHost: a.example\r\nUser-Agent: test/1\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ];
    let path = capture("facts", &session(START_US, (40_000, 8080), &turns));
    let output = std::process::Command::new(sensor_tests::binary().unwrap())
        .args(["replay", "--json", "--flows"])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let flow = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|line| line["kind"] == "flow")
        .unwrap();
    for (name, value) in [
        ("network.protocol", "http"),
        ("http.request.method", "GET"),
        ("url.domain", "a.example"),
        ("url.path", "/index.html"),
        ("user_agent.original", "test/1"),
        ("http.response.status_code", "204"),
    ] {
        assert_eq!(flow[name], value, "{flow}");
    }
}
