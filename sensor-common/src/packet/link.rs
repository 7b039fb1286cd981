//! Ethernet II, 802.1Q / 802.1ad tags and ARP.

use super::{Frame, Packet};
use crate::counters::Outcome;
use crate::{limits::MAX_VLAN_TAGS, v4_mapped};

pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_ARP: u16 = 0x0806;
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

/// Reads an Ethernet header and up to [`MAX_VLAN_TAGS`] tags; a third tag is malformed.
#[inline(always)]
pub(super) fn ethernet<F: Frame + ?Sized>(frame: &F, packet: &mut Packet) -> Result<(), Outcome> {
    let mut offset = packet.at()?;
    let header = frame
        .header::<14>(offset)
        .ok_or(Outcome::EthernetTruncated)?;
    let mut ethertype = be16!(header, 12);
    offset += 14;
    for _ in 0..MAX_VLAN_TAGS {
        if !is_tag(ethertype) {
            break;
        }
        let tag = frame.header::<4>(offset).ok_or(Outcome::VlanTruncated)?;
        if packet.vlan == 0 {
            packet.vlan = be16!(tag, 0) & 0x0fff;
        }
        ethertype = be16!(tag, 2);
        offset += 4;
    }
    if is_tag(ethertype) {
        return Err(Outcome::VlanTooDeep);
    }
    packet.ethertype = ethertype;
    packet.offset = offset as u32;
    Ok(())
}

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ
}

/// Reads the sender and target addresses of an ARP packet for IPv4 over Ethernet (RFC 826).
#[inline(always)]
pub(super) fn arp<F: Frame + ?Sized>(frame: &F, packet: &mut Packet) -> Result<Outcome, Outcome> {
    let header = frame
        .header::<28>(packet.at()?)
        .ok_or(Outcome::ArpTruncated)?;
    packet.source = v4_mapped(wire32!(header, 14));
    packet.destination = v4_mapped(wire32!(header, 24));
    packet.end = packet.offset + 28;
    Ok(Outcome::Arp)
}
