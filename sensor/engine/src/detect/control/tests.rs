use sensor_common::event::{EventHead, Sample};
use sensor_common::v4_mapped;

use super::*;
use crate::detect::Family;
use crate::flow::{Delta, Progress};
use crate::tests::{T0, ip};
use sensor_common::Address;

const OUTSIDE: Address = v4_mapped(u32::from_ne_bytes([203, 0, 113, 7]));

struct Site {
    detector: ControlDetector,
    findings: Vec<Finding>,
}

impl Site {
    fn new() -> Self {
        Self {
            detector: ControlDetector::new(&Config::default()),
            findings: Vec::new(),
        }
    }

    /// One answered exchange as a flow of its own, or within one that goes on.
    fn call(
        &mut self,
        ends: (Address, Address, u16, u8),
        at_ms: u64,
        bytes: [u64; 2],
        is_new: bool,
    ) {
        let at_ns = T0 + at_ms * 1_000_000;
        let packets = |bytes: u64| Delta {
            packets: 4,
            bytes,
            n_flags: [0, 0, 0, u64::from(bytes > 0), 4],
            ..Delta::default()
        };
        self.detector.take_all(&[FlowUpdate {
            source: ends.0,
            destination: ends.1,
            source_port: 40_000,
            destination_port: ends.2,
            protocol: ends.3,
            is_claimed: false,
            has_fragments: false,
            forward: packets(bytes[0]),
            backward: packets(bytes[1]),
            n_forward: 4,
            n_backward: 4,
            is_attempt: true,
            is_one_way: false,
            begins_to_close: false,
            n_flags: [1, 0, 0, 0, 0],
            is_stray: false,
            is_new,
            progress: Progress::Established,
            has_progressed: is_new,
            has_closed: false,
            first_ns: at_ns,
            last_ns: at_ns,
        }]);
        self.detector.tick(at_ns, &mut self.findings);
    }

    fn say(
        &mut self,
        ends: (Address, Address, u16, u8),
        kind: Kind,
        payload: &[u8],
        is_answer: bool,
    ) {
        let mut head = EventHead {
            at_ns: T0,
            kind: kind as u8,
            payload_bytes: payload.len() as u32,
            ..EventHead::default()
        };
        let packet = &mut head.packet;
        packet.protocol = ends.3;
        (packet.source, packet.destination) = if is_answer {
            (ends.1, ends.0)
        } else {
            (ends.0, ends.1)
        };
        (packet.source_port, packet.destination_port) = if is_answer {
            (ends.2, 40_000)
        } else {
            (40_000, ends.2)
        };
        let sample = Sample {
            head: &head,
            payload,
        };
        self.detector.take_sample(&Seen {
            at_ns: T0,
            sample: &sample,
            is_answer,
        });
        self.detector.tick(T0, &mut self.findings);
    }

    fn families(&self) -> Vec<Family> {
        self.findings.iter().map(|finding| finding.family).collect()
    }
}

/// Interval with up to half of it as jitter, the same every time.
fn jitter(n: u64, period_ms: u64) -> u64 {
    let part = sensor_common::mix(n, 1, 2) % 1_000;
    n * period_ms + part * period_ms / 2_000
}

const BARE: &[u8] = b"GET /a HTTP/1.1\r\nHost: 203.0.113.7\r\nUser-Agent: x\r\n\r\n";
const NAMED: &[u8] = b"GET /a HTTP/1.1\r\nHost: api.example.org\r\nUser-Agent: x\r\n\r\n";

#[test]
fn timers_to_a_bare_address_outside_are_beacons_by_connection_and_within_one() {
    for is_new in [true, false] {
        let (mut site, ends) = (Site::new(), (ip(1), OUTSIDE, 80, protocol::TCP));
        for n in 0..40 {
            site.say(ends, Kind::Tcp, BARE, false);
            site.call(ends, jitter(n, 60_000), [420, 900], is_new || n == 0);
        }
        assert!(!site.findings.is_empty(), "new flows: {is_new}");
        assert!(
            site.families()
                .iter()
                .all(|family| *family == Family::Beacon)
        );
        let told = &site.findings[0];
        assert!(
            told.notes[0].value.contains("no name in the call"),
            "{told:?}"
        );
        assert!(!told.grades.is_proof());
    }
}

