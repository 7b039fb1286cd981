//! Flow records as exporters and collectors exchange them: IPFIX (RFC 7011) and NetFlow version 9
//! (RFC 3954). No sockets and no clock: records and times are handed in, bytes come out.

mod element;
mod export;
mod record;

pub use export::{Exporter, MAX_MESSAGE, MIN_MESSAGE, Protocol};
pub use record::{FlowRecord, Way};
