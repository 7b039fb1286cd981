//! The SYN/ACK that answers a SYN with a cookie, written over the frame of the SYN.
//!
//! It offers a maximum segment size and no other option: what else was agreed on would have to be kept
//! in the cookie, and the stack reads window scaling and selective acknowledgement only out of a time
//! stamp that it made itself.

/// Room for the longest headers that are answered: Ethernet, IPv6, and TCP with all options.
pub const FRAME_BYTES: usize = 128;

const ETHERNET: usize = 14;
/// Bytes of the headers of IPv4 without options, and of IPv6.
pub const V4_HEADER: usize = 20;
pub const V6_HEADER: usize = 40;
/// TCP header with the one option.
const TCP: usize = 24;
/// Offsets of the TCP header.
pub const TCP_V4: usize = ETHERNET + V4_HEADER;
pub const TCP_V6: usize = ETHERNET + V6_HEADER;
/// Bytes of the answers. Ethernet sends no frame that is shorter than 60 bytes without its checksum.
pub const V4_BYTES: usize = 60;
pub const V6_BYTES: usize = TCP_V6 + TCP;

/// Offset of the IP header.
pub const NETWORK: usize = ETHERNET;

const HOP_LIMIT: u8 = 64;
/// Receive window before scaling, as Linux offers it.
const WINDOW: u16 = 64_240;
const PROTOCOL: u8 = crate::packet::protocol::TCP;
const SYN_ACK: u8 = crate::packet::tcp_flags::SYN | crate::packet::tcp_flags::ACK;

/// Headers of a frame.
pub type FrameHead = [u8; FRAME_BYTES];

/// The stack's cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Sequence number of the answer.
    pub sequence: u32,
    /// Maximum segment size that the cookie keeps.
    pub segment_bytes: u16,
}

impl Cookie {
    /// The cookie as the helpers of the kernel give it.
    #[inline(always)]
    pub const fn of(number: u64) -> Self {
        Self {
            sequence: number as u32,
            segment_bytes: (number >> 32) as u16,
        }
    }
}

/// Makes the head of a SYN over IPv4 without options that of the answer, [`V4_BYTES`] long.
#[inline(always)]
pub fn write_v4(frame: &mut FrameHead, cookie: Cookie) {
    swap::<6>(frame, 0, 6);
    swap::<4>(frame, NETWORK + 12, NETWORK + 16);
    put(frame, NETWORK, [0x45, 0]);
    put(frame, NETWORK + 2, ((V4_HEADER + TCP) as u16).to_be_bytes());
    // No identification; don't fragment.
    put(frame, NETWORK + 4, [0, 0, 0x40, 0]);
    put(frame, NETWORK + 8, [HOP_LIMIT, PROTOCOL, 0, 0]);
    let sum = sum_of::<V4_HEADER>(frame, NETWORK);
    put(frame, NETWORK + 10, fold(sum).to_be_bytes());
    write_tcp::<TCP_V4>(frame, cookie);
    let sum = sum_of::<8>(frame, NETWORK + 12) + sum_of::<TCP>(frame, TCP_V4);
    put(frame, TCP_V4 + 16, sum_of_segment(sum).to_be_bytes());
    put(frame, TCP_V4 + TCP, [0, 0]);
}

/// Makes the head of a SYN over IPv6 without extension headers that of the answer, [`V6_BYTES`] long.
#[inline(always)]
pub fn write_v6(frame: &mut FrameHead, cookie: Cookie) {
    swap::<6>(frame, 0, 6);
    swap::<16>(frame, NETWORK + 8, NETWORK + 24);
    put(frame, NETWORK, [0x60, 0, 0, 0]);
    put(frame, NETWORK + 4, (TCP as u16).to_be_bytes());
    put(frame, NETWORK + 6, [PROTOCOL, HOP_LIMIT]);
    write_tcp::<TCP_V6>(frame, cookie);
    let sum = sum_of::<32>(frame, NETWORK + 8) + sum_of::<TCP>(frame, TCP_V6);
    put(frame, TCP_V6 + 16, sum_of_segment(sum).to_be_bytes());
}

/// The TCP header, its checksum left out.
#[inline(always)]
fn write_tcp<const AT: usize>(frame: &mut FrameHead, cookie: Cookie) {
    swap::<2>(frame, AT, AT + 2);
    let asked = u32::from_be_bytes(get(frame, AT + 4));
    put(frame, AT + 4, cookie.sequence.to_be_bytes());
    put(frame, AT + 8, asked.wrapping_add(1).to_be_bytes());
    put(frame, AT + 12, [((TCP / 4) << 4) as u8, SYN_ACK]);
    put(frame, AT + 14, WINDOW.to_be_bytes());
    put(frame, AT + 16, [0, 0, 0, 0]);
    let [high, low] = cookie.segment_bytes.to_be_bytes();
    put(frame, AT + 20, [2, 4, high, low]);
}

