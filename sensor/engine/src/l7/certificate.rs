//! The certificate of a TLS server, where it goes over the wire in the clear: up to TLS 1.2 (RFC 5246 7.4.2).

/// A certificate as far as a sample of the server's first segment shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Issuer and subject are the same name (RFC 5280 3.2).
    pub is_self_issued: bool,
}

const HANDSHAKE: u8 = 22;
const CERTIFICATE: u8 = 11;

impl Certificate {
    /// Reads a segment of the server that begins with a handshake record; `None` where it holds no certificate up
    /// to the subject's name.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let mut rest = payload;
        while let [HANDSHAKE, 3, _, high, low, fragment @ ..] = rest {
            let n = usize::from(u16::from_be_bytes([*high, *low]));
            let record = fragment.get(..n).unwrap_or(fragment);
            if let Some(body) = message(record, CERTIFICATE) {
                // Length of all, and of the first.
                return Self::of_der(body.get(6..)?);
            }
            rest = fragment.get(n..)?;
        }
        None
    }

    /// Reads the names (RFC 5280 4.1): version, serial number, algorithm, issuer, validity, subject.
    fn of_der(der: &[u8]) -> Option<Self> {
        const SEQUENCE: u8 = 0x30;
        const VERSION: u8 = 0xa0;
        let certificate = value(der, SEQUENCE)?.0;
        let mut fields = value(certificate, SEQUENCE)?.0;
        if fields.first() == Some(&VERSION) {
            fields = value(fields, VERSION)?.1?;
        }
        let serial = value(fields, 2)?.1?;
        let algorithm = value(serial, SEQUENCE)?.1?;
        let (issuer, after) = value(algorithm, SEQUENCE)?;
        let validity = value(after?, SEQUENCE)?.1?;
        let (subject, after) = value(validity, SEQUENCE)?;
        // It is whole where something follows.
        after?;
        Some(Self {
            is_self_issued: issuer == subject,
        })
    }
}

/// Body of the first handshake message of a kind in a record, as far as it goes.
fn message(record: &[u8], kind: u8) -> Option<&[u8]> {
    let mut rest = record;
    while let [this, a, b, c, body @ ..] = rest {
        let n = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        if *this == kind {
            return Some(body.get(..n).unwrap_or(body));
        }
        rest = body.get(n..)?;
    }
    None
}

/// Content of a value of DER, as far as it goes, and what follows it; nothing follows one that is cut.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], Option<&[u8]>)> {
    let (n, content) = match der {
        [t, n @ ..=0x7f, rest @ ..] if *t == tag => (usize::from(*n), rest),
        [t, 0x81, n, rest @ ..] if *t == tag => (usize::from(*n), rest),
        [t, 0x82, high, low, rest @ ..] if *t == tag => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    Some(match content.split_at_checked(n) {
        Some((content, after)) => (content, Some(after)),
        None => (content, None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let n = content.len() as u16;
        let [high, low] = n.to_be_bytes();
        let mut value = vec![tag, 0x82, high, low];
        value.extend(content);
        value
    }

    /// Server's first flight with a certificate of these names.
    fn flight(issuer: &[u8], subject: &[u8]) -> Vec<u8> {
        let fields = [
            der(0xa0, &[2, 1, 2]),
            der(2, &[1; 16]),
            der(0x30, &[5, 0]),
            der(0x30, issuer),
            der(0x30, &[0x17; 30]),
            der(0x30, subject),
            der(0x30, &[0; 294]),
        ];
        let certificate = der(0x30, &der(0x30, &fields.concat()));
        let n = |n: usize| (n as u32).to_be_bytes()[1..].to_vec();
        let body = [
            n(certificate.len() + 3),
            n(certificate.len()),
            certificate.clone(),
        ]
        .concat();
        let message = [vec![CERTIFICATE], n(body.len()), body].concat();
        let hello = [vec![2], n(70), vec![0; 70]].concat();
        let record = |message: &[u8]| {
            let [high, low] = (message.len() as u16).to_be_bytes();
            [&[HANDSHAKE, 3, 3, high, low], message].concat()
        };
        [record(&hello), record(&message)].concat()
    }

    #[test]
    fn who_vouches_for_himself_is_told_from_whom_another_vouches_for() {
        let own = Certificate::read(&flight(b"AsIs", b"AsIs")).unwrap();
        assert!(own.is_self_issued);
        let other = Certificate::read(&flight(b"Root", b"Leaf")).unwrap();
        assert!(!other.is_self_issued);
    }

    #[test]
    fn a_cut_certificate_is_read_up_to_its_names_or_not_at_all() {
        let whole = flight(b"AsIs", b"AsIs");
        let known = (0..whole.len()).filter(|n| Certificate::read(&whole[..*n]).is_some());
        let least = known.min().unwrap();
        assert!(least < 230, "{least}");
        for n in 0..whole.len() {
            let read = Certificate::read(&whole[..n]);
            assert_eq!(read.is_some(), n >= least);
        }
        for byte in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[byte] ^= 0xff;
            Certificate::read(&damaged);
        }
    }
}
