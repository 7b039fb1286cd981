//! The TLS ClientHello (RFC 8446 4.1.2) and its JA4 fingerprint (FoxIO, technical details of JA4,
//! BSD 3-clause).

use sha2::{Digest as _, Sha256};

use super::Reader;

/// First message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// Highest version offered, e.g. 0x0304.
    pub version: u16,
    /// First host name of the `server_name` extension (RFC 6066 3).
    pub server_name: Option<&'a [u8]>,
    /// JA4 fingerprint, of a hello that the sample holds whole but for the body of its last extension.
    pub ja4: Option<String>,
}

/// Longest session identifier (RFC 8446 4.1.2).
const MAX_SESSION_BYTES: usize = 32;

mod extension {
    pub const SERVER_NAME: u16 = 0;
    pub const SIGNATURE_ALGORITHMS: u16 = 13;
    pub const ALPN: u16 = 16;
    pub const SUPPORTED_VERSIONS: u16 = 43;
}

/// Values reserved to keep servers tolerant (RFC 8701).
const fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

#[derive(Default)]
struct Parts<'a> {
    legacy_version: u16,
    versions: Vec<u16>,
    ciphers: Vec<u16>,
    extensions: Vec<u16>,
    signatures: Vec<u16>,
    server_name: Option<&'a [u8]>,
    alpn: Option<&'a [u8]>,
    /// The sample reaches to the end of the message.
    has_end: bool,
    is_whole: bool,
}

impl<'a> ClientHello<'a> {
    /// Reads a segment that begins with a handshake record, up to the end of that record: `None` for
    /// anything else, and for a hello cut before its extensions. One that goes on in a further record,
    /// or that the sample cuts, is read as far as it goes.
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        let mut r = Reader(payload);
        if r.u8()? != 0x16 || r.u8()? != 3 {
            return None;
        }
        r.u8()?;
        let n_record = usize::from(r.u16()?);
        r.limit(n_record);
        if r.u8()? != 1 {
            return None;
        }
        let (high, low) = (r.u8()?, r.u16()?);
        let has_end = r.limit(usize::from(high) << 16 | usize::from(low));
        let mut parts = Parts {
            legacy_version: r.u16()?,
            has_end,
            ..Parts::default()
        };
        r.take(32)?;
        let n_session = usize::from(r.u8()?);
        if n_session > MAX_SESSION_BYTES {
            return None;
        }
        r.take(n_session)?;
        let n_ciphers = usize::from(r.u16()?);
        if !n_ciphers.is_multiple_of(2) {
            return None;
        }
        parts.ciphers = words(r.take(n_ciphers)?);
        let n_methods = usize::from(r.u8()?);
        r.take(n_methods)?;
        parts.extensions(&mut r);
        Some(Self {
            version: parts.version(),
            server_name: parts.server_name,
            ja4: parts.is_whole.then(|| parts.ja4()),
        })
    }
}

/// Values of two bytes but those of grease.
fn words(bytes: &[u8]) -> Vec<u16> {
    let (words, _) = bytes.as_chunks::<2>();
    let words = words.iter().map(|word| u16::from_be_bytes(*word));
    words.filter(|word| !is_grease(*word)).collect()
}

impl<'a> Parts<'a> {
    fn extensions(&mut self, r: &mut Reader<'a>) {
        let Some(length) = r.u16() else {
            // No extensions at all, as before TLS 1.2.
            self.is_whole = self.has_end && r.0.is_empty();
            return;
        };
        let mut n_left = usize::from(length);
        while n_left >= 4 {
            let (Some(kind), Some(n)) = (r.u16(), r.u16()) else {
                return;
            };
            let n = usize::from(n);
            let Some(rest) = n_left.checked_sub(4 + n) else {
                return;
            };
            n_left = rest;
            if !is_grease(kind) {
                self.extensions.push(kind);
            }
            let Some(body) = r.take(n) else {
                // The sample cuts the last one, which is mostly padding.
                self.is_whole = n_left == 0 && !self.has_end && !needs_body(kind);
                return;
            };
            self.extension(kind, body);
        }
        self.is_whole = n_left == 0;
    }

