//! Readers of packet samples above the transport layer.
//!
//! Samples are cut short and packets may be anything, so every reader is bounded, takes what is
//! there and says `None` where it can't tell. Nothing is reassembled: a message that begins within
//! a segment is not seen.

pub(crate) mod arp;
pub(crate) mod call;
mod certificate;
pub mod dns;
pub(crate) mod dns_answers;
pub(crate) mod facts;
pub(crate) mod fieldbus;
pub(crate) mod http;
pub(crate) mod injection;
pub(crate) mod login;
pub(crate) mod mqtt;
pub(crate) mod nd;
pub mod tls;
pub(crate) mod zone;

pub(crate) use crate::bytes::Reader;
