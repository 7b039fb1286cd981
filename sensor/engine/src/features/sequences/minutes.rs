//! A host's minute in bins of 100 ms.

use sensor_common::Address;

use super::{Sequence, ln};
use crate::config::SECOND_NS;
use crate::features::HostLook;
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::sequence_schema::SequenceKind;

/// Hosts followed, 19 kB each: 5 MB at most.
const MAX_HOSTS: usize = 256;
const BIN_NS: u64 = SECOND_NS / 10;
const MINUTE_NS: u64 = 60 * SECOND_NS;
/// Bins with packets from which there is a rhythm.
const LEAST: usize = 10;
const N_COLUMNS: usize = SequenceKind::Minute.columns().len();

#[derive(Clone, Debug, Default)]
struct Minute {
    number: u64,
    last_ns: u64,
    n_busy: usize,
    /// Counts by bin and column.
    bins: Vec<[u32; N_COLUMNS]>,
}

impl Priority for Minute {
    fn priority(&self) -> u64 {
        self.n_busy as u64
    }
}

impl Minute {
    fn of(number: u64) -> Self {
        Self {
            number,
            bins: vec![[0; N_COLUMNS]; SequenceKind::Minute.steps()],
            ..Self::default()
        }
    }

    fn sequence(&self, host: &Address) -> Option<Sequence> {
        if self.n_busy < LEAST {
            return None;
        }
        let values = self.bins.iter().flatten().map(|n| ln(u64::from(*n)));
        Some(Sequence {
            kind: SequenceKind::Minute,
            source: *host,
            host: None,
            at_ns: self.last_ns,
            first_ns: self.number * MINUTE_NS,
            values: values.collect(),
        })
    }
}

#[derive(Debug)]
pub(super) struct Minutes {
    hosts: Bounded<Address, Minute>,
}

impl Minutes {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            hosts: Bounded::new("sequence_hosts", MAX_HOSTS, hash_seed),
        }
    }

    pub(super) fn usage(&self) -> TableUse {
        self.hosts.usage()
    }

    pub(super) fn take(&mut self, at_ns: u64, look: &HostLook) -> Option<Sequence> {
        if look.toward.packets == 0 && look.from.packets == 0 {
            return None;
        }
        // A look tells what was before it.
        let then_ns = at_ns.saturating_sub(1);
        let number = then_ns / MINUTE_NS;
        let minute = self
            .hosts
            .get_or_insert_with(look.address, || Minute::of(number));
        let mut found = None;
        if minute.number != number {
            found = minute.sequence(&look.address);
            *minute = Minute::of(number);
        }
        let bin = (then_ns % MINUTE_NS) / BIN_NS;
        let (toward, from) = (&look.toward, &look.from);
        let counts = [
            toward.packets,
            from.packets,
            toward.bytes,
            from.bytes,
            toward.n_syn,
            from.n_syn,
            toward.n_syn_ack,
            from.n_syn_ack,
        ];
        if let Some(place) = minute.bins.get_mut(bin as usize) {
            minute.n_busy += usize::from(*place == [0; N_COLUMNS]);
            for (sum, n) in place.iter_mut().zip(counts) {
                *sum = sum.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
            }
        }
        minute.last_ns = at_ns;
        found
    }

    pub(super) fn tick(&mut self, at_ns: u64, is_last: bool, keep: &mut dyn FnMut(Sequence)) {
        let number = at_ns.saturating_sub(1) / MINUTE_NS;
        self.hosts.retain(|host, minute| {
            if !is_last && minute.number >= number {
                return true;
            }
            minute.sequence(host).into_iter().for_each(&mut *keep);
            false
        });
    }
}