    fn extension(&mut self, kind: u16, body: &'a [u8]) {
        match kind {
            extension::SERVER_NAME => self.server_name = server_name(body),
            extension::ALPN => self.alpn = first_protocol(body),
            extension::SIGNATURE_ALGORITHMS => {
                let list = list_of(body, Reader::u16);
                self.signatures = list.map(|list| words(list.0)).unwrap_or_default();
            }
            extension::SUPPORTED_VERSIONS => {
                let list = list_of(body, |r| r.u8().map(u16::from));
                self.versions = list.map(|list| words(list.0)).unwrap_or_default();
            }
            _ => {}
        }
    }

    fn version(&self) -> u16 {
        let highest = self.versions.iter().max();
        highest.copied().unwrap_or(self.legacy_version)
    }

    /// `t13d1516h2_8daaf6152771_b186095e22b6`: what was offered, hash of ciphers, hash of extensions
    /// and signature algorithms.
    fn ja4(&self) -> String {
        let version = match self.version() {
            0x0304 => "13",
            0x0303 => "12",
            0x0302 => "11",
            0x0301 => "10",
            0x0300 => "s3",
            _ => "00",
        };
        let name = if self.extensions.contains(&extension::SERVER_NAME) {
            'd'
        } else {
            'i'
        };
        let (n_ciphers, n_extensions) = (self.ciphers.len().min(99), self.extensions.len().min(99));
        let alpn = alpn_letters(self.alpn);
        let mut ciphers = self.ciphers.clone();
        ciphers.sort_unstable();
        let mut extensions = self.extensions.clone();
        extensions.retain(|kind| !matches!(*kind, extension::SERVER_NAME | extension::ALPN));
        extensions.sort_unstable();
        let mut listed = list(&extensions);
        if !self.signatures.is_empty() {
            listed.push('_');
            listed.push_str(&list(&self.signatures));
        }
        format!(
            "t{version}{name}{n_ciphers:02}{n_extensions:02}{alpn}_{}_{}",
            short_hash(&list(&ciphers)),
            short_hash(&listed)
        )
    }
}

const fn needs_body(kind: u16) -> bool {
    matches!(
        kind,
        extension::SERVER_NAME
            | extension::ALPN
            | extension::SIGNATURE_ALGORITHMS
            | extension::SUPPORTED_VERSIONS
    )
}

fn list(values: &[u16]) -> String {
    let hex: Vec<String> = values.iter().map(|value| format!("{value:04x}")).collect();
    hex.join(",")
}

/// The first twelve digits of SHA-256; zeros for nothing.
fn short_hash(text: &str) -> String {
    if text.is_empty() {
        return "000000000000".to_owned();
    }
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(6).map(|b| format!("{b:02x}")).collect()
}

/// First and last character of the first protocol; hexadecimal digits where they are no letters.
fn alpn_letters(alpn: Option<&[u8]>) -> String {
    let Some([first, .., last] | [first @ last]) = alpn else {
        return "00".to_owned();
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [char::from(*first), char::from(*last)].iter().collect();
    }
    let (first, last) = (format!("{first:02x}"), format!("{last:02x}"));
    let letters = first.chars().take(1).chain(last.chars().skip(1));
    letters.collect()
}

/// Content of a list that is the whole of an extension, behind its length; `None` where the body is
/// shorter than that.
fn list_of<'a>(
    body: &'a [u8],
    length: impl FnOnce(&mut Reader<'a>) -> Option<u16>,
) -> Option<Reader<'a>> {
    let mut r = Reader(body);
    let n = usize::from(length(&mut r)?);
    r.take(n).map(Reader)
}

