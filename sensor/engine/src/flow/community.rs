//! Community ID v1 (<https://github.com/corelight/community-id-spec>): `1:` and the base64 of a
//! SHA-1 over seed, addresses, protocol and ports, endpoints in order.

use std::net::IpAddr;

use sensor_common::packet::protocol;

/// What identifies a flow to other tools. For ICMP the ports are `type << 8 | code`, as in the
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
    let mut message = Vec::with_capacity(40);
    message.extend_from_slice(&[0, 0]);
    push_ip(&mut message, low.0);
    push_ip(&mut message, high.0);
    message.extend_from_slice(&[tuple.protocol, 0]);
    message.extend_from_slice(&low.1.to_be_bytes());
    message.extend_from_slice(&high.1.to_be_bytes());
    let mut id = String::from("1:");
    base64(&sha1(&message), &mut id);
    id
}

fn push_ip(message: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(v4) => message.extend_from_slice(&v4.octets()),
        IpAddr::V6(v6) => message.extend_from_slice(&v6.octets()),
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

/// SHA-1 (FIPS 180-4). Broken as a signature, and used here only because the specification of the
/// identifier names it.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(message.len() as u64).wrapping_mul(8).to_be_bytes());
    let mut state = [
        0x6745_2301_u32,
        0xefcd_ab89,
        0x98ba_dcfe,
        0x1032_5476,
        0xc3d2_e1f0,
    ];
    for block in padded.chunks_exact(64) {
        sha1_block(&mut state, block);
    }
    let mut digest = [0u8; 20];
    for (chunk, word) in digest.chunks_exact_mut(4).zip(state) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn sha1_block(state: &mut [u32; 5], block: &[u8]) {
    let mut w = [0u32; 80];
    for (word, bytes) in w.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    for i in 16..80 {
        w[i] = (w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (i, word) in w.iter().enumerate() {
        let (f, k) = match i / 20 {
            0 => ((b & c) | (!b & d), 0x5a82_7999_u32),
            1 => (b ^ c ^ d, 0x6ed9_eba1),
            2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6),
        };
        let next = a
            .rotate_left(5)
            .wrapping_add(f)
            .wrapping_add(e)
            .wrapping_add(k)
            .wrapping_add(*word);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
    }
    for (sum, part) in state.iter_mut().zip([a, b, c, d, e]) {
        *sum = sum.wrapping_add(part);
    }
}

/// Base64 with padding (RFC 4648 4).
fn base64(bytes: &[u8], text: &mut String) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4usize {
            if i <= chunk.len() {
                let index = (word >> (18 - 6 * i)) & 63;
                text.push(char::from(ALPHABET[index as usize]));
            } else {
                text.push('=');
            }
        }
    }
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
    fn vectors_of_the_specification() {
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
    }

    #[test]
    fn sha1_of_abc() {
        assert_eq!(sha1(b"abc")[..4], [0xa9, 0x99, 0x3e, 0x36]);
    }
}
