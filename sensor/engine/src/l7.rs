//! Readers of packet samples above the transport layer.
//!
//! Samples are cut short and packets may be anything, so every reader is bounded, takes what is
//! there and says `None` where it can't tell. Nothing is reassembled: a message that begins within
//! a segment is not seen.

pub(crate) mod arp;
pub mod dns;
pub(crate) mod facts;
pub(crate) mod fieldbus;
pub(crate) mod http;
pub(crate) mod icmp_error;
pub(crate) mod injection;
pub(crate) mod login;
pub(crate) mod mqtt;
pub(crate) mod nd;
pub mod tls;
pub(crate) mod zone;

/// Bytes of a message, read from the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }
    /// Ends after `n` bytes; false where there are fewer.
    pub(crate) fn limit(&mut self, n: usize) -> bool {
        let limited = self.0.get(..n);
        self.0 = limited.unwrap_or(self.0);
        limited.is_some()
    }
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|b| u16::from_be_bytes(*b))
    }
}
