//! Load of each service since the start: by protocol and port of whoever was asked.

use sensor_common::packet::protocol;

use super::bounded::{Bounded, Priority, TableUse};
use crate::flow::{FlowUpdate, Progress};

/// Services that are known by name: those of a network that is not scanned fit many times over.
const MAX_SERVICES: usize = 1_024;

/// Load of a service since it is known, or of all of them: towards it, and back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceLoad {
    pub protocol: u8,
    /// 0: the protocol has no ports, or, with protocol 0, all services.
    pub port: u16,
    pub packets: [u64; 2],
    pub bytes: [u64; 2],
}

impl ServiceLoad {
    fn add(&mut self, update: &FlowUpdate) {
        for (side, delta) in [&update.forward, &update.backward].into_iter().enumerate() {
            self.packets[side] = self.packets[side].saturating_add(delta.packets);
            self.bytes[side] = self.bytes[side].saturating_add(delta.bytes);
        }
    }
}

impl Priority for ServiceLoad {
    fn priority(&self) -> u64 {
        self.bytes[0].saturating_add(self.bytes[1])
    }
}

#[derive(Debug)]
pub(crate) struct Services {
    known: Bounded<(u8, u16), ServiceLoad>,
    all: ServiceLoad,
}

impl Services {
    pub(crate) fn new(hash_seed: u64) -> Self {
        Self {
            known: Bounded::new("services", MAX_SERVICES, hash_seed),
            all: ServiceLoad::default(),
        }
    }

    pub(crate) fn usage(&self) -> TableUse {
        self.known.usage()
    }

    /// Counts updates. A service becomes known by an answer, or where none is meant to be: a scan names none.
    pub(crate) fn take_all(&mut self, updates: &[FlowUpdate]) {
        for update in updates {
            self.all.add(update);
            let number = update.protocol;
            let port = match number {
                protocol::ICMP | protocol::ICMPV6 => 0,
                _ => update.destination_port,
            };
            let is_used = update.progress == Progress::Established || update.is_one_way;
            // 0 stands for all.
            let is_service = is_used && number != 0;
            let load = if is_service {
                let fresh = || ServiceLoad {
                    protocol: number,
                    port,
                    ..ServiceLoad::default()
                };
                Some(self.known.get_or_insert_with((number, port), fresh))
            } else {
                self.known.get_mut(&(number, port))
            };
            if let Some(load) = load {
                load.add(update);
            }
        }
    }

    /// Tells the load of all traffic, and then of each known service, in their order.
    pub(crate) fn loads(&self) -> Vec<ServiceLoad> {
        let mut loads: Vec<ServiceLoad> = self.known.iter().map(|(_, load)| *load).collect();
        loads.push(self.all);
        loads.sort_unstable_by_key(|load| (load.protocol, load.port));
        loads
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Delta;
    use crate::tests::ip;

    fn update(port: u16, progress: Progress) -> FlowUpdate {
        let delta = |packets, bytes| Delta {
            packets,
            bytes,
            ..Delta::default()
        };
        FlowUpdate {
            source: ip(1),
            destination: ip(2),
            source_port: 40_000,
            destination_port: port,
            protocol: 6,
            is_claimed: false,
            has_fragments: false,
            forward: delta(2, 100),
            backward: delta(3, 1_000),
            n_forward: 2,
            n_backward: 3,
            n_flags: [0; 5],
            is_attempt: true,
            is_one_way: false,
            begins_to_close: false,
            is_stray: false,
            is_new: true,
            progress,
            has_progressed: false,
            has_closed: false,
            first_ns: 0,
            last_ns: 0,
        }
    }

    #[test]
    fn services_that_answer_are_known_and_a_scan_counts_among_all() {
        let mut services = Services::new(1);
        services.take_all(&[update(443, Progress::Established)]);
        for port in 1..10_000 {
            services.take_all(&[update(port, Progress::Refused)]);
        }
        let loads = services.loads();
        let [all, web] = loads.as_slice() else {
            panic!("{loads:?}");
        };
        assert_eq!((all.protocol, all.packets), (0, [20_000, 30_000]));
        // Refusals of a known service are its load as well.
        assert_eq!((web.protocol, web.port, web.bytes), (6, 443, [200, 2_000]));
    }

    #[test]
    fn more_services_than_fit_displace_the_small_ones_and_are_counted() {
        let mut services = Services::new(1);
        for _ in 0..50 {
            services.take_all(&[update(443, Progress::Established)]);
        }
        for port in 1_000..4_000 {
            services.take_all(&[update(port, Progress::Established)]);
        }
        let loads = services.loads();
        assert_eq!(loads.len(), MAX_SERVICES + 1);
        assert!(loads.iter().any(|load| load.port == 443));
        assert_eq!(services.usage().n_shed, 3_001 - MAX_SERVICES as u64);
    }
}
