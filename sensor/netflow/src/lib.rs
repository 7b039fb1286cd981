//! Flow records as exporters and collectors exchange them: IPFIX (RFC 7011) and NetFlow version 9
//! (RFC 3954) both ways, NetFlow version 5 and sFlow version 5 as input. No sockets and no clock: bytes and
//! times are handed in, bytes or records come out.

mod bytes;
mod decode;
mod element;
pub mod example;
mod export;
mod record;

pub use decode::{Counter, Counts, Decoder, Link, SampledPacket, Seen};
pub use export::{Exporter, MAX_MESSAGE, MIN_MESSAGE, Protocol};
pub use record::{FlowRecord, Way};
