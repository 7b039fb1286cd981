//! The packet parser, generic over "read N bytes at an offset", so that the BPF program and user
//! space run the very same code.

mod ip;
mod link;
mod transport;

use crate::Address;
use crate::counters::Outcome;

/// Bytes of one frame, beginning with the Ethernet header.
///
/// Multi-byte reads return the value in host order of bytes that lie in wire order. `None` means
/// that the frame ends before.
pub trait Frame {
    fn u8(&self, offset: usize) -> Option<u8>;
    fn u16(&self, offset: usize) -> Option<u16>;
    /// Four bytes kept in wire order.
    fn word(&self, offset: usize) -> Option<u32>;
    /// Captured bytes.
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Frame for [u8] {
    #[inline(always)]
    fn u8(&self, offset: usize) -> Option<u8> {
        self.get(offset).copied()
    }
    #[inline(always)]
    fn u16(&self, offset: usize) -> Option<u16> {
        self.get(offset..)?
            .first_chunk()
            .map(|bytes| u16::from_be_bytes(*bytes))
    }
    #[inline(always)]
    fn word(&self, offset: usize) -> Option<u32> {
        self.get(offset..)?
            .first_chunk()
            .map(|bytes| u32::from_ne_bytes(*bytes))
    }
    #[inline(always)]
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }
}

/// TCP control bits (RFC 9293 3.1), as in octet 13 of the header.
pub mod tcp_flags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
}

/// IANA protocol numbers that the parser knows.
pub mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IPIP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT: u8 = 59;
    pub const DESTINATION: u8 = 60;
    pub const SCTP: u8 = 132;
    pub const MOBILITY: u8 = 135;
}

/// What the parser read of one packet. Addresses and ports are those of the innermost header that
/// was followed. `Default` is "nothing read".
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Packet {
    pub source: Address,
    pub destination: Address,
    pub source_port: u16,
    pub destination_port: u16,
    pub protocol: u8,
    /// TCP control bits; 0 for other protocols.
    pub tcp_flags: u8,
    /// IPv4 TTL or IPv6 hop limit.
    pub ttl: u8,
    /// 1 for any fragment but an unfragmented packet's whole.
    pub is_fragment: u8,
    /// TCP window as on the wire, unscaled.
    pub tcp_window: u16,
    /// Outer VLAN identifier, 0 without a tag.
    pub vlan: u16,
    /// Tunnel headers that were stepped through (0 or 1).
    pub n_tunnels: u8,
}

/// Which tunnels the parser steps into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decapsulate(pub u32);

impl Decapsulate {
    pub const NONE: Self = Self(0);
    pub const IP: u32 = 1;
    pub const GRE: u32 = 2;
    pub const VXLAN: u32 = 4;
    pub const GENEVE: u32 = 8;
    pub const ALL: Self = Self(15);

    #[inline(always)]
    const fn has(self, kind: u32) -> bool {
        self.0 & kind != 0
    }
}

/// Where the next network header begins.
#[derive(Clone, Copy)]
struct Network {
    ethertype: u16,
    offset: usize,
}

/// What follows a network header.
enum Step {
    Done(Outcome),
    Inner(Network),
    InnerEthernet(usize),
}

/// Parses a frame into `packet` and names the outcome. Follows at most one tunnel.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F, tunnels: Decapsulate, packet: &mut Packet) -> Outcome {
    let outer = match link::ethernet(frame, 0, packet) {
        Ok(network) => network,
        Err(outcome) => return outcome,
    };
    let step = match network(frame, outer, tunnels, packet) {
        Ok(step) => step,
        Err(outcome) => return outcome,
    };
    let inner = match step {
        Step::Done(outcome) => return outcome,
        Step::Inner(inner) => inner,
        Step::InnerEthernet(offset) => match link::ethernet(frame, offset, packet) {
            Ok(inner) => inner,
            Err(outcome) => return outcome,
        },
    };
    packet.n_tunnels = 1;
    packet.source_port = 0;
    packet.destination_port = 0;
    match network(frame, inner, Decapsulate::NONE, packet) {
        Ok(Step::Done(outcome)) | Err(outcome) => outcome,
        // Without permission to decapsulate no step inwards is ever returned.
        Ok(Step::Inner(_) | Step::InnerEthernet(_)) => Outcome::OtherProtocol,
    }
}

#[inline(always)]
fn network<F: Frame + ?Sized>(
    frame: &F,
    at: Network,
    tunnels: Decapsulate,
    packet: &mut Packet,
) -> Result<Step, Outcome> {
    match at.ethertype {
        link::ETHERTYPE_IPV4 => {
            let payload = ip::ipv4(frame, at.offset, packet)?;
            transport::transport(frame, payload, tunnels, packet)
        }
        link::ETHERTYPE_IPV6 => {
            let payload = ip::ipv6(frame, at.offset, packet)?;
            transport::transport(frame, payload, tunnels, packet)
        }
        link::ETHERTYPE_ARP => link::arp(frame, at.offset, packet).map(Step::Done),
        _ => Ok(Step::Done(Outcome::NotIp)),
    }
}

#[cfg(test)]
mod tests;
