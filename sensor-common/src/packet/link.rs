//! Ethernet II, 802.1Q / 802.1ad tags and ARP.

use super::{Frame, Network, Packet};
use crate::counters::Outcome;
use crate::{limits::MAX_VLAN_TAGS, v4_mapped};

pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_ARP: u16 = 0x0806;
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

/// Reads an Ethernet header and up to [`MAX_VLAN_TAGS`] tags; a third tag is malformed.
#[inline(always)]
pub(super) fn ethernet<F: Frame + ?Sized>(
    frame: &F,
    offset: usize,
    packet: &mut Packet,
) -> Result<Network, Outcome> {
    let mut ethertype = frame.u16(offset + 12).ok_or(Outcome::EthernetTruncated)?;
    let mut offset = offset + 14;
    for _ in 0..MAX_VLAN_TAGS {
        if !is_tag(ethertype) {
            return Ok(Network { ethertype, offset });
        }
        let tag = frame.u16(offset).ok_or(Outcome::VlanTruncated)?;
        if packet.vlan == 0 {
            packet.vlan = tag & 0x0fff;
        }
        ethertype = frame.u16(offset + 2).ok_or(Outcome::VlanTruncated)?;
        offset += 4;
    }
    if is_tag(ethertype) {
        return Err(Outcome::VlanTooDeep);
    }
    Ok(Network { ethertype, offset })
}

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ
}

/// Reads the sender and target addresses of an ARP packet for IPv4 over Ethernet (RFC 826).
#[inline(always)]
pub(super) fn arp<F: Frame + ?Sized>(
    frame: &F,
    offset: usize,
    packet: &mut Packet,
) -> Result<Outcome, Outcome> {
    let sender = frame.word(offset + 14).ok_or(Outcome::ArpTruncated)?;
    let target = frame.word(offset + 24).ok_or(Outcome::ArpTruncated)?;
    packet.source = v4_mapped(sender);
    packet.destination = v4_mapped(target);
    Ok(Outcome::Arp)
}
