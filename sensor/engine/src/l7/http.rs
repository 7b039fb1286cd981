//! The first lines of HTTP/1 messages, by `httparse`.

use httparse::{EMPTY_HEADER, Header, Request, Response};

use super::dns::text;
use crate::note::Note;

const MAX_HEADERS: usize = 32;
/// Bytes kept of a value.
const MAX_VALUE: usize = 128;

/// Reads a message into notes under their names in the Elastic Common Schema. One that the sample cuts
/// gives what comes before.
pub(crate) fn read(payload: &[u8]) -> Option<Vec<Note>> {
    if payload.starts_with(b"HTTP/1.") {
        return response(payload);
    }
    request(payload)
}

/// Bytes of the longest method (RFC 9110 9, RFC 4918).
const MAX_METHOD: usize = 10;

/// Path that a request asks for, without what follows `?`.
pub(crate) fn requested(payload: &[u8]) -> Option<&[u8]> {
    let head = payload.get(..=MAX_METHOD).unwrap_or(payload);
    let end = head.iter().position(|byte| *byte == b' ')?;
    let (method, rest) = payload.split_at_checked(end)?;
    let rest = rest.get(1..)?;
    if end < 3 || !method.iter().all(u8::is_ascii_uppercase) || !rest.starts_with(b"/") {
        return None;
    }
    let end = rest.iter().position(|byte| matches!(byte, b' ' | b'?'))?;
    rest.get(..end)
}

/// True where an answer says that there is no such page (RFC 9110 15.5.5, 15.5.11). `None`: no answer begins here.
pub(crate) fn not_found(payload: &[u8]) -> Option<bool> {
    let status = payload.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    Some(matches!(status, b"404" | b"410"))
}

fn note(name: &'static str, value: &[u8]) -> Note {
    let value = value.get(..MAX_VALUE).unwrap_or(value);
    Note {
        name,
        value: text(value),
    }
}

fn request(payload: &[u8]) -> Option<Vec<Note>> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = Request::new(&mut headers);
    // Cut or with more headers than kept: what was read stays read.
    let result = request.parse(payload);
    if matches!(result, Err(e) if e != httparse::Error::TooManyHeaders) {
        return None;
    }
    let method = request.method?;
    let path = request.path?;
    let mut notes = vec![
        note("http.request.method", method.as_bytes()),
        note("url.path", path.as_bytes()),
    ];
    notes.extend(header(request.headers, "host").map(|value| note("url.domain", value)));
    let agent = header(request.headers, "user-agent");
    notes.extend(agent.map(|value| Note {
        name: "user_agent.original",
        value: String::from_utf8_lossy(value.get(..MAX_VALUE).unwrap_or(value)).into_owned(),
    }));
    Some(notes)
}

fn header<'h>(headers: &[Header<'h>], name: &str) -> Option<&'h [u8]> {
    let found = headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
    found.map(|header| header.value)
}

fn response(payload: &[u8]) -> Option<Vec<Note>> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut response = Response::new(&mut headers);
    let result = response.parse(payload);
    if matches!(result, Err(e) if e != httparse::Error::TooManyHeaders) {
        return None;
    }
    let code = response.code?;
    Some(vec![Note {
        name: "http.response.status_code",
        value: code.to_string(),
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_and_its_headers_are_read() {
        let bytes = b"GET /a?b=1 HTTP/1.1\r\nHost: example.org\r\nUser-Agent: x y/1\r\nAccept: */";
        let notes = read(bytes).unwrap();
        let values: Vec<&str> = notes.iter().map(|note| note.value.as_str()).collect();
        assert_eq!(values, ["GET", "/a?b=1", "example.org", "x y/1"]);
        let status = read(b"HTTP/1.1 404 Not Found\r\nServer").unwrap();
        assert_eq!(status[0].value, "404");
        assert_eq!(read(b"\x16\x03\x01\x02"), None);
        for n in 0..bytes.len() {
            read(&bytes[..n]);
        }
    }
}
