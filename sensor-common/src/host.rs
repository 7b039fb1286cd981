//! Per-host counters that stay exact when flows churn by the million.
//!
//! Every packet counts at once in the row of its local address (destination on ingress, source on
//! egress), and in the row of its remote address at once or a little later
//! ([`crate::flow::Held`]). Distinct peers and ports are estimated by HyperLogLog
//! (Flajolet et al. 2007) with 64 registers, about 13 % standard error, and are only touched by
//! packets that begin a flow: the others bring nothing new.

use crate::arrival::Arrival;
use crate::counters::Outcome;
use crate::flow::{Due, Sequence};
use crate::packet::{Packet, protocol, tcp_flags};
use crate::{Address, mix};

/// Registers of a HyperLogLog sketch.
pub const REGISTERS: usize = 64;

/// Packets towards a host, or from it: one cache line.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct HostSide {
    pub packets: u64,
    pub bytes: u64,
    /// SYN without ACK.
    pub n_syn: u32,
    pub n_syn_ack: u32,
    pub n_rst: u32,
    /// ACK without SYN, FIN or RST.
    pub n_ack: u32,
    pub n_udp: u32,
    pub n_icmp: u32,
    pub n_fragments: u32,
    pub n_new_flows: u32,
    /// Packets that no flow record holds: new flows that were refused.
    pub n_not_admitted: u32,
    /// ARP packets, which count nowhere else in the row.
    pub n_arp: u32,
    /// Packets that could not be read to the end; they count above as far as they were.
    pub n_malformed: u32,
    /// Fragments that no stack sends.
    pub n_bad_fragments: u32,
}

/// One host, as it lies in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct HostRow {
    pub address: Address,
    pub last_ns: u64,
    /// Odd while the writer is at work, as in the flow cache.
    pub sequence: u32,
    /// Increases by one whenever another host takes the row.
    pub generation: u32,
    /// Worth of keeping the row: packets of its host less packets of others that wanted it.
    pub weight: u32,
    pub used: u32,
    /// Place among the rows of all CPUs (CPU times rows per CPU, and index). The reader fills it in;
    /// the writer leaves it alone.
    pub place: u32,
    pub reserved: [u32; 5],
    pub toward: HostSide,
    pub from: HostSide,
    pub peers: [u8; REGISTERS],
    pub ports: [u8; REGISTERS],
}

const _: () = assert!(size_of::<HostSide>() == 64);
const _: () = assert!(size_of::<HostRow>() == 320);
const _: () = assert!(core::mem::offset_of!(HostRow, sequence) % 8 == 0);

// SAFETY: integers and arrays of integers; the size assertions rule padding out.
unsafe impl crate::Pod for HostRow {}

/// Rule for taking a row that another host holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// Taken only when its host was silent for [`IDLE_NS`]: totals of local hosts stay exact.
    KeepBusy,
    /// Taken when packets of others have outnumbered its own and [`STAKE`]: the heavy ones stay
    /// (Misra and Gries 1982).
    KeepHeavy,
}

/// Silence after which a row may be taken; user space has read it many times by then.
pub const IDLE_NS: u64 = 10_000_000_000;
const MAX_WEIGHT: u32 = 4096;
/// Worth of a row that was just taken: under a flood of new sources it changes hands with one
/// packet in ten, not with every second, and that spares clearing it.
const STAKE: u32 = 8;

/// One side of a packet as a row sees it.
#[derive(Clone, Copy)]
pub struct Contact<'a> {
    pub host: &'a Address,
    pub peer: &'a Address,
    /// The destination port: the service asked for.
    pub service_port: u16,
    /// True where the packet goes to the host.
    pub is_toward: bool,
}

impl HostRow {
    pub const EMPTY: Self = Self {
        address: [0; 4],
        last_ns: 0,
        sequence: 0,
        generation: 0,
        weight: 0,
        used: 0,
        place: 0,
        reserved: [0; 5],
        toward: HostSide::EMPTY,
        from: HostSide::EMPTY,
        peers: [0; REGISTERS],
        ports: [0; REGISTERS],
    };

