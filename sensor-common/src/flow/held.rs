//! Packets that a flow has counted and the row of its remote host has not got yet.
//!
//! Remote rows are many and cold. A plain packet of a known flow waits in the header of its flow,
//! whose line the packet touches anyway, and reaches the row together with others: when the count
//! of its direction has grown by half or by [`MAX_PACKETS`], with the first packet in a new
//! [`WINDOW_SHIFT`], and when the flow is evicted. All other packets count in the row at once. So a
//! row lags by less than half of a flow and by at most 15 packets of it, and nothing is lost.

use crate::arrival::{Arrival, Way};
use crate::counters::Outcome;
use crate::packet::{Packet, tcp_flags};

/// Packets at which they go on.
const MAX_PACKETS: u32 = 16;
/// Windows of 2^27 ns = 134 ms.
const WINDOW_SHIFT: u32 = 27;
const PACKETS_SHIFT: u32 = 27;
const BYTES_MASK: u32 = (1 << PACKETS_SHIFT) - 1;

/// Bytes in bits 0 to 26, packets in bits 27 to 30, bit 31: they went out (egress).
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Held(u32);

/// Packets and bytes for a row.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Due {
    pub packets: u32,
    pub bytes: u32,
}

impl Due {
    pub const NONE: Self = Self {
        packets: 0,
        bytes: 0,
    };
}

impl Held {
    pub const NONE: Self = Self(0);

    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    pub const fn went_out(self) -> bool {
        self.0 >> 31 != 0
    }

    pub const fn due(self) -> Due {
        Due {
            packets: self.0 >> PACKETS_SHIFT & (MAX_PACKETS - 1),
            bytes: self.0 & BYTES_MASK,
        }
    }

    /// Takes in a plain packet of a direction that counted `packets` before, the last at `last_ns`.
    /// What is due now, if anything.
    #[inline(always)]
    pub(super) fn take(
        &mut self,
        way: Way,
        arrival: &Arrival,
        packets: u16,
        last_ns: u64,
    ) -> Option<Due> {
        let (n, bytes) = (arrival.segments as u32, arrival.bytes);
        let out = (way as u32) << 31;
        let held = self.0;
        if held != 0 && (held ^ out) >> 31 != 0 {
            // Forwarded: the same packets come in and go out. Only those of one way wait.
            return Some(Due { packets: n, bytes });
        }
        let sum = (held >> PACKETS_SHIFT & (MAX_PACKETS - 1)) + n;
        let sum_bytes = (held & BYTES_MASK) as u64 + bytes as u64;
        let is_new_window = (arrival.now_ns ^ last_ns) >> WINDOW_SHIFT != 0;
        if sum >= MAX_PACKETS
            || sum * 2 > packets as u32
            || sum_bytes > BYTES_MASK as u64
            || is_new_window
        {
            self.0 = 0;
            return Some(Due {
                packets: sum,
                bytes: sum_bytes as u32,
            });
        }
        self.0 = out | sum << PACKETS_SHIFT | sum_bytes as u32;
        None
    }
}

/// True for a packet that only adds to packets, bytes and its protocol's count: UDP, or TCP with
/// ACK and neither SYN, FIN nor RST; no fragment.
#[inline(always)]
pub const fn is_plain(packet: &Packet) -> bool {
    const CONTROL: u8 = tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST;
    let is_tcp =
        packet.is(Outcome::Tcp) && packet.tcp_flags & (CONTROL | tcp_flags::ACK) == tcp_flags::ACK;
    (is_tcp || packet.is(Outcome::Udp)) && packet.is_fragment == 0
}
