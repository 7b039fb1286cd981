//! Syslog: a strict receiver of RFC 5424 with octet counting, over TCP and TLS.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sensor_record::{State, example};

use super::contract::suite;
use super::fake::{Certificate, Mode};
use super::far::{FarSide, settings};
use super::{Folder, incident, wait_for};
use crate::deliveries::{self, Deliveries};
use crate::kinds::Kind;
use crate::settings::{Framing, SinkSettings, Transport};
use crate::shapes::Format;

/// A message, read strictly.
#[derive(Clone, Debug)]
struct Message {
    priority: u32,
    host: String,
    kind: String,
    data: BTreeMap<String, String>,
    text: String,
}

/// Reads a message of RFC 5424.
fn parse(bytes: &[u8]) -> Message {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    let rest = text.strip_prefix('<').expect("a priority");
    let (priority, rest) = rest.split_once(">1 ").expect("version 1");
    let parts: Vec<&str> = rest.splitn(6, ' ').collect();
    let [at, host, app, process, kind, rest] = parts[..] else {
        panic!("fields: {text}");
    };
    assert_eq!((app, process), ("sensor", "-"));
    assert_eq!(at.len(), "2026-01-02T03:04:05.000000Z".len(), "{at}");
    let (data, text) = match rest.strip_prefix("- ") {
        Some(text) => (BTreeMap::new(), text),
        None => structured(rest),
    };
    Message {
        priority: priority.parse().unwrap(),
        host: host.to_owned(),
        kind: kind.to_owned(),
        data,
        text: text.to_owned(),
    }
}

fn structured(text: &str) -> (BTreeMap<String, String>, &str) {
    let mut rest = text.strip_prefix("[sensor@32473").expect("structured data");
    let mut data = BTreeMap::new();
    while let Some(pair) = rest.strip_prefix(' ') {
        let (name, value) = pair.split_once("=\"").expect("name and value");
        let mut plain = String::new();
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next().expect("an end") {
                (at, '"') => break at,
                (_, '\\') => plain.push(chars.next().unwrap().1),
                (_, c) => {
                    assert_ne!(c, ']', "unescaped");
                    plain.push(c);
                }
            }
        };
        data.insert(name.to_owned(), plain);
        rest = &value[end + 1..];
    }
    (data, rest.strip_prefix("] ").expect("an end of the data"))
}

#[derive(Default)]
struct Seen {
    messages: Vec<Message>,
    streams: Vec<TcpStream>,
    /// Connections that ended as TLS has it, and others.
    n_clean: usize,
    n_torn: usize,
}

/// The receiver.
struct Receiver {
    port: u16,
    tls: Option<(Arc<ServerConfig>, Folder)>,
    seen: Arc<Mutex<Seen>>,
    listener: Option<thread::JoinHandle<()>>,
}

impl Receiver {
    fn new(certificate: Option<&Certificate>) -> Self {
        let tls = certificate.map(|certificate| {
            let folder = Folder::new();
            fs::write(folder.0.join("ca.pem"), &certificate.cert).unwrap();
            (certificate.server(None), folder)
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut receiver = Self {
            port: listener.local_addr().unwrap().port(),
            tls,
            seen: Arc::default(),
            listener: None,
        };
        receiver.listen(listener);
        receiver
    }

    fn listen(&mut self, listener: TcpListener) {
        let tls = self.tls.as_ref().map(|(tls, _)| Arc::clone(tls));
        let seen = Arc::clone(&self.seen);
        self.listener = Some(thread::spawn(move || {
            for stream in listener.incoming().map_while(|stream| stream.ok()) {
                let local = stream.peer_addr().unwrap();
                // A connection of our own ends the loop.
                if stream.peek(&mut [0; 1]).is_ok_and(|n| n == 0) && local.ip().is_loopback() {
                    return;
                }
                seen.lock()
                    .unwrap()
                    .streams
                    .push(stream.try_clone().unwrap());
                let (tls, seen) = (tls.clone(), Arc::clone(&seen));
                thread::spawn(move || match tls {
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).unwrap();
                        let end = take(StreamOwned::new(connection, stream), &seen);
                        let mut seen = seen.lock().unwrap();
                        if end.is_ok() {
                            seen.n_clean += 1
                        } else {
                            seen.n_torn += 1
                        }
                    }
                    None => {
                        let _end = take(stream, &seen);
                    }
                });
            }
        }));
    }

