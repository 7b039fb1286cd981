//! Big-endian fields of a message, read from the front and never beyond its end.

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
