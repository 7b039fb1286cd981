//! Top talkers: two looks at the tables, and the difference between them.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use sensor_common::Address;
use sensor_common::flow::Flow;
use sensor_common::host::HostRow;
use sensor_engine::to_ip;
use sensor_record::answer::{Top, TopFlow, TopHost, TopRows, TopWhat};
use sensor_record::transport;
use serde::{Deserialize, Serialize};

use sensor_capture::kernel::TableReader;

/// Quantity that talkers are ordered by.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum TopOrder {
    Packets,
    #[default]
    Bytes,
}

/// Query for top talkers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TopQuery {
    pub what: TopWhat,
    pub by: TopOrder,
    pub limit: usize,
}

impl Default for TopQuery {
    fn default() -> Self {
        Self {
            what: TopWhat::default(),
            by: TopOrder::default(),
            limit: 20,
        }
    }
}

/// Rows of an answer.
const MAX_ROWS: usize = 1_000;
/// Between two looks; a look that is younger is answered from.
const LEAST_APART: Duration = Duration::from_millis(500);
/// A look that is older says nothing of now: another one is made before.
const TOO_OLD: Duration = Duration::from_secs(5);

/// Packets and bytes towards and from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    packets: [u64; 2],
    bytes: [u64; 2],
}

impl Load {
    fn of_row(row: &HostRow) -> Self {
        Self {
            packets: [row.toward.packets, row.from.packets],
            bytes: [row.toward.bytes, row.from.bytes],
        }
    }

    fn of_flow(flow: &Flow) -> Self {
        Self {
            packets: flow.directions.map(|side| side.packets.into()),
            bytes: flow.directions.map(|side| side.bytes.into()),
        }
    }

    fn add(&mut self, other: &Self) {
        for side in 0..2 {
            self.packets[side] = self.packets[side].saturating_add(other.packets[side]);
            self.bytes[side] = self.bytes[side].saturating_add(other.bytes[side]);
        }
    }

    /// Counts since `before`; zero where a count went back: a row was lost to another host
    /// meanwhile.
    fn since(&self, before: &Self) -> Self {
        let went_back = (0..2).any(|side| {
            before.packets[side] > self.packets[side] || before.bytes[side] > self.bytes[side]
        });
        if went_back {
            return Self::default();
        }
        let minus = |now: [u64; 2], then: [u64; 2]| [now[0] - then[0], now[1] - then[1]];
        Self {
            packets: minus(self.packets, before.packets),
            bytes: minus(self.bytes, before.bytes),
        }
    }

    const fn rank(&self, by: TopOrder) -> u64 {
        let both = match by {
            TopOrder::Packets => self.packets,
            TopOrder::Bytes => self.bytes,
        };
        both[0].saturating_add(both[1])
    }
}

/// A flow by its ends; `a` is the lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ends {
    a: (Address, u16),
    b: (Address, u16),
    protocol: u8,
}

/// A slot of a table: whose row it is, in which table or on which CPU, in which of its lives.
type Slot<K> = (K, u16, u32);

/// Content of the tables at one look.
#[derive(Default)]
struct Look {
    hosts: HashMap<Slot<Address>, Load>,
    flows: HashMap<Slot<Ends>, Load>,
}

/// Looks at the tables for those who ask; nothing is kept or done while nobody does.
pub struct Talkers {
    tables: TableReader,
    what: TopWhat,
    looked: Option<(Instant, Look)>,
    /// Load since the look before, and the seconds between.
    hosts: HashMap<Address, Load>,
    flows: HashMap<Ends, Load>,
    elapsed_s: f64,
}

impl Talkers {
    pub fn new(tables: TableReader) -> Self {
        Self {
            tables,
            what: TopWhat::Hosts,
            looked: None,
            hosts: HashMap::new(),
            flows: HashMap::new(),
            elapsed_s: 0.0,
        }
    }

    /// Takes up to half a second, where the last look was long ago.
    pub fn look(&mut self, query: &TopQuery) -> Top {
        let age = self.looked.as_ref().map(|(at, _)| at.elapsed());
        if self.what != query.what || age.is_none_or(|age| age > TOO_OLD) {
            self.what = query.what;
            self.looked = Some((Instant::now(), self.take()));
            std::thread::sleep(LEAST_APART);
        }
        let age = self.looked.as_ref().map(|(at, _)| at.elapsed());
        if age.is_none_or(|age| age >= LEAST_APART) {
            self.compare();
        }
        let limit = query.limit.clamp(1, MAX_ROWS);
        let rows = match query.what {
            TopWhat::Hosts => {
                let host = |address: &Address, load: &Load| self.host(address, load);
                TopRows::Hosts(top(&self.hosts, query.by, limit, host))
            }
            TopWhat::Flows => {
                let flow = |ends: &Ends, load: &Load| self.flow(ends, load);
                TopRows::Flows(top(&self.flows, query.by, limit, flow))
            }
        };
        Top {
            what: query.what,
            window_s: self.elapsed_s,
            rows,
        }
    }

