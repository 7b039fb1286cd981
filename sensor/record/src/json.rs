//! The edge: records become JSON here and are read back here.
//!
//! Besides what JSON demands, characters that a terminal would obey are written as `\u` escapes: a
//! line is safe to look at, and a reader gets the very text that was sent.

use std::io::{self, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::{Formatter, Serializer};

pub use serde_json::Error;

/// Tree of JSON in somebody else's form, as a bundle of STIX.
pub type Tree = serde_json::Value;

use crate::escape::is_hidden;

/// Writes one value as one line, its end included.
///
/// # Errors
/// The writer's.
pub fn write_line<W: Write, T: Serialize>(out: &mut W, value: &T) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut *out, Guarded))?;
    out.write_all(b"\n")
}

/// One value as one line, without its end.
pub fn line<T: Serialize>(value: &T) -> String {
    let mut bytes = Vec::with_capacity(512);
    let mut serializer = Serializer::with_formatter(&mut bytes, Guarded);
    // Records have names for keys and a vector takes every byte: nothing here can fail.
    if value.serialize(&mut serializer).is_err() {
        return "null".to_owned();
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// Reads one value.
///
/// # Errors
/// What is wrong with the text, and where.
pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(text)
}

/// Compact JSON whose strings hold nothing that a terminal would obey.
struct Guarded;

impl Formatter for Guarded {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + Write,
    {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_hidden) {
            let (plain, hidden) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let Some(c) = hidden.chars().next() else {
                break;
            };
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &hidden[c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_escaped_and_come_back() {
        let text = "a\x1b[0m\u{9b}\u{202e}\u{e0041}\"\\ä\n\x7f";
        let line = line(&text);
        assert_eq!(line, r#""a\u001b[0m\u009b\u202e\udb40\udc41\"\\ä\n\u007f""#);
        assert_eq!(read::<String>(line.as_bytes()).unwrap(), text);
    }
}
