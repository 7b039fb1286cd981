//! Our readers of TLS and DNS beside other implementations, `tls-parser` and `simple-dns`: on messages
//! of real programs, on damaged ones, and on captures where there are any.

use std::io::{ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sensor_capture::pcap::{CaptureReader, to_ethernet};
use sensor_common::packet::{Decapsulate, Packet, parse};
use sensor_engine::l7::dns::Message;
use sensor_engine::l7::tls::ClientHello;
use sensor_tests::frames::{Dice, mutate};
use sensor_tests::{needs_program, shared_data, wait_until};
use sha2::{Digest as _, Sha256};
use simple_dns::SimpleDnsError;
use tls_parser::{
    TlsClientHelloContents, TlsExtension, TlsMessage, TlsMessageHandshake, TlsRecordType,
    parse_tls_client_hello_extension, parse_tls_message_handshake, parse_tls_raw_record,
};

const LIMIT: Duration = Duration::from_secs(10);
/// Damaged copies of each message.
const N_DAMAGED: usize = 2_000;

/// Messages on which both readers were asked, by what they said.
#[derive(Debug, Default)]
struct Tally {
    n_equal: usize,
    n_refused_by_both: usize,
    /// Read by one alone, for a reason that the comparison names.
    n_known: usize,
}

/// Contents of a hello as `tls-parser` reads them.
#[derive(Debug, PartialEq)]
struct TheirHello {
    version: u16,
    server_name: Option<Vec<u8>>,
    ja4: String,
}

/// Values but those of RFC 8701, which `tls-parser` takes for more than those.
fn without_grease(values: impl IntoIterator<Item = u16>) -> Vec<u16> {
    let is_grease = |value: u16| value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff;
    values
        .into_iter()
        .filter(|value| !is_grease(*value))
        .collect()
}

/// JA4 as its description puts it together (FoxIO, technical details of JA4).
fn ja4(
    version: u16,
    ciphers: &[u16],
    kinds: &[u16],
    signatures: &[u16],
    alpn: Option<&[u8]>,
) -> String {
    let hash = |text: String| {
        if text.is_empty() {
            return "0".repeat(12);
        }
        let digest = Sha256::digest(text.as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        hex[..12].to_owned()
    };
    let list = |values: &[u16]| {
        let hex: Vec<String> = values.iter().map(|value| format!("{value:04x}")).collect();
        hex.join(",")
    };
    let sorted = |values: &[u16]| {
        let mut values = values.to_vec();
        values.sort_unstable();
        values
    };
    let alpn = match alpn {
        None | Some([]) => "00".to_owned(),
        Some(name) => {
            let (first, last) = (name[0], name[name.len() - 1]);
            if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
                format!("{}{}", char::from(first), char::from(last))
            } else {
                format!("{:x}{:x}", first >> 4, last & 15)
            }
        }
    };
    let version = match version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        _ => "00",
    };
    let mut hashed: Vec<u16> = sorted(kinds);
    hashed.retain(|kind| ![0, 16].contains(kind));
    let mut extensions = list(&hashed);
    if !signatures.is_empty() {
        extensions = format!("{extensions}_{}", list(signatures));
    }
    format!(
        "t{version}{}{:02}{:02}{alpn}_{}_{}",
        if kinds.contains(&0) { 'd' } else { 'i' },
        ciphers.len().min(99),
        kinds.len().min(99),
        hash(list(&sorted(ciphers))),
        hash(extensions),
    )
}

/// Answer of `tls-parser` on a segment.
enum Theirs<T> {
    Read(T),
    Refused,
    /// Cut, or damaged within an extension: the parsers may rightly differ.
    Partly,
}

