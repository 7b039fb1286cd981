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
/// Time in which nobody types a password: who answers sooner is a program.
const TYPED_NS: u64 = 1_000_000_000;
/// Guesses counted of one connection; `MaxAuthTries` of OpenSSH.
const MOST: u8 = 6;
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
    /// Time from the server's last answer to the client's next message.
    pause_ns: u64,
    /// Acceptance of the service, and how long it took.
    accept: u32,
    accept_ns: u64,
    /// Bytes of the answer to the first request: most ask for the list of methods, which a refusal repeats.
    refusal: u32,
    n_turns: u8,
    n_guesses: u8,
    /// Late answers to a program, and refusals told before the end.
    n_late: u8,
    n_told: u8,
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
            if is_first {
                self.pause_ns = message.at_ns.saturating_sub(self.answered_ns);
            }
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
            } else if is_first && self.is_refusal(message.n_bytes) {
                return Some(Said::Refused);
            }
        }
        None
    }

    /// Tells of an answer, while the connection goes on, that it refuses a password: it says what was said to the
    /// first request, and comes late to a program, which asked at once and with less than a key takes. Questions for
    /// a second factor are of other sizes, and once a look-up of the account may be slow.
    fn is_refusal(&mut self, n_bytes: u32) -> bool {
        if self.n_turns == 0 {
            self.refusal = n_bytes;
            return false;
        }
        let is_late = self.is_delayed() && self.pause_ns < TYPED_NS;
        if !is_late || n_bytes != self.refusal || self.asked >= PASSWORD {
            return false;
        }
        self.n_late = self.n_late.saturating_add(1);
        let is_told = self.n_late > 1 && self.n_told < MOST;
        self.n_told = self.n_told.saturating_add(u8::from(is_told));
        is_told
    }

    fn is_delayed(&self) -> bool {
        self.delay_ns() >= self.accept_ns.saturating_add(DELAYED_NS)
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
                // The first request asks which methods there are.
                let is_password = self.n_turns > 1 && self.asked < PASSWORD;
                let is_guess = self.is_delayed() || is_password;
                self.n_guesses = self.n_guesses.saturating_add(u8::from(is_guess));
            }
            Phase::Login if !self.is_answer => self.asked = self.turn,
            Phase::Login | Phase::Over => {}
        }
    }

    /// Takes back what was told of the connection: its login succeeds in the end.
    pub(super) fn take_back(&mut self) -> u32 {
        u32::from(std::mem::take(&mut self.n_told))
    }

    /// Notes that both sides closed: the guesses that were refused and not told yet.
    pub(super) fn close(&mut self) -> u32 {
        if self.phase != Phase::Login || self.accept == 0 {
            return 0;
        }
        self.turn_over();
        (self.is_answer, self.turn) = (false, 0);
        self.untold()
    }

    fn untold(&mut self) -> u32 {
        let n_told = self.n_guesses.clamp(1, MOST).max(self.n_told);
        let n_before = std::mem::replace(&mut self.n_told, n_told);
        u32::from(n_told - n_before)
    }

    /// Ends the connection: the number of guesses that it refused and that were not told yet, where it refused any.
    pub(super) fn end(&mut self, ended: Ended) -> Option<u32> {
        self.turn_over();
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        match phase {
            Phase::Login if self.accept > 0 => Some(self.untold()),
            // More than a list of keys was asked for, and less was answered than any use takes.
            Phase::Keys => {
                let is_refused = REFUSED_ANSWERS.contains(&ended.n_answered) && ended.n_asked > 3;
                is_refused.then_some(1)
            }
            Phase::Login | Phase::Over => None,
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
    /// how many refusals it had at its end. Answers below zero come after `delay_ns`.
    fn judged(sizes: &[i32], delay_ns: u64) -> (Option<Said>, u32) {
        let (said, n_early, mut exchange) = heard(sizes, delay_ns, 1);
        let n_late = exchange.end(ENDED).unwrap_or(0);
        let accepted = said.then_some(Said::Accepted);
        (accepted, if said { 0 } else { n_early + n_late })
    }

    /// Says if the login succeeds in the end, with refusals told before the end and not taken back, and the connection.
    /// The client takes `pause_ns` for its next message.
    fn heard(sizes: &[i32], delay_ns: u64, pause_ns: u64) -> (bool, u32, Exchange) {
        let mut exchange = Exchange::default();
        let mut at_ns = 1;
        let (mut is_accepted, mut n_told) = (false, 0);
        let mut take = |payload: &[u8], size: i32, at_ns: u64| {
            let message = Message {
                payload,
                n_bytes: size.unsigned_abs(),
                is_answer: size < 0,
                at_ns,
            };
            match exchange.take(&message) {
                Some(Said::Accepted) => {
                    is_accepted = true;
                    n_told -= exchange.take_back();
                }
                Some(_) => n_told += 1,
                None => {}
            }
        };
        for size in [-41, 41, -1_088, 1_448, 48, -508] {
            take(b"", size, at_ns);
        }
        take(&NEW_KEYS, 16, at_ns);
        for (n, size) in sizes.iter().enumerate() {
            at_ns += match size {
                ..0 if n > 3 => delay_ns,
                ..0 => 1,
                0.. => pause_ns,
            };
            take(b"", *size, at_ns);
        }
        (is_accepted, n_told, exchange)
    }

    const GUESSES: [i32; 12] = [52, -52, 68, -68, 84, -68, 84, -68, 84, -68, 84, -68];

    #[test]
    fn late_refusals_of_a_program_are_told_before_the_end_and_no_more_in_all() {
        let (_, n_told, mut exchange) = heard(&GUESSES, 300_000_000, 1_000_000);
        // The first late answer may be to something else.
        assert_eq!(n_told, 3);
        assert_eq!(exchange.close(), 1);
        assert_eq!(exchange.close(), 0);
        assert_eq!(exchange.end(ENDED), Some(0));
    }

    #[test]
    fn people_and_what_is_refused_at_once_are_judged_at_the_end() {
        let (_, n_told, mut exchange) = heard(&GUESSES, 2_000_000_000, 1_500_000_000);
        assert_eq!((n_told, exchange.end(ENDED)), (0, Some(4)));
        let (_, n_told, mut exchange) = heard(&GUESSES, 1_000_000, 1_000_000);
        assert_eq!((n_told, exchange.close()), (0, 4));
    }

    #[test]
    fn a_success_takes_back_what_was_told() {
        let mut sizes = GUESSES.to_vec();
        sizes.extend([84, -36]);
        let (is_accepted, n_told, mut exchange) = heard(&sizes, 300_000_000, 1);
        assert_eq!((is_accepted, n_told, exchange.end(ENDED)), (true, 0, None));
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
        assert_eq!(judged(&GUESSES, 1_000_000), (None, 4));
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
        assert_eq!(exchange.end(few), None);
    }
}
