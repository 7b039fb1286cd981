//! Kafka: a message for each record, its key the incident, so that one partition has all of it in order
//! (kafka.apache.org/protocol: Metadata 4, Produce 3 to 8). A producer needs five questions of the protocol:
//! they are asked here.

mod batch;
mod link;
mod scram;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::io;

use crate::answer::Answer;
use crate::cut;
use crate::envelope::Envelope;
use crate::reach::Way;
use crate::settings::{SinkSettings, Transport};
use crate::shapes::{Format, Shape};
use crate::sink::Sink;
use batch::{Message, batch, place};
use link::{Link, METADATA, PRODUCE, User};
use wire::{Reader, put_length, put_text};

pub const FORMATS: &[Format] = &[
    Format::Json,
    Format::Text,
    Format::Template,
    Format::Ecs,
    Format::Ocsf,
    Format::Eve,
    Format::Stix,
];
const TOPIC: &str = "sensor.incidents";
/// Records that are on their way at once.
const MOST: usize = 64;
const MAX_TOLD: usize = 512;

/// Answers of a broker about a batch (kafka.apache.org/protocol, "Error Codes").
const CORRUPT: i16 = 2;
const NO_LEADER: i16 = 5;
const TOO_LARGE: i16 = 10;
const BATCH_TOO_LARGE: i16 = 18;
const INVALID_RECORD: i16 = 87;

struct Kafka {
    settings: SinkSettings,
    shape: Shape,
    topic: String,
    way: Way,
    cluster: Option<Cluster>,
}

/// Partitions of the topic, and the connections to their leaders.
struct Cluster {
    partitions: Vec<Partition>,
    /// Addresses by number.
    brokers: BTreeMap<i32, String>,
    links: BTreeMap<i32, Link>,
}

struct Partition {
    index: i32,
    leader: i32,
}

/// A broker's word on a batch.
struct Verdict {
    code: i16,
    why: Option<String>,
    offset: i64,
    /// Records that are at fault, by their place in the batch.
    at_fault: BTreeMap<usize, Option<String>>,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    let format = settings.format.unwrap_or(Format::Json);
    let topic = settings.topic.clone().unwrap_or_else(|| TOPIC.to_owned());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_name = (1..=249).contains(&topic.len()) && topic.chars().all(is_plain);
    if !is_name || topic == "." || topic == ".." {
        return Err(format!(
            "topic: \"{topic}\" is none: 1 to 249 of a-z, A-Z, 0-9, '.', '_', '-'"
        ));
    }
    if settings.transport == Transport::Udp {
        return Err("transport: Kafka goes over tcp or tls".to_owned());
    }
    if settings.far.token.is_some() && settings.user.is_none() {
        return Err("user: missing, whose password the token is".to_owned());
    }
    Ok(Box::new(Kafka {
        settings: settings.clone(),
        shape: Shape::new(format, settings.template.as_deref())?,
        topic,
        way: Way::new(settings)?,
        cluster: None,
    }))
}

impl Sink for Kafka {
    fn most(&self) -> usize {
        MOST
    }

    fn send(&mut self, envelopes: &[Envelope]) -> Vec<Answer> {
        let made: Vec<Result<Message, String>> = envelopes
            .iter()
            .map(|envelope| self.message(envelope))
            .collect();
        let messages: Vec<&Message> = made.iter().filter_map(|one| one.as_ref().ok()).collect();
        // Connections of before may be gone: records come twice at most, which their header tells.
        let is_old = self.cluster.is_some();
        let mut sent = match messages.is_empty() {
            true => Ok(Vec::new()),
            false => self.write(&messages),
        };
        if sent.is_err() && is_old {
            sent = self.write(&messages);
        }
        let mut sent = sent
            .unwrap_or_else(|cause| {
                let told = format!("{}: {cause}", self.way.address());
                vec![Answer::later(told); messages.len()]
            })
            .into_iter();
        let of = |one: Result<Message, String>| match one {
            Ok(_) => sent.next().unwrap_or_else(|| Answer::later("not reached")),
            Err(why) => Answer::Refused(why),
        };
        made.into_iter().map(of).collect()
    }

    fn reopen(&mut self) {
        self.cluster = None;
    }
}

