//! Guessing through the addresses of one IPv6 network.

use sensor_common::Address;

use super::tally::Tally;
use crate::features::bounded::Priority;
use crate::l7::login::Outcome;

/// Addresses that are named.
const MAX_NAMED: usize = 16;

/// Logins of all addresses of a network, and those that were refused last.
#[derive(Clone, Debug, Default)]
pub(super) struct Network {
    pub tally: Tally,
    pub refused: Vec<Address>,
}

impl Network {
    /// Remembers an address that was refused.
    pub(super) fn take(&mut self, address: Address, outcome: Outcome) {
        if outcome != Outcome::Accepted && !self.refused.contains(&address) {
            if self.refused.len() >= MAX_NAMED {
                self.refused.remove(0);
            }
            self.refused.push(address);
        }
    }
}

impl Priority for Network {
    fn priority(&self) -> u64 {
        self.tally.priority()
    }
}

/// The network of 64 bits that an IPv6 address lies in: whoever has one has all of its addresses
/// (RFC 6177). An IPv4 address is itself.
pub(super) fn network_of(address: &Address) -> Address {
    if sensor_common::is_v4(address) {
        return *address;
    }
    let [a, b, ..] = *address;
    [a, b, 0, 0]
}
