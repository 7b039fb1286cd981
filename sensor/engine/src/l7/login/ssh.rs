//! Outcome of SSH logins from the sizes of encrypted messages, as Zeek infers it (its SSH analyser,
//! `ProcessEncryptedSegment`).
//!
//! The first encrypted answer of a server is SSH_MSG_SERVICE_ACCEPT, 17 bytes before padding;
//! SSH_MSG_USERAUTH_SUCCESS is one byte. Padded to 8 or 16 bytes they differ by 16 under every cipher
//! (RFC 4253 6, RFC 4252 5.1). Whatever else is answered to a request is no success, and a connection
//! that ends without one was refused.

use super::memory::{Message, Said};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Banners and the exchange of keys, in clear.
    #[default]
    Keys,
    /// From the client's SSH_MSG_NEWKEYS on.
    Login,
    /// It is known what came of it.
    Over,
}

/// Bytes that a success is shorter than the acceptance of the service.
const SHORTER: u32 = 16;
/// Longer are initial lists of algorithms and key replies; shorter are answers to logins.
const SHORT: u32 = 150;
/// Longer is no refusal: at least from the second answer on, where no banner is left to be shown.
const LONG: u32 = 250;
/// Bytes and turns of a server from which a connection is in use.
const USED_BYTES: u32 = 8_192;
const USED_TURNS: u8 = 40;
/// A refused password is answered late on purpose, a key or no method at once.
const DELAYED_NS: u64 = 250_000_000;
/// Requests are as short with a password; the offer of a key is longer (RFC 4252 7).
const PASSWORD: u32 = 120;
/// Guesses counted of one connection; `MaxAuthTries` of OpenSSH.
const MOST: u32 = 6;
/// Answers of a server, by pushed segments, in a connection that ends after a refusal: banner, list,
/// key, service, and one or two refusals. One that is used has eight at least.
const REFUSED_ANSWERS: std::ops::RangeInclusive<u64> = 4..=6;

const NEWKEYS: u8 = 21;

/// Counts in the flow record of a connection that ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// Segments that each side pushed.
    pub n_asked: u64,
    pub n_answered: u64,
}

/// A connection's messages so far, as turns: what one side sends until the other speaks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Exchange {
    phase: Phase,
    is_answer: bool,
    turn: u32,
    /// Bytes that the client's last turn had.
    asked: u32,
    /// Longest turn of the client and of the server.
    longest: [u32; 2],
    /// Last message of the client, first of the server since.
    asked_ns: u64,
    answered_ns: u64,
    /// Acceptance of the service, and how long it took.
    accept: u32,
    accept_ns: u64,
    n_turns: u8,
    n_guesses: u8,
    n_bytes: u32,
}

impl Exchange {
    pub(super) fn take(&mut self, message: &Message<'_>) -> Option<Said> {
        if self.phase == Phase::Over {
            return None;
        }
        if message.is_answer != self.is_answer {
            self.turn_over();
            (self.is_answer, self.turn) = (message.is_answer, 0);
        }
        let is_first = self.turn == 0;
        self.turn = self.turn.saturating_add(message.n_bytes);
        if !message.is_answer {
            self.asked_ns = message.at_ns;
            if self.phase == Phase::Keys
                && let Some(length) = through_newkeys(message.payload)
            {
                self.phase = Phase::Login;
                self.turn = message.n_bytes.saturating_sub(length);
            }
            return None;
        }
        if is_first {
            self.answered_ns = message.at_ns;
        }
        if self.phase == Phase::Login {
            if self.accept == 0 {
                self.accept = message.n_bytes;
                self.accept_ns = self.delay_ns();
            } else if self.is_success(message.n_bytes) {
                self.phase = Phase::Over;
                return Some(Said::Accepted);
            }
        }
        None
    }

    fn delay_ns(&self) -> u64 {
        self.answered_ns.saturating_sub(self.asked_ns)
    }

    fn is_success(&self, n_bytes: u32) -> bool {
        let success = self.accept.saturating_sub(SHORTER);
        let is_long = self.n_turns > 0 && self.turn > LONG;
        let is_used = self.n_turns > USED_TURNS || self.n_bytes > USED_BYTES;
        success > 0 && (n_bytes == success || self.turn == success) || is_long || is_used
    }

