//! Gate of those who come in over TCP: tokens, and the sessions of browsers that showed one.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use tracing::warn;

use super::protocol::{Code, Refusal};
use crate::tokens::{Stamp, Token, TokenFile, hash, random};

/// Sessions at a time; the one that was used longest ago gives way.
const MAX_SESSIONS: usize = 64;
/// A session ends so long after it began.
const LONGEST: Duration = Duration::from_secs(12 * 3_600);
/// A session that is not used ends.
const UNUSED: Duration = Duration::from_secs(3_600);
/// Wrong tokens in a row that an address may show; one more becomes free every [`FORGIVEN`].
const MAX_WRONG: u32 = 10;
const FORGIVEN: Duration = Duration::from_secs(6);
/// Addresses whose wrong tokens are counted; the one that was wrong longest ago gives way.
const MAX_ADDRESSES: usize = 256;
/// Name of the cookie.
const COOKIE_NAME: &str = "sensor_session";
/// Header that a page of ours sends with an order: no other page can without being asked first.
const PROOF: &str = "x-sensor";

/// A browser that showed a token.
#[derive(Debug)]
struct Session {
    /// Hash of what the cookie holds.
    hash: String,
    /// Hash of the token that was shown.
    token: String,
    began: Instant,
    used: Instant,
}

/// Wrong tokens of an address.
#[derive(Debug)]
struct Wrong {
    from: IpAddr,
    n: u32,
    last: Instant,
}

/// The door to TCP.
#[derive(Debug)]
pub struct Gate {
    file: TokenFile,
    /// Tokens as of the file's stamp.
    known: Mutex<(Option<Stamp>, Vec<Token>)>,
    sessions: Mutex<Vec<Session>>,
    wrong: Mutex<VecDeque<Wrong>>,
    /// Over TLS: cookies are sent there alone.
    is_secure: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unauthorized(why: &str) -> Refusal {
    Refusal::new(Code::Unauthorized, why)
}

impl Gate {
    pub fn new(file: TokenFile, is_secure: bool) -> Self {
        Self {
            file,
            known: Mutex::default(),
            sessions: Mutex::default(),
            wrong: Mutex::default(),
            is_secure,
        }
    }

    /// Finds a token by its hash, as the file says now.
    fn token(&self, hash: &str) -> Option<Token> {
        let mut known = locked(&self.known);
        let stamp = self.file.stamp();
        if known.0 != stamp {
            let read = self.file.read();
            if let Err(cause) = &read {
                warn!("{cause:#}: nobody comes in by a token");
            }
            *known = (stamp, read.unwrap_or_default());
        }
        known.1.iter().find(|token| token.hash == hash).cloned()
    }

    /// Finds a token that somebody at `from` shows.
    fn shown(&self, secret: &str, from: IpAddr, now: Instant) -> Result<Token, Refusal> {
        let from = network_of(from);
        let mut wrong = locked(&self.wrong);
        if let Some(one) = wrong.iter_mut().find(|one| one.from == from) {
            let forgiven = now.saturating_duration_since(one.last).as_secs() / FORGIVEN.as_secs();
            if forgiven > 0 {
                one.n = one
                    .n
                    .saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX));
                one.last = now;
            }
            if one.n >= MAX_WRONG {
                return Err(Refusal::new(
                    Code::TooMany,
                    "too many wrong tokens; wait a minute",
                ));
            }
        }
        if let Some(token) = self.token(&hash(secret)) {
            wrong.retain(|one| one.from != from);
            return Ok(token);
        }
        let n = match wrong.iter().position(|one| one.from == from) {
            Some(at) => wrong.remove(at).map_or(1, |one| one.n + 1),
            None => 1,
        };
        if wrong.len() >= MAX_ADDRESSES {
            wrong.pop_front();
        }
        wrong.push_back(Wrong { from, n, last: now });
        warn!(%from, n, "a wrong token was shown");
        Err(unauthorized(
            "no such token; `sensor token add NAME` makes one",
        ))
    }

    /// Lets a browser in; the cookie that it is to keep, and the token it showed.
    ///
    /// # Errors
    /// When the token is wrong, or too many were.
    pub fn log_in(
        &self,
        secret: &str,
        from: IpAddr,
        now: Instant,
    ) -> Result<(String, Token), Refusal> {
        let token = self.shown(secret, from, now)?;
        let id = random().map_err(|cause| Refusal::new(Code::Failed, format!("{cause:#}")))?;
        let mut sessions = locked(&self.sessions);
        if sessions.len() >= MAX_SESSIONS {
            let oldest = sessions.iter().enumerate().min_by_key(|(_, one)| one.used);
            if let Some((at, _)) = oldest {
                sessions.remove(at);
            }
        }
        sessions.push(Session {
            hash: hash(&id),
            token: token.hash.clone(),
            began: now,
            used: now,
        });
        Ok((self.cookie(&id, LONGEST.as_secs()), token))
    }

    /// Ends the session of a browser; the cookie that takes its place.
    pub fn log_out(&self, headers: &HeaderMap) -> String {
        if let Some(id) = session_id(headers) {
            let hash = hash(id);
            locked(&self.sessions).retain(|one| one.hash != hash);
        }
        self.cookie("", 0)
    }

    fn cookie(&self, id: &str, age_s: u64) -> String {
        let secure = if self.is_secure { "; Secure" } else { "" };
        format!("{COOKIE_NAME}={id}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}")
    }

    /// Finds out by whose token a request comes.
    ///
    /// # Errors
    /// When by nobody's, or when another page may have made the browser send it.
    pub fn admit(
        &self,
        method: &Method,
        headers: &HeaderMap,
        from: IpAddr,
        now: Instant,
    ) -> Result<Token, Refusal> {
        if let Some(given) = headers.get(AUTHORIZATION) {
            let given = given.to_str().unwrap_or_default();
            let secret = given.strip_prefix("Bearer ").unwrap_or_default();
            return self.shown(secret.trim(), from, now);
        }
        let id = session_id(headers).ok_or_else(|| {
            unauthorized("a token is needed: `Authorization: Bearer TOKEN`, or log in")
        })?;
        let is_question = matches!(*method, Method::GET | Method::HEAD);
        if !is_question && !is_of_our_page(headers) {
            let message =
                "an order by a browser needs the header x-sensor, and comes from our page alone";
            return Err(Refusal::new(Code::Forbidden, message));
        }
        let hash = hash(id);
        let mut sessions = locked(&self.sessions);
        sessions.retain(|one| {
            now.saturating_duration_since(one.began) < LONGEST
                && now.saturating_duration_since(one.used) < UNUSED
        });
        let session = sessions.iter_mut().find(|one| one.hash == hash);
        let over = || unauthorized("the session is over; log in again");
        let session = session.ok_or_else(over)?;
        session.used = now;
        self.token(&session.token).ok_or_else(over)
    }
}

