//! Clues to what a call is for, in the first packets of a flow: names that are missing, programs that are
//! fetched, services that administrators use, protocols that clients don't speak.

use httparse::{EMPTY_HEADER, Request};

use super::tls::ClientHello;

macro_rules! clues {
    ($($name:ident = $bit:literal, $label:literal: $help:literal;)+) => {
        impl Clues {
            $(#[doc = $help] pub(crate) const $name: Self = Self(1 << $bit);)+

            const LABELS: &'static [(Self, &'static str)] = &[$((Self::$name, $label)),+];
        }
    };
}

/// Set of clues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clues(u32);

clues! {
    NAMED = 0, "named": "The server was called by a name: TLS server name, HTTP host.";
    BARE_TLS = 1, "tls_without_name": "A TLS hello without a server name.";
    BARE_HTTP = 2, "http_to_address": "An HTTP request to a bare address.";
    NO_AGENT = 3, "no_user_agent": "An HTTP request without a user agent.";
    POST = 4, "post": "An HTTP request that sends data.";
    PROGRAM = 5, "program_fetched": "An answer that is an executable (MZ or ELF).";
    SERVICE_CONTROL = 6, "svcctl": "Service control over SMB or DCE/RPC.";
    TASKS = 7, "task_scheduler": "Scheduled tasks over SMB or DCE/RPC.";
    REMOTE_SHELL = 8, "winrm": "Windows remote management.";
    REPLICATION = 9, "drsuapi": "Directory replication.";
    ACTIVATION = 10, "dcom_activation": "Remote activation by DCOM, which remote WMI begins with.";
    NETLOGON = 11, "netlogon": "Netlogon calls over DCE/RPC.";
    MINING = 12, "stratum": "Stratum, the protocol of mining pools.";
    CHAT = 13, "irc": "IRC registration.";
    MAIL = 14, "smtp": "SMTP, as its client.";
    TIME = 15, "ntp": "NTP, as its client.";
    FETCH = 17, "request": "An HTTP request other than POST.";
    LOOKUP = 16, "lookup": "A look-up that brings lookup strings into logs (JNDI).";
}

impl Clues {
    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Names, for notes.
    pub(crate) fn labels(self) -> impl Iterator<Item = &'static str> {
        let all = Self::LABELS.iter();
        all.filter(move |(clue, _)| self.has(*clue))
            .map(|(_, label)| *label)
    }

    /// Reads a segment of the initiator.
    pub(crate) fn of_question(payload: &[u8]) -> Self {
        match payload {
            [0x16, 3, ..] => of_hello(payload),
            [0xff, b'S', b'M', b'B', ..] | [_, _, _, _, 0xff | 0xfe, b'S', b'M', b'B', ..] => {
                of_pipe(payload)
            }
            [5, 0, 11 | 14, ..] => of_bind(payload),
            [b'{', ..] => of_json(payload),
            [
                b'E' | b'H' | b'e' | b'h',
                b'H' | b'E' | b'h' | b'e',
                b'L' | b'l',
                b'O' | b'o',
                b' ',
                ..,
            ] => Self::MAIL,
            [b'N', b'I', b'C', b'K', b' ', ..] | [b'U', b'S', b'E', b'R', b' ', ..] => {
                of_chat(payload)
            }
            [b'A'..=b'Z', b'A'..=b'Z', b'A'..=b'Z', ..] => of_request(payload),
            _ => Self::default(),
        }
    }

    /// Reads a segment of the responder.
    pub(crate) fn of_answer(payload: &[u8]) -> Self {
        if !payload.starts_with(b"HTTP/1.") {
            return Self::default();
        }
        let body = find(payload, b"\r\n\r\n").and_then(|at| payload.get(at + 4..));
        match body {
            Some([b'M', b'Z', _, _, ..] | [0x7f, b'E', b'L', b'F', ..]) => Self::PROGRAM,
            _ => Self::default(),
        }
    }

    /// Reads the first datagram of the initiator: NTP in client mode (RFC 5905 7.3), 48 bytes.
    pub(crate) fn of_datagram(payload: &[u8], payload_bytes: u32) -> Self {
        match payload {
            // Mode, version, stratum, poll interval, and a precision below a second.
            [first, 0..=16, 0..=17, 0 | 0xe0.., ..]
                if payload_bytes == 48 && first & 7 == 3 && (1..=4).contains(&(first >> 3 & 7)) =>
            {
                Self::TIME
            }
            _ => Self::default(),
        }
    }
}

