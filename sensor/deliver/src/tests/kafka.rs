//! Kafka: a broker that speaks a producer's part of the protocol, strictly.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sensor_record::{State, example};
use serde_json::Value;

use super::contract::suite;
use super::fake::Mode;
use super::far::{FarSide, identity, settings};
use super::{Folder, incident};
use crate::deliveries;
use crate::kinds::Kind;
use crate::secret::Secret;
use crate::settings::SinkSettings;

/// Bytes that the broker takes in a batch.
const MAX_BATCH: usize = 20_000;

struct Seen {
    mode: Mode,
    accepted: Vec<(String, i32)>,
    /// Greatest version of Produce.
    version: i16,
    n_partitions: i32,
    /// Mechanisms of SASL; none: it lets everybody in.
    mechanisms: Vec<&'static str>,
}

struct Broker {
    port: u16,
    seen: Arc<Mutex<Seen>>,
    folder: Folder,
}

impl Broker {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Seen {
            mode: Mode::Accept,
            accepted: Vec::new(),
            version: 8,
            n_partitions: 1,
            mechanisms: Vec::new(),
        }));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(|stream| stream.ok()) {
                let seen = Arc::clone(&shared);
                thread::spawn(move || talk(stream, port, &seen));
            }
        });
        let folder = Folder::new();
        std::fs::write(folder.0.join("token"), "55c1").unwrap();
        Self { port, seen, folder }
    }
}

/// Fields from the front of a request.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(n);
        self.0 = rest;
        head
    }

    fn number(&mut self, n: usize) -> i64 {
        let bytes = self.take(n);
        let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
        bytes
            .iter()
            .fold(sign, |all, byte| all << 8 | i64::from(*byte))
    }

    fn text(&mut self) -> String {
        let n = self.number(2);
        String::from_utf8(self.take(n as usize).to_vec()).unwrap()
    }

    fn varint(&mut self) -> i64 {
        let (mut all, mut shift) = (0_u64, 0);
        loop {
            let byte = self.take(1)[0];
            all |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return (all >> 1) as i64 ^ -((all & 1) as i64);
            }
        }
    }

    fn block(&mut self) -> &'a [u8] {
        let n = self.varint();
        self.take(n as usize)
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn ints(numbers: &[i32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
}

/// One client; an error of either side ends it.
fn talk(mut stream: TcpStream, port: u16, seen: &Mutex<Seen>) -> Option<()> {
    let mut is_known = seen.lock().unwrap().mechanisms.is_empty();
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut request).ok()?;
        let mut fields = Fields(&request);
        let (what, version, number) = (fields.number(2), fields.number(2), fields.number(4));
        assert_eq!(fields.text(), "sensor");
        let mut is_over = false;
        let answer = match (what, version) {
            (18, 0) => {
                let most = seen.lock().unwrap().version;
                let of = |what: i16, least: i16, most: i16| {
                    [what, least, most].map(i16::to_be_bytes).concat()
                };
                [vec![0, 0], ints(&[2]), of(0, 3, most), of(3, 0, 12)].concat()
            }
            (17, 1) => {
                let mechanisms = seen.lock().unwrap().mechanisms.clone();
                let is_there = mechanisms.contains(&fields.text().as_str());
                is_over = !is_there;
                let code: i16 = if is_there { 0 } else { 33 };
                let names: Vec<u8> = mechanisms.iter().flat_map(|name| text(name)).collect();
                [
                    &code.to_be_bytes()[..],
                    &ints(&[mechanisms.len() as i32]),
                    &names,
                ]
                .concat()
            }
            (36, 0) => {
                let n = fields.number(4) as usize;
                assert!(fields.take(n).starts_with(b"n,,n=sensor,r="));
                [
                    &58_i16.to_be_bytes()[..],
                    &text("Authentication failed"),
                    &ints(&[0]),
                ]
                .concat()
            }
            _ if !is_known => return None,
            (3, 4) => metadata(&mut fields, port, &seen.lock().unwrap()),
            (0, 3..=8) => produce(&mut fields, version, &mut seen.lock().unwrap())?,
            other => panic!("{other:?} is no question of a producer"),
        };
        is_known |= what == 36;
        if answer.is_empty() {
            continue;
        }
        assert!(fields.0.is_empty(), "{} bytes too many", fields.0.len());
        let head = ints(&[answer.len() as i32 + 4, number as i32]);
        stream.write_all(&[head, answer].concat()).ok()?;
        if is_over {
            return None;
        }
    }
}