impl Kafka {
    fn message(&self, envelope: &Envelope) -> Result<Message, String> {
        let body = self.shape.of(envelope)?;
        let of = envelope.incident_id();
        Ok(Message {
            key: of.unwrap_or(&envelope.record.head().sensor.id).to_owned(),
            value: body.bytes,
            headers: vec![
                ("id", envelope.key()),
                ("content-type", body.content_type.to_owned()),
            ],
            at_ms: i64::try_from(envelope.at_ns / 1_000_000).unwrap_or(i64::MAX),
        })
    }

    /// Writes messages to the leaders of their partitions. Leaders change: after any fault all is asked anew.
    fn write(&mut self, messages: &[&Message]) -> io::Result<Vec<Answer>> {
        let user = self.user()?;
        let mut cluster = match self.cluster.take() {
            Some(cluster) => cluster,
            None => self.find(user.as_ref())?,
        };
        let mut answers = vec![Answer::later("not reached"); messages.len()];
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (n, message) in messages.iter().enumerate() {
            let partition = place(message.key.as_bytes(), cluster.partitions.len());
            groups.entry(partition).or_default().push(n);
        }
        let mut is_sound = true;
        let mut waiting: VecDeque<(usize, Vec<usize>)> = groups.into_iter().collect();
        while let Some((partition, members)) = waiting.pop_front() {
            let of_batch: Vec<&Message> = members
                .iter()
                .filter_map(|n| messages.get(*n).copied())
                .collect();
            let verdict = self.produce(&mut cluster, partition, &of_batch, user.as_ref())?;
            if verdict.names_no_record() && members.len() > 1 {
                // Each alone: one may be at fault, or all together.
                waiting.extend(members.into_iter().map(|n| (partition, vec![n])));
                continue;
            }
            is_sound &= verdict.code == 0;
            let index = cluster.partitions.get(partition).map_or(0, |one| one.index);
            for (place, n) in members.into_iter().enumerate() {
                if let Some(answer) = answers.get_mut(n) {
                    *answer = verdict.answer(place, &self.topic, index, of_batch.len());
                }
            }
        }
        if is_sound {
            self.cluster = Some(cluster);
        }
        Ok(answers)
    }

    fn user(&self) -> io::Result<Option<User>> {
        let (Some(name), Some(token)) = (&self.settings.user, &self.settings.far.token) else {
            return Ok(None);
        };
        Ok(Some(User {
            name: name.clone(),
            password: token.read().map_err(io::Error::other)?,
        }))
    }

    /// Asks any broker for the topic's partitions and their leaders.
    fn find(&self, user: Option<&User>) -> io::Result<Cluster> {
        let mut link = Link::open(&self.way, user)?;
        let mut question = Vec::new();
        put_length(&mut question, 1)?;
        put_text(&mut question, &self.topic)?;
        question.push(1); // made if the broker makes topics by itself
        let told = link.ask(METADATA, 4, &question)?;
        let mut told = Reader(&told);
        told.i32()?; // throttled, ms
        let brokers = told.list(|one| {
            let (number, host, port) = (one.i32()?, one.text()?, one.i32()?);
            one.text()?; // rack
            let host = host.unwrap_or_default();
            // An address of IPv6 needs its brackets before a port.
            let is_bare = host.contains(':') && !host.starts_with('[');
            let host = if is_bare { format!("[{host}]") } else { host };
            Ok((number, format!("{host}:{port}")))
        })?;
        told.text()?; // cluster
        told.i32()?; // controller
        let topics = told.list(|one| {
            let (code, _name, _internal) = (one.i16()?, one.text()?, one.is_set()?);
            let partitions = one.list(|one| {
                let (_code, index, leader) = (one.i16()?, one.i32()?, one.i32()?);
                one.list(|one| one.i32())?; // replicas
                one.list(|one| one.i32())?; // those in step
                Ok(Partition { index, leader })
            })?;
            Ok((code, partitions))
        })?;
        let Some((code, mut partitions)) = topics.into_iter().next() else {
            return Err(io::Error::other("no word about the topic"));
        };
        if code != 0 || partitions.is_empty() {
            return Err(io::Error::other(format!(
                "topic {}: {}",
                self.topic,
                meaning(code)
            )));
        }
        partitions.sort_by_key(|partition| partition.index);
        Ok(Cluster {
            partitions,
            brokers: brokers.into_iter().collect(),
            links: BTreeMap::new(),
        })
    }