fn their_hello(segment: &[u8]) -> Theirs<TheirHello> {
    let Ok((_, record)) = parse_tls_raw_record(segment) else {
        return Theirs::Partly;
    };
    if record.hdr.record_type != TlsRecordType::Handshake || record.hdr.version.0 >> 8 != 3 {
        return Theirs::Refused;
    }
    let [1, high, middle, low, ..] = record.data else {
        return Theirs::Refused;
    };
    let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
    if length > record.data.len() - 4 {
        // It goes on in another record.
        return Theirs::Partly;
    }
    match parse_tls_message_handshake(record.data) {
        Ok((_, TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)))) => {
            extensions(&hello)
        }
        _ => Theirs::Refused,
    }
}

fn extensions(hello: &TlsClientHelloContents<'_>) -> Theirs<TheirHello> {
    let (mut kinds, mut versions, mut signatures) = (vec![], vec![], vec![]);
    let (mut server_name, mut alpn) = (None, None);
    let mut rest = hello.ext.unwrap_or_default();
    while !rest.is_empty() {
        let kind = rest
            .first_chunk()
            .map_or(0, |bytes| u16::from_be_bytes(*bytes));
        let before = rest;
        let Ok((after, extension)) = parse_tls_client_hello_extension(rest) else {
            return Theirs::Partly;
        };
        kinds.push(kind);
        let body = &before[4..before.len() - after.len()];
        match extension {
            TlsExtension::SNI(names) => {
                let first = names.first().filter(|(kind, _)| kind.0 == 0);
                server_name = first.map(|(_, name)| name.to_vec());
            }
            TlsExtension::ALPN(names) => alpn = names.first().map(|name| name.to_vec()),
            TlsExtension::SignatureAlgorithms(values) => signatures = without_grease(values),
            TlsExtension::SupportedVersions(values) => {
                // A list that doesn't fill its extension: `tls-parser` doesn't look at its length.
                if body.first().map(|n| usize::from(*n) + 1) != Some(body.len()) {
                    return Theirs::Partly;
                }
                versions = without_grease(values.iter().map(|version| version.0));
            }
            _ => {}
        }
        rest = after;
    }
    let version = versions.iter().copied().max().unwrap_or(hello.version.0);
    let ciphers = without_grease(hello.ciphers.iter().map(|cipher| cipher.0));
    let kinds = without_grease(kinds);
    Theirs::Read(TheirHello {
        version,
        server_name,
        ja4: ja4(version, &ciphers, &kinds, &signatures, alpn.as_deref()),
    })
}

/// Compares the readers on one segment.
fn compare_hello(segment: &[u8], tally: &mut Tally) {
    let ours = ClientHello::read(segment);
    match (their_hello(segment), ours) {
        (Theirs::Partly, _) => tally.n_known += 1,
        (Theirs::Refused, None) => tally.n_refused_by_both += 1,
        (Theirs::Read(theirs), Some(ours)) => {
            // A length of extensions that overruns the message: `tls-parser` sees none.
            let Some(ja4) = ours.ja4 else {
                tally.n_known += 1;
                return;
            };
            let ours = TheirHello {
                version: ours.version,
                server_name: ours.server_name.map(<[u8]>::to_vec),
                ja4,
            };
            assert_eq!(ours, theirs, "{segment:02x?}");
            tally.n_equal += 1;
        }
        (Theirs::Read(theirs), None) => panic!("we refuse {theirs:?}: {segment:02x?}"),
        (Theirs::Refused, Some(ours)) => panic!("they refuse {ours:?}: {segment:02x?}"),
    }
}

/// First bytes that a client sends to a listener: its hello.
fn hello_of(command: &str) -> Vec<u8> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut client = shell(&command.replace("PORT", &port));
    let accepted = wait_until(LIMIT, || match listener.accept() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        other => Some(other.unwrap().0),
    });
    let mut stream = accepted.unwrap_or_else(|| panic!("no connection: {command}"));
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut head = [0; 5];
    stream.read_exact(&mut head).unwrap();
    let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut hello).unwrap();
    drop(stream);
    client.kill().unwrap();
    client.wait().unwrap();
    [&head[..], &hello].concat()
}

