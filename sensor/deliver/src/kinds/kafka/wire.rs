//! Words of Kafka's protocol (kafka.apache.org/protocol): numbers with the highest byte first, text and lists
//! with their length before them. None of the versions that are spoken here has tagged fields.

use std::io;

/// Longest answer that is read.
pub const MAX_ANSWER: usize = 4 << 20;

fn broken() -> io::Error {
    io::Error::other("no answer of Kafka: it ends within a field")
}

/// Bytes of an answer, read from the front.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: usize) -> io::Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n).ok_or_else(broken)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        self.bytes(N)?.try_into().map_err(|_| broken())
    }

    pub fn is_set(&mut self) -> io::Result<bool> {
        Ok(self.array::<1>()? != [0])
    }

    pub fn i16(&mut self) -> io::Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub fn i32(&mut self) -> io::Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> io::Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// Text; none is written as a length below nought.
    pub fn text(&mut self) -> io::Result<Option<String>> {
        let Ok(length) = usize::try_from(self.i16()?) else {
            return Ok(None);
        };
        Ok(Some(
            String::from_utf8_lossy(self.bytes(length)?).into_owned(),
        ))
    }

    /// Bytes with their length.
    pub fn block(&mut self) -> io::Result<&'a [u8]> {
        let length = usize::try_from(self.i32()?).unwrap_or(0);
        self.bytes(length)
    }

    /// Items of a list; no more than there are bytes.
    pub fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> io::Result<Vec<T>> {
        let n = usize::try_from(self.i32()?).unwrap_or(0);
        if n > self.0.len() {
            return Err(broken());
        }
        (0..n).map(|_| item(self)).collect()
    }
}

/// Appends text.
///
/// # Errors
/// When it is longer than the protocol can say.
pub fn put_text(bytes: &mut Vec<u8>, text: &str) -> io::Result<()> {
    let length = i16::try_from(text.len()).map_err(io::Error::other)?;
    bytes.extend(length.to_be_bytes());
    bytes.extend(text.as_bytes());
    Ok(())
}

/// Appends the length of a list, or of bytes.
///
/// # Errors
/// When it is greater than the protocol can say.
pub fn put_length(bytes: &mut Vec<u8>, n: usize) -> io::Result<()> {
    let n = i32::try_from(n).map_err(io::Error::other)?;
    bytes.extend(n.to_be_bytes());
    Ok(())
}
