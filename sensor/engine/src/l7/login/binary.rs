//! Logins of protocols in binary: LDAP, MySQL, PostgreSQL, MongoDB, SQL Server, VNC, SMB, MQTT, SNMP.

use super::memory::{HIDDEN, Memory, Message, Said, Secret, hash, holds};
use crate::bytes::Reader;

fn le_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*field))
}

fn le_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*field))
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*field))
}

/// A tag of BER and the length that follows it (X.690 8.1.3).
fn ber(r: &mut Reader<'_>) -> Option<(u8, usize)> {
    let (tag, length) = (r.u8()?, r.u8()?);
    let n_more = usize::from(length & 0x7f);
    if length & 0x80 == 0 {
        return Some((tag, n_more));
    }
    if n_more == 0 || n_more > 4 {
        return None;
    }
    let bytes = r.take(n_more)?;
    let length = bytes.iter().fold(0, |sum, b| (sum << 8) | usize::from(*b));
    Some((tag, length))
}

/// The value of an element with this tag.
fn element<'a>(r: &mut Reader<'a>, expected: u8) -> Option<&'a [u8]> {
    let (tag, length) = ber(r)?;
    (tag == expected).then(|| r.take(length))?
}

/// Begins an LDAP message: the tag of its operation is returned.
fn operation(r: &mut Reader<'_>) -> Option<u8> {
    (ber(r)?.0 == 0x30).then_some(())?;
    element(r, 2)?;
    Some(ber(r)?.0)
}

/// BindRequest and BindResponse (RFC 4511 4.2): invalidCredentials is 49.
pub(super) fn ldap(_: &mut Memory, message: &Message<'_>) -> Option<Said> {
    let r = &mut Reader(message.payload);
    match (operation(r)?, message.is_answer) {
        (0x60, false) => {
            element(r, 2)?;
            let account = element(r, 4)?;
            let (choice, length) = ber(r)?;
            if choice != 0x80 {
                return Some(HIDDEN);
            }
            let secret = r.take(length)?;
            let who = sensor_common::mix(hash(account), hash(secret), 1);
            // Without a secret it is anonymous.
            (!secret.is_empty()).then_some(Said::Tried(Secret::Shown(who)))
        }
        (0x61, true) => match element(r, 10)? {
            [49] => Some(Said::Refused),
            [0] => Some(Said::Accepted),
            _ => None,
        },
        _ => None,
    }
}

/// The server's greeting, then the first packet that ends the login: ERR_Packet with
/// ER_ACCESS_DENIED_ERROR or its like, or OK_Packet.
pub(super) fn mysql(memory: &mut Memory, message: &Message<'_>) -> Option<Said> {
    const GREETED: u8 = 1;
    const OVER: u8 = 2;
    let payload = message.payload;
    if !message.is_answer {
        // A short first answer asks for TLS.
        let is_login = memory.step == GREETED && payload.get(3) == Some(&1) && payload.len() > 36;
        return is_login.then_some(HIDDEN);
    }
    match payload {
        [_, _, _, 0, 10, b'0'..=b'9', ..] => {
            memory.step = GREETED;
            None
        }
        [_, _, _, _, 0xff, ..] if memory.step != OVER => {
            let code = le_u16(payload, 5)?;
            matches!(code, 1045 | 1698).then_some(Said::Refused)
        }
        [_, _, _, 2..=u8::MAX, 0, ..] if memory.step == GREETED => {
            memory.step = OVER;
            Some(Said::Accepted)
        }
        _ => None,
    }
}

/// Authentication requests and their end, ErrorResponse with 28P01 or 28000 (PostgreSQL, "Message
/// Formats").
pub(super) fn postgresql(memory: &mut Memory, message: &Message<'_>) -> Option<Said> {
    const IN_CLEAR: u8 = 3;
    let payload = message.payload;
    if !message.is_answer {
        let secret = payload.strip_prefix(b"p")?;
        return Some(if memory.step == IN_CLEAR {
            Said::Tried(Secret::Shown(hash(secret)))
        } else {
            HIDDEN
        });
    }
    if payload.first() == Some(&b'E') {
        let is_refused = holds(payload, b"C28P01") || holds(payload, b"C28000");
        return is_refused.then_some(Said::Refused);
    }
    let mut rest = payload;
    for _ in 0..4 {
        let (b'R', length) = (*rest.first()?, be_u32(rest, 1)?) else {
            return None;
        };
        match be_u32(rest, 5)? {
            0 => return Some(Said::Accepted),
            method => memory.step = u8::try_from(method).unwrap_or(u8::MAX),
        }
        rest = rest.get(usize::try_from(length).ok()?.checked_add(1)?..)?;
    }
    None
}