    fn take(&self) -> Look {
        let mut look = Look::default();
        match self.what {
            TopWhat::Hosts => {
                let (mut local, mut remote) = (Vec::new(), Vec::new());
                self.tables.read_hosts(&mut local, &mut remote);
                // A host has a row on each CPU that saw it, and nothing tells them apart.
                for (table, rows) in [(0, &local), (1, &remote)] {
                    for row in rows {
                        let sum = look.hosts.entry((row.address, table, 0)).or_default();
                        sum.add(&Load::of_row(row));
                    }
                }
            }
            TopWhat::Flows => {
                self.tables.scan_flows(0, |flow| {
                    let head = &flow.head;
                    let ends = Ends {
                        a: (head.a, head.a_port),
                        b: (head.b, head.b_port),
                        protocol: head.protocol,
                    };
                    let slot = (ends, head.cpu, head.generation);
                    look.flows
                        .entry(slot)
                        .or_default()
                        .add(&Load::of_flow(flow));
                });
            }
        }
        look
    }

    fn compare(&mut self) {
        let now = Instant::now();
        let look = self.take();
        let (then, before) = self.looked.take().unwrap_or_else(|| (now, Look::default()));
        self.elapsed_s = (now - then).as_secs_f64();
        self.hosts = differences(&look.hosts, &before.hosts);
        self.flows = differences(&look.flows, &before.flows);
        self.looked = Some((now, look));
    }

    fn per_s(&self, value: u64) -> f64 {
        if self.elapsed_s > 0.0 {
            value as f64 / self.elapsed_s
        } else {
            0.0
        }
    }

    fn host(&self, address: &Address, load: &Load) -> TopHost {
        TopHost {
            ip: to_ip(address),
            in_packets_per_s: self.per_s(load.packets[0]),
            in_bytes_per_s: self.per_s(load.bytes[0]),
            out_packets_per_s: self.per_s(load.packets[1]),
            out_bytes_per_s: self.per_s(load.bytes[1]),
        }
    }

    fn flow(&self, ends: &Ends, load: &Load) -> TopFlow {
        TopFlow {
            a_ip: to_ip(&ends.a.0),
            a_port: ends.a.1,
            b_ip: to_ip(&ends.b.0),
            b_port: ends.b.1,
            transport: transport(ends.protocol),
            a_packets_per_s: self.per_s(load.packets[0]),
            a_bytes_per_s: self.per_s(load.bytes[0]),
            b_packets_per_s: self.per_s(load.packets[1]),
            b_bytes_per_s: self.per_s(load.bytes[1]),
        }
    }
}

fn differences<K: Copy + Eq + std::hash::Hash>(
    now: &HashMap<Slot<K>, Load>,
    before: &HashMap<Slot<K>, Load>,
) -> HashMap<K, Load> {
    let mut found: HashMap<K, Load> = HashMap::new();
    for (slot, load) in now {
        // What was not there before began since.
        let grown = before.get(slot).map_or(*load, |before| load.since(before));
        found.entry(slot.0).or_default().add(&grown);
    }
    found
}

fn top<K, T>(
    loads: &HashMap<K, Load>,
    by: TopOrder,
    limit: usize,
    show: impl Fn(&K, &Load) -> T,
) -> Vec<T> {
    let mut rows: Vec<(&K, &Load)> = loads.iter().filter(|(_, load)| load.rank(by) > 0).collect();
    rows.sort_by_key(|(_, load)| Reverse(load.rank(by)));
    rows.truncate(limit);
    rows.into_iter()
        .map(|(key, load)| show(key, load))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(packets: u64) -> Load {
        Load {
            packets: [packets, 0],
            bytes: [packets * 100, 0],
        }
    }

    #[test]
    fn a_reused_slot_counts_whole_and_a_kept_one_by_its_growth() {
        let before = HashMap::from([
            ((7u8, 0, 1), load(10)),
            ((7, 1, 1), load(5)),
            ((5, 0, 1), load(9)),
        ]);
        let now = HashMap::from([
            ((7u8, 0, 1), load(12)),
            ((7, 1, 2), load(3)),
            ((9, 0, 1), load(4)),
            ((5, 0, 1), load(4)),
        ]);
        let found = differences(&now, &before);
        assert_eq!(found[&7], load(5));
        assert_eq!(found[&9], load(4));
        assert_eq!(found[&5], load(0), "a count that went back");
    }

    #[test]
    fn the_greatest_come_first_and_the_silent_are_left_out() {
        let loads = HashMap::from([(1u8, load(1)), (2, load(0)), (3, load(9)), (4, load(4))]);
        let rows = top(&loads, TopOrder::Bytes, 2, |key, _| *key);
        assert_eq!(rows, [3, 4]);
    }
}
