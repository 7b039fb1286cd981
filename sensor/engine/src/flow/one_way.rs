//! Traffic that is not answered where the sensor looks: by its nature, or because a mirror shows one
//! side of connections alone.

use std::net::IpAddr;

use sensor_common::Address;
use sensor_common::event::{Kind, Sample};

use super::totals::{ACK, RST, SYN, Tally};
use crate::address::to_ip;
use crate::config::SECOND_NS;

/// Ports of services that report and never get an answer: SNMP traps, syslog, NetFlow, IPFIX, sFlow,
/// StatsD, GELF, collectd, Ganglia.
const REPORTS: [u16; 13] = [
    162, 514, 2055, 4739, 5140, 6343, 8092, 8125, 8649, 9995, 9996, 12_201, 25_826,
];

/// True for a group or a broadcast address.
pub(crate) fn is_group(host: &Address) -> bool {
    match to_ip(host) {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast() || v4.octets()[3] == u8::MAX,
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}

/// True where nobody answers, for that is how it works: groups, broadcasts, reports.
pub(crate) fn is_never_answered(host: &Address, port: u16) -> bool {
    is_group(host) || REPORTS.contains(&port)
}

/// True for the payload of a stream of media: RTP (RFC 3550 5.1), or an MPEG transport stream in
/// packets of 188 bytes (ISO/IEC 13818-1).
pub(super) fn is_media(sample: &Sample<'_>) -> bool {
    const TS_SYNC: u8 = 0x47;
    const TS_BYTES: u32 = 188;
    let n_bytes = sample.head.payload_bytes;
    if Kind::of(sample.head.kind) != Some(Kind::Udp) {
        return false;
    }
    match sample.payload {
        [TS_SYNC, ..] => n_bytes > 0 && n_bytes.is_multiple_of(TS_BYTES),
        // Version 2, and no sources beside its own, as all but mixers send it; a payload type that is not one of
        // RTCP (RFC 5761 4). Of random bytes one packet in 120 looks like that.
        [first, second, _, _, _, _, _, _, s0, s1, s2, s3, ..] => {
            let payload_type = second & 0x7f;
            let is_assigned = payload_type <= 34 || payload_type >= 96;
            first >> 6 == 2 && first & 0x0f == 0 && is_assigned && [*s0, *s1, *s2, *s3] != [0; 4]
        }
        _ => false,
    }
}

/// True for a side of TCP that goes on as only somebody can who gets answers: a SYN and then
/// acknowledgements, or a SYN-ACK and more.
pub(super) fn advances(side: &Tally) -> bool {
    side.n_flags[SYN] > 0 && side.n_flags[ACK] >= side.n_flags[RST] + side.n_flags[SYN] + 2
}

/// Recognises a mirror that shows one side of connections alone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sides {
    n_one: u64,
    n_both: u64,
    halved_ns: u64,
    is_one_sided: bool,
    /// Connections of which one side alone was seen, while that was so.
    pub n_one_sided: u64,
}

/// Connections of one side from which on a mirror is called one-sided, and the number of them for each
/// that was seen both ways.
const LEAST: u64 = 20;
const PER_BOTH: u64 = 20;
/// Time in which half of what was counted is forgotten.
const HALF_NS: u64 = 60 * SECOND_NS;

impl Sides {
    /// Counts a connection that goes on, seen both ways or not.
    pub(super) fn note(&mut self, is_both: bool) {
        let n = if is_both {
            &mut self.n_both
        } else {
            &mut self.n_one
        };
        *n = n.saturating_add(1);
        self.is_one_sided =
            self.n_one >= LEAST && self.n_both.saturating_mul(PER_BOTH) <= self.n_one;
        if self.is_one_sided && !is_both {
            self.n_one_sided = self.n_one_sided.saturating_add(1);
        }
    }

    /// True where missing answers say nothing.
    pub(super) const fn are_one(&self) -> bool {
        self.is_one_sided
    }

    pub(super) const fn tick(&mut self, at_ns: u64) {
        if at_ns.saturating_sub(self.halved_ns) >= HALF_NS {
            self.halved_ns = at_ns;
            self.n_one -= self.n_one / 2;
            self.n_both -= self.n_both / 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_common::event::EventHead;

    fn sample(payload: &[u8], payload_bytes: u32) -> bool {
        let head = EventHead {
            kind: Kind::Udp as u8,
            payload_bytes,
            ..EventHead::default()
        };
        is_media(&Sample {
            head: &head,
            payload,
        })
    }

    #[test]
    fn media_are_told_by_their_first_bytes() {
        let rtp = [0x80, 96, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 9];
        assert!(sample(&rtp, 172));
        let mut rtcp = rtp;
        rtcp[1] = 200;
        assert!(!sample(&rtcp, 172));
        let mut zeros = [0; 13];
        zeros[0] = 0x80;
        assert!(!sample(&zeros, 13));
        let mut stream = [0xff; 96];
        stream[0] = 0x47;
        assert!(sample(&stream, 1_316));
        assert!(!sample(&stream, 1_300));
        assert!(!sample(b"", 0));
    }

    #[test]
    fn a_mirror_of_one_side_is_recognised_and_one_of_both_never() {
        let mut sides = Sides::default();
        (0..19).for_each(|_| sides.note(false));
        assert!(!sides.are_one());
        sides.note(false);
        assert!(sides.are_one());
        sides.note(true);
        sides.note(true);
        assert!(!sides.are_one());
    }
}