#[test]
fn keep_alives_of_a_stack_are_no_calls() {
    let (mut site, ends) = (Site::new(), (ip(1), OUTSIDE, 80, protocol::TCP));
    site.say(ends, Kind::Tcp, BARE, false);
    for n in 0..60 {
        site.call(ends, n * 5_000, [0, 0], n == 0);
    }
    assert_eq!(site.families(), []);
}

#[test]
fn datagrams_on_an_odd_port_outside_are_a_beacon_and_ntp_is_none() {
    let (mut site, ends) = (Site::new(), (ip(1), OUTSIDE, 4_444, protocol::UDP));
    for n in 0..40 {
        site.call(ends, jitter(n, 5_000), [90, 120], true);
    }
    assert!(site.families().contains(&Family::Beacon));
    let (mut site, ends) = (Site::new(), (ip(1), OUTSIDE, 1_123, protocol::UDP));
    let mut question = [0u8; 48];
    question[0] = 0x23;
    site.say(ends, Kind::Udp, &question, false);
    for n in 0..60 {
        site.call(ends, jitter(n, 64_000), [90, 90], true);
    }
    assert_eq!(site.families(), []);
}

#[test]
fn polls_by_name_health_checks_and_monitoring_are_silent() {
    let mut site = Site::new();
    let other = v4_mapped(u32::from_ne_bytes([198, 51, 100, 9]));
    let api = (ip(1), other, 443, protocol::TCP);
    let checked = |n: u16| (ip(2), ip(100 + n), 8_080, protocol::TCP);
    let shared = |n: u16| (ip(10 + n), OUTSIDE, 8_883, protocol::TCP);
    for n in 0..60 {
        site.say(api, Kind::Tcp, NAMED, false);
        site.call(api, n * 30_000, [420, 900], true);
        for host in 0..4u16 {
            site.call(checked(host), n * 5_000 + u64::from(host), [300, 200], true);
        }
        for source in 0..4u16 {
            site.call(
                shared(source),
                n * 60_000 + u64::from(source),
                [60, 60],
                n == 0,
            );
        }
    }
    assert_eq!(site.families(), []);
}

#[test]
fn clues_tell_pools_at_once_and_remote_administration_by_its_sum() {
    let mut site = Site::new();
    let pool = br#"{"id":1,"method":"mining.subscribe","params":[]}"#;
    site.say(
        (ip(1), OUTSIDE, 9_999, protocol::TCP),
        Kind::Tcp,
        pool,
        false,
    );
    assert_eq!(site.families(), [Family::SuspectCall]);
    assert!(site.findings[0].grades.is_proof());
    let ends = (ip(1), ip(2), 445, protocol::TCP);
    let mut pipe = vec![0, 0, 0, 90, 0xfe, b'S', b'M', b'B'];
    pipe.extend(b"s\0v\0c\0c\0t\0l\0");
    site.say(ends, Kind::Tcp, &pipe, false);
    site.say(ends, Kind::Tcp, &pipe, false);
    assert_eq!(
        site.families(),
        [Family::SuspectCall, Family::LateralMovement]
    );
    assert!(
        !site.findings[1].grades.is_proof(),
        "one kind is what administrators do"
    );
}

