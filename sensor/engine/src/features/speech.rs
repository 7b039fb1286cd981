//! Protocols that services speak, from the first bytes of what their clients ask: a property that is observed,
//! where a port would be a guess.

use sensor_common::Address;

use super::bounded::{Bounded, Priority, TableUse};

/// Services remembered, 48 bytes each.
const MAX_SERVICES: usize = 8_192;

/// Protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    Web,
    Tls,
}

impl Speech {
    /// Reads a segment of the initiator: a request of HTTP/1, the preface of HTTP/2 (RFC 9113 3.4), a TLS hello.
    fn of(payload: &[u8]) -> Option<Self> {
        const BEGINNINGS: [&[u8]; 9] = [
            b"GET ",
            b"POST ",
            b"HEAD ",
            b"PUT ",
            b"OPTIONS ",
            b"DELETE ",
            b"PATCH ",
            b"CONNECT ",
            b"PRI * HTTP/2",
        ];
        match payload {
            [0x16, 3, _, _, _, 1, ..] => Some(Self::Tls),
            _ if BEGINNINGS.iter().any(|start| payload.starts_with(start)) => Some(Self::Web),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    speech: Speech,
    at_ns: u64,
}

impl Priority for Heard {
    fn priority(&self) -> u64 {
        self.at_ns
    }
}

/// Protocols that services were heard to speak.
#[derive(Debug)]
pub(crate) struct Speeches {
    services: Bounded<(Address, u16), Heard>,
}

impl Speeches {
    pub(crate) fn new(hash_seed: u64) -> Self {
        Self {
            services: Bounded::new("service_protocols", MAX_SERVICES, hash_seed),
        }
    }

    pub(crate) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.services.usage());
    }

    /// Takes the beginning of what a client asks.
    pub(crate) fn take(&mut self, at_ns: u64, service: (Address, u16), payload: &[u8]) {
        if let Some(speech) = Speech::of(payload) {
            let heard = Heard { speech, at_ns };
            *self.services.get_or_insert_with(service, || heard) = heard;
        }
    }

    pub(crate) fn of(&self, host: Address, port: u16) -> Option<Speech> {
        self.services.get(&(host, port)).map(|heard| heard.speech)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ip;

    #[test]
    fn a_service_speaks_what_it_was_last_asked_in() {
        let mut speeches = Speeches::new(1);
        assert_eq!(speeches.of(ip(1), 7_001), None);
        speeches.take(1, (ip(1), 7_001), b"GET /x HTTP/1.1\r\n");
        assert_eq!(speeches.of(ip(1), 7_001), Some(Speech::Web));
        assert_eq!(speeches.of(ip(1), 7_002), None);
        speeches.take(2, (ip(1), 7_001), &[0x16, 3, 1, 2, 0, 1, 0]);
        assert_eq!(speeches.of(ip(1), 7_001), Some(Speech::Tls));
        speeches.take(3, (ip(1), 7_001), b"GETTING");
        assert_eq!(speeches.of(ip(1), 7_001), Some(Speech::Tls));
        for n in 0..8 {
            assert_eq!(Speech::of(&b"GET / HT"[..n]).is_some(), n >= 4);
        }
    }
}
