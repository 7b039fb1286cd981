//! Protocol buffers as far as ONNX needs them: fields by number, borrowed from the file.

use crate::error::{Result, damaged};

/// Value of a field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
    Fixed64,
}

impl<'a> Value<'a> {
    pub(crate) fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => damaged("a number where a message has to be"),
        }
    }

    pub(crate) fn text(self) -> Result<&'a str> {
        match std::str::from_utf8(self.bytes()?) {
            Ok(text) => Ok(text),
            Err(_) => damaged("a name is not UTF-8"),
        }
    }

    pub(crate) fn int(self) -> Result<i64> {
        match self {
            // Two's complement, as the wire has it.
            Self::Varint(n) => Ok(n as i64),
            _ => damaged("no integer where one has to be"),
        }
    }

    pub(crate) fn float(self) -> Result<f32> {
        match self {
            Self::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => damaged("no float where one has to be"),
        }
    }

    /// Appends one integer, or those of a packed field.
    pub(crate) fn ints(self, out: &mut Vec<i64>) -> Result<()> {
        match self {
            Self::Varint(n) => out.push(n as i64),
            Self::Bytes(mut rest) => {
                while !rest.is_empty() {
                    out.push(varint(&mut rest)? as i64);
                }
            }
            _ => return damaged("no integers where some have to be"),
        }
        Ok(())
    }

    /// Appends one float, or those of a packed field.
    pub(crate) fn floats(self, out: &mut Vec<f32>) -> Result<()> {
        match self {
            Self::Fixed32(bytes) => out.push(f32::from_le_bytes(bytes)),
            Self::Bytes(bytes) => {
                let (whole, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return damaged("packed floats end within one");
                }
                out.extend(whole.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            }
            _ => return damaged("no floats where some have to be"),
        }
        Ok(())
    }
}

/// Fields of a message, in the order of the file. Ends after the first fault.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u64, Value<'a>)> {
        let key = varint(&mut self.rest)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut self.rest)?),
            1 => {
                self.take(8)?;
                Value::Fixed64
            }
            2 => {
                let n = varint(&mut self.rest)?;
                Value::Bytes(self.take(usize::try_from(n).unwrap_or(usize::MAX))?)
            }
            5 => match self.take(4)? {
                [a, b, c, d] => Value::Fixed32([*a, *b, *c, *d]),
                _ => return damaged("a field is cut short"),
            },
            other => return damaged(format!("a field of wire type {other}")),
        };
        Ok((key >> 3, value))
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(n) else {
            return damaged("a field is longer than its message");
        };
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Takes a number of 7 bits a byte, the least first.
fn varint(rest: &mut &[u8]) -> Result<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let Some((byte, after)) = rest.split_first() else {
            return damaged("a number is cut short");
        };
        *rest = after;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(n);
        }
    }
    damaged("a number is longer than ten bytes")
}