/// Checksum of the segment (RFC 9293 3.1), from the sum of the addresses and of the segment.
#[inline(always)]
const fn sum_of_segment(sum: u32) -> u16 {
    fold(sum + PROTOCOL as u32 + TCP as u32)
}

#[inline(always)]
fn get<const N: usize>(frame: &FrameHead, at: usize) -> [u8; N] {
    let bytes = frame.get(at..).and_then(|rest| rest.first_chunk());
    bytes.copied().unwrap_or([0; N])
}

#[inline(always)]
fn put<const N: usize>(frame: &mut FrameHead, at: usize, bytes: [u8; N]) {
    let place = frame.get_mut(at..).and_then(|rest| rest.first_chunk_mut());
    if let Some(place) = place {
        *place = bytes;
    }
}

#[inline(always)]
fn swap<const N: usize>(frame: &mut FrameHead, a: usize, b: usize) {
    let (one, other) = (get::<N>(frame, a), get::<N>(frame, b));
    put(frame, a, other);
    put(frame, b, one);
}

/// Sum of 16-bit words (RFC 1071).
#[inline(always)]
fn sum_of<const N: usize>(frame: &FrameHead, at: usize) -> u32 {
    let (mut sum, mut i) = (0, 0);
    while i < N {
        sum += u16::from_be_bytes(get(frame, at + i)) as u32;
        i += 2;
    }
    sum
}

#[inline(always)]
const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SYN with the bytes of real headers, and rubbish where the answer has its own.
    fn syn(is_v4: bool) -> FrameHead {
        let mut frame = [0xa5; FRAME_BYTES];
        put(&mut frame, 0, [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]);
        put(&mut frame, 12, if is_v4 { [8, 0] } else { [0x86, 0xdd] });
        let at = if is_v4 { TCP_V4 } else { TCP_V6 };
        let addresses = if is_v4 { NETWORK + 12 } else { NETWORK + 8 };
        for (i, byte) in frame[addresses..at].iter_mut().enumerate() {
            *byte = i as u8;
        }
        put(&mut frame, at, [0x0f, 0xa0, 0, 80, 0xff, 0xff, 0xff, 0xff]);
        frame
    }

    /// Ones' complement sum of bytes, as a receiver takes it: all ones where nothing was damaged.
    fn folded(parts: &[&[u8]]) -> u32 {
        let words = parts.iter().flat_map(|part| part.chunks(2));
        let word = |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b));
        let mut sum: u32 = words.map(word).sum();
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum
    }

    const COOKIE: Cookie = Cookie {
        sequence: 0x0102_0304,
        segment_bytes: 1_440,
    };

    fn check_tcp(tcp: &[u8]) {
        assert_eq!(tcp[..4], [0, 80, 0x0f, 0xa0], "ports change places");
        assert_eq!(tcp[4..8], [1, 2, 3, 4], "the cookie");
        assert_eq!(tcp[8..12], [0; 4], "one more than asked");
        assert_eq!(tcp[12..14], [6 << 4, 0x12]);
        assert_eq!(tcp[18..24], [0, 0, 2, 4, 0x05, 0xa0]);
    }

    #[test]
    fn an_answer_over_ipv4_has_the_ends_changed_and_right_sums() {
        let mut frame = syn(true);
        write_v4(&mut frame, COOKIE);
        assert_eq!(frame[..14], [2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 8, 0]);
        let (ip, tcp) = (&frame[NETWORK..TCP_V4], &frame[TCP_V4..TCP_V4 + 24]);
        assert_eq!(ip[2..4], [0, 44]);
        assert_eq!(ip[12..20], [4, 5, 6, 7, 0, 1, 2, 3]);
        assert_eq!(folded(&[ip]), 0xffff);
        check_tcp(tcp);
        assert_eq!(folded(&[&ip[12..20], &[0, 6, 0, 24], tcp]), 0xffff);
        assert_eq!(frame[58..V4_BYTES], [0, 0]);
    }

    #[test]
    fn an_answer_over_ipv6_has_the_ends_changed_and_a_right_sum() {
        let mut frame = syn(false);
        write_v6(&mut frame, COOKIE);
        let (ip, tcp) = (&frame[NETWORK..TCP_V6], &frame[TCP_V6..V6_BYTES]);
        assert_eq!(ip[..8], [0x60, 0, 0, 0, 0, 24, 6, 64]);
        let ends: Vec<u8> = (16..32).chain(0..16).collect();
        assert_eq!(ip[8..40], ends[..]);
        check_tcp(tcp);
        assert_eq!(folded(&[&ip[8..40], &[0, 6, 0, 24], tcp]), 0xffff);
    }

    #[test]
    fn a_cookie_is_read_from_its_number() {
        let number = 1_440 << 32 | 0x0102_0304;
        assert_eq!(Cookie::of(number), COOKIE);
    }
}
