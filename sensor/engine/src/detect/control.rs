//! Command and control: calls as regular as a clock, of the same size each time, and clues in their first
//! packets, held against what is usual around them.

mod beacon;
mod clues;
mod surroundings;
mod timer;

use std::sync::Arc;

use sensor_common::event::Kind;
use sensor_common::packet::protocol;

use self::beacon::Beacons;
use self::clues::PairClues;
use self::surroundings::Surroundings;
use super::Detect;
use super::content::Seen;
use super::finding::Finding;
use crate::config::{Config, SECOND_NS};
use crate::features::TableUse;
use crate::flow::{FlowUpdate, is_never_answered};
use crate::l7::call::Clues;
use crate::l7::dns_answers;
use crate::site::Site;
use crate::slot_index::BATCH;

/// Event time between two walks for what may be forgotten.
const FORGET_NS: u64 = 60 * SECOND_NS;

#[derive(Debug)]
pub(crate) struct ControlDetector {
    beacons: Beacons,
    clues: PairClues,
    around: Surroundings,
    /// Contacts that make a series.
    least: usize,
    findings: Vec<Finding>,
    forgot_ns: u64,
}

impl Detect for ControlDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let hash_seed = config.hash_seed;
        Self {
            beacons: Beacons::new(hash_seed),
            clues: PairClues::new(hash_seed),
            around: Surroundings::new(Arc::new(Site::of(&config.local_networks, None)), hash_seed),
            least: config.shape.beacon_contacts as usize,
            findings: Vec::new(),
            forgot_ns: 0,
        }
    }

    fn configure(&mut self, config: &Config) {
        self.least = config.shape.beacon_contacts as usize;
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        self.beacons.tables(out);
        self.clues.tables(out);
        self.around.tables(out);
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        findings.append(&mut self.findings);
        if at_ns.saturating_sub(self.forgot_ns) >= FORGET_NS {
            self.forgot_ns = at_ns;
            self.beacons.forget(at_ns);
            self.clues.forget(at_ns);
            self.around.forget(at_ns);
        }
    }
}

impl ControlDetector {
    /// Takes who is inside.
    pub(in crate::detect) fn set_site(&mut self, site: &Arc<Site>) {
        self.around.set_site(site);
    }

    /// Takes updates one after the other.
    pub(in crate::detect) fn take_all(&mut self, updates: &[FlowUpdate]) {
        for batch in updates.chunks(BATCH) {
            self.beacons.fetch(batch);
            for update in batch.iter().filter(|update| is_call(update)) {
                if update.is_new {
                    self.around.take(update);
                }
                let (around, clues) = (&mut self.around, &self.clues);
                let finding = self.beacons.take(update, around, clues, self.least);
                self.findings.extend(finding);
            }
        }
    }

    /// Takes a packet of the beginning of a flow.
    pub(in crate::detect) fn take_sample(&mut self, seen: &Seen<'_>) {
        let sample = seen.sample;
        let packet = &sample.head.packet;
        let clues = match (Kind::of(sample.head.kind), seen.is_answer) {
            (Some(Kind::Dns), true) => {
                let named = dns_answers::addresses(sample.payload);
                self.around.name(seen.at_ns, &named);
                return;
            }
            (Some(Kind::Udp), false) => {
                Clues::of_datagram(sample.payload, sample.head.payload_bytes)
            }
            (Some(Kind::Tcp | Kind::Control), false) => Clues::of_question(sample.payload),
            (Some(Kind::Tcp), true) => Clues::of_answer(sample.payload),
            _ => return,
        };
        if clues.is_none() {
            return;
        }
        let (from, to) = (
            (packet.source, packet.source_port),
            (packet.destination, packet.destination_port),
        );
        let ((source, source_port), (host, port)) = if seen.is_answer {
            (to, from)
        } else {
            (from, to)
        };
        let call = clues::Call {
            at_ns: seen.at_ns,
            source,
            source_port,
            host,
            port,
            protocol: packet.protocol,
            payload: sample.payload,
        };
        let finding = self.clues.take(&call, clues, &self.around);
        self.findings.extend(finding);
    }
}

/// Conversations that a client began, which may be calls.
fn is_call(update: &FlowUpdate) -> bool {
    let is_ported = matches!(update.protocol, protocol::TCP | protocol::UDP);
    // A client that resets what it began, all within one look, is no longer told from one that only resets.
    let has_begun = update.is_attempt || (update.is_new && update.forward.n_flags[0] > 0);
    // What looks like a stream of media may be chance; what is answered is none of a report.
    let is_asked = !is_never_answered(&update.destination, update.destination_port);
    is_ported && has_begun && is_asked && update.destination_port != 0
}

#[cfg(test)]
mod tests;