    /// True where the row belongs to the address.
    #[inline(always)]
    pub fn holds(&self, address: &Address) -> bool {
        let differs = (self.address[0] ^ address[0])
            | (self.address[1] ^ address[1])
            | (self.address[2] ^ address[2])
            | (self.address[3] ^ address[3]);
        differs == 0 && self.used != 0
    }

    /// Asks for the row on behalf of some packets. `false`: it stays with its host, and that cost it
    /// as much of its weight.
    #[inline(always)]
    pub fn claim<S: Sequence>(
        &mut self,
        address: &Address,
        now_ns: u64,
        packets: u32,
        policy: Policy,
    ) -> bool {
        if self.holds(address) {
            return true;
        }
        if self.used != 0 && now_ns.saturating_sub(self.last_ns) < IDLE_NS {
            if policy == Policy::KeepBusy {
                return false;
            }
            if self.weight > 0 {
                self.weight = self.weight.saturating_sub(packets);
                return false;
            }
        }
        self.take::<S>(address);
        true
    }

    #[inline(always)]
    fn take<S: Sequence>(&mut self, address: &Address) {
        S::bump(&mut self.sequence);
        self.address = *address;
        self.weight = STAKE;
        self.used = 1;
        self.generation = self.generation.wrapping_add(1);
        // A zero that the compiler doesn't know: what it knows to be cleared, the kernel program clears by a
        // loop over bytes.
        let zero = S::opaque(0);
        self.toward = HostSide::cleared(zero as u32);
        self.from = HostSide::cleared(zero as u32);
        clear(&mut self.peers, zero);
        clear(&mut self.ports, zero);
        S::bump(&mut self.sequence);
    }

    /// Counts a packet in a row that was claimed for it.
    #[inline(always)]
    pub fn count<S: Sequence>(&mut self, packet: &Packet, arrival: &Arrival, is_toward: bool) {
        S::bump(&mut self.sequence);
        self.last_ns = arrival.now_ns;
        self.gain(arrival.segments as u32);
        self.side(is_toward).count(packet, arrival);
        S::bump(&mut self.sequence);
    }

    /// Counts plain packets ([`crate::flow::is_plain`]) that were held back.
    #[inline(always)]
    pub fn count_due<S: Sequence>(&mut self, due: Due, carried: u8, is_toward: bool) {
        S::bump(&mut self.sequence);
        self.gain(due.packets);
        let side = self.side(is_toward);
        side.packets += due.packets as u64;
        side.bytes += due.bytes as u64;
        if carried == protocol::TCP {
            side.n_ack = side.n_ack.wrapping_add(due.packets);
        } else {
            side.n_udp = side.n_udp.wrapping_add(due.packets);
        }
        S::bump(&mut self.sequence);
    }

    #[inline(always)]
    fn gain(&mut self, packets: u32) {
        let weight = self.weight.saturating_add(packets);
        self.weight = if weight > MAX_WEIGHT {
            MAX_WEIGHT
        } else {
            weight
        };
    }

    #[inline(always)]
    fn side(&mut self, is_toward: bool) -> &mut HostSide {
        if is_toward {
            &mut self.toward
        } else {
            &mut self.from
        }
    }

    /// Counts an ARP packet of the host in a row that was claimed for it.
    #[inline(always)]
    pub fn count_arp<S: Sequence>(&mut self, now_ns: u64) {
        S::bump(&mut self.sequence);
        self.last_ns = now_ns;
        self.from.n_arp = self.from.n_arp.wrapping_add(1);
        S::bump(&mut self.sequence);
    }

    /// Counts that the packet began a flow, or was refused one.
    #[inline(always)]
    pub fn count_flow<S: Sequence>(
        &mut self,
        contact: &Contact<'_>,
        segments: u16,
        admitted: bool,
    ) {
        S::bump(&mut self.sequence);
        let side = self.side(contact.is_toward);
        side.n_new_flows = side.n_new_flows.wrapping_add(1);
        if !admitted {
            side.n_not_admitted = side.n_not_admitted.wrapping_add(segments as u32);
        }
        observe(
            &mut self.peers,
            crate::hash_address(contact.peer, SKETCH_SEED),
        );
        observe(
            &mut self.ports,
            mix(contact.service_port as u64, 0, SKETCH_SEED),
        );
        S::bump(&mut self.sequence);
    }
}