/// A request of DCE/RPC, or what binds an interface to a connection.
fn rpc(kind: u8, operation: u16, rest: &[u8]) -> Vec<u8> {
    let mut message = vec![5, 0, kind, 3, 0x10, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    message.extend([0, 0, 0, 0, 0, 0]);
    message.extend(operation.to_le_bytes());
    message.extend(rest);
    let n = (message.len() as u16).to_le_bytes();
    message[8..10].copy_from_slice(&n);
    message
}

const DIRECTORY: &[u8] = b"\x35\x42\x51\xe3\x06\x4b\xd1\x11\xab\x04\0\xc0\x4f\xc2\xdc\xd2";
const NETLOGON: &[u8] = b"\x78\x56\x34\x12\x34\x12\xcd\xab\xef\0\x01\x23\x45\x67\xcf\xfb";

#[test]
fn a_directory_is_replicated_by_directories_alone() {
    let ask = |site: &mut Site, source: Address, operation| {
        let ends = (source, ip(2), 49_674, protocol::TCP);
        site.say(ends, Kind::Tcp, &rpc(11, 0, DIRECTORY), false);
        site.say(ends, Kind::Tcp, &rpc(0, operation, &[7; 40]), false);
    };
    let mut site = Site::new();
    // What every member of a domain asks: names.
    ask(&mut site, ip(1), 12);
    assert_eq!(site.families(), []);
    ask(&mut site, ip(1), 3);
    assert_eq!(site.families(), [Family::LateralMovement]);
    // Another directory, which members ask as well.
    let mut site = Site::new();
    let member = (ip(1), ip(3), 49_674, protocol::TCP);
    site.say(member, Kind::Tcp, &rpc(11, 0, DIRECTORY), false);
    ask(&mut site, ip(3), 3);
    // The third operation of something else.
    let other = (ip(1), ip(2), 49_680, protocol::TCP);
    site.say(other, Kind::Tcp, &rpc(0, 3, &[7; 40]), false);
    assert_eq!(site.families(), []);
}

#[test]
fn a_challenge_of_zeros_is_no_proof_of_identity() {
    let ends = (ip(1), ip(2), 49_674, protocol::TCP);
    let mut site = Site::new();
    site.say(ends, Kind::Tcp, &rpc(11, 0, NETLOGON), false);
    site.say(
        ends,
        Kind::Tcp,
        &rpc(0, 4, b"\x9a\x01\x77\x20\0\0\0\x08"),
        false,
    );
    assert_eq!(site.families(), []);
    site.say(ends, Kind::Tcp, &rpc(0, 4, &[0; 12]), false);
    assert_eq!(site.families(), [Family::LateralMovement]);
    assert!(site.findings[0].grades.is_proof());
}

/// A file of SMB2 that is opened with these rights.
fn create(name: &str, access: u32) -> Vec<u8> {
    let mut message = vec![
        0, 0, 0, 0, 0xfe, b'S', b'M', b'B', 64, 0, 0, 0, 0, 0, 0, 0, 5, 0,
    ];
    message.resize(4 + 64 + 56, 0);
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    message[4 + 64 + 24..][..4].copy_from_slice(&access.to_le_bytes());
    message[4 + 64 + 44..][..2].copy_from_slice(&120u16.to_le_bytes());
    message[4 + 64 + 46..][..2].copy_from_slice(&(name.len() as u16).to_le_bytes());
    message.extend(name);
    message
}

#[test]
fn programs_on_one_share_after_the_other_are_told_and_documents_are_not() {
    let visit = |names: &[(&str, u32)]| {
        let mut site = Site::new();
        for host in 0..4 {
            for (name, access) in names {
                let ends = (ip(1), ip(100 + host), 445, protocol::TCP);
                site.say(ends, Kind::Tcp, &create(name, *access), false);
            }
        }
        site.families()
    };
    let writes = 0x0012_019f;
    assert_eq!(
        visit(&[("tools\\a.exe", writes)]).first(),
        Some(&Family::LateralMovement)
    );
    assert_eq!(
        visit(&[("srvsvc", writes)]).first(),
        Some(&Family::LateralMovement)
    );
    assert_eq!(
        visit(&[("letter.docx", writes), ("a.exe", 0x0012_0089)]),
        []
    );
}

#[test]
fn a_page_that_one_client_posts_code_to_is_a_shell_and_a_form_is_none() {
    let ends = (ip(1), ip(9), 80, protocol::TCP);
    let post = |body: &str| {
        format!("POST /up/x.php HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: x\r\n\r\n{body}")
    };
    let code = "Zp3kQ9vXw1LmT7aBcR5yUeN8sHdJ2fGo4iKxPqWzVtYl0MnEr6SuAjDhFgCbOkIv9Q2w7X5z3==";
    let form =
        "name=a+person&street=the+long+road+to+nowhere+and+back&town=a+town&order=none&order=none";
    let mut site = Site::new();
    for _ in 0..8 {
        site.say(ends, Kind::Tcp, post(form).as_bytes(), false);
    }
    assert_eq!(site.families(), []);
    for _ in 0..8 {
        site.say(ends, Kind::Tcp, post(code).as_bytes(), false);
    }
    assert_eq!(site.families(), [Family::WebShell]);
    // Somebody else asks for the page: it is one of the site's.
    let mut site = Site::new();
    let other = (ip(3), ip(9), 80, protocol::TCP);
    for _ in 0..8 {
        site.say(other, Kind::Tcp, post(form).as_bytes(), false);
        site.say(ends, Kind::Tcp, post(code).as_bytes(), false);
    }
    assert_eq!(site.families(), []);
}
