//! Clues to what a call is for, in the first packets of a flow: names that are missing, programs that are
//! fetched, services that administrators use, protocols that clients don't speak.

use httparse::{EMPTY_HEADER, Request};

use super::certificate::Certificate;
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
    SHARES = 18, "srvsvc": "A list of a server's shares and sessions over SMB.";
    ADMIN_SHARE = 19, "admin_share": "The share of a whole disk or of the system's folder.";
    PROGRAM_PUT = 20, "program_put": "A program that is written to a share.";
    CHANGES = 21, "directory_changes": "Operation 3 of an interface: of directory replication, all that changed (MS-DRSR 4.1.10).";
    NO_CHALLENGE = 22, "zero_challenge": "Operation 4 that ends with zeros: of Netlogon, a challenge that is none (CVE-2020-1472).";
    PIPE_PROBE = 23, "smb1_peek_without_pipe": "SMB1: a look into a pipe that was never opened, which tells unpatched hosts (MS17-010).";
    BACK_DOOR = 24, "smb1_trans2_session_setup": "SMB1: an operation that is reserved and that no client sends (MS-CIFS 2.2.6.15), which back doors listen to.";
    OVERLONG = 25, "smb1_overlong_transaction": "SMB1: a transaction of more bytes than a message of SMB1 may have, which overflows unpatched hosts.";
    STAGE = 26, "stage": "An answer that is a program after its length, as loaders of attack tools fetch it.";
    SHELL = 27, "shell": "What a shell says where it is run over the bare connection: who runs it, or that it has no terminal.";
    SELF_ISSUED = 28, "certificate_self_issued": "A certificate that its owner vouches for himself.";
    LOOKUP = 16, "lookup": "A look-up that brings lookup strings into logs (JNDI).";
}