fn find(payload: &[u8], needle: &[u8]) -> Option<usize> {
    let mut windows = payload.windows(needle.len());
    windows.position(|window| window == needle)
}

fn of_hello(payload: &[u8]) -> Clues {
    match ClientHello::read(payload) {
        Some(hello) if hello.server_name.is_some() => Clues::NAMED,
        Some(_) => Clues::BARE_TLS,
        None => Clues::default(),
    }
}

/// Pipes of SMB by their names (UTF-16), and what is bound within.
fn of_pipe(payload: &[u8]) -> Clues {
    let mut clues = of_bind(payload);
    for (name, clue) in [
        (&b"s\0v\0c\0c\0t\0l"[..], Clues::SERVICE_CONTROL),
        (b"a\0t\0s\0v\0c", Clues::TASKS),
        (b"d\0r\0s\0u\0a\0p\0i", Clues::REPLICATION),
    ] {
        if find(payload, name).is_some() {
            clues = clues.with(clue);
        }
    }
    clues
}

/// Interfaces of DCE/RPC by their identifiers, as on the wire (MS-SCMR, MS-TSCH, MS-DRSR, MS-DCOM,
/// MS-NRPC).
fn of_bind(payload: &[u8]) -> Clues {
    const INTERFACES: [([u8; 8], Clues); 6] = [
        (
            [0x81, 0xbb, 0x7a, 0x36, 0x44, 0x98, 0xf1, 0x35],
            Clues::SERVICE_CONTROL,
        ),
        (
            [0x82, 0x06, 0xf7, 0x1f, 0x51, 0x0a, 0xe8, 0x30],
            Clues::TASKS,
        ),
        (
            [0x49, 0x59, 0xd3, 0x86, 0xc9, 0x83, 0x44, 0x40],
            Clues::TASKS,
        ),
        (
            [0x35, 0x42, 0x51, 0xe3, 0x06, 0x4b, 0xd1, 0x11],
            Clues::REPLICATION,
        ),
        ([0xa0, 0x01, 0, 0, 0, 0, 0, 0], Clues::ACTIVATION),
        (
            [0x78, 0x56, 0x34, 0x12, 0x34, 0x12, 0xcd, 0xab],
            Clues::NETLOGON,
        ),
    ];
    let mut clues = Clues::default();
    for (interface, clue) in INTERFACES {
        if find(payload, &interface).is_some() {
            clues = clues.with(clue);
        }
    }
    clues
}

fn of_json(payload: &[u8]) -> Clues {
    let words: [&[u8]; 3] = [b"\"mining.", b"\"eth_submitLogin\"", b"\"eth_getWork\""];
    let is_login = find(payload, b"\"login\"").is_some() && find(payload, b"\"agent\"").is_some();
    if is_login || words.iter().any(|word| find(payload, word).is_some()) {
        Clues::MINING
    } else {
        Clues::default()
    }
}

/// `NICK` with `USER` (RFC 2812 3.1); FTP and POP3 have `USER` alone.
fn of_chat(payload: &[u8]) -> Clues {
    let is_chat = payload.starts_with(b"NICK ") || find(payload, b"\nNICK ").is_some();
    if is_chat {
        Clues::CHAT
    } else {
        Clues::default()
    }
}

