//! Headers between the wire and the network header: Ethernet II and 802.3, VLAN tags, PPPoE, MPLS,
//! HSR; and ARP.

use super::{Frame, Packet};
use crate::counters::Outcome;
use crate::limits::{MAX_LINK_HEADERS, MAX_VLAN_TAGS};
use crate::v4_mapped;

pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_ARP: u16 = 0x0806;
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// 802.1Q, 802.1ad, and what was in use before the latter.
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
const ETHERTYPES_OLD_VLAN: [u16; 3] = [0x9100, 0x9200, 0x9300];
const ETHERTYPE_MPLS: u16 = 0x8847;
const ETHERTYPE_MPLS_MULTICAST: u16 = 0x8848;
const ETHERTYPE_PPPOE_DISCOVERY: u16 = 0x8863;
const ETHERTYPE_PPPOE_SESSION: u16 = 0x8864;
const ETHERTYPE_HSR: u16 = 0x892f;
const ETHERTYPE_VN_TAG: u16 = 0x8926;
const ETHERTYPE_MACSEC: u16 = 0x88e5;
const ETHERTYPE_PROVIDER_BACKBONE: u16 = 0x88e7;
const ETHERTYPE_EDSA: u16 = 0xdada;
/// Smallest value of the type field that is a type; smaller ones are a length (IEEE 802.3).
const ETHERTYPE_MIN: u16 = 0x0600;
/// Protocols of PPP (RFC 1661 and its registry).
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;
const PPP_MPLS: u16 = 0x0281;

/// Reads an Ethernet header and the link headers behind it, up to a network header of
/// [`Packet::ethertype`].
#[inline(always)]
pub(super) fn ethernet<F: Frame + ?Sized>(frame: &F, packet: &mut Packet) -> Result<(), Outcome> {
    let header = frame
        .header::<14>(packet.at(Outcome::LinkTooDeep)?)
        .ok_or(Outcome::EthernetTruncated)?;
    packet.ethertype = be16!(header, 12);
    packet.offset += 14;
    let mut packet = packet;
    for _ in 0..MAX_LINK_HEADERS {
        packet = frame.settle(packet);
        if is_network(packet.ethertype) {
            return Ok(());
        }
        one(frame, packet)?;
    }
    packet = frame.settle(packet);
    if is_network(packet.ethertype) {
        return Ok(());
    }
    Err(Outcome::LinkTooDeep)
}

#[inline(always)]
const fn is_network(ethertype: u16) -> bool {
    ethertype == ETHERTYPE_IPV4 || ethertype == ETHERTYPE_IPV6 || ethertype == ETHERTYPE_ARP
}

/// Reads one header of [`Packet::ethertype`]; an error where it leads to no network header.
#[inline(always)]
fn one<F: Frame + ?Sized>(frame: &F, packet: &mut Packet) -> Result<(), Outcome> {
    let at = packet.at(Outcome::LinkTooDeep)?;
    let ethertype = packet.ethertype;
    if is_vlan(ethertype) {
        vlan(frame.header(at).ok_or(Outcome::LinkTruncated)?, packet);
        return Ok(());
    }
    match ethertype {
        ETHERTYPE_MPLS | ETHERTYPE_MPLS_MULTICAST => mpls(frame, at, packet),
        ETHERTYPE_PPPOE_SESSION => pppoe(frame, at, packet),
        ETHERTYPE_HSR => {
            let tag = frame.header::<6>(at).ok_or(Outcome::LinkTruncated)?;
            packet.ethertype = be16!(tag, 4);
            packet.offset += 6;
            Ok(())
        }
        _ if ethertype < ETHERTYPE_MIN => llc(frame, at, packet),
        _ => Err(other(frame, at, ethertype)),
    }
}

#[inline(always)]
fn is_vlan(ethertype: u16) -> bool {
    let [one, two, three] = ETHERTYPES_OLD_VLAN;
    ethertype == ETHERTYPE_VLAN
        || ethertype == ETHERTYPE_SERVICE_VLAN
        || ethertype == one
        || ethertype == two
        || ethertype == three
}

#[inline(always)]
fn vlan(tag: &[u8; 4], packet: &mut Packet) {
    packet.realm.push(be16!(tag, 0) & 0x0fff);
    packet.has_header += 1;
    if packet.has_header > MAX_VLAN_TAGS {
        packet.set_fault(Outcome::VlanTooDeep);
    }
    packet.ethertype = be16!(tag, 2);
    packet.offset += 4;
}