impl Clues {
    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
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
            [5, 0, 0, ..] => of_operation(payload),
            [b'{', ..] => of_json(payload),
            _ if is_shell(payload) => Self::SHELL,
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
        match payload {
            [0x16, 3, ..] => {
                let certificate = Certificate::read(payload);
                return if certificate.is_some_and(|it| it.is_self_issued) {
                    Self::SELF_ISSUED
                } else {
                    Self::default()
                };
            }
            // 64 KiB to 16 MiB.
            [_, _, 1..=0xff, 0, b'M', b'Z', ..]
            | [_, _, 1..=0xff, 0, 0x7f, b'E', b'L', b'F', ..] => {
                return Self::STAGE;
            }
            _ if is_shell(payload) => return Self::SHELL,
            _ if !payload.starts_with(b"HTTP/1.") => return Self::default(),
            _ => {}
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

/// True for what shells say: `id`, the banner of `cmd.exe`, and complaints of those that were started without a terminal.
fn is_shell(payload: &[u8]) -> bool {
    const COMPLAINTS: [&[u8]; 3] = [
        b"no job control in this shell",
        b"job control turned off",
        b"cannot set terminal process group",
    ];
    let line = payload.split(|b| *b == b'\n').next().unwrap_or_default();
    match payload {
        [b'u', b'i', b'd', b'=', b'0'..=b'9', ..] => find(line, b") gid=").is_some(),
        [b'M', b'i', b'c', b'r', ..] => payload.starts_with(b"Microsoft Windows [Version "),
        [b'b' | b's' | b'/' | b'-', ..] => COMPLAINTS.iter().any(|it| find(payload, it).is_some()),
        _ => false,
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
    let mut clues = of_bind(payload)
        .with(of_file(payload))
        .with(of_transaction(payload));
    for (name, clue) in [
        (&b"s\0r\0v\0s\0v\0c"[..], Clues::SHARES),
        (b"\\\0A\0D\0M\0I\0N\0$\0", Clues::ADMIN_SHARE),
        (b"\\\0C\0$\0", Clues::ADMIN_SHARE),
        (b"s\0v\0c\0c\0t\0l", Clues::SERVICE_CONTROL),
        (b"a\0t\0s\0v\0c", Clues::TASKS),
        (b"d\0r\0s\0u\0a\0p\0i", Clues::REPLICATION),
    ] {
        if find(payload, name).is_some() {
            clues = clues.with(clue);
        }
    }
    clues
}

/// A transaction of SMB1 (MS-CIFS 2.2.4.33, 2.2.4.46, 2.2.4.62) that no client makes.
fn of_transaction(payload: &[u8]) -> Clues {
    /// Peek at a named pipe; open a session within a transaction.
    const PEEK: u16 = 0x23;
    const SESSION_SETUP: u16 = 0x0e;
    let [_, _, _, _, 0xff, b'S', b'M', b'B', command, ..] = payload else {
        return Clues::default();
    };
    // The parameter words begin after the header of 32 bytes and their number.
    let word = |at: usize| -> Option<u16> {
        let bytes = payload.get(37 + at..)?.first_chunk()?;
        Some(u16::from_le_bytes(*bytes))
    };
    match command {
        0x25 if word(28) == Some(PEEK) && word(30) == Some(0) => Clues::PIPE_PROBE,
        0x32 if word(28) == Some(SESSION_SETUP) => Clues::BACK_DOOR,
        // The upper half of the total.
        0xa0 if word(9).is_some_and(|high| high > 0) => Clues::OVERLONG,
        _ => Clues::default(),
    }
}

/// A file of SMB2 that is opened to be written (MS-SMB2 2.2.13), by the ending of its name.
fn of_file(payload: &[u8]) -> Clues {
    /// Position of a file's name from the header's, and rights to write: data, to append, all.
    const AT: usize = 4;
    const WRITES: u32 = 0x4000_0006;
    const ENDINGS: [&[u8]; 8] = [
        b".exe", b".dll", b".sys", b".ps1", b".bat", b".vbs", b".scr", b".msi",
    ];
    let number = |at: usize| -> Option<u16> {
        let bytes = payload.get(AT + at..)?.first_chunk()?;
        Some(u16::from_le_bytes(*bytes))
    };
    let is_create = payload.get(AT..AT + 4) == Some(b"\xfeSMB") && number(12) == Some(5);
    let named = || -> Option<(u32, Vec<u8>)> {
        let access = u32::from(number(64 + 24)?) | u32::from(number(64 + 26)?) << 16;
        let (at, n) = (usize::from(number(64 + 44)?), usize::from(number(64 + 46)?));
        let name = payload.get(AT + at..)?.get(..n)?;
        Some((access, name.iter().copied().step_by(2).collect()))
    };
    let written = named().filter(|(access, _)| is_create && access & WRITES != 0);
    let is_program = written.is_some_and(|(_, name)| {
        let name = name.to_ascii_lowercase();
        ENDINGS.iter().any(|ending| name.ends_with(ending))
    });
    if is_program {
        Clues::PROGRAM_PUT
    } else {
        Clues::default()
    }
}

/// Interfaces of DCE/RPC by their identifiers, as on the wire (MS-SCMR, MS-TSCH, MS-DRSR, MS-DCOM,
/// MS-SRVS, MS-NRPC).
fn of_bind(payload: &[u8]) -> Clues {
    const INTERFACES: [(&[u8], Clues); 7] = [
        (b"\x81\xbb\x7a\x36\x44\x98\xf1\x35", Clues::SERVICE_CONTROL),
        (b"\x82\x06\xf7\x1f\x51\x0a\xe8\x30", Clues::TASKS),
        (b"\x49\x59\xd3\x86\xc9\x83\x44\x40", Clues::TASKS),
        (b"\x35\x42\x51\xe3\x06\x4b\xd1\x11", Clues::REPLICATION),
        (b"\xa0\x01\0\0\0\0\0\0", Clues::ACTIVATION),
        (b"\xc8\x4f\x32\x4b\x70\x16\xd3\x01", Clues::SHARES),
        // The printers' interface begins alike.
        (
            b"\x78\x56\x34\x12\x34\x12\xcd\xab\xef\0\x01\x23\x45\x67\xcf\xfb",
            Clues::NETLOGON,
        ),
    ];
    let mut clues = Clues::default();
    for (interface, clue) in INTERFACES {
        if find(payload, interface).is_some() {
            clues = clues.with(clue);
        }
    }
    clues
}

/// A request of DCE/RPC by the number of its operation; its head is readable where the rest is encrypted.
fn of_operation(payload: &[u8]) -> Clues {
    let number = |at: usize| -> Option<u16> {
        let bytes = payload.get(at..)?.first_chunk()?;
        Some(u16::from_le_bytes(*bytes))
    };
    let is_whole = number(8).is_some_and(|n| usize::from(n) == payload.len());
    match number(22) {
        Some(3) => Clues::CHANGES,
        Some(4) if is_whole && payload.ends_with(&[0; 8]) => Clues::NO_CHALLENGE,
        _ => Clues::default(),
    }
}

fn of_json(payload: &[u8]) -> Clues {
    let words: [&[u8]; 4] = [
        b"\"mining.",
        b"\"eth_submitLogin\"",
        b"\"eth_submitHashrate\"",
        b"\"eth_getWork\"",
    ];
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
    let body = find(payload, b"\r\n\r\n").and_then(|at| payload.get(at + 4..));
    if let Some([b'{', ..]) = body {
        clues = clues.with(of_json(body.unwrap_or_default()));
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
        let work = b"POST / HTTP/1.1\r\nHost: pool.example\r\nUser-Agent: x\r\n\r\n{\"method\":\"eth_getWork\"}";
        assert!(Clues::of_question(work).has(Clues::MINING));
        let stage = [0, 0xd0, 2, 0, b'M', b'Z', 0x41, 0x52];
        assert_eq!(Clues::of_answer(&stage), Clues::STAGE);
        assert!(Clues::of_answer(&stage[4..]).is_none(), "a file of FTP");
        for said in [
            &b"uid=0(root) gid=0(root) groups=0(root)\n"[..],
            b"Microsoft Windows [Version 10.0.19045.1]\r\n",
            b"bash: no job control in this shell\n",
        ] {
            assert_eq!(Clues::of_question(said), Clues::SHELL);
            assert_eq!(Clues::of_answer(said), Clues::SHELL);
        }
        assert!(Clues::of_question(b"uid=17&name=x\n").is_none());
    }

    #[test]
    fn transactions_that_no_client_makes_are_told_from_those_of_clients() {
        // Header, number of words, and the words; the length before is not looked at.
        let transaction = |command: u8, words: &[(usize, u16)]| {
            let mut payload = vec![0; 37 + 40];
            payload[4..9].copy_from_slice(&[0xff, b'S', b'M', b'B', command]);
            for (at, word) in words {
                payload[37 + at..37 + at + 2].copy_from_slice(&word.to_le_bytes());
            }
            payload
        };
        let told = |command, words: &[(usize, u16)]| {
            let payload = transaction(command, words);
            for n in 0..payload.len() {
                Clues::of_question(&payload[..n]);
            }
            Clues::of_question(&payload)
        };
        assert_eq!(told(0x25, &[(28, 0x23)]), Clues::PIPE_PROBE);
        assert!(
            told(0x25, &[(28, 0x23), (30, 0x4000)]).is_none(),
            "of an open pipe"
        );
        assert!(told(0x25, &[(28, 0x26), (30, 0x4000)]).is_none());
        assert_eq!(told(0x32, &[(28, 0x0e)]), Clues::BACK_DOOR);
        assert!(told(0x32, &[(28, 0x05)]).is_none());
        assert_eq!(told(0xa0, &[(7, 0x03d0), (9, 1)]), Clues::OVERLONG);
        assert!(told(0xa0, &[(7, 0xf000)]).is_none());
    }
}
