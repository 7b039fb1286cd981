//! Requests that carry a program instead of a value: what a web server is asked for holds SQL behind
//! a quote, script, a path out of its folder, or a command (CAPEC-66, -63, -126, -88).
//!
//! Only the first line is looked at for most, since forms of editors and consoles of data bases send
//! such things in their bodies.

/// Kind of program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Injection {
    Sql,
    Script,
    Path,
    Command,
}

impl Injection {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::Script => "script",
            Self::Path => "path",
            Self::Command => "command",
        }
    }
}

/// Bytes of a request line that are decoded.
const MOST: usize = 512;

const METHODS: [&[u8]; 7] = [
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
];

/// Patterns of the request line, decoded and in lower case; none is a word of a search.
const IN_LINE: [(&[u8], Injection); 39] = [
    (b"union select", Injection::Sql),
    (b"union all select", Injection::Sql),
    (b"from information_schema", Injection::Sql),
    (b"waitfor delay", Injection::Sql),
    (b"xp_cmdshell", Injection::Sql),
    (b"benchmark(", Injection::Sql),
    (b"and sleep(", Injection::Sql),
    (b"or sleep(", Injection::Sql),
    (b"select sleep(", Injection::Sql),
    (b"' or '", Injection::Sql),
    (b"' or 1", Injection::Sql),
    (b"' and '", Injection::Sql),
    (b"' and 1", Injection::Sql),
    (b"'or'", Injection::Sql),
    (b"') or (", Injection::Sql),
    (b"' order by ", Injection::Sql),
    (b"';--", Injection::Sql),
    (b"' --", Injection::Sql),
    (b"'; drop ", Injection::Sql),
    (b"'||(", Injection::Sql),
    (b"<script", Injection::Script),
    (b"javascript:", Injection::Script),
    (b"document.cookie", Injection::Script),
    (b"onerror=", Injection::Script),
    (b"<svg", Injection::Script),
    (b"<iframe", Injection::Script),
    (b"../../..", Injection::Path),
    (b"..\\..\\..", Injection::Path),
    (b"/etc/passwd", Injection::Path),
    (b"/etc/shadow", Injection::Path),
    (b"win.ini", Injection::Path),
    (b"php://", Injection::Path),
    (b"/bin/sh", Injection::Command),
    (b"/bin/bash", Injection::Command),
    (b"cmd.exe", Injection::Command),
    (b";cat ", Injection::Command),
    (b"|cat ", Injection::Command),
    (b";wget ", Injection::Command),
    (b"$(wget ", Injection::Command),
];

/// Anywhere in the sample: in headers, too, this is nothing but an attack.
const ANYWHERE: [(&[u8], Injection); 2] = [
    (b"() { :", Injection::Command),
    (b"${jndi:", Injection::Command),
];

/// Finds the program that a request carries.
pub(crate) fn read(payload: &[u8]) -> Option<Injection> {
    if !METHODS.iter().any(|method| payload.starts_with(method)) {
        return None;
    }
    let end = payload.iter().position(|b| *b == b'\n');
    let line = end.and_then(|end| payload.get(..end)).unwrap_or(payload);
    let mut decoded = [0u8; MOST];
    let once = decode(line, &mut decoded);
    let mut again = [0u8; MOST];
    let twice = decode(once, &mut again);
    let found = IN_LINE.iter().find(|(sign, _)| holds(twice, sign));
    let found = found.or_else(|| ANYWHERE.iter().find(|(sign, _)| holds(payload, sign)));
    found.map(|(_, injection)| *injection)
}

fn holds(text: &[u8], sign: &[u8]) -> bool {
    text.windows(sign.len()).any(|part| part == sign)
}

/// Percent signs, pluses and SQL comments in a space's place undone, letters made small.
fn decode<'b>(text: &[u8], buffer: &'b mut [u8; MOST]) -> &'b [u8] {
    let mut rest = text;
    let mut n = 0;
    while let ([first, behind @ ..], Some(place)) = (rest, buffer.get_mut(n)) {
        let (byte, next) = match (first, behind) {
            (b'%', [high, low, next @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, next),
                _ => (b'%', behind),
            },
            (b'+' | b'\t', _) => (b' ', behind),
            (b'/', [b'*', b'*', b'/', next @ ..]) => (b' ', next),
            _ => (*first, behind),
        };
        *place = byte.to_ascii_lowercase();
        n += 1;
        rest = next;
    }
    buffer.get(..n).unwrap_or_default()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn injections_are_found_in_every_encoding() {
        let cases: [(&[u8], Injection); 7] = [
            (
                b"GET /item?id=1%27+and+1%3D1%23 HTTP/1.1\r\n",
                Injection::Sql,
            ),
            (
                b"GET /item?id=1%2527%2bUNION/**/SELECT+a HTTP/1.1\r\n",
                Injection::Sql,
            ),
            (
                b"GET /?q=%3CScRiPt%3Ealert(1) HTTP/1.1\r\n",
                Injection::Script,
            ),
            (b"GET /a/..%2f..%2f..%2fboot HTTP/1.1\r\n", Injection::Path),
            (b"GET /cgi?x=1;cat%20/x HTTP/1.1\r\n", Injection::Command),
            (
                b"GET / HTTP/1.1\r\nUser-Agent: () { :;}; x",
                Injection::Command,
            ),
            (
                b"GET / HTTP/1.1\r\nX-A: ${jndi:ldap://a}",
                Injection::Command,
            ),
        ];
        for (request, injection) in cases {
            assert_eq!(read(request), Some(injection), "{}", request.escape_ascii());
        }
    }

    #[test]
    fn ordinary_searches_are_no_injection() {
        let cases: [&[u8]; 7] = [
            b"GET /search?q=rock+%27n%27+roll+or+jazz HTTP/1.1\r\n",
            b"GET /search?q=union+of+select+clubs HTTP/1.1\r\n",
            b"GET /a/../b/style.css?v=1%2B1 HTTP/1.1\r\n",
            b"GET /name?n=O%27Brien HTTP/1.1\r\n",
            b"POST /edit HTTP/1.1\r\n\r\nbody=<script>x</script>' or '1'='1",
            b"' or '1'='1",
            b"GET /%",
        ];
        for request in cases {
            assert_eq!(read(request), None, "{}", request.escape_ascii());
        }
    }
}
