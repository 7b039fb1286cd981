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

    /// What came since an earlier export of the same direction.
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

    /// True where a SYN without ACK was among the packets. The union of flags can't tell a client's
    /// SYN and ACKs from a server's SYN-ACKs; the packets that lack ACK can, less those that may be
    /// bare RSTs.
    pub fn has_bare_syn(&self) -> bool {
        let lacking = self.packets.saturating_sub(self.n_flags[ACK]);
        self.n_flags[SYN] > 0 && lacking > self.n_flags[RST]
    }
}

/// What a look at a flow found to be new in one direction.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Delta {
    pub packets: u64,
    pub bytes: u64,
    /// Packets with SYN, FIN, RST, PSH, ACK.
    pub n_flags: [u64; 5],
}

impl Delta {
    /// The growth of one part from `before` to `after`.
    pub fn between(before: &Direction, after: &Direction) -> Self {
        let mut n_flags = [0u64; 5];
        for (i, n) in n_flags.iter_mut().enumerate() {
            *n = u64::from(after.n_flags[i].saturating_sub(before.n_flags[i]));
        }
        Self {
            packets: u64::from(after.packets.saturating_sub(before.packets)),
            bytes: u64::from(after.bytes.saturating_sub(before.bytes)),
            n_flags,
        }
    }
}
