//! Attribution: the remote sources that a flood comes from, if they are few enough to be seen.

use sensor_common::Address;

use crate::features::{Counts, HostLook};

/// Kind of packets that a flood is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantity {
    Syn,
    Ack,
    Udp,
    Icmp,
    Fragment,
    /// Packets of none of these kinds: FIN, no flags or odd ones, and protocols besides TCP, UDP and ICMP.
    Other,
}

impl Quantity {
    pub(crate) fn of(self, counts: &Counts) -> u64 {
        match self {
            Self::Syn => counts.n_syn,
            Self::Ack => counts.n_ack,
            Self::Udp => counts.n_udp,
            Self::Icmp => counts.n_icmp,
            Self::Fragment => counts.n_fragments,
            Self::Other => counts.n_other(),
        }
    }

    /// True where what the source sends is answered as a conversation is: a neighbour of the
    /// attack, not a part of it.
    fn is_conversation(self, look: &HostLook) -> bool {
        let (sent, got) = (&look.from, &look.toward);
        match self {
            Self::Syn => sent.n_ack >= sent.n_syn,
            Self::Ack => got.n_ack.saturating_mul(100) >= sent.n_ack && got.n_ack > 0,
            Self::Udp => got.n_udp.saturating_mul(100) >= sent.n_udp && got.n_udp > 0,
            Self::Other => got.n_other().saturating_mul(20) >= sent.n_other() && got.n_other() > 0,
            Self::Icmp => false,
            Self::Fragment => {
                got.n_fragments.saturating_mul(20) >= sent.n_fragments && got.n_fragments > 0
            }
        }
    }
}

/// The remote rows of one look.
pub(crate) struct Attribution<'a> {
    pub remotes: &'a [HostLook],
}

/// Sources that a flood is attributed to.
pub(crate) struct Attributed {
    /// Heaviest first; at most 100.
    pub sources: Vec<Address>,
    /// Share of the heaviest in the whole.
    pub top_share: f64,
}

impl Attribution<'_> {
    /// Finds the sources that each sent at least `share` of `total` packets since the last look.
    ///
    /// Single packets prove nothing: where the whole is small, four of them are asked for.
    pub(crate) fn heavy(&self, quantity: Quantity, total: f64, share: f64) -> Attributed {
        let least = (share * total).max(4.0);
        let mut heavy: Vec<(u64, Address)> = self
            .remotes
            .iter()
            .map(|look| (quantity.of(&look.from), look))
            .filter(|(n, look)| *n as f64 >= least && !quantity.is_conversation(look))
            .map(|(n, look)| (n, look.address))
            .collect();
        heavy.sort_by(|a, b| b.cmp(a));
        heavy.truncate(100);
        let top = heavy.first().map_or(0.0, |(n, _)| *n as f64);
        Attributed {
            sources: heavy.into_iter().map(|(_, address)| address).collect(),
            top_share: if total > 0.0 { top / total } else { 0.0 },
        }
    }
}
