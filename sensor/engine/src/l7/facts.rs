//! Facts about each flow above the transport layer, kept until the flow ends.

use sensor_common::Address;
use sensor_common::event::{EventHead, Kind, Sample};

use super::{dns, http, tls};
use crate::address::from_ip;
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::flow::{EndReason, FlowSummary};
use crate::icmp_error::IcmpError;
use crate::note::Note;

/// Notes of one flow.
const MAX_NOTES: usize = 12;

/// Endpoints of a flow in an order that both directions agree on, and those of the tunnel around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    ends: [(Address, u16); 2],
    protocol: u8,
    outer: Option<([Address; 2], u32)>,
}

/// Ends of a tunnel in an order that both directions agree on, and its identifier.
fn outer(a: Address, b: Address, id: u32) -> ([Address; 2], u32) {
    (if a <= b { [a, b] } else { [b, a] }, id)
}

impl Key {
    fn new(a: (Address, u16), b: (Address, u16), protocol: u8) -> Self {
        let ends = if a <= b { [a, b] } else { [b, a] };
        Self {
            ends,
            protocol,
            outer: None,
        }
    }

    fn of(head: &EventHead) -> Self {
        let packet = &head.packet;
        let is_tunnelled = packet.realm.is_tunnelled();
        let ends = (head.outer_source, head.outer_destination);
        Self {
            outer: is_tunnelled.then(|| outer(ends.0, ends.1, packet.tunnel_id)),
            ..Self::new(
                (packet.source, packet.source_port),
                (packet.destination, packet.destination_port),
                packet.protocol,
            )
        }
    }

    fn of_flow(flow: &FlowSummary) -> Self {
        let tunnel = flow.tunnel.as_ref();
        Self {
            outer: tunnel.map(|it| outer(from_ip(it.source), from_ip(it.destination), it.id)),
            ..Self::new(
                (from_ip(flow.source), flow.source_port),
                (from_ip(flow.destination), flow.destination_port),
                flow.protocol,
            )
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Facts {
    last_ns: u64,
    notes: Vec<Note>,
}

impl Priority for Facts {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

#[derive(Debug)]
pub(crate) struct FlowFacts {
    flows: Bounded<Key, Facts>,
}

impl FlowFacts {
    pub(crate) fn new(capacity: usize, hash_seed: u64) -> Self {
        Self {
            flows: Bounded::new("flow_facts", capacity, hash_seed),
        }
    }

    pub(crate) fn usage(&self) -> TableUse {
        self.flows.usage()
    }

    /// Notes what a sample says, of its own flow or of the one that it quotes; the first of each name
    /// stays.
    pub(crate) fn take(&mut self, sample: &Sample<'_>, is_answer: bool) {
        let packet = &sample.head.packet;
        let is_tunnelled = packet.realm.is_tunnelled();
        if let Some(error) = IcmpError::read(sample).filter(|_| !is_tunnelled) {
            let key = Key::new(error.source, error.destination, error.protocol);
            self.add(sample.head.at_ns, key, vec![note("icmp.error", error.text)]);
            return;
        }
        let notes = match Kind::of(sample.head.kind) {
            Some(Kind::Dns) => of_dns(sample.payload),
            Some(Kind::Tcp | Kind::Control) => of_stream(sample.payload, is_answer),
            Some(
                Kind::FlowStarted
                | Kind::BlockHit
                | Kind::Arp
                | Kind::Icmp
                | Kind::Udp
                | Kind::Neighbour
                | Kind::Fragment
                | Kind::Proven,
            )
            | None => return,
        };
        if !notes.is_empty() {
            self.add(sample.head.at_ns, Key::of(sample.head), notes);
        }
    }

    fn add(&mut self, at_ns: u64, key: Key, notes: Vec<Note>) {
        let facts = self.flows.get_or_insert_with(key, Facts::default);
        facts.last_ns = at_ns;
        for note in notes {
            let is_known = facts.notes.iter().any(|known| known.name == note.name);
            if !is_known && facts.notes.len() < MAX_NOTES {
                facts.notes.push(note);
            }
        }
    }

    /// Hands out the notes of a flow that was exported; one that goes on keeps them.
    pub(crate) fn of(&mut self, flow: &FlowSummary) -> Vec<Note> {
        let key = Key::of_flow(flow);
        if flow.end_reason == EndReason::ActiveTimeout {
            let facts = self.flows.get(&key);
            return facts.map_or_else(Vec::new, |facts| facts.notes.clone());
        }
        self.flows
            .take(&key)
            .map_or_else(Vec::new, |facts| facts.notes)
    }
}

fn note(name: &'static str, value: impl Into<String>) -> Note {
    Note {
        name,
        value: value.into(),
    }
}

fn of_dns(payload: &[u8]) -> Vec<Note> {
    let Some(message) = dns::Message::read(payload) else {
        return Vec::new();
    };
    let mut notes = vec![
        note("network.protocol", "dns"),
        note("dns.question.name", message.name.text()),
        note("dns.question.type", dns::type_name(message.record)),
    ];
    if message.is_response {
        notes.push(note("dns.response_code", dns::rcode_name(message.rcode)));
    }
    notes
}

fn of_stream(payload: &[u8], is_answer: bool) -> Vec<Note> {
    match payload {
        [0x16, 3, ..] => of_tls(payload),
        [b'S', b'S', b'H', b'-', ..] => of_ssh(payload, is_answer),
        // Letters of a method, or of the version of an answer.
        [b'A'..=b'Z', b'A'..=b'Z', b'A'..=b'Z' | b' ', ..] => {
            let mut notes = http::read(payload).unwrap_or_default();
            if !notes.is_empty() {
                notes.push(note("network.protocol", "http"));
            }
            notes
        }
        _ => Vec::new(),
    }
}

fn of_tls(payload: &[u8]) -> Vec<Note> {
    let Some(hello) = tls::ClientHello::read(payload) else {
        return Vec::new();
    };
    let version = match hello.version {
        0x0304 => "1.3",
        0x0303 => "1.2",
        0x0302 => "1.1",
        0x0301 => "1.0",
        _ => "unknown",
    };
    let mut notes = vec![
        note("network.protocol", "tls"),
        note("tls.client.version_offered", version),
    ];
    let name = hello.server_name.map(dns::text);
    notes.extend(name.map(|name| note("tls.client.server_name", name)));
    notes.extend(hello.ja4.map(|ja4| note("tls.client.ja4", ja4)));
    notes
}

/// The identification line of one side.
fn of_ssh(payload: &[u8], is_answer: bool) -> Vec<Note> {
    let line = payload.split(|b| matches!(b, b'\r' | b'\n')).next();
    let line = line.unwrap_or_default();
    let name = if is_answer {
        "ssh.server.banner"
    } else {
        "ssh.client.banner"
    };
    let line = line.get(..255).unwrap_or(line);
    vec![
        note("network.protocol", "ssh"),
        note(name, String::from_utf8_lossy(line)),
    ]
}