/// Starts a command of the shell, which it becomes, without input and output.
fn shell(command: &str) -> Child {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("exec {command}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    shell.spawn().unwrap()
}

/// Hellos of three programs, of all versions that they speak.
fn hellos() -> Vec<Vec<u8>> {
    for program in ["openssl", "curl", "python3"] {
        needs_program(program);
    }
    let commands = [
        "openssl s_client -connect 127.0.0.1:PORT -servername oracle.example -alpn h2,http/1.1",
        "openssl s_client -connect 127.0.0.1:PORT -noservername",
        "openssl s_client -connect 127.0.0.1:PORT -servername a.b.example -tls1_2 -no_ticket",
        "openssl s_client -connect 127.0.0.1:PORT -tls1 -cipher ALL:@SECLEVEL=0",
        "openssl s_client -connect 127.0.0.1:PORT -alpn x -cipher ECDHE-RSA-AES128-GCM-SHA256",
        "curl --insecure --resolve curl.example:PORT:127.0.0.1 https://curl.example:PORT/",
        "curl --insecure --http1.1 --tls-max 1.2 https://127.0.0.1:PORT/",
        "python3 -c \"import socket, ssl; ssl.create_default_context().wrap_socket(\
         socket.create_connection(('127.0.0.1', PORT)), server_hostname='python.example')\"",
    ];
    commands.map(hello_of).into()
}

#[test]
fn hellos_of_real_clients_are_read_as_tls_parser_reads_them() {
    let hellos = hellos();
    let mut tally = Tally::default();
    for hello in &hellos {
        compare_hello(hello, &mut tally);
    }
    assert_eq!(tally.n_equal, hellos.len(), "{tally:?}");
    let names = hellos.iter().map(|hello| {
        let name = ClientHello::read(hello).unwrap().server_name;
        name.map(|name| String::from_utf8_lossy(name).into_owned())
    });
    let names: Vec<String> = names.flatten().collect();
    for expected in [
        "oracle.example",
        "a.b.example",
        "curl.example",
        "python.example",
    ] {
        assert!(names.iter().any(|name| name == expected), "{names:?}");
    }
}

#[test]
fn damaged_hellos_are_read_as_tls_parser_reads_them() {
    let mut dice = Dice(8_446);
    let mut tally = Tally::default();
    for hello in hellos() {
        for _ in 0..N_DAMAGED {
            let mut damaged = hello.clone();
            damage(&mut damaged, &mut dice);
            compare_hello(&damaged, &mut tally);
        }
    }
    // Each way is met often, or the comparison says little.
    assert!(
        tally.n_equal > 1_000 && tally.n_refused_by_both > 100,
        "{tally:?}"
    );
}

/// Turns bits anywhere, or damages the beginning.
fn damage(message: &mut Vec<u8>, dice: &mut Dice) {
    if dice.below(2) == 0 {
        return mutate(message, dice);
    }
    for _ in 0..=dice.below(3) {
        let at = dice.below(message.len());
        message[at] ^= 1 << dice.below(8);
    }
}

/// Facts that both readers give of a message.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    is_response: bool,
    rcode: u8,
    n_answers: u16,
    name: Vec<u8>,
    record: u16,
}

/// Header and question by `simple-dns`, without the records behind them, which a sample may cut.
fn their_question(message: &[u8]) -> Result<Option<Question>, SimpleDnsError> {
    let mut head = message.to_vec();
    let counts = head.get_mut(6..12);
    let counts = counts.ok_or(SimpleDnsError::InsufficientData)?;
    let n_answers = u16::from_be_bytes([counts[0], counts[1]]);
    counts.fill(0);
    let read = simple_dns::Packet::parse(&head)?;
    let [question] = &read.questions[..] else {
        return Ok(None);
    };
    if read.opcode() != simple_dns::OPCODE::StandardQuery {
        return Ok(None);
    }
    let labels = question.qname.get_labels().iter();
    let labels: Vec<Vec<u8>> = labels
        .map(|label| label.as_ref().to_ascii_lowercase())
        .collect();
    Ok(Some(Question {
        is_response: read.has_flags(simple_dns::PacketFlag::RESPONSE),
        rcode: head[3] & 15,
        n_answers,
        name: labels.join(&b'.'),
        record: question.qtype.into(),
    }))
}

