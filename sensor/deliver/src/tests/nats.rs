//! NATS: a server that speaks JetStream's part of a publisher's conversation, strictly.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sensor_record::{State, example};
use serde_json::{Value, json};

use super::contract::suite;
use super::fake::Mode;
use super::far::{FarSide, identity, settings};
use super::{Folder, incident};
use crate::deliveries;
use crate::kinds::Kind;
use crate::secret::Secret;
use crate::settings::SinkSettings;

struct Seen {
    mode: Mode,
    known: BTreeSet<String>,
    accepted: Vec<String>,
}

struct Server {
    port: u16,
    seen: Arc<Mutex<Seen>>,
    folder: Folder,
}

impl Server {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = Folder::new();
        std::fs::write(folder.0.join("token"), "55c1").unwrap();
        let seen = Seen {
            mode: Mode::Accept,
            known: BTreeSet::new(),
            accepted: Vec::new(),
        };
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            seen: Arc::new(Mutex::new(seen)),
            folder,
        };
        let seen = Arc::clone(&server.seen);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(|stream| stream.ok()) {
                let seen = Arc::clone(&seen);
                thread::spawn(move || talk(stream, &seen));
            }
        });
        server
    }
}

/// One client; an error of either side ends it.
fn talk(mut stream: TcpStream, seen: &Mutex<Seen>) -> Option<()> {
    let info = json!({"server_id": "N", "max_payload": 20_000, "headers": true});
    write!(stream, "INFO {info}\r\n").ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut is_known, mut inbox) = (false, String::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.strip_suffix("\r\n").expect("an end of the line");
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "CONNECT" => {
                let about: Value = serde_json::from_str(rest).unwrap();
                is_known = about["user"] == "sensor" && about["pass"] == "55c1";
                assert_eq!(
                    (&about["verbose"], &about["headers"]),
                    (&false.into(), &true.into())
                );
            }
            _ if !is_known => {
                stream
                    .write_all(b"-ERR 'Authorization Violation'\r\n")
                    .ok()?;
                return None;
            }
            "PING" => stream.write_all(b"PONG\r\nPING\r\n").ok()?,
            "PONG" => {}
            "SUB" => {
                inbox = rest
                    .split(' ')
                    .next()
                    .unwrap()
                    .trim_end_matches('*')
                    .to_owned()
            }
            "HPUB" => {
                let words: Vec<&str> = rest.split(' ').collect();
                let [subject, reply, head, total] = words[..] else {
                    panic!("{line}");
                };
                assert_eq!(subject, "sensor.incidents");
                assert!(reply.starts_with(&inbox), "{reply} is not of {inbox}");
                let (head, total): (usize, usize) = (head.parse().unwrap(), total.parse().unwrap());
                let mut bytes = vec![0; total + 2];
                reader.read_exact(&mut bytes).ok()?;
                assert!(bytes.ends_with(b"\r\n"));
                let headers = std::str::from_utf8(&bytes[..head]).unwrap();
                let id = headers.strip_prefix("NATS/1.0\r\nNats-Msg-Id: ").unwrap();
                let id = id.strip_suffix("\r\n\r\n").unwrap().to_owned();
                let record: Value = serde_json::from_slice(&bytes[head..total]).unwrap();
                let told = acknowledge(&mut seen.lock().unwrap(), id, &record);
                stream
                    .write_all(told?.replace("REPLY", reply).as_bytes())
                    .ok()?;
            }
            other => panic!("{other} is no word of a publisher"),
        }
    }
}

/// Answer of the stream; none: it hangs up.
fn acknowledge(seen: &mut Seen, id: String, record: &Value) -> Option<String> {
    let message = |body: &Value| {
        let body = body.to_string();
        format!("MSG REPLY 1 {}\r\n{body}\r\n", body.len())
    };
    match seen.mode {
        Mode::Cut => None,
        Mode::Slow => Some(String::new()),
        // No stream is there.
        Mode::Down => Some("HMSG REPLY 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n".to_owned()),
        Mode::Busy => Some(message(
            &json!({"error": {"code": 503, "description": "insufficient resources"}}),
        )),
        _ => {
            let is_new = seen.known.insert(id);
            if is_new {
                seen.accepted.push(identity(record));
            }
            let n = seen.known.len();
            Some(message(
                &json!({"stream": "SENSOR", "seq": n, "duplicate": !is_new}),
            ))
        }
    }
}

impl FarSide for Server {
    fn settings(&self) -> SinkSettings {
        let mut settings = settings(Kind::Nats);
        settings.address = Some(format!("127.0.0.1:{}", self.port));
        settings.user = Some("sensor".to_owned());
        settings.far.token = Some(Secret::File(self.folder.0.join("token")));
        settings
    }

    fn set(&mut self, mode: Mode) {
        self.seen.lock().unwrap().mode = mode;
    }

    fn received(&self) -> Vec<String> {
        self.seen.lock().unwrap().accepted.clone()
    }

    fn modes(&self) -> Vec<Mode> {
        vec![Mode::Accept, Mode::Busy, Mode::Down, Mode::Slow, Mode::Cut]
    }
}

#[test]
fn nats_keeps_the_contract() {
    suite(Server::new);
}

#[test]
fn a_message_that_is_too_long_is_refused_and_one_that_comes_again_is_not() {
    let server = Server::new();
    let mut long = example::incident();
    long.explanation = "a".repeat(30_000);
    let answers = deliveries::test(&server.settings(), &[long.into()]).unwrap();
    assert_eq!(answers[0].label(), "refused", "{answers:?}");
    let record = incident("a", State::Opened);
    for again in [false, true] {
        let answers = deliveries::test(&server.settings(), std::slice::from_ref(&record)).unwrap();
        let told = format!("{answers:?}");
        assert!(told.contains("message 1"), "{told}");
        assert_eq!(told.contains("is there already"), again, "{told}");
    }
    assert_eq!(server.received(), ["a opened"]);
}

#[test]
fn a_wrong_secret_is_told_and_costs_nothing() {
    let server = Server::new();
    std::fs::write(server.folder.0.join("token"), "wrong").unwrap();
    let record = incident("a", State::Opened);
    let answers = deliveries::test(&server.settings(), &[record]).unwrap();
    let told = format!("{answers:?}");
    assert!(
        told.contains("Authorization Violation") && told.contains("Later"),
        "{told}"
    );
}