fn of_request(payload: &[u8]) -> Clues {
    let mut headers = [EMPTY_HEADER; 32];
    let mut request = Request::new(&mut headers);
    let result = request.parse(payload);
    if matches!(result, Err(e) if e != httparse::Error::TooManyHeaders) {
        return Clues::default();
    }
    let (Some(method), Some(path)) = (request.method, request.path) else {
        return Clues::default();
    };
    let is_whole = matches!(result, Ok(httparse::Status::Complete(_)));
    let value = |name: &str| {
        let mut all = request.headers.iter();
        all.find(|header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    };
    let mut clues = Clues::default();
    match value("host") {
        Some(host) if is_address(host) => clues = clues.with(Clues::BARE_HTTP),
        Some(_) => clues = clues.with(Clues::NAMED),
        None => {}
    }
    if is_whole && value("user-agent").is_none() {
        clues = clues.with(Clues::NO_AGENT);
    }
    clues = clues.with(if method == "POST" {
        Clues::POST
    } else {
        Clues::FETCH
    });
    if method == "POST" && path.starts_with("/wsman") {
        clues = clues.with(Clues::REMOTE_SHELL);
    }
    if find(payload, b"${jndi:").is_some() {
        clues = clues.with(Clues::LOOKUP);
    }
    clues
}

/// An address, with or without a port.
fn is_address(host: &[u8]) -> bool {
    let is_v4 = host
        .iter()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b':'))
        && host.iter().filter(|b| **b == b'.').count() == 3;
    is_v4 || host.starts_with(b"[")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_tell_whom_they_are_for_and_who_asks() {
        let named = b"GET / HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: x\r\n\r\n";
        assert_eq!(Clues::of_question(named), Clues::NAMED.with(Clues::FETCH));
        let bare = b"POST /a HTTP/1.1\r\nHost: 192.0.2.1:8080\r\nContent-Length: 3\r\n\r\nabc";
        let clues = Clues::of_question(bare);
        assert!(clues.has(Clues::BARE_HTTP.with(Clues::NO_AGENT).with(Clues::POST)));
        // Cut before the headers end: a user agent may follow.
        assert!(!Clues::of_question(&bare[..40]).has(Clues::NO_AGENT));
        let v6 = b"GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\nUser-Agent: x\r\n\r\n";
        assert_eq!(Clues::of_question(v6), Clues::BARE_HTTP.with(Clues::FETCH));
    }

    #[test]
    fn programs_pipes_and_pools_are_known_by_their_bytes() {
        let program = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nMZ\x90\0\x03";
        assert_eq!(Clues::of_answer(program), Clues::PROGRAM);
        assert!(Clues::of_answer(b"HTTP/1.1 200 OK\r\n\r\n<html>").is_none());
        let mut pipe = vec![0, 0, 0, 90, 0xfe, b'S', b'M', b'B'];
        pipe.extend(b"s\0v\0c\0c\0t\0l\0");
        assert_eq!(Clues::of_question(&pipe), Clues::SERVICE_CONTROL);
        let pool = br#"{"id":1,"method":"mining.subscribe","params":[]}"#;
        assert_eq!(Clues::of_question(pool), Clues::MINING);
        assert!(Clues::of_question(br#"{"id":1,"method":"status"}"#).is_none());
        assert_eq!(
            Clues::of_question(b"NICK a\r\nUSER a 0 * :a\r\n"),
            Clues::CHAT
        );
        assert!(Clues::of_question(b"USER anonymous\r\n").is_none());
        assert_eq!(Clues::of_datagram(&[0x23, 0, 6, 0xec], 48), Clues::TIME);
        assert!(Clues::of_datagram(b"cook", 48).is_none(), "letters");
        assert!(Clues::of_datagram(&[0x23, 0, 6, 0xec], 60).is_none());
        for n in 0..pipe.len() {
            Clues::of_question(&pipe[..n]);
        }
    }
}