/// One entry of the label stack (RFC 3032). What is below the last is not said: IP shows itself by
/// its version (RFC 4928 3).
#[inline(always)]
fn mpls<F: Frame + ?Sized>(frame: &F, at: usize, packet: &mut Packet) -> Result<(), Outcome> {
    let entry = frame.header::<4>(at).ok_or(Outcome::LinkTruncated)?;
    packet.offset += 4;
    if entry[2] & 1 == 0 {
        return Ok(());
    }
    let [first] = frame.header::<1>(at + 4).ok_or(Outcome::LinkTruncated)?;
    packet.ethertype = match first >> 4 {
        4 => ETHERTYPE_IPV4,
        6 => ETHERTYPE_IPV6,
        _ => return Err(Outcome::Mpls),
    };
    Ok(())
}

/// A packet of a session (RFC 2516).
#[inline(always)]
fn pppoe<F: Frame + ?Sized>(frame: &F, at: usize, packet: &mut Packet) -> Result<(), Outcome> {
    let header = frame.header::<8>(at).ok_or(Outcome::LinkTruncated)?;
    let is_session = be16!(header, 0) == 0x1100;
    packet.ethertype = match be16!(header, 6) {
        PPP_IPV4 if is_session => ETHERTYPE_IPV4,
        PPP_IPV6 if is_session => ETHERTYPE_IPV6,
        PPP_MPLS if is_session => ETHERTYPE_MPLS,
        _ => return Err(Outcome::Pppoe),
    };
    packet.offset += 8;
    Ok(())
}

/// 802.2; an EtherType follows where SNAP says so (RFC 1042).
#[inline(always)]
fn llc<F: Frame + ?Sized>(frame: &F, at: usize, packet: &mut Packet) -> Result<(), Outcome> {
    if has_switch_tag(frame, at) {
        return Err(Outcome::Dsa);
    }
    let header = frame.header::<8>(at).ok_or(Outcome::Llc)?;
    if be16!(header, 0) != 0xaaaa || be16!(header, 2) != 0x0300 || be16!(header, 4) != 0 {
        return Err(Outcome::Llc);
    }
    packet.ethertype = be16!(header, 6);
    packet.offset += 8;
    Ok(())
}

/// Kind of a frame that is not read further.
#[inline(always)]
fn other<F: Frame + ?Sized>(frame: &F, at: usize, ethertype: u16) -> Outcome {
    match ethertype {
        ETHERTYPE_PPPOE_DISCOVERY => Outcome::Pppoe,
        ETHERTYPE_VN_TAG => Outcome::VnTag,
        ETHERTYPE_MACSEC => Outcome::Macsec,
        ETHERTYPE_PROVIDER_BACKBONE => Outcome::ProviderBackbone,
        ETHERTYPE_EDSA => Outcome::Dsa,
        _ if has_switch_tag(frame, at) => Outcome::Dsa,
        _ => Outcome::NotIp,
    }
}

/// True where four bytes of a tag without a type of its own stand before the EtherType, as switch
/// chips put them there (Linux, net/dsa/tag_dsa.c).
#[inline(always)]
fn has_switch_tag<F: Frame + ?Sized>(frame: &F, at: usize) -> bool {
    let Some(behind) = frame.header::<5>(at) else {
        return false;
    };
    match be16!(behind, 2) {
        ETHERTYPE_IPV4 => behind[4] >> 4 == 4,
        ETHERTYPE_IPV6 => behind[4] >> 4 == 6,
        ETHERTYPE_ARP => behind[4] == 0,
        _ => false,
    }
}

/// Reads the sender and target addresses of an ARP packet for IPv4 over Ethernet (RFC 826).
#[inline(always)]
pub(super) fn arp<F: Frame + ?Sized>(frame: &F, packet: &mut Packet) -> Result<Outcome, Outcome> {
    let header = frame
        .header::<28>(packet.at(Outcome::LinkTooDeep)?)
        .ok_or(Outcome::ArpTruncated)?;
    packet.source = v4_mapped(wire32!(header, 14));
    packet.destination = v4_mapped(wire32!(header, 24));
    packet.end = packet.offset + 28;
    Ok(Outcome::Arp)
}
