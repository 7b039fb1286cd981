//! Holders of addresses on the link, by ARP or by neighbour discovery.

use crate::address::Mac;
use crate::features::bounded::Priority;

/// The station that holds an address.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Claim {
    pub holder: Mac,
    pub last_ns: u64,
    /// Changes between two holders since then.
    pub n_changes: u32,
    changing_since_ns: u64,
}

impl Priority for Claim {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

impl Claim {
    /// Notes that `mac` says it holds the address; the holder before, if it said so less than `claim_ns` ago.
    /// Changes are counted anew after `window_ns`.
    pub fn take(&mut self, at_ns: u64, mac: Mac, claim_ns: u64, window_ns: u64) -> Option<Mac> {
        let previous = *self;
        let is_fresh = previous.last_ns != 0 && at_ns.saturating_sub(previous.last_ns) < claim_ns;
        if at_ns.saturating_sub(self.changing_since_ns) > window_ns {
            self.changing_since_ns = at_ns;
            self.n_changes = 0;
        }
        let has_changed = is_fresh && previous.holder != mac;
        self.n_changes = self.n_changes.saturating_add(u32::from(has_changed));
        self.holder = mac;
        self.last_ns = at_ns;
        is_fresh.then_some(previous.holder)
    }
}
