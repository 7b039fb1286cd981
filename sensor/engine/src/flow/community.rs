//! Community ID v1 (<https://github.com/corelight/community-id-spec>): `1:` and the base64 of a
//! SHA-1 over seed, addresses, protocol and ports, endpoints in order.

use std::net::IpAddr;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sensor_common::packet::protocol;
use sha1::{Digest as _, Sha1};

/// Endpoints that identify a flow to other tools. For ICMP the ports are `type << 8 | code`, as in the
/// flow record, and the source is the one that sent that type.
#[derive(Clone, Copy, Debug)]
pub struct Tuple {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub source_port: u16,
    pub destination_port: u16,
    pub protocol: u8,
}

/// The Community ID of a flow, seed 0.
pub fn community_id(tuple: &Tuple) -> String {
    let mut one_way = false;
    let (mut from, mut to) = (tuple.source_port, tuple.destination_port);
    if matches!(tuple.protocol, protocol::ICMP | protocol::ICMPV6) {
        let (kind, code) = (tuple.source_port >> 8, tuple.source_port & 0xff);
        let answer = if tuple.protocol == protocol::ICMP {
            icmp4_answer(kind)
        } else {
            icmp6_answer(kind)
        };
        one_way = answer.is_none();
        (from, to) = (kind, answer.unwrap_or(code));
    }
    let forward = one_way || (tuple.source, from) <= (tuple.destination, to);
    let (low, high) = if forward {
        ((tuple.source, from), (tuple.destination, to))
    } else {
        ((tuple.destination, to), (tuple.source, from))
    };
    let mut hash = Sha1::new();
    hash.update([0, 0]);
    hash_address(&mut hash, low.0);
    hash_address(&mut hash, high.0);
    hash.update([tuple.protocol, 0]);
    if has_ports(tuple.protocol) {
        hash.update(low.1.to_be_bytes());
        hash.update(high.1.to_be_bytes());
    }
    let mut id = String::from("1:");
    BASE64_STANDARD.encode_string(hash.finalize(), &mut id);
    id
}

/// The specification hashes no ports where a protocol has none, instead of zeros.
const fn has_ports(protocol: u8) -> bool {
    matches!(
        protocol,
        protocol::TCP | protocol::UDP | protocol::SCTP | protocol::ICMP | protocol::ICMPV6
    )
}

fn hash_address(hash: &mut Sha1, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => hash.update(v4.octets()),
        IpAddr::V6(v6) => hash.update(v6.octets()),
    }
}

/// The type that answers an ICMP type (table of the specification).
const fn icmp4_answer(kind: u16) -> Option<u16> {
    Some(match kind {
        0 => 8,
        8 => 0,
        9 => 10,
        10 => 9,
        13 => 14,
        14 => 13,
        15 => 16,
        16 => 15,
        17 => 18,
        18 => 17,
        _ => return None,
    })
}

const fn icmp6_answer(kind: u16) -> Option<u16> {
    Some(match kind {
        128 => 129,
        129 => 128,
        130 => 131,
        131 => 130,
        133 => 134,
        134 => 133,
        135 => 136,
        136 => 135,
        139 => 140,
        140 => 139,
        144 => 145,
        145 => 144,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(protocol: u8, from: (&str, u16), to: (&str, u16), expected: &str) {
        let tuple = Tuple {
            source: from.0.parse().expect("address"),
            destination: to.0.parse().expect("address"),
            source_port: from.1,
            destination_port: to.1,
            protocol,
        };
        assert_eq!(community_id(&tuple), expected);
    }

    /// Vectors of the specification's baseline files (seed 0).
    #[test]
    fn ids_equal_the_vectors_of_the_specification() {
        let (tcp, udp) = (protocol::TCP, protocol::UDP);
        let a = ("128.232.110.120", 34855);
        let b = ("66.35.250.204", 80);
        check(tcp, a, b, "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        check(tcp, b, a, "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        let (a, b) = (("192.168.1.52", 54585), ("8.8.8.8", 53));
        check(udp, a, b, "1:d/FP5EW3wiY1vCndhwleRRKHowQ=");
        check(udp, b, a, "1:d/FP5EW3wiY1vCndhwleRRKHowQ=");
        let echo = 8 << 8;
        check(
            protocol::ICMP,
            ("192.168.0.89", echo),
            ("192.168.0.1", echo),
            "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=",
        );
        check(
            protocol::SCTP,
            ("192.168.170.8", 7),
            ("192.168.170.56", 80),
            "1:jQgCxbku+pNGw8WPbEc/TS/uTpQ=",
        );
    }

    /// Values of version 1.5.0 of the specification's Python package (`communityid`).
    #[test]
    fn ids_equal_those_of_the_python_package() {
        let (icmp, icmp6) = (protocol::ICMP, protocol::ICMPV6);
        let (a, b) = ("fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea");
        let id = "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=";
        check(icmp6, (a, 135 << 8), (b, 135 << 8), id);
        check(icmp6, (b, 136 << 8), (a, 136 << 8), id);
        let (a, b) = (("10.0.0.1", 3 << 8 | 1), ("10.0.0.2", 3 << 8 | 1));
        check(icmp, a, b, "1:gkoOC4ouXvyYq0Ek/WqwbLoqcxM=");
        check(
            protocol::TCP,
            ("fe80:1:203:405:607:809:a0b:c0d", 10),
            ("fe80:1011:1213:1415:1617:1819:1a1b:1c1d", 11),
            "1:PT0zkoXvnKB5YsYqGlrHpCusXx0=",
        );
    }

    #[test]
    fn a_protocol_without_ports_hashes_none() {
        const RSVP: u8 = 46;
        let (a, b) = (("10.1.24.4", 0), ("10.1.12.1", 0));
        check(RSVP, a, b, "1:/nQI4Rh/TtY3mf0R2gJFBkVlgS4=");
    }
}
