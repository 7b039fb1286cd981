//! Counters of one direction of a flow, summed over the slots that held parts of it.

use sensor_common::flow::Direction;

/// One direction in 64 bits. Meaning and units as in [`Direction`].
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Totals {
    pub first_ns: u64,
    pub last_ns: u64,
    pub packets: u64,
    pub bytes: u64,
    pub length_sumsq: u64,
    pub interarrival_sumsq: u64,
    pub length_min: u16,
    pub length_max: u16,
    pub tcp_window: u16,
    pub tcp_flags: u8,
    pub ttl: u8,
    /// Packets with SYN, FIN, RST, PSH, ACK.
    pub n_flags: [u64; 5],
    pub length_histogram: [u64; 4],
}

/// Positions in `n_flags`.
pub const SYN: usize = 0;
pub const FIN: usize = 1;
pub const RST: usize = 2;
pub const ACK: usize = 4;

impl Totals {
    /// Adds a part.
    pub fn add(&mut self, part: &Direction) {
        if part.packets == 0 {
            return;
        }
        if self.packets == 0 || part.first_ns < self.first_ns {
            self.first_ns = part.first_ns;
            self.tcp_window = part.tcp_window;
            self.ttl = part.ttl;
        }
        self.length_min = if self.packets == 0 {
            part.length_min
        } else {
            self.length_min.min(part.length_min)
        };
        self.length_max = self.length_max.max(part.length_max);
        self.last_ns = self.last_ns.max(part.last_ns);
        self.tcp_flags |= part.tcp_flags;
        self.packets = self.packets.saturating_add(u64::from(part.packets));
        self.bytes = self.bytes.saturating_add(u64::from(part.bytes));
        self.length_sumsq = self.length_sumsq.saturating_add(part.length_sumsq);
        self.interarrival_sumsq = self
            .interarrival_sumsq
            .saturating_add(part.interarrival_sumsq);
        for (sum, n) in self.n_flags.iter_mut().zip(part.n_flags) {
            *sum = sum.saturating_add(u64::from(n));
        }
        for (sum, n) in self.length_histogram.iter_mut().zip(part.length_histogram) {
            *sum = sum.saturating_add(u64::from(n));
        }
    }

    /// Subtracts an earlier export of the same direction.
    pub fn since(&self, exported: &Self, exported_ns: u64) -> Self {
        let mut rest = *self;
        rest.packets = self.packets.saturating_sub(exported.packets);
        if rest.packets == 0 {
            return Self::default();
        }
        if exported.packets > 0 {
            rest.first_ns = self.first_ns.max(exported_ns.min(self.last_ns));
        }
        rest.bytes = self.bytes.saturating_sub(exported.bytes);
        rest.length_sumsq = self.length_sumsq.saturating_sub(exported.length_sumsq);
        rest.interarrival_sumsq = self
            .interarrival_sumsq
            .saturating_sub(exported.interarrival_sumsq);
        for (n, before) in rest.n_flags.iter_mut().zip(exported.n_flags) {
            *n = n.saturating_sub(before);
        }
        for (n, before) in rest
            .length_histogram
            .iter_mut()
            .zip(exported.length_histogram)
        {
            *n = n.saturating_sub(before);
        }
        rest
    }
}

/// Counts of one direction that are needed at every look.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Tally {
    pub first_ns: u64,
    pub last_ns: u64,
    pub packets: u64,
    /// Packets with SYN, FIN, RST, PSH, ACK.
    pub n_flags: [u64; 5],
}

impl Tally {
    pub fn of(part: &Direction) -> Self {
        Self {
            first_ns: part.first_ns,
            last_ns: part.last_ns,
            packets: u64::from(part.packets),
            n_flags: part.n_flags.map(u64::from),
        }
    }

    pub const fn of_totals(totals: &Totals) -> Self {
        Self {
            first_ns: totals.first_ns,
            last_ns: totals.last_ns,
            packets: totals.packets,
            n_flags: totals.n_flags,
        }
    }

    /// True where a SYN without ACK was among the packets. The union of flags can't tell a client's
    /// SYN and ACKs from a server's SYN-ACKs; the packets that lack ACK can, less those that may be
    /// bare RSTs.
    pub fn has_bare_syn(&self) -> bool {
        let lacking = self.packets.saturating_sub(self.n_flags[ACK]);
        self.n_flags[SYN] > 0 && lacking > self.n_flags[RST]
    }
}

/// Growth of one direction between two looks.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Delta {
    pub packets: u64,
    pub bytes: u64,
    /// Bytes², as in [`Direction`].
    pub length_sumsq: u64,
    /// Units of (1,024 ns)², as in [`Direction`].
    pub interarrival_sumsq: u64,
    /// Sum of the inter-arrival times, ns.
    pub interarrival_ns: u64,
    /// Packets with SYN, FIN, RST, PSH, ACK.
    pub n_flags: [u64; 5],
    /// Packets by length, as in [`Direction`].
    pub length_histogram: [u64; 4],
}

impl Delta {
    /// The growth of one part from `before` to `after`.
    pub fn between(before: &Direction, after: &Direction) -> Self {
        let mut n_flags = [0u64; 5];
        for (i, n) in n_flags.iter_mut().enumerate() {
            *n = u64::from(after.n_flags[i].saturating_sub(before.n_flags[i]));
        }
        let mut length_histogram = [0u64; 4];
        for (i, n) in length_histogram.iter_mut().enumerate() {
            let (now, then) = (after.length_histogram[i], before.length_histogram[i]);
            *n = u64::from(now.saturating_sub(then));
        }
        let begin_ns = if before.packets > 0 {
            before.last_ns
        } else {
            after.first_ns
        };
        Self {
            packets: u64::from(after.packets.saturating_sub(before.packets)),
            bytes: u64::from(after.bytes.saturating_sub(before.bytes)),
            length_sumsq: after.length_sumsq.saturating_sub(before.length_sumsq),
            interarrival_sumsq: after
                .interarrival_sumsq
                .saturating_sub(before.interarrival_sumsq),
            interarrival_ns: after.last_ns.saturating_sub(begin_ns),
            n_flags,
            length_histogram,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_is_the_growth_of_each_counter() {
        let before = Direction {
            first_ns: 10,
            last_ns: 1_000,
            packets: 2,
            bytes: 200,
            length_sumsq: 20_000,
            interarrival_sumsq: 5,
            length_histogram: [1, 1, 0, 0],
            ..Direction::EMPTY
        };
        let after = Direction {
            last_ns: 5_000,
            packets: 5,
            bytes: 900,
            length_sumsq: 90_000,
            interarrival_sumsq: 9,
            length_histogram: [1, 2, 0, 1],
            ..before
        };
        let delta = Delta::between(&before, &after);
        assert_eq!((delta.packets, delta.bytes), (3, 700));
        assert_eq!((delta.length_sumsq, delta.interarrival_sumsq), (70_000, 4));
        assert_eq!(delta.interarrival_ns, 4_000);
        assert_eq!(delta.length_histogram, [0, 1, 0, 1]);
        let whole = Delta::between(&Direction::EMPTY, &after);
        assert_eq!(whole.interarrival_ns, 4_990);
    }
}