    /// Closes every connection, from this side.
    fn cut(&self) {
        for stream in self.seen.lock().unwrap().streams.drain(..) {
            let _gone = stream.shutdown(Shutdown::Both);
        }
    }

    fn messages(&self) -> Vec<Message> {
        self.seen.lock().unwrap().messages.clone()
    }
}

/// Reads messages with their lengths before them.
fn take(mut stream: impl Read, seen: &Mutex<Seen>) -> io::Result<()> {
    loop {
        let mut length = String::new();
        loop {
            let mut byte = [0];
            if stream.read(&mut byte)? == 0 {
                return Ok(());
            }
            match byte[0] {
                b' ' => break,
                digit => length.push(char::from(digit)),
            }
        }
        let mut message = vec![0; length.parse().expect("a length")];
        stream.read_exact(&mut message)?;
        seen.lock().unwrap().messages.push(parse(&message));
    }
}

impl FarSide for Receiver {
    fn settings(&self) -> SinkSettings {
        let mut settings = settings(Kind::Syslog);
        settings.timeout_ms = 10_000;
        settings.address = Some(format!("localhost:{}", self.port));
        if let Some((_, folder)) = &self.tls {
            settings.transport = Transport::Tls;
            settings.far.ca_file = Some(folder.0.join("ca.pem"));
        }
        settings
    }

    fn set(&mut self, mode: Mode) {
        match (mode, self.listener.take()) {
            (Mode::Accept, None) => {
                let listener = TcpListener::bind(("127.0.0.1", self.port)).unwrap();
                self.listen(listener);
            }
            (Mode::Down, Some(listener)) => {
                let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
                stream.shutdown(Shutdown::Both).unwrap();
                listener.join().unwrap();
                self.cut();
            }
            (_, listener) => self.listener = listener,
        }
    }

    fn received(&self) -> Vec<String> {
        let identity = |one: &Message| format!("{} {}", one.data["incident"], one.data["state"]);
        self.messages().iter().map(identity).collect()
    }

    fn modes(&self) -> Vec<Mode> {
        vec![Mode::Accept, Mode::Down]
    }
}

#[test]
fn syslog_keeps_the_contract() {
    suite(|| Receiver::new(None));
}

#[test]
fn syslog_over_tls_keeps_the_contract() {
    let certificate = Certificate::new();
    suite(|| Receiver::new(Some(&certificate)));
}

#[test]
fn a_connection_that_was_closed_is_made_anew() {
    let certificate = Certificate::new();
    for tls in [None, Some(&certificate)] {
        let receiver = Receiver::new(tls);
        let folder = Folder::new();
        let sinks = Deliveries::start(&[receiver.settings()], &folder.0);
        for n in 1..4 {
            sinks.take(&incident(&n.to_string(), State::Opened));
            wait_for("the message", || receiver.messages().len() == n);
            receiver.cut();
        }
        assert_eq!(receiver.received(), ["1 opened", "2 opened", "3 opened"]);
    }
}