fn server_name(body: &[u8]) -> Option<&[u8]> {
    let mut r = list_of(body, Reader::u16)?;
    if r.u8()? != 0 {
        return None;
    }
    let length = usize::from(r.u16()?);
    r.take(length)
}

fn first_protocol(body: &[u8]) -> Option<&[u8]> {
    let mut r = list_of(body, Reader::u16)?;
    let length = usize::from(r.u8()?);
    r.take(length).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_length(bytes: &[u8]) -> Vec<u8> {
        let mut out = (bytes.len() as u16).to_be_bytes().to_vec();
        out.extend(bytes);
        out
    }

    fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut out = kind.to_be_bytes().to_vec();
        out.extend(with_length(body));
        out
    }

    /// The values of the example in the description of JA4.
    pub(crate) fn hello() -> Vec<u8> {
        let ciphers: [u16; 16] = [
            0x5a5a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,
            0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
        ];
        let signatures: [u16; 8] = [
            0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601,
        ];
        let bytes = |words: &[u16]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_be_bytes()).collect()
        };
        let mut name = vec![0];
        name.extend(with_length(b"example.org"));
        let mut extensions = extension(0x0a0a, b"");
        extensions.extend(extension(0, &with_length(&name)));
        for kind in [
            0x001b, 0x0033, 0x4469, 0x0017, 0x002d, 0x0005, 0x0023, 0x0012, 0xff01,
        ] {
            extensions.extend(extension(kind, b""));
        }
        extensions.extend(extension(0x000d, &with_length(&bytes(&signatures))));
        extensions.extend(extension(0x000b, b""));
        extensions.extend(extension(0x000a, b""));
        extensions.extend(extension(0x0010, &with_length(b"\x02h2")));
        extensions.extend(extension(
            0x002b,
            &[&[4][..], &bytes(&[0x0304, 0x0303])].concat(),
        ));
        extensions.extend(extension(0x0015, &[0; 100]));
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.push(0);
        body.extend(with_length(&bytes(&ciphers)));
        body.extend([1, 0]);
        body.extend(with_length(&extensions));
        let mut record = vec![0x16, 3, 1];
        record.extend((body.len() as u16 + 4).to_be_bytes());
        record.extend([1, 0]);
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    }

    #[test]
    fn fingerprints_are_those_of_the_specification() {
        let bytes = hello();
        let read = ClientHello::read(&bytes).unwrap();
        assert_eq!(read.server_name, Some(b"example.org".as_slice()));
        assert_eq!(read.version, 0x0304);
        let ja4 = read.ja4.unwrap();
        assert_eq!(ja4, "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn a_cut_hello_still_has_its_name() {
        let bytes = hello();
        let whole = ClientHello::read(&bytes).unwrap();
        // The sample ends within the padding.
        assert_eq!(
            ClientHello::read(&bytes[..bytes.len() - 50]).unwrap().ja4,
            whole.ja4
        );
        let cut = ClientHello::read(&bytes[..bytes.len() - 120]).unwrap();
        assert_eq!((cut.ja4, cut.server_name), (None, whole.server_name));
        for n in 0..bytes.len() {
            ClientHello::read(&bytes[..n]);
        }
    }

    #[test]
    fn a_hello_ends_with_its_record() {
        let whole = hello();
        let expected = ClientHello::read(&whole).unwrap();
        let followed = [&whole[..], &[0x14, 3, 3, 0, 1, 1]].concat();
        assert_eq!(ClientHello::read(&followed), Some(expected.clone()));
        // The name lies in the second of two records, behind the header of that.
        let (first, second) = whole[5..].split_at(90);
        let record = |part: &[u8]| [&[0x16, 3, 1][..], &with_length(part)].concat();
        let split = [record(first), record(second)].concat();
        let read = ClientHello::read(&split).unwrap();
        assert_eq!((read.server_name, read.ja4), (None, None));
    }
}