    /// Writes a batch to the leader of a partition, and waits until all replicas in step have it.
    fn produce(
        &self,
        cluster: &mut Cluster,
        partition: usize,
        messages: &[&Message],
        user: Option<&User>,
    ) -> io::Result<Verdict> {
        let Some(Partition { index, leader }) = cluster.partitions.get(partition) else {
            return Ok(Verdict::of(NO_LEADER));
        };
        let Some(address) = cluster.brokers.get(leader) else {
            return Ok(Verdict::of(NO_LEADER));
        };
        let link = match cluster.links.entry(*leader) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => {
                let way = self.way.to(address.clone());
                let link = Link::open(&way, user);
                free.insert(link.map_err(|cause| io::Error::other(format!("{address}: {cause}")))?)
            }
        };
        let records = batch(messages)?;
        let mut question = Vec::with_capacity(records.len() + 64);
        question.extend((-1_i16).to_be_bytes()); // no transaction
        question.extend((-1_i16).to_be_bytes()); // all replicas in step
        let limit = i32::try_from(self.settings.timeout_ms).unwrap_or(i32::MAX);
        question.extend(limit.to_be_bytes());
        put_length(&mut question, 1)?;
        put_text(&mut question, &self.topic)?;
        put_length(&mut question, 1)?;
        question.extend(index.to_be_bytes());
        put_length(&mut question, records.len())?;
        question.extend(records);
        let version = link.produce_version;
        let told = link.ask(PRODUCE, version, &question)?;
        Verdict::read(&told, version)
    }
}

impl Verdict {
    const fn of(code: i16) -> Self {
        Self {
            code,
            why: None,
            offset: 0,
            at_fault: BTreeMap::new(),
        }
    }

    fn read(told: &[u8], version: i16) -> io::Result<Self> {
        let verdicts = Reader(told).list(|topic| {
            topic.text()?;
            topic.list(|one| {
                one.i32()?; // partition
                let mut verdict = Self::of(one.i16()?);
                verdict.offset = one.i64()?;
                one.i64()?; // time of the log
                if version >= 5 {
                    one.i64()?; // first offset of the log
                }
                if version >= 8 {
                    let at_fault = one.list(|one| {
                        let place = usize::try_from(one.i32()?).unwrap_or(usize::MAX);
                        Ok((place, one.text()?))
                    })?;
                    verdict.at_fault = at_fault.into_iter().collect();
                    verdict.why = one.text()?;
                }
                Ok(verdict)
            })
        })?;
        let verdict = verdicts.into_iter().flatten().next();
        verdict.ok_or_else(|| io::Error::other("no word about the batch"))
    }

    /// True where some records can't be taken, and nobody says which.
    fn names_no_record(&self) -> bool {
        match self.code {
            TOO_LARGE | BATCH_TOO_LARGE => true,
            INVALID_RECORD => self.at_fault.is_empty(),
            _ => false,
        }
    }

    /// Answer about the record at a place in a batch of so many.
    fn answer(&self, place: usize, topic: &str, partition: i32, n: usize) -> Answer {
        let why = || {
            let of_record = self.at_fault.get(&place).cloned().flatten();
            let why = of_record.or_else(|| self.why.clone());
            cut::bytes(&why.unwrap_or_else(|| meaning(self.code)), MAX_TOLD)
        };
        match self.code {
            0 => {
                let offset = self
                    .offset
                    .saturating_add(i64::try_from(place).unwrap_or(0));
                Answer::Accepted(format!("{topic}, partition {partition}, offset {offset}"))
            }
            TOO_LARGE | BATCH_TOO_LARGE => Answer::Refused(why()),
            INVALID_RECORD if self.at_fault.contains_key(&place) || n == 1 => {
                Answer::Refused(why())
            }
            _ => Answer::later(format!("{topic}, partition {partition}: {}", why())),
        }
    }
}

/// Words for a code of those that a producer meets.
fn meaning(code: i16) -> String {
    let words = match code {
        CORRUPT => "the batch was damaged on its way",
        3 => "no such topic, and the broker makes none by itself",
        NO_LEADER => "a partition has no leader",
        6 => "another broker leads the partition",
        7 => "the replicas took too long",
        TOO_LARGE => "longer than the broker takes (message.max.bytes)",
        17 => "no name of a topic",
        BATCH_TOO_LARGE => "more than a segment of the log takes",
        19 | 20 => "too few replicas are in step (min.insync.replicas)",
        29 => "the user may not write to the topic",
        INVALID_RECORD => "the broker takes no such record",
        _ => return format!("error {code}"),
    };
    words.to_owned()
}