/// Compares the readers on one message.
fn compare_question(message: &[u8], tally: &mut Tally) {
    let ours = Message::read(message).map(|read| Question {
        is_response: read.is_response,
        rcode: read.rcode,
        n_answers: read.n_answers,
        name: read.name.as_bytes().to_vec(),
        record: read.record,
    });
    match (their_question(message), ours) {
        (Ok(Some(theirs)), Some(ours)) => {
            assert_eq!(ours, theirs, "{message:02x?}");
            tally.n_equal += 1;
        }
        (Ok(None) | Err(_), None) => tally.n_refused_by_both += 1,
        // Types and classes that it doesn't know, bits that it wants to be zero: we read on.
        (
            Err(
                SimpleDnsError::InvalidQType(_)
                | SimpleDnsError::InvalidClass(_)
                | SimpleDnsError::InvalidHeaderData,
            ),
            Some(_),
        ) => tally.n_known += 1,
        // Cut within the class, which we don't read.
        (Err(SimpleDnsError::InsufficientData), Some(ours)) => {
            let n_needed = 12 + ours.name.len() + if ours.name.is_empty() { 1 } else { 2 } + 4;
            assert!(message.len() < n_needed, "they refuse {message:02x?}");
            tally.n_known += 1;
        }
        // A compressed name in the first question points at the header, or forward.
        (Ok(Some(_)), None) if has_pointer(message) => tally.n_known += 1,
        (theirs, ours) => panic!("{theirs:?}, ours {ours:?}: {message:02x?}"),
    }
}

fn has_pointer(message: &[u8]) -> bool {
    let mut at = 12;
    loop {
        match message.get(at) {
            Some(0) | None => return false,
            Some(length @ 1..=63) => at += 1 + usize::from(*length),
            Some(length) => return *length >= 0xc0,
        }
    }
}

/// Queries of dig and answers of dnsmasq, which passes through a socket of ours.
fn conversations() -> Vec<Vec<u8>> {
    for program in ["dig", "dnsmasq"] {
        needs_program(program);
    }
    let relay = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    relay.set_read_timeout(Some(LIMIT)).unwrap();
    let port = relay.local_addr().unwrap().port();
    let (mut server, at) = dnsmasq();
    let upstream = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    upstream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let label = "x".repeat(63);
    let longest = [&label[..], &label, &label, &label[..61]].join(".");
    let asked = [
        "oracle.example A".to_owned(),
        "ORACLE.Example AAAA +noedns".to_owned(),
        "oracle.example TXT +dnssec".to_owned(),
        "oracle.example MX".to_owned(),
        "_ldap._tcp.oracle.example SRV".to_owned(),
        "oracle.example HTTPS".to_owned(),
        "oracle.example ANY +notcp".to_owned(),
        "-x 192.0.2.7".to_owned(),
        "nowhere.oracle-nx.example A".to_owned(),
        "elsewhere.test A".to_owned(),
        ". NS".to_owned(),
        "'a\\.b\\000c.oracle.example' A".to_owned(),
        format!("{longest} A"),
    ];
    let mut messages = Vec::new();
    for question in asked {
        let command = format!("dig @127.0.0.1 -p {port} +tries=1 +timeout=5 {question}");
        let mut dig = shell(&command);
        let mut buffer = [0; 4_096];
        let (n, from) = relay.recv_from(&mut buffer).unwrap();
        messages.push(buffer[..n].to_vec());
        let answer = wait_until(LIMIT, || {
            // The server may still be starting.
            upstream.send_to(&messages[messages.len() - 1], at).ok()?;
            let mut answer = [0; 4_096];
            let n = upstream.recv(&mut answer).ok()?;
            Some(answer[..n].to_vec())
        });
        let answer = answer.unwrap_or_else(|| panic!("no answer: {question}"));
        relay.send_to(&answer, from).unwrap();
        messages.push(answer);
        dig.wait().unwrap();
    }
    server.kill().unwrap();
    server.wait().unwrap();
    messages
}

