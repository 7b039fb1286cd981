//! A frame: length, checksum, number, time and the bytes of one record.

/// Bytes before those of the record: length (4), checksum (4), number (8), time (8), little endian.
pub const HEAD: usize = 24;
/// Greatest record: no record of the sensor comes near it.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// A record as it lies in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Number of the record in its spool; it only grows.
    pub seq: u64,
    /// Unix time at which it was put in, ns.
    pub at_ns: u64,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(HEAD + self.payload.len());
        rest.extend_from_slice(&self.seq.to_le_bytes());
        rest.extend_from_slice(&self.at_ns.to_le_bytes());
        rest.extend_from_slice(&self.payload);
        let n = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        let mut bytes = n.to_le_bytes().to_vec();
        bytes.extend_from_slice(&checksum(n, &rest).to_le_bytes());
        bytes.append(&mut rest);
        bytes
    }

    /// Reads the frame at the beginning of `bytes`; none where it is cut or damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let n = length(bytes)?;
        let sum = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
        let rest = bytes.get(8..HEAD + n)?;
        if checksum(n as u32, rest) != sum {
            return None;
        }
        Some(Self {
            seq: u64::from_le_bytes(rest.get(..8)?.try_into().ok()?),
            at_ns: u64::from_le_bytes(rest.get(8..16)?.try_into().ok()?),
            payload: rest.get(16..)?.to_vec(),
        })
    }

    /// Bytes that it takes.
    pub const fn size(&self) -> u64 {
        (HEAD + self.payload.len()) as u64
    }
}

/// Length of the record of the frame that begins here; none where there can be none.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let n = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    (n <= MAX_PAYLOAD).then_some(n)
}

/// The length is part of it: a hole of zeros is no frame.
fn checksum(n: u32, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(b"sensor");
    hasher.update(&n.to_le_bytes());
    hasher.update(rest);
    hasher.finalize()
}
