//! Attempts of a source over the last minutes, whatever they were for: distinct services at which they came to something
//! or to nothing, and how many began in one second.

use sensor_common::packet::protocol;
use sensor_common::{Address, hash_address};

use super::bounded::{Bounded, Priority, TableUse};
use super::sketch::Distinct;
use crate::config::SECOND_NS;
use crate::flow::{FlowUpdate, Progress};

/// Sources remembered, at most 2.6 kB each, most of them 200 bytes.
const MAX_SOURCES: usize = 8_192;
/// Length of a half of what is remembered: whoever asks his hosts every five minutes shows all of them.
const HALF_NS: u64 = 300 * SECOND_NS;
/// Failures to a success up to which a source is one that is served: who guesses at services finds one in five at most,
/// who knows his four in five (Jung, Paxson, Berger, Balakrishnan 2004).
const FAILED_PER_SERVED: u32 = 2;

#[derive(Clone, Debug, Default)]
struct Half {
    served: Distinct,
    failed: Distinct,
    /// The most attempts that began in one second.
    most: u32,
}

#[derive(Clone, Debug, Default)]
struct Tries {
    now: Half,
    before: Half,
    half_ns: u64,
    /// The running second, and attempts that began in it.
    second: u64,
    n_begun: u32,
    last_ns: u64,
}

impl Priority for Tries {
    fn priority(&self) -> u64 {
        u64::from(self.now.most.max(self.before.most))
    }
}

impl Tries {
    fn turn(&mut self, at_ns: u64) {
        self.last_ns = self.last_ns.max(at_ns);
        if self.half_ns == 0 {
            self.half_ns = at_ns;
        }
        let elapsed_ns = at_ns.saturating_sub(self.half_ns);
        if elapsed_ns < HALF_NS {
            return;
        }
        let full = std::mem::take(&mut self.now);
        self.before = if elapsed_ns < 2 * HALF_NS {
            full
        } else {
            Half::default()
        };
        self.half_ns = at_ns;
    }

    /// Counts an attempt; those that are told after younger ones belong to the running second.
    fn begin(&mut self, first_ns: u64) {
        let second = first_ns / SECOND_NS;
        if second > self.second {
            (self.second, self.n_begun) = (second, 0);
        }
        self.n_begun = self.n_begun.saturating_add(1);
        self.now.most = self.now.most.max(self.n_begun);
    }

    fn is_served(&self) -> bool {
        let served = self.now.served.union_len(&self.before.served);
        let failed = self.now.failed.union_len(&self.before.failed);
        served > 0 && failed <= served.saturating_mul(FAILED_PER_SERVED)
    }
}

/// Attempts by source.
#[derive(Debug)]
pub(super) struct AllTries(Bounded<Address, Tries>);

impl AllTries {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self(Bounded::new("ledger_tries", MAX_SOURCES, hash_seed))
    }

    pub(super) fn usage(&self) -> TableUse {
        self.0.usage()
    }

    /// Takes a flow that began, or what came of an attempt. Segments of no connection begin one, too, and come to nothing.
    pub(super) fn take(&mut self, update: &FlowUpdate) {
        if !update.is_new && !update.has_progressed {
            return;
        }
        let tries = self.0.get_or_insert_with(update.source, Tries::default);
        tries.turn(update.last_ns);
        if update.is_new {
            tries.begin(update.first_ns);
        }
        let is_attempt = update.is_attempt || update.protocol != protocol::TCP;
        if !update.has_progressed || !is_attempt {
            return;
        }
        let port = u64::from(update.protocol) << 16 | u64::from(update.destination_port);
        let service = hash_address(&update.destination, port);
        if update.progress == Progress::Established {
            tries.now.served.insert(service);
        } else if update.progress.has_failed() {
            tries.now.failed.insert(service);
        }
    }

    /// True where the source is served by one in three of the services that it tries, or by more.
    pub(super) fn is_served(&self, source: &Address) -> bool {
        self.0.get(source).is_some_and(Tries::is_served)
    }

    /// The most attempts of a source that began in one second.
    pub(super) fn most_per_s(&self, source: &Address) -> u32 {
        let tries = self.0.get(source);
        tries.map_or(0, |tries| tries.now.most.max(tries.before.most))
    }

    pub(super) fn forget(&mut self, at_ns: u64) {
        self.0
            .retain(|_, tries| at_ns.saturating_sub(tries.last_ns) < 2 * HALF_NS);
    }
}
