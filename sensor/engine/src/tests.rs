//! The engine as a whole, fed hand-built rows and flows.

mod floods;
mod flows;
mod habits;
mod scans;
mod tables;

use sensor_common::flow::{Direction, Flow};
use sensor_common::host::{HostRow, HostSide};
use sensor_common::{Address, v4_mapped};

use crate::{Config, Engine, Family, Incident, Input, Output};

pub(crate) const MS: u64 = 1_000_000;
/// An arbitrary event time.
pub(crate) const T0: u64 = 1_700_000_000_000_000_000;

pub(crate) fn ip(last: u16) -> Address {
    let [high, low] = last.to_be_bytes();
    v4_mapped(u32::from_ne_bytes([10, 0, high, low]))
}

/// A finding of a detector.
pub(crate) fn finding_of_scan() -> crate::Finding {
    let (detector, family) = (crate::Detector::Scan, Family::PortScan);
    crate::Finding::new(detector, family, crate::Entity::Source(ip(1)), T0)
}

pub(crate) fn row(address: Address, toward: HostSide, from: HostSide) -> HostRow {
    HostRow {
        address,
        used: 1,
        // One row for each address.
        place: u32::from_be(address[3]) & 0xffff,
        generation: 1,
        toward,
        from,
        ..HostRow::EMPTY
    }
}

/// A direction of `n` packets of 60 bytes, all with the same flags.
pub(crate) fn packets(n: u16, first_ns: u64, last_ns: u64, flags: u8) -> Direction {
    let count = |bit: u8| if flags & bit != 0 { n } else { 0 };
    Direction {
        first_ns,
        last_ns,
        bytes: u32::from(n) * 60,
        packets: n,
        length_min: 60,
        length_max: 60,
        tcp_flags: flags,
        n_flags: [count(2), count(1), count(4), count(8), count(16)],
        ..Direction::EMPTY
    }
}

pub(crate) struct Ends {
    pub a: (Address, u16),
    pub b: (Address, u16),
    pub protocol: u8,
}

pub(crate) fn flow(ends: &Ends, cpu: u16, generation: u32, directions: [Direction; 2]) -> Flow {
    let mut flow = Flow::default();
    (flow.head.a, flow.head.a_port) = ends.a;
    (flow.head.b, flow.head.b_port) = ends.b;
    flow.head.protocol = ends.protocol;
    flow.head.cpu = cpu;
    flow.head.generation = generation;
    flow.directions = directions;
    flow
}

pub(crate) fn engine() -> Engine {
    Engine::new(Config::default())
}

pub(crate) fn incidents(out: &[Output]) -> Vec<&Incident> {
    out.iter()
        .filter_map(|output| match output {
            Output::Incident(incident) => Some(incident),
            _ => None,
        })
        .collect()
}

pub(crate) fn families(out: &[Output]) -> Vec<Family> {
    let mut families: Vec<Family> = incidents(out).iter().map(|i| i.family).collect();
    families.sort();
    families.dedup();
    families
}

pub(crate) fn tick(engine: &mut Engine, at_ns: u64, out: &mut Vec<Output>) {
    engine.handle(at_ns, Input::FlowTick, out);
}
