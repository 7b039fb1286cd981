//! Logins of HTTP and SIP.

use super::memory::{HIDDEN, Memory, Message, Said, Secret, after, hash, holds, lines};

/// Steps: a form was sent, its body is to come, its answer's page is to come.
const FORM: u8 = 1;
const BODY: u8 = 2;
const PAGE: u8 = 3;

const METHODS: [&[u8]; 8] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"DELETE ",
    b"OPTIONS ",
    b"PROPFIND ",
    b"PATCH ",
];

/// Names of a field that holds a secret.
const FIELDS: [&[u8]; 5] = [b"password", b"passwd", b"pass=", b"pwd", b"pw="];

/// Words by which a page tells that a login failed.
const REFUSALS: [&[u8]; 9] = [
    b"incorrect",
    b"invalid",
    b"wrong",
    b"failed",
    b"failure",
    b"denied",
    b"not match",
    b"no such user",
    b"unknown user",
];

/// A request by one of the usual methods.
pub(super) fn is_request(payload: &[u8]) -> bool {
    METHODS.iter().any(|method| payload.starts_with(method))
}

/// Credentials and 401 or 407 (RFC 9110 15.5.2), or a form with a secret and the page that refuses it.
/// A 401 to a request without credentials asks for them.
pub(super) fn http(memory: &mut Memory, message: &Message<'_>) -> Option<Said> {
    if message.is_answer {
        return answer(memory, message.payload);
    }
    let payload = message.payload;
    if !is_request(payload) {
        if memory.step != BODY {
            return None;
        }
        return form(memory, payload);
    }
    memory.step = 0;
    let end = payload.windows(4).position(|window| window == b"\r\n\r\n");
    let (head, body) = match end {
        Some(end) => (payload.get(..end)?, payload.get(end + 4..)?),
        None => (payload, &[][..]),
    };
    let credentials = lines(head).find_map(|line| {
        let value = after(line, b"Authorization:");
        value.or_else(|| after(line, b"Proxy-Authorization:"))
    });
    if let Some(value) = credentials {
        return scheme(value.trim_ascii());
    }
    if !payload.starts_with(b"POST ") {
        return None;
    }
    if body.is_empty() {
        memory.step = BODY;
        return None;
    }
    form(memory, body)
}

/// A body with a field for a secret.
fn form(memory: &mut Memory, body: &[u8]) -> Option<Said> {
    memory.step = 0;
    if !FIELDS.iter().any(|field| holds(body, field)) {
        return None;
    }
    memory.step = FORM;
    Some(Said::Tried(Secret::Shown(hash(body))))
}

/// Credentials by their scheme (RFC 7617, RFC 7616, RFC 4559). The first messages of NTLM and Negotiate
/// ask for a challenge and are answered by 401.
fn scheme(value: &[u8]) -> Option<Said> {
    if after(value, b"Digest ").is_some() {
        return Some(HIDDEN);
    }
    let negotiated = after(value, b"NTLM ").or_else(|| after(value, b"Negotiate "));
    if let Some(token) = negotiated {
        let is_answer = token.starts_with(b"TlRMTVNTUAAD") || token.starts_with(b"oY");
        return is_answer.then_some(HIDDEN);
    }
    // Signatures of others differ with each request.
    let is_shown = [b"Basic ".as_slice(), b"Bearer ", b"Token "]
        .iter()
        .any(|scheme| after(value, scheme).is_some());
    Some(if is_shown {
        Said::Tried(Secret::Shown(hash(value)))
    } else {
        HIDDEN
    })
}

fn answer(memory: &mut Memory, payload: &[u8]) -> Option<Said> {
    let is_told = || REFUSALS.iter().any(|words| holds(payload, words));
    let Some(rest) = after(payload, b"HTTP/1.") else {
        let is_page = std::mem::take(&mut memory.step) == PAGE;
        return is_page.then(|| {
            if is_told() {
                Said::Refused
            } else {
                Said::Accepted
            }
        });
    };
    let is_form = memory.step == FORM;
    memory.step = 0;
    match rest.get(2..5)? {
        // A challenge that ran out is renewed.
        b"401" | b"407" => (!holds(payload, b"stale=true")).then_some(Said::Refused),
        b"400" | b"403" | b"422" if is_form => Some(Said::Refused),
        [b'2', ..] if is_form => {
            if is_told() {
                return Some(Said::Refused);
            }
            let end = payload.windows(4).position(|window| window == b"\r\n\r\n");
            let has_page = end.is_some_and(|end| end + 4 < payload.len());
            if has_page {
                return Some(Said::Accepted);
            }
            memory.step = PAGE;
            None
        }
        [b'3', ..] if is_form && (is_told() || holds(payload, b"error")) => Some(Said::Refused),
        [b'2' | b'3', ..] => Some(Said::Accepted),
        _ => None,
    }
}

/// Answers to REGISTER and INVITE (RFC 3261 22): the first 401 asks for credentials, those after it
/// refuse them.
pub(super) fn sip(memory: &mut Memory, message: &Message<'_>) -> Option<Said> {
    const ASKED: u8 = 1;
    if !message.is_answer {
        let is_login = message.payload.starts_with(b"REGISTER ");
        return (is_login && memory.step == ASKED).then_some(HIDDEN);
    }
    let status = message.payload.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
    match status {
        b"401" | b"403" | b"407" => {
            let was_asked = memory.step == ASKED;
            memory.step = ASKED;
            was_asked.then_some(Said::Refused)
        }
        b"200" => {
            memory.step = 0;
            Some(Said::Accepted)
        }
        _ => None,
    }
}