    fn turn_over(&mut self) {
        let side = usize::from(self.is_answer);
        match self.phase {
            Phase::Keys => {
                let is_short = self.is_answer && self.turn > 0 && self.turn < SHORT;
                if is_short && self.longest.iter().all(|turn| *turn > SHORT) {
                    // The end of the exchange of keys was missed.
                    (self.phase, self.accept) = (Phase::Login, self.turn);
                    self.accept_ns = self.delay_ns();
                }
                if let Some(longest) = self.longest.get_mut(side) {
                    *longest = self.turn.max(*longest);
                }
            }
            Phase::Login if self.is_answer && self.accept != self.turn + self.n_bytes => {
                self.n_turns = self.n_turns.saturating_add(1);
                self.n_bytes = self.n_bytes.saturating_add(self.turn);
                let is_delayed = self.delay_ns() >= self.accept_ns.saturating_add(DELAYED_NS);
                // The first request asks which methods there are.
                let is_password = self.n_turns > 1 && self.asked < PASSWORD;
                let is_guess = is_delayed || is_password;
                self.n_guesses = self.n_guesses.saturating_add(u8::from(is_guess));
            }
            Phase::Login if !self.is_answer => self.asked = self.turn,
            Phase::Login | Phase::Over => {}
        }
    }

    /// Ends the connection: the number of guesses that it refused.
    pub(super) fn end(&mut self, ended: Ended) -> u32 {
        self.turn_over();
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        match phase {
            Phase::Login if self.accept > 0 => u32::from(self.n_guesses).clamp(1, MOST),
            // More than a list of keys was asked for, and less was answered than any use takes.
            Phase::Keys => {
                let is_refused = REFUSED_ANSWERS.contains(&ended.n_answered) && ended.n_asked > 3;
                u32::from(is_refused)
            }
            Phase::Login | Phase::Over => 0,
        }
    }
}

/// Bytes up to the end of SSH_MSG_NEWKEYS, where the segment holds it (RFC 4253 6, 7.3).
fn through_newkeys(payload: &[u8]) -> Option<u32> {
    let mut rest = payload;
    for _ in 0..4 {
        let [a, b, c, d, _, kind, ..] = *rest else {
            return None;
        };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
        let end = length.checked_add(4)?;
        rest = rest.get(end..)?;
        if kind == NEWKEYS && length < 64 {
            return u32::try_from(payload.len().checked_sub(rest.len())?).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW_KEYS: [u8; 16] = [0, 0, 0, 12, 10, NEWKEYS, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const ENDED: Ended = Ended {
        n_asked: 9,
        n_answered: 9,
    };

    /// Word on a connection with these messages after the keys, positive from the client, and
    /// how many refusals it ends with. Answers below zero come after `delay_ns`.
    fn judged(sizes: &[i32], delay_ns: u64) -> (Option<Said>, u32) {
        let mut exchange = Exchange::default();
        let mut at_ns = 1;
        let mut said = None;
        let mut take = |payload: &[u8], size: i32, at_ns: u64| {
            let message = Message {
                payload,
                n_bytes: size.unsigned_abs(),
                is_answer: size < 0,
                at_ns,
            };
            let new = exchange.take(&message);
            said = said.or(new);
        };
        for size in [-41, 41, -1_088, 1_448, 48, -508] {
            take(b"", size, at_ns);
        }
        take(&NEW_KEYS, 16, at_ns);
        for (n, size) in sizes.iter().enumerate() {
            at_ns += if *size < 0 && n > 3 { delay_ns } else { 1 };
            take(b"", *size, at_ns);
        }
        (said, exchange.end(ENDED))
    }

    #[test]
    fn success_is_sixteen_bytes_shorter_than_the_acceptance_of_the_service() {
        // OpenSSH 8 and 9 with keys, after none was tried: chacha20-poly1305.
        let key = [44, -44, 68, -44, 1_172, -28, 112, -784, 416, -72];
        assert_eq!(judged(&key, 1), (Some(Said::Accepted), 0));
        let offered = [44, -44, 60, -76, 140, -100, 308, -28, 112, -256];
        assert_eq!(judged(&offered, 1), (Some(Said::Accepted), 0));
        // aes-ctr with hmac-sha1.
        let sha1 = [52, -52, 68, -68, 84, -36];
        assert_eq!(judged(&sha1, 1), (Some(Said::Accepted), 0));
    }

    #[test]
    fn refusals_are_counted_by_password_and_once_where_they_may_be_of_keys() {
        let guesses = [52, -52, 68, -68, 84, -68, 84, -68, 84, -68, 84, -68];
        assert_eq!(judged(&guesses, 1_000_000), (None, 4));
        // Padded by OpenSSH's own client, refused late.
        let padded = [44, -44, 60, -76, 148, -76, 148, -76, 148, -76];
        assert_eq!(judged(&padded, 2_000_000_000), (None, 3));
        // Keys of an agent, refused at once.
        let keys = [44, -44, 60, -76, 140, -76, 372, -76, 140, -76, 140, -76];
        assert_eq!(judged(&keys, 1_000_000), (None, 1));
        assert_eq!(judged(&[44, -44, 68, -76], 1), (None, 1));
    }

    #[test]
    fn a_list_of_keys_and_a_health_check_are_no_login() {
        assert_eq!(judged(&[], 1), (None, 0));
        let mut exchange = Exchange::default();
        let few = Ended {
            n_asked: 3,
            n_answered: 3,
        };
        assert_eq!(exchange.end(few), 0);
    }
}