/// True for what a page of another origin can't have sent: it carries our header, and an origin only if
/// it is this one.
fn is_of_our_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_same = match (text(ORIGIN), text(HOST)) {
        (Some(origin), Some(host)) => origin
            .split_once("://")
            .is_some_and(|(_, origin)| origin == host),
        (None, _) => true,
        (Some(_), None) => false,
    };
    headers.contains_key(PROOF) && is_same
}

fn session_id(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter();
    let mut pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let (_, id) = pairs.find(|(name, id)| *name == COOKIE_NAME && !id.is_empty())?;
    Some(id)
}

/// Network of an address that one party has: the /64 of an IPv6 address.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Rights;

    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn gate(name: &str) -> (Gate, String, TokenFile) {
        let folder =
            std::env::temp_dir().join(format!("sensor-gate-{name}-{}", std::process::id()));
        let _left_over = std::fs::remove_dir_all(&folder);
        let file = TokenFile::in_folder(&folder);
        let secret = file.add("ann", Rights::Operate).unwrap();
        (Gate::new(file.clone(), true), secret, file)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair =
            |(name, value): &(&'static str, &str)| (name.parse().unwrap(), value.parse().unwrap());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_session_ends_with_its_token() {
        let (gate, secret, file) = gate("ends");
        let now = Instant::now();
        let (cookie, token) = gate.log_in(&secret, FROM, now).unwrap();
        assert_eq!(token.name, "ann");
        for part in ["HttpOnly", "SameSite=Strict", "Secure"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert!(!cookie.contains(&secret));
        let cookie = cookie.split(';').next().unwrap();
        let shown = headers(&[("cookie", cookie)]);
        assert!(gate.admit(&Method::GET, &shown, FROM, now).is_ok());
        assert!(
            gate.admit(&Method::GET, &shown, FROM, now + UNUSED)
                .is_err()
        );
        let (cookie, _) = gate.log_in(&secret, FROM, now).unwrap();
        let shown = headers(&[("cookie", cookie.split(';').next().unwrap())]);
        file.remove("ann").unwrap();
        let over = gate.admit(&Method::GET, &shown, FROM, now).unwrap_err();
        assert_eq!(over.code, Code::Unauthorized);
    }

    #[test]
    fn an_order_by_a_page_of_another_origin_is_refused() {
        let (gate, secret, _) = gate("orders");
        let now = Instant::now();
        let (cookie, _) = gate.log_in(&secret, FROM, now).unwrap();
        let cookie = cookie.split(';').next().unwrap();
        let admit = |more: &[(&'static str, &str)]| {
            let all = [&[("cookie", cookie), ("host", "h:1")], more].concat();
            gate.admit(&Method::POST, &headers(&all), FROM, now).is_ok()
        };
        assert!(!admit(&[]));
        assert!(admit(&[("x-sensor", "1")]));
        assert!(admit(&[("x-sensor", "1"), ("origin", "http://h:1")]));
        assert!(!admit(&[("x-sensor", "1"), ("origin", "http://evil")]));
        assert!(!admit(&[("x-sensor", "1"), ("origin", "null")]));
    }

    #[test]
    fn wrong_tokens_are_slowed_down_by_address() {
        let (gate, secret, _) = gate("wrong");
        let now = Instant::now();
        let code = |from: &str, secret: &str, now| {
            let from = from.parse().unwrap();
            gate.log_in(secret, from, now)
                .map_err(|refusal| refusal.code)
                .err()
        };
        for _ in 0..MAX_WRONG {
            assert_eq!(code("2001:db8::1", "x", now), Some(Code::Unauthorized));
        }
        assert_eq!(
            code("2001:db8::2", &secret, now),
            Some(Code::TooMany),
            "of one /64"
        );
        assert_eq!(code("192.0.2.1", &secret, now), None);
        assert_eq!(code("2001:db8::2", &secret, now + FORGIVEN), None);
        for n in 0..2 * MAX_ADDRESSES {
            let from = Ipv6Addr::from_bits((n as u128) << 64).to_string();
            code(&from, "x", now);
        }
        assert_eq!(locked(&gate.wrong).len(), MAX_ADDRESSES);
    }

    #[test]
    fn sessions_are_bounded() {
        let (gate, secret, _) = gate("bounded");
        let now = Instant::now();
        for _ in 0..2 * MAX_SESSIONS {
            gate.log_in(&secret, FROM, now).unwrap();
        }
        assert_eq!(locked(&gate.sessions).len(), MAX_SESSIONS);
    }
}