/// Clears a sketch word by word.
#[inline(always)]
fn clear(registers: &mut [u8; REGISTERS], zero: u64) {
    for word in registers.as_chunks_mut().0 {
        *word = zero.to_ne_bytes();
    }
}

/// Sketches of several CPUs are merged, so all use one seed; what an attacker could aim at is an
/// estimate, never a decision about others.
const SKETCH_SEED: u64 = 0x5eed_0f5e_7c4e_5a1d;

/// Adds a hash to a sketch: six bits choose the register, the run of zeros is the rank.
#[inline(always)]
fn observe(registers: &mut [u8; REGISTERS], hash: u64) {
    let index = (hash & (REGISTERS as u64 - 1)) as usize;
    let rest = hash >> 6;
    // Rank by a short loop's worth of comparisons: BPF has no count-leading-zeros instruction.
    let mut rank = 1u8;
    let mut word = rest;
    if word & 0xffff_ffff == 0 {
        rank += 32;
        word >>= 32;
    }
    if word & 0xffff == 0 {
        rank += 16;
        word >>= 16;
    }
    if word & 0xff == 0 {
        rank += 8;
        word >>= 8;
    }
    if word & 0xf == 0 {
        rank += 4;
        word >>= 4;
    }
    if word & 0x3 == 0 {
        rank += 2;
        word >>= 2;
    }
    if word & 0x1 == 0 {
        rank += 1;
    }
    if rank > registers[index] {
        registers[index] = rank;
    }
}

impl HostSide {
    pub const EMPTY: Self = Self::cleared(0);

    #[inline(always)]
    const fn cleared(zero: u32) -> Self {
        Self {
            packets: zero as u64,
            bytes: zero as u64,
            n_syn: zero,
            n_syn_ack: zero,
            n_rst: zero,
            n_ack: zero,
            n_udp: zero,
            n_icmp: zero,
            n_fragments: zero,
            n_new_flows: zero,
            n_not_admitted: zero,
            n_arp: zero,
            n_malformed: zero,
            n_bad_fragments: zero,
        }
    }

    #[inline(always)]
    fn count(&mut self, packet: &Packet, arrival: &Arrival) {
        let n = arrival.segments as u32;
        self.packets += arrival.segments as u64;
        self.bytes += arrival.bytes as u64;
        // Control bits that were not read are 0, and count for nothing.
        if packet.protocol == protocol::TCP {
            self.count_tcp(packet.tcp_flags, n);
        } else if packet.protocol == protocol::UDP {
            self.n_udp = self.n_udp.wrapping_add(n);
        } else if packet.protocol == protocol::ICMP || packet.protocol == protocol::ICMPV6 {
            self.n_icmp = self.n_icmp.wrapping_add(n);
        }
        if packet.is_fragment != 0 {
            self.n_fragments = self.n_fragments.wrapping_add(n);
        }
        if packet.outcome >= Outcome::VlanTooDeep as u32 {
            self.count_malformed(packet, n);
        }
    }

    #[inline(always)]
    fn count_malformed(&mut self, packet: &Packet, n: u32) {
        self.n_malformed = self.n_malformed.wrapping_add(n);
        if packet.is(Outcome::BadFragment) {
            self.n_bad_fragments = self.n_bad_fragments.wrapping_add(n);
        }
    }

    #[inline(always)]
    fn count_tcp(&mut self, flags: u8, n: u32) {
        const SYN_ACK: u8 = tcp_flags::SYN | tcp_flags::ACK;
        if flags & tcp_flags::RST != 0 {
            self.n_rst = self.n_rst.wrapping_add(n);
        } else if flags & SYN_ACK == SYN_ACK {
            self.n_syn_ack = self.n_syn_ack.wrapping_add(n);
        } else if flags & tcp_flags::SYN != 0 {
            self.n_syn = self.n_syn.wrapping_add(n);
        } else if flags & (tcp_flags::ACK | tcp_flags::FIN) == tcp_flags::ACK {
            self.n_ack = self.n_ack.wrapping_add(n);
        }
    }
}
