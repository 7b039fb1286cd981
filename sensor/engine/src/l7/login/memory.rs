//! Values that readers of logins share: a message, its word on a login, and the memory between two.

/// First bytes of a segment or datagram, with its length on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub payload: &'a [u8],
    pub n_bytes: u32,
    /// From the service to its client.
    pub is_answer: bool,
    pub at_ns: u64,
}

/// A secret that a client showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secret {
    /// Encrypted or answered to a challenge: two of the same look different.
    Hidden,
    /// Hash of account and secret: equal where the client repeats itself.
    Shown(u64),
}

/// Word of one message about a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Tried(Secret),
    Refused,
    Accepted,
}

/// Memory of a reader about a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Hash of the account named last.
    pub account: u64,
    /// Place in the protocol; each reader has its own numbers.
    pub step: u8,
}

impl Memory {
    /// The account named last, with this secret.
    pub(crate) fn shown(&self, secret: &[u8]) -> Said {
        Said::Tried(Secret::Shown(sensor_common::mix(
            self.account,
            hash(secret),
            0x10_61,
        )))
    }
}

pub(crate) const HIDDEN: Said = Said::Tried(Secret::Hidden);

/// FNV-1a (Fowler, Noll, Vo). Guesses that collide on purpose count as one.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let fold = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold)
}

/// Rest of a line that begins with `word`, in any case of letters.
pub(crate) fn after<'a>(line: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = line.split_at_checked(word.len())?;
    head.eq_ignore_ascii_case(word).then_some(rest)
}

/// True where `text` holds `word`, which is in small letters, in any case.
pub(crate) fn holds(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word))
}

/// Lines of a message, without their ends.
pub(crate) fn lines(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    payload
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .take(32)
}
