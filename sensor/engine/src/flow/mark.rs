//! Marks of an entry: what is known of its flow beside the counters.

/// Reported states.
pub const STARTED: u16 = 1;
pub const ESTABLISHED: u16 = 2;
pub const FAILED: u16 = 4;
/// Exported; kept because its slot may live on.
pub const DORMANT: u16 = 8;
pub const FRAGMENTS: u16 = 16;
/// The first packets of both directions bear the same time, and the kernel saw the one of `b`
/// first: its coarse clock stands still for some milliseconds.
pub const BEGUN_BY_B: u16 = 32;
/// Final records, by direction: that of the part in place was sent.
pub const FINAL: [u16; 2] = [64, 128];
/// Decided where no handshake tells: `b` began, or `a`.
pub const DECIDED: u16 = 0x0400;
pub const DECIDED_B: u16 = 0x0800;
/// An ICMP error quotes a packet of the flow.
pub const UNREACHABLE: u16 = 0x1000;
/// A stream of media, which is never answered.
pub const MEDIA: u16 = 0x2000;
/// Counted among the connections of which one side alone is seen.
pub const COUNTED: u16 = 0x4000;
/// Established, and the initiator said that it sends no more.
pub const CLOSING: u16 = 0x8000;
/// Marks that outlive an export.
pub const LASTING: u16 = FINAL[0] | FINAL[1] | DECIDED | DECIDED_B | MEDIA | BEGUN_BY_B;