/// Starts a name server on a port of its own.
fn dnsmasq() -> (Child, SocketAddr) {
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = free.local_addr().unwrap();
    drop(free);
    let server = shell(&format!(
        "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --pid-file= \
         --port={} --listen-address=127.0.0.1 --bind-interfaces --log-facility=/dev/null \
         --host-record=oracle.example,192.0.2.7,2001:db8::7 --local=/oracle-nx.example/ \
         --txt-record=oracle.example,one,two --mx-host=oracle.example,mail.oracle.example,10 \
         --srv-host=_ldap._tcp.oracle.example,oracle.example,389",
        at.port()
    ));
    (server, at)
}

#[test]
fn messages_of_dig_and_dnsmasq_are_read_as_simple_dns_reads_them() {
    let messages = conversations();
    let mut tally = Tally::default();
    for message in &messages {
        compare_question(message, &mut tally);
    }
    assert_eq!(tally.n_equal, messages.len(), "{tally:?}");
    let read = messages.iter().map(|message| Message::read(message));
    let read: Vec<Message> = read.map(Option::unwrap).collect();
    for code in [0, 3, 5] {
        let has = |message: &Message| message.is_response && message.rcode == code;
        assert!(read.iter().any(has), "no answer with code {code}");
    }
    let longest = read.iter().map(|message| message.name.as_bytes().len());
    assert_eq!(longest.max(), Some(253));
}

#[test]
fn damaged_dns_messages_are_read_as_simple_dns_reads_them() {
    let mut dice = Dice(1_035);
    let mut tally = Tally::default();
    for message in conversations() {
        for _ in 0..N_DAMAGED {
            let mut damaged = message.clone();
            damage(&mut damaged, &mut dice);
            compare_question(&damaged, &mut tally);
        }
    }
    assert!(
        tally.n_equal > 1_000 && tally.n_refused_by_both > 100,
        "{tally:?}"
    );
}

/// Hands out the payload of each packet over TCP or UDP of a capture, with its ports.
fn payloads(path: &Path, mut take: impl FnMut(&Packet, &[u8])) {
    let mut reader = CaptureReader::open(path).unwrap();
    let mut scratch = Vec::new();
    while let Ok(Some(frame)) = reader.next_frame() {
        let frame = to_ethernet(&frame, &mut scratch);
        let mut packet = Packet::default();
        parse(frame.data, &Decapsulate::ALL, &mut packet);
        let from = packet.payload_offset() as usize;
        if matches!(packet.protocol, 6 | 17) && packet.is_fragment == 0 {
            take(&packet, frame.data.get(from..).unwrap_or_default());
        }
    }
}

#[test]
fn captured_messages_are_read_as_the_other_parsers_read_them() {
    let folder = shared_data("pcap");
    let (mut tls, mut dns) = (Tally::default(), Tally::default());
    for entry in std::fs::read_dir(folder).unwrap() {
        payloads(&entry.unwrap().path(), |packet, payload| {
            let ports = [packet.source_port, packet.destination_port];
            match (packet.protocol, payload) {
                (6, [0x16, 3, ..]) => compare_hello(payload, &mut tls),
                (17, [_, ..]) if ports.contains(&53) => compare_question(payload, &mut dns),
                _ => {}
            }
        });
    }
    println!("TLS {tls:?}, DNS {dns:?}");
    assert!(tls.n_equal > 0 && dns.n_equal > 0, "{tls:?} {dns:?}");
}
