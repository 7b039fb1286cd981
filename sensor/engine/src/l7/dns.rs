//! The header and the first question of a DNS message (RFC 1035 4).

use super::Reader;

/// Record types (IANA).
pub(crate) mod record {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const SVCB: u16 = 64;
    pub const HTTPS: u16 = 65;
}

pub(crate) const NO_ERROR: u8 = 0;
pub(crate) const SERVER_FAILURE: u8 = 2;
pub(crate) const NX_DOMAIN: u8 = 3;

/// Longest name as text: 255 bytes on the wire hold a length before each label and one at the end
/// (RFC 1035 3.1).
const MAX_NAME_BYTES: usize = 253;

/// A name in lower case with dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; MAX_NAME_BYTES],
    len: u8,
}

impl Name {
    /// Labels with dots between them, as on the wire but for upper case; a dot within a label is not
    /// told apart.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Text for people: what is not a printable ASCII character becomes `?`.
    pub fn text(&self) -> String {
        text(self.as_bytes())
    }

    fn push(&mut self, label: &[u8]) -> Option<()> {
        let dot = usize::from(self.len > 0);
        let from = usize::from(self.len) + dot;
        let to = from.checked_add(label.len())?;
        if dot == 1 {
            *self.bytes.get_mut(from - 1)? = b'.';
        }
        for (place, byte) in self.bytes.get_mut(from..to)?.iter_mut().zip(label) {
            *place = byte.to_ascii_lowercase();
        }
        self.len = u8::try_from(to).ok()?;
        Some(())
    }
}

/// Name of a record type, else as RFC 3597 writes it.
pub(crate) fn type_name(number: u16) -> String {
    let name = match number {
        record::A => "A",
        record::NS => "NS",
        5 => "CNAME",
        record::SOA => "SOA",
        10 => "NULL",
        record::PTR => "PTR",
        15 => "MX",
        record::TXT => "TXT",
        25 => "KEY",
        record::AAAA => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        43 => "DS",
        46 => "RRSIG",
        48 => "DNSKEY",
        record::SVCB => "SVCB",
        record::HTTPS => "HTTPS",
        255 => "ANY",
        other => return format!("TYPE{other}"),
    };
    name.to_owned()
}

/// Name of a response code (RFC 1035 4.1.1), else its number.
pub(crate) fn rcode_name(number: u8) -> String {
    let name = match number {
        NO_ERROR => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        NX_DOMAIN => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// Printable ASCII, the rest as `?`.
pub(crate) fn text(bytes: &[u8]) -> String {
    let one = |b: &u8| {
        if b.is_ascii_graphic() {
            char::from(*b)
        } else {
            '?'
        }
    };
    bytes.iter().map(one).collect()
}

/// Header and question of a standard query or of its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub is_response: bool,
    /// Response code of the header, four bits; the upper ones of EDNS lie behind the question.
    pub rcode: u8,
    pub n_answers: u16,
    /// Name that is asked for.
    pub name: Name,
    /// Type of the records that are asked for (IANA).
    pub record: u16,
}

impl Message {
    /// Reads a message over UDP; over TCP, two bytes of length come first. `None` for anything but one
    /// question of a standard query, for a name that is too long or compressed, and for a message cut
    /// before the type. The class is not read, nor what follows it.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let mut r = Reader(payload);
        r.u16()?;
        let flags = r.u16()?;
        let n_questions = r.u16()?;
        let n_answers = r.u16()?;
        r.take(4)?;
        // Standard queries; anything else has other sections.
        if flags >> 11 & 15 != 0 || n_questions != 1 {
            return None;
        }
        let name = name(&mut r)?;
        let record = r.u16()?;
        Some(Self {
            is_response: flags >> 15 == 1,
            rcode: (flags & 15) as u8,
            n_answers,
            name,
            record,
        })
    }
}

/// The name of the first question, which has nothing before it to point to.
fn name(r: &mut Reader<'_>) -> Option<Name> {
    let mut name = Name {
        bytes: [0; MAX_NAME_BYTES],
        len: 0,
    };
    loop {
        match r.u8()? {
            0 => return Some(name),
            length @ 1..=63 => name.push(r.take(usize::from(length))?)?,
            _ => return None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A message with one question.
    pub(crate) fn message(name: &str, record: u16, flags: u16) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34];
        bytes.extend(flags.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 0, 0, 0]);
        for label in name.split('.') {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend(record.to_be_bytes());
        bytes.extend([0, 1]);
        bytes
    }

    #[test]
    fn reads_a_question() {
        let bytes = message("WWW.Example.org", 28, 0x8183);
        let read = Message::read(&bytes).unwrap();
        assert!(read.is_response);
        assert_eq!(read.rcode, NX_DOMAIN);
        assert_eq!(read.record, record::AAAA);
        assert_eq!(read.name.text(), "www.example.org");
    }

    #[test]
    fn truncated_and_looping_messages_are_refused() {
        let bytes = message("a.bc.example.org", 1, 0x0100);
        for n in 0..bytes.len() - 2 {
            assert_eq!(Message::read(&bytes[..n]), None, "{n}");
        }
        let long = ["abcdefghijklmnopqrstuvwxyz"; 12].join(".");
        assert_eq!(Message::read(&message(&long, 1, 0)), None);
        let mut pointer = message("abc.example", 1, 0);
        pointer[12] = 0xc0;
        assert_eq!(Message::read(&pointer), None);
    }
}
