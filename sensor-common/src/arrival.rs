//! Circumstances of a packet that are not in its bytes: its direction, time and size.

/// Direction of a packet, seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Way {
    Ingress = 0,
    Egress = 1,
}

/// Facts that a packet brings besides its headers.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub now_ns: u64,
    /// Frame bytes on the wire, of all segments.
    pub bytes: u32,
    /// Segments that this buffer will become (segmentation offload), at least 1.
    pub segments: u16,
    pub ifindex: u32,
    pub cpu: u16,
}

impl Arrival {
    /// Bytes of each segment, as far as they fit the counters.
    #[inline(always)]
    pub(crate) fn length(&self) -> u16 {
        let length = if self.segments <= 1 {
            self.bytes
        } else {
            self.bytes / self.segments as u32
        };
        if length > u16::MAX as u32 {
            u16::MAX
        } else {
            length as u16
        }
    }
}
