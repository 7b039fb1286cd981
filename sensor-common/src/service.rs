//! Ports of services, for packets whose flow was not seen to begin: the engine decides by them who is
//! the client.

use crate::packet::tcp_flags;

/// True for a port of the system range, or a registered one (RFC 6335) that services are commonly
/// found at.
#[inline(always)]
pub const fn is_service(port: u16) -> bool {
    matches!(
        port,
        1..=1023
            | 1080
            | 1194
            | 1433
            | 1521
            | 1723
            | 1812
            | 1813
            | 1883
            | 1900
            | 2049
            | 2181
            | 3128
            | 3268
            | 3306
            | 3389
            | 3478
            | 3702
            | 5060
            | 5061
            | 5222
            | 5353
            | 5355
            | 5432
            | 5672
            | 5683
            | 5900
            | 5985
            | 6379
            | 6443
            | 8000
            | 8080
            | 8443
            | 8883
            | 9092
            | 11_211
            | 20_000
    )
}

/// True where a packet is the responder's, as far as it tells itself: a SYN-ACK, or one from a service's
/// port to one that is none. A SYN is never.
pub const fn is_answer(flags: u8, from_port: u16, to_port: u16) -> bool {
    let is_syn = flags & tcp_flags::SYN != 0;
    let is_ack = flags & tcp_flags::ACK != 0;
    (is_syn && is_ack) || (!is_syn && is_service(from_port) && !is_service(to_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_by_its_flags_and_else_by_its_ports() {
        let [syn, syn_ack, ack] = [0x02, 0x12, 0x10];
        assert!(is_answer(syn_ack, 40_000, 443));
        assert!(!is_answer(syn, 443, 40_000));
        assert!(is_answer(ack, 443, 40_000) && !is_answer(ack, 40_000, 443));
        assert!(!is_answer(0, 123, 123) && !is_answer(0, 40_000, 50_000));
        assert!(!is_service(0) && is_service(1) && is_service(1023) && !is_service(1024));
    }
}
