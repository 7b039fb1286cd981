//! Statements of other systems about addresses: context of incidents, and a condition of the policy's rows. A
//! statement alone opens no incident and decides nothing: others may be wrong, and their messages made up.

use std::net::IpAddr;
use std::sync::Arc;

use sensor_common::Address;

use crate::address::from_ip;
use crate::bounded::{Bounded, Priority, TableUse};

/// Addresses that something is said of.
const CAPACITY: usize = 4_096;
/// Different statements about one address.
const MAX_OF_ADDRESS: usize = 8;
/// Statements that an incident shows, and that the policy looks at for it.
const MAX_OF_INCIDENT: usize = 32;

/// Word of another system about an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Name of the input that it came by.
    pub by: Arc<str>,
    /// Product that says it.
    pub product: String,
    /// Name of what it says.
    pub what: String,
    /// Address that is blamed.
    pub about: IpAddr,
    /// Address that it was done to.
    pub against: Option<IpAddr>,
    /// Weight that the product gives it, 0 to 100.
    pub weight: Option<u8>,
    /// Certainty of the product, 0 to 100.
    pub certainty: Option<u8>,
    /// It says that it stopped it.
    pub is_blocked: bool,
    /// Time that it stands after it came.
    pub hold_ns: u64,
}

/// A statement, with when and how often it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub statement: Statement,
    pub first_ns: u64,
    pub last_ns: u64,
    pub n: u64,
}

impl Said {
    fn stands(&self, at_ns: u64) -> bool {
        at_ns.saturating_sub(self.last_ns) < self.statement.hold_ns
    }

    fn is_same(&self, other: &Statement) -> bool {
        let one = &self.statement;
        (&one.by, &one.product, &one.what) == (&other.by, &other.product, &other.what)
    }
}

/// Statements about one address, the oldest first.
#[derive(Debug, Default)]
struct OfAddress(Vec<Said>);

impl Priority for OfAddress {
    fn priority(&self) -> u64 {
        self.0.iter().map(|said| said.last_ns).max().unwrap_or(0)
    }
}

#[derive(Debug)]
pub(super) struct Statements {
    of: Bounded<Address, OfAddress>,
    n_entries: usize,
    n_displaced: u64,
}

impl Statements {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            of: Bounded::new("statements", CAPACITY, hash_seed),
            n_entries: 0,
            n_displaced: 0,
        }
    }

    pub(super) fn tables(&self, out: &mut Vec<TableUse>) {
        let mut usage = self.of.usage();
        usage.n_shed = usage.n_shed.saturating_add(self.n_displaced);
        out.push(usage);
    }

    /// Takes a statement; true where nobody has said this of the address before.
    pub(super) fn take(&mut self, at_ns: u64, statement: &Statement) -> bool {
        self.n_entries = self.n_entries.saturating_add(1);
        let about = from_ip(statement.about);
        let OfAddress(known) = self.of.get_or_insert_with(about, OfAddress::default);
        known.retain(|said| said.stands(at_ns));
        if let Some(said) = known.iter_mut().find(|said| said.is_same(statement)) {
            said.statement.clone_from(statement);
            said.last_ns = at_ns;
            said.n = said.n.saturating_add(1);
            return false;
        }
        if known.len() >= MAX_OF_ADDRESS {
            known.remove(0);
            self.n_displaced = self.n_displaced.saturating_add(1);
        }
        known.push(Said {
            statement: statement.clone(),
            first_ns: at_ns,
            last_ns: at_ns,
            n: 1,
        });
        true
    }

    /// Statements about addresses, in their order, the oldest first.
    pub(super) fn about(&self, at_ns: u64, addresses: &[IpAddr]) -> Vec<Said> {
        if self.n_entries == 0 {
            return Vec::new();
        }
        let of = addresses
            .iter()
            .filter_map(|one| self.of.get(&from_ip(*one)));
        let said = of.flat_map(|of| &of.0).filter(|said| said.stands(at_ns));
        said.take(MAX_OF_INCIDENT).cloned().collect()
    }

    /// Forgets what does not stand any more.
    pub(super) fn forget(&mut self, at_ns: u64) {
        self.of.retain(|_, OfAddress(known)| {
            known.retain(|said| said.stands(at_ns));
            !known.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SECOND_NS;
    use crate::tests::{T0, ip};

    fn said(by: &str, what: &str, about: u16) -> Statement {
        Statement {
            by: Arc::from(by),
            product: "pf".to_owned(),
            what: what.to_owned(),
            about: crate::address::to_ip(&ip(about)),
            against: None,
            weight: None,
            certainty: None,
            is_blocked: true,
            hold_ns: 60 * SECOND_NS,
        }
    }

    #[test]
    fn statements_are_counted_stand_for_their_time_and_are_bounded() {
        let mut all = Statements::new(1);
        let about = [crate::address::to_ip(&ip(1))];
        assert!(all.take(T0, &said("gate", "block", 1)));
        assert!(!all.take(T0 + SECOND_NS, &said("gate", "block", 1)));
        assert!(all.take(T0, &said("other", "block", 1)));
        let known = all.about(T0 + SECOND_NS, &about);
        assert_eq!((known.len(), known[0].n, known[1].n), (2, 2, 1));
        assert_eq!(all.about(T0 + 60 * SECOND_NS, &about).len(), 1);
        assert!(all.about(T0 + 61 * SECOND_NS, &about).is_empty());
        for n in 0..20 {
            all.take(T0, &said("gate", &format!("block {n}"), 1));
        }
        assert_eq!(all.about(T0, &about).len(), MAX_OF_ADDRESS);
        all.forget(T0 + 100 * SECOND_NS);
        let mut out = Vec::new();
        all.tables(&mut out);
        assert_eq!((out[0].n_entries, out[0].n_shed), (0, 14));
    }
}