fn metadata(fields: &mut Fields<'_>, port: u16, seen: &Seen) -> Vec<u8> {
    assert_eq!(fields.number(4), 1);
    assert_eq!(fields.text(), "sensor.incidents");
    fields.take(1);
    let none = (-1_i16).to_be_bytes().to_vec();
    let code: i16 = if seen.mode == Mode::Down { 5 } else { 0 };
    let partition = |n: i32| [vec![0, 0], ints(&[n, 7, 1, 7, 1, 7])].concat();
    [
        ints(&[0, 1, 7]),
        text("127.0.0.1"),
        ints(&[i32::from(port)]),
        none.clone(),
        none,
        ints(&[7, 1]),
        code.to_be_bytes().to_vec(),
        text("sensor.incidents"),
        vec![0],
        ints(&[seen.n_partitions]),
        (0..seen.n_partitions).rev().flat_map(partition).collect(),
    ]
    .concat()
}

/// Answer about a batch; empty: it says nothing, none: it hangs up.
fn produce(fields: &mut Fields<'_>, version: i64, seen: &mut Seen) -> Option<Vec<u8>> {
    assert_eq!(
        (fields.number(2), fields.number(2)),
        (-1, -1),
        "no transaction, all replicas"
    );
    assert!(fields.number(4) > 0 && fields.number(4) == 1);
    assert_eq!(fields.text(), "sensor.incidents");
    assert_eq!(fields.number(4), 1);
    let (partition, n) = (fields.number(4) as i32, fields.number(4) as usize);
    let records = read_batch(fields.take(n));
    let code: i16 = match seen.mode {
        Mode::Cut => return None,
        Mode::Slow => return Some(Vec::new()),
        Mode::Down => 6,
        Mode::Busy => 19,
        Mode::Refuse => 87,
        _ if n > MAX_BATCH => 10,
        _ => 0,
    };
    let offset = seen.accepted.len() as i64;
    if code == 0 {
        let found = records.iter().map(|record| (identity(record), partition));
        seen.accepted.extend(found);
    }
    let mut answer = [ints(&[1]), text("sensor.incidents"), ints(&[1, partition])].concat();
    answer.extend(code.to_be_bytes());
    answer.extend(offset.to_be_bytes());
    answer.extend((-1_i64).to_be_bytes());
    if version >= 5 {
        answer.extend(0_i64.to_be_bytes());
    }
    if version >= 8 {
        let places = if code == 87 { records.len() } else { 0 };
        answer.extend(ints(&[places as i32]));
        for n in 0..places {
            answer.extend([ints(&[n as i32]), text("no such schema")].concat());
        }
        answer.extend((-1_i16).to_be_bytes());
    }
    answer.extend(ints(&[0]));
    Some(answer)
}

/// Records of a batch, every field of it looked at.
fn read_batch(bytes: &[u8]) -> Vec<Value> {
    let mut fields = Fields(bytes);
    assert_eq!(fields.number(8), 0);
    let n = fields.number(4) as usize;
    assert_eq!(n, fields.0.len(), "length of the batch");
    assert_eq!((fields.number(4), fields.take(1)), (-1, &[2][..]));
    fields.number(4);
    assert_eq!(fields.number(2), 0, "not compressed");
    let last = fields.number(4);
    let (first_ms, last_ms) = (fields.number(8), fields.number(8));
    assert!(first_ms > 1_700_000_000_000 && last_ms >= first_ms);
    assert_eq!(
        (fields.number(8), fields.number(2), fields.number(4)),
        (-1, -1, -1)
    );
    let n_records = fields.number(4);
    assert_eq!(last, n_records - 1);
    let records = (0..n_records).map(|n| {
        let mut record = Fields(fields.block());
        assert_eq!(record.take(1), [0]);
        assert!((0..=last_ms - first_ms).contains(&record.varint()));
        assert_eq!(record.varint(), n);
        let key = String::from_utf8(record.block().to_vec()).unwrap();
        let value: Value = serde_json::from_slice(record.block()).unwrap();
        assert_eq!(value["incident.id"], key.as_str());
        assert_eq!(record.varint(), 2);
        assert_eq!(record.block(), b"id");
        assert!(record.block().starts_with(format!("{key}-").as_bytes()));
        assert_eq!(
            (record.block(), record.block()),
            (&b"content-type"[..], &b"application/json"[..])
        );
        assert!(record.0.is_empty());
        value
    });
    let records = records.collect();
    assert!(fields.0.is_empty());
    records
}