/// Replies to SCRAM (MongoDB, "Authentication").
pub(super) fn mongodb(_: &mut Memory, message: &Message<'_>) -> Option<Said> {
    if !message.is_answer {
        let is_begun = holds(message.payload, b"saslstart");
        return is_begun.then_some(HIDDEN);
    }
    if holds(message.payload, b"authenticationfailed") {
        return Some(Said::Refused);
    }
    holds(message.payload, b"\x08done\x00\x01").then_some(Said::Accepted)
}

/// Tokens of a tabular result: ERROR with 18456, LOGINACK (MS-TDS 2.2.7).
pub(super) fn sql_server(_: &mut Memory, message: &Message<'_>) -> Option<Said> {
    const HEADER: usize = 8;
    if !message.is_answer || message.payload.first() != Some(&4) {
        return None;
    }
    let mut tokens = message.payload.get(HEADER..)?;
    for _ in 0..8 {
        match (*tokens.first()?, le_u32(tokens, 3)) {
            (0xaa, Some(18_456)) => return Some(Said::Refused),
            (0xad, _) => return Some(Said::Accepted),
            (0xaa | 0xab | 0xe3, _) => {}
            _ => return None,
        }
        let length = usize::from(le_u16(tokens, 1)?);
        tokens = tokens.get(length.checked_add(3)?..)?;
    }
    None
}

/// The answer of 16 bytes to a challenge, and SecurityResult (RFC 6143 7.2.2, 7.1.3).
pub(super) fn vnc(memory: &mut Memory, message: &Message<'_>) -> Option<Said> {
    const CHALLENGED: u8 = 1;
    const ANSWERED: u8 = 2;
    match (memory.step, message.is_answer, message.n_bytes) {
        (_, true, 16) => {
            memory.step = CHALLENGED;
            None
        }
        (CHALLENGED, false, 16) => {
            memory.step = ANSWERED;
            Some(HIDDEN)
        }
        (ANSWERED, true, _) => {
            memory.step = 0;
            match be_u32(message.payload, 0)? {
                0 => Some(Said::Accepted),
                1 | 2 => Some(Said::Refused),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Status of SESSION_SETUP (MS-SMB2 2.2.6, MS-CIFS 2.2.4.53); of guests and nobody it says nothing.
pub(super) fn smb(_: &mut Memory, message: &Message<'_>) -> Option<Said> {
    if !message.is_answer {
        return None;
    }
    let header = message.payload.get(4..)?;
    let (status, is_nobody) = match header.first_chunk::<4>()? {
        b"\xfeSMB" if le_u16(header, 12)? == 1 => {
            (le_u32(header, 8)?, le_u16(header, 66).unwrap_or(0) != 0)
        }
        b"\xffSMB" if header.get(4) == Some(&0x73) => (le_u32(header, 5)?, false),
        _ => return None,
    };
    match status {
        // Logon failure, wrong password, no such user, locked out.
        0xc000_006d | 0xc000_006a | 0xc000_0064 | 0xc000_0234 => Some(Said::Refused),
        0 if !is_nobody => Some(Said::Accepted),
        _ => None,
    }
}

/// CONNECT and CONNACK: bad user name or password, not authorised (MQTT 3.1.1 3.2.2.3, MQTT 5
/// 3.2.2.2).
pub(super) fn mqtt(_: &mut Memory, message: &Message<'_>) -> Option<Said> {
    if message.is_answer {
        let [0x20, _, _, code, ..] = message.payload else {
            return None;
        };
        return match code {
            0 => Some(Said::Accepted),
            4 | 5 | 0x86 | 0x87 => Some(Said::Refused),
            _ => None,
        };
    }
    let r = &mut Reader(message.payload);
    (r.u8()? == 0x10).then_some(())?;
    while r.u8()? & 0x80 != 0 {}
    let name = usize::from(r.u16()?);
    r.take(name)?;
    let (level, flags) = (r.u8()?, r.u8()?);
    r.u16()?;
    if level == 5 {
        let properties = usize::from(r.u8()?);
        r.take(properties)?;
    }
    let client = usize::from(r.u16()?);
    r.take(client)?;
    let secret = if flags & 0x80 == 0 { &[][..] } else { r.0 };
    Some(Said::Tried(Secret::Shown(hash(secret))))
}

/// Communities of SNMPv1 and SNMPv2c (RFC 3417, RFC 1901): a wrong one is not answered.
pub(super) fn snmp(_: &mut Memory, message: &Message<'_>) -> Option<Said> {
    let r = &mut Reader(message.payload);
    (ber(r)?.0 == 0x30).then_some(())?;
    let [0 | 1] = element(r, 2)? else {
        return None;
    };
    let community = element(r, 4)?;
    Some(if message.is_answer {
        Said::Accepted
    } else {
        Said::Tried(Secret::Shown(hash(community)))
    })
}
