//! Logins of protocols that talk in lines: FTP, SMTP, POP3, IMAP, Telnet, Redis.

use super::memory::{HIDDEN, Memory, Message, Said, Secret, after, hash, holds, lines};

/// Steps of SASL exchanges (RFC 4422) in lines of base64.
const SECRET: u8 = 1;
const ACCOUNT: u8 = 2;
const CHALLENGE: u8 = 3;

/// The mechanism that a client begins with, and what it says at once (RFC 4954, RFC 5034, RFC 9051
/// 6.2.2).
fn sasl(memory: &mut Memory, words: &[u8]) -> Option<Said> {
    let mut words = words
        .split(u8::is_ascii_whitespace)
        .filter(|w| !w.is_empty());
    let (mechanism, first) = (words.next()?, words.next());
    let is = |name: &[u8]| mechanism.eq_ignore_ascii_case(name);
    memory.step = 0;
    if is(b"PLAIN") || is(b"XOAUTH2") || is(b"OAUTHBEARER") {
        memory.account = 0;
        return match first {
            Some(secret) => Some(memory.shown(secret)),
            None => {
                memory.step = SECRET;
                None
            }
        };
    }
    if is(b"LOGIN") {
        memory.step = ACCOUNT;
        if let Some(account) = first {
            (memory.account, memory.step) = (hash(account), SECRET);
        }
        return None;
    }
    memory.step = CHALLENGE;
    None
}

/// A line of a client within a SASL exchange.
fn continued(memory: &mut Memory, line: &[u8]) -> Option<Said> {
    match memory.step {
        SECRET => {
            memory.step = 0;
            Some(memory.shown(line))
        }
        ACCOUNT => {
            (memory.account, memory.step) = (hash(line), SECRET);
            None
        }
        CHALLENGE => {
            memory.step = 0;
            Some(HIDDEN)
        }
        _ => None,
    }
}

/// Reply codes (RFC 959 4.2).
pub(super) fn ftp(memory: &mut Memory, message: &Message<'_>) -> Option<Said> {
    if message.is_answer {
        return code(message.payload, b"530", b"230");
    }
    lines(message.payload).find_map(|line| {
        if let Some(account) = after(line, b"USER ") {
            memory.account = hash(account);
            return None;
        }
        after(line, b"PASS ").map(|secret| memory.shown(secret))
    })
}

/// Reply codes (RFC 4954 6).
pub(super) fn smtp(memory: &mut Memory, message: &Message<'_>) -> Option<Said> {
    if message.is_answer {
        return code(message.payload, b"535", b"235");
    }
    lines(message.payload)
        .filter(|line| !line.is_empty())
        .find_map(|line| match after(line, b"AUTH ") {
            Some(words) => sasl(memory, words),
            None => continued(memory, line),
        })
}

fn code(payload: &[u8], refused: &[u8], accepted: &[u8]) -> Option<Said> {
    lines(payload).find_map(|line| {
        let code = line.get(..3)?;
        if !matches!(line.get(3), None | Some(b' ' | b'-')) {
            return None;
        }
        if code == refused {
            Some(Said::Refused)
        } else {
            (code == accepted).then_some(Said::Accepted)
        }
    })
}

/// `-ERR` and `+OK` (RFC 1939, RFC 5034). Response codes that tell a fault of the server or a box in use
/// (RFC 2449 8, RFC 3206) are no refusal.
pub(super) fn pop3(memory: &mut Memory, message: &Message<'_>) -> Option<Said> {
    let payload = message.payload;
    if message.is_answer {
        if payload.starts_with(b"-ERR") {
            let is_fault = holds(payload, b"[sys/") || holds(payload, b"[in-use]");
            return (!is_fault).then_some(Said::Refused);
        }
        return payload.starts_with(b"+OK").then_some(Said::Accepted);
    }
    lines(payload)
        .filter(|line| !line.is_empty())
        .find_map(|line| {
            if let Some(account) = after(line, b"USER ") {
                memory.account = hash(account);
                return None;
            }
            if let Some(secret) = after(line, b"PASS ") {
                return Some(memory.shown(secret));
            }
            if after(line, b"APOP ").is_some() {
                return Some(HIDDEN);
            }
            match after(line, b"AUTH ") {
                Some(words) => sasl(memory, words),
                None => continued(memory, line),
            }
        })
}

/// LOGIN and AUTHENTICATE, and the tagged reply (RFC 9051 6.2).
pub(super) fn imap(memory: &mut Memory, message: &Message<'_>) -> Option<Said> {
    let second = |line: &[u8]| -> Option<Vec<u8>> {
        let (tag, rest) = line.split_at_checked(line.iter().position(|b| *b == b' ')?)?;
        let is_tag = !tag.is_empty() && !matches!(tag.first(), Some(b'*' | b'+'));
        is_tag.then(|| rest.trim_ascii().to_vec())
    };
    lines(message.payload)
        .filter(|line| !line.is_empty())
        .find_map(|line| {
            let command = second(line);
            let command = command.as_deref();
            if message.is_answer {
                let command = command?;
                if after(command, b"NO").is_some() {
                    let is_fault = holds(command, b"[unavailable]");
                    return (!is_fault).then_some(Said::Refused);
                }
                return after(command, b"OK").map(|_| Said::Accepted);
            }
            if let Some(words) = command.and_then(|command| after(command, b"LOGIN ")) {
                memory.account = 0;
                return Some(memory.shown(words));
            }
            match command.and_then(|command| after(command, b"AUTHENTICATE ")) {
                Some(words) => sasl(memory, words),
                None => continued(memory, line),
            }
        })
}

/// Words that refuse, of Telnet servers and of programs for remote shells.
const REFUSALS: [&[u8]; 6] = [
    b"login incorrect",
    b"login failed",
    b"authentication fail",
    b"bad password",
    b"access denied",
    b"permission denied",
];

/// A prompt for the password, then words that refuse or the prompt of a shell.
pub(super) fn telnet(memory: &mut Memory, message: &Message<'_>) -> Option<Said> {
    const ASKED: u8 = 1;
    let payload = message.payload;
    if !message.is_answer {
        return None;
    }
    let has_refused = REFUSALS.iter().any(|words| holds(payload, words));
    let was_asked = memory.step == ASKED;
    memory.step = if holds(payload, b"assword") {
        ASKED
    } else {
        memory.step
    };
    if has_refused {
        return Some(Said::Refused);
    }
    let is_prompt = matches!(payload.trim_ascii_end().last(), Some(b'$' | b'#' | b'>'));
    if was_asked && (is_prompt || holds(payload, b"last login")) {
        memory.step = 0;
        return Some(Said::Accepted);
    }
    None
}

/// AUTH, and HELLO with it, in either form of commands.
pub(super) fn redis(_: &mut Memory, message: &Message<'_>) -> Option<Said> {
    let payload = message.payload;
    if message.is_answer {
        if payload.starts_with(b"-WRONGPASS") || payload.starts_with(b"-ERR invalid pass") {
            return Some(Said::Refused);
        }
        return (payload.starts_with(b"+OK") || payload.starts_with(b"%"))
            .then_some(Said::Accepted);
    }
    let mut all = lines(payload);
    let shown = |secret: &[u8]| Said::Tried(Secret::Shown(hash(secret)));
    if payload.starts_with(b"*") {
        let at = payload
            .windows(6)
            .position(|window| window.eq_ignore_ascii_case(b"AUTH\r\n"))?;
        return payload.get(at..).map(shown);
    }
    all.find_map(|line| after(line, b"AUTH ").map(shown))
}
