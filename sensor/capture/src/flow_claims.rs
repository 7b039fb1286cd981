//! Flows that several exporters tell of, or one exporter twice: as its packets come and as they go. Whoever
//! tells first is taken, as long as what the others tell is of the same time.

use std::collections::HashMap;
use std::net::IpAddr;

use sensor_netflow::{FlowRecord, Way};

/// Flows that are remembered, in each of two generations: 12 MB.
const MAX_CLAIMS: usize = 1 << 16;
/// Time by which exporters' clocks may differ.
const SLACK_NS: u64 = 2_000_000_000;

/// Source of what is told of a flow: an exporter, by the number that it has here, and the way that it looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observer {
    pub exporter: u32,
    pub way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    ports: [u16; 2],
    protocol: u8,
}

impl Key {
    const fn of(record: &FlowRecord) -> Self {
        Self {
            source: record.source,
            destination: record.destination,
            ports: [record.source_port, record.destination_port],
            protocol: record.protocol,
        }
    }
}

/// The record of a flow that was taken last.
#[derive(Clone, Copy, Debug)]
struct Claim {
    observer: Observer,
    first_ns: u64,
    last_ns: u64,
    packets: u64,
    bytes: u64,
}

impl Claim {
    /// True for what the claim tells already.
    const fn covers(&self, observer: Observer, record: &FlowRecord) -> bool {
        let is_same = self.observer.exporter == observer.exporter
            && self.observer.way as u8 == observer.way as u8;
        if is_same {
            // A datagram that came twice, or versions without a direction at both of a router's interfaces.
            self.first_ns == record.first_ns
                && self.last_ns == record.last_ns
                && self.packets == record.packets
                && self.bytes == record.bytes
        } else {
            record.first_ns <= self.last_ns.saturating_add(SLACK_NS)
        }
    }
}

/// Flows with those who tell of them. Of more flows than there is room for, those are forgotten that nobody
/// told of for longest.
#[derive(Debug, Default)]
pub struct Claims {
    young: HashMap<Key, Claim>,
    old: HashMap<Key, Claim>,
}

impl Claims {
    /// True where the record is news; it is noted then.
    pub fn takes(&mut self, observer: Observer, record: &FlowRecord) -> bool {
        let key = Key::of(record);
        let known = self.young.get(&key).or_else(|| self.old.get(&key));
        if known.is_some_and(|known| known.covers(observer, record)) {
            return false;
        }
        // Records of one exporter may change places.
        let last_ns = known.map_or(0, |known| known.last_ns);
        if self.young.len() >= MAX_CLAIMS && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        let claim = Claim {
            observer,
            first_ns: record.first_ns,
            last_ns: record.last_ns.max(last_ns),
            packets: record.packets,
            bytes: record.bytes,
        };
        self.young.insert(key, claim);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;
    const ONE: Observer = Observer {
        exporter: 0,
        way: Way::Ingress,
    };

    fn record(from_s: u64, to_s: u64) -> FlowRecord {
        FlowRecord {
            source: [192, 0, 2, 1].into(),
            destination: [198, 51, 100, 2].into(),
            packets: 10,
            bytes: 1_000,
            first_ns: from_s * SECOND_NS,
            last_ns: to_s * SECOND_NS,
            ..FlowRecord::default()
        }
    }

    #[test]
    fn what_two_exporters_tell_of_the_same_time_is_taken_once() {
        let other = Observer { exporter: 1, ..ONE };
        let mut claims = Claims::default();
        assert!(claims.takes(ONE, &record(100, 160)));
        assert!(!claims.takes(other, &record(101, 161)));
        assert!(claims.takes(ONE, &record(160, 220)));
        // Single packets, by clocks that differ.
        let mut claims = Claims::default();
        assert!(claims.takes(ONE, &record(100, 100)));
        assert!(!claims.takes(other, &record(101, 101)));
    }

    #[test]
    fn a_flow_that_takes_another_way_is_followed_there() {
        let other = Observer { exporter: 1, ..ONE };
        let mut claims = Claims::default();
        assert!(claims.takes(ONE, &record(100, 160)));
        assert!(claims.takes(other, &record(170, 230)));
        assert!(!claims.takes(ONE, &record(171, 231)));
    }

    #[test]
    fn one_router_counts_a_flow_once_whether_or_not_it_tells_the_way() {
        let mut claims = Claims::default();
        let leaving = Observer {
            way: Way::Egress,
            ..ONE
        };
        assert!(claims.takes(ONE, &record(100, 160)));
        assert!(!claims.takes(leaving, &record(100, 160)));
        assert!(!claims.takes(ONE, &record(100, 160)));
        // The other half of what it balances over two interfaces.
        let half = FlowRecord {
            packets: 11,
            ..record(100, 160)
        };
        assert!(claims.takes(ONE, &half));
    }

    #[test]
    fn more_flows_than_there_is_room_for_forget_the_oldest() {
        let mut claims = Claims::default();
        let flow = |n: u32| FlowRecord {
            source: n.to_be_bytes().into(),
            ..record(100, 100)
        };
        for n in 0..3 * MAX_CLAIMS as u32 {
            assert!(claims.takes(ONE, &flow(n)));
        }
        assert!(claims.young.len() + claims.old.len() <= 2 * MAX_CLAIMS);
        assert!(!claims.takes(ONE, &flow(3 * MAX_CLAIMS as u32 - 1)));
        assert!(claims.takes(ONE, &flow(0)));
    }
}