impl FarSide for Broker {
    fn settings(&self) -> SinkSettings {
        let mut settings = settings(Kind::Kafka);
        settings.address = Some(format!("127.0.0.1:{}", self.port));
        settings
    }

    fn set(&mut self, mode: Mode) {
        self.seen.lock().unwrap().mode = mode;
    }

    fn received(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.accepted
            .iter()
            .map(|(record, _)| record.clone())
            .collect()
    }

    fn modes(&self) -> Vec<Mode> {
        vec![
            Mode::Accept,
            Mode::Refuse,
            Mode::Busy,
            Mode::Down,
            Mode::Slow,
            Mode::Cut,
        ]
    }
}

#[test]
fn kafka_keeps_the_contract() {
    suite(Broker::new);
}

#[test]
fn an_older_broker_is_written_to_and_a_newer_one_that_takes_nothing_older_is_told() {
    for version in [3, 7, 2] {
        let broker = Broker::new();
        broker.seen.lock().unwrap().version = version;
        let record = incident("a", State::Opened);
        let answers = deliveries::test(&broker.settings(), &[record]).unwrap();
        let is_spoken = version >= 3;
        assert_eq!(answers[0].label() == "accepted", is_spoken, "{answers:?}");
        assert_eq!(broker.received().is_empty(), !is_spoken);
    }
}

#[test]
fn records_of_an_incident_share_a_partition_and_a_long_one_is_refused_alone() {
    let broker = Broker::new();
    broker.seen.lock().unwrap().n_partitions = 3;
    let mut long = example::incident();
    long.id = "long".to_owned();
    long.explanation = "a".repeat(30_000);
    let mut sink = Kind::Kafka.open(&broker.settings()).unwrap();
    for _ in 0..2 {
        let ids = (0..40).map(|n| incident(&n.to_string(), State::Opened));
        let records = ids.chain([long.clone().into()]);
        let envelopes: Vec<_> = records
            .enumerate()
            .map(|(n, record)| crate::envelope::Envelope {
                seq: n as u64,
                at_ns: 1_764_000_000_000_000_000,
                record,
            })
            .collect();
        let answers = sink.send(&envelopes);
        let (last, others) = answers.split_last().unwrap();
        assert!(
            others.iter().all(|one| one.label() == "accepted"),
            "{answers:?}"
        );
        assert_eq!(last.label(), "refused", "{last:?}");
        assert!(last.text().contains("message.max.bytes"), "{last:?}");
    }
    let seen = broker.seen.lock().unwrap();
    let mut all: Vec<_> = seen.accepted.clone();
    assert_eq!(all.len(), 80);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 40, "one partition for each incident");
    for partition in 0..3 {
        assert!(all.iter().any(|(_, of)| *of == partition));
    }
}

#[test]
fn a_password_is_not_shown_in_the_clear_and_one_that_is_wrong_costs_nothing() {
    let broker = Broker::new();
    let mut settings = broker.settings();
    settings.user = Some("sensor".to_owned());
    settings.far.token = Some(Secret::File(broker.folder.0.join("token")));
    for (mechanism, told) in [
        ("PLAIN", "set transport = \"tls\""),
        ("SCRAM-SHA-256", "Authentication failed"),
        ("GSSAPI", "none of SCRAM"),
    ] {
        broker.seen.lock().unwrap().mechanisms = vec![mechanism];
        let record = incident("a", State::Opened);
        let answers = deliveries::test(&settings, &[record]).unwrap();
        assert_eq!(answers[0].label(), "later", "{answers:?}");
        assert!(answers[0].text().contains(told), "{answers:?}");
    }
    assert!(broker.received().is_empty());
}