#[test]
fn tls_is_ended_as_it_should_be_and_a_wrong_authority_is_refused() {
    let (own, other) = (Certificate::new(), Certificate::new());
    let receiver = Receiver::new(Some(&own));
    let folder = Folder::new();
    let sinks = Deliveries::start(&[receiver.settings()], &folder.0);
    sinks.take(&incident("a", State::Opened));
    wait_for("the message", || receiver.messages().len() == 1);
    sinks.end(Instant::now() + Duration::from_secs(10));
    wait_for("the end", || receiver.seen.lock().unwrap().n_clean == 1);
    assert_eq!(receiver.seen.lock().unwrap().n_torn, 0);
    let settings = receiver.settings();
    fs::write(settings.far.ca_file.as_ref().unwrap(), &other.cert).unwrap();
    let answers = deliveries::test(&settings, &[incident("a", State::Opened)]).unwrap();
    assert_eq!(answers[0].label(), "later");
    assert!(answers[0].text().contains("certificate"), "{answers:?}");
}

/// Message that one incident becomes.
fn message(incident: &sensor_record::Incident, change: impl FnOnce(&mut SinkSettings)) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut settings = settings(Kind::Syslog);
    settings.transport = Transport::Udp;
    settings.address = Some(socket.local_addr().unwrap().to_string());
    change(&mut settings);
    assert_eq!(settings.conflicts(), []);
    let answers = deliveries::test(&settings, &[incident.clone().into()]).unwrap();
    assert_eq!(answers[0].label(), "accepted", "{answers:?}");
    let mut bytes = vec![0; 65_536];
    let n = socket.recv(&mut bytes).unwrap();
    bytes.truncate(n);
    bytes
}

#[test]
fn a_message_has_facility_fields_and_escapes() {
    let mut incident = example::incident();
    incident.family = "a]b\"c\\d".into();
    incident.explanation = "zwölf\nzeilen".to_owned();
    let message = parse(&message(&incident, |settings| settings.facility = 4));
    assert_eq!(message.priority, 4 * 8 + 4);
    assert_eq!(
        (message.host.as_str(), message.kind.as_str()),
        ("edge-1", "incident")
    );
    assert_eq!(message.data["family"], "a]b\"c\\d");
    assert_eq!(
        (message.data["src"].as_str(), message.data["dpt"].as_str()),
        ("198.51.100.7", "1")
    );
    assert_eq!(message.text, "\u{feff}zwölf zeilen");
}

#[test]
fn a_message_keeps_within_its_limit_and_stays_whole() {
    let mut incident = example::incident();
    incident.explanation = "ä".repeat(4_000);
    for most in [480, 481, 2_048] {
        let bytes = message(&incident, |settings| settings.max_message = most);
        assert!(bytes.len() <= most as usize);
        assert!(parse(&bytes).text.ends_with('…'));
        let bytes = message(&incident, |settings| {
            settings.max_message = most;
            settings.format = Some(Format::Json);
        });
        assert!(bytes.len() <= most as usize);
        let record: serde_json::Value = serde_json::from_str(&parse(&bytes).text).unwrap();
        assert_eq!(record["incident.id"], incident.id);
        assert_eq!(record["sensor.cut"], true);
    }
}

#[test]
fn cef_and_leef_follow_the_header_at_once() {
    let incident = example::incident();
    for (format, begin) in [(Format::Cef, "CEF:0|"), (Format::Leef, "LEEF:2.0|")] {
        let message = parse(&message(&incident, |settings| {
            settings.format = Some(format)
        }));
        assert!(
            message.text.starts_with(begin) && message.data.is_empty(),
            "{message:?}"
        );
    }
}

#[test]
fn lines_are_parted_where_that_is_wanted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = settings(Kind::Syslog);
    settings.framing = Framing::Newline;
    settings.address = Some(listener.local_addr().unwrap().to_string());
    let taken = thread::spawn(move || {
        let mut text = String::new();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_string(&mut text)
            .unwrap();
        text
    });
    let records = [State::Opened, State::Closed].map(|state| incident("a", state));
    let answers = deliveries::test(&settings, &records).unwrap();
    assert!(answers.iter().all(|answer| answer.label() == "accepted"));
    let text = taken.join().unwrap();
    let messages: Vec<Message> = text.lines().map(|line| parse(line.as_bytes())).collect();
    assert_eq!(messages.len(), 2);
    assert!(text.ends_with('\n'));
}
