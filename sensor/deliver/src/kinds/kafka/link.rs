//! Conversation with one broker: which versions it speaks, who the sensor is, then one question after another.

use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Write as _};

use super::scram::{self, Hash, Proof};
use super::wire::{MAX_ANSWER, Reader, put_length, put_text};
use crate::cut;
use crate::reach::{Stream, Way};

/// Questions, by their number in the protocol.
pub const PRODUCE: i16 = 0;
pub const METADATA: i16 = 3;
const SASL_HANDSHAKE: i16 = 17;
const API_VERSIONS: i16 = 18;
const SASL_AUTHENTICATE: i16 = 36;

/// Versions of writing: with this format of batches (3), and before tagged fields (8).
const PRODUCE_VERSIONS: std::ops::RangeInclusive<i16> = 3..=8;
const UNSUPPORTED_MECHANISM: i16 = 33;
const PLAIN: &str = "PLAIN";
const MAX_TOLD: usize = 512;

/// Name and password.
pub struct User {
    pub name: String,
    pub password: String,
}

/// A connection to a broker that lets the sensor in.
pub struct Link {
    stream: Box<dyn Stream>,
    /// Number of the last question.
    last: i32,
    /// Version in which records are written.
    pub produce_version: i16,
}

impl Link {
    /// Connects, and says who this is where there is a name.
    ///
    /// # Errors
    /// When the broker is away, too old, or does not let the sensor in.
    pub fn open(way: &Way, user: Option<&User>) -> io::Result<Self> {
        let Some(user) = user else {
            return Self::greet(way);
        };
        // A broker hangs up after a mechanism that it does not have, and says which it has.
        let mut mechanism = scram::sha512().name.to_owned();
        for _ in 0..2 {
            let mut link = Self::greet(way)?;
            match link.mechanism(&mechanism)? {
                None => {
                    link.prove(&mechanism, user)?;
                    return Ok(link);
                }
                Some(offered) => mechanism = choose(&offered, way.is_secured())?,
            }
        }
        Err(io::Error::other("it takes no mechanism that it offers"))
    }

    fn greet(way: &Way) -> io::Result<Self> {
        let mut link = Self {
            stream: way.over(way.tcp()?)?,
            last: 0,
            produce_version: 0,
        };
        let told = link.ask(API_VERSIONS, 0, &[])?;
        let mut told = Reader(&told);
        told.i16()?;
        let spoken = told.list(|one| Ok((one.i16()?, one.i16()?, one.i16()?)))?;
        let writes = spoken.iter().find(|(what, ..)| *what == PRODUCE);
        let best = writes.map(|(_, least, most)| (*least, *PRODUCE_VERSIONS.end().min(most)));
        link.produce_version = best
            .filter(|(least, best)| least <= best && PRODUCE_VERSIONS.contains(best))
            .map(|(_, best)| best)
            .ok_or_else(|| io::Error::other("it does not take records in format 2"))?;
        Ok(link)
    }

    /// Asks for a mechanism; those that there are, where it is none of them.
    fn mechanism(&mut self, name: &str) -> io::Result<Option<Vec<String>>> {
        let mut question = Vec::new();
        put_text(&mut question, name)?;
        let told = self.ask(SASL_HANDSHAKE, 1, &question)?;
        let mut told = Reader(&told);
        let code = told.i16()?;
        let offered = told.list(|one| Ok(one.text()?.unwrap_or_default()))?;
        match code {
            0 => Ok(None),
            UNSUPPORTED_MECHANISM => Ok(Some(offered)),
            code => Err(io::Error::other(format!("SASL: error {code}"))),
        }
    }

    fn prove(&mut self, mechanism: &str, user: &User) -> io::Result<()> {
        let Some(hash) = hash_of(mechanism) else {
            let text = format!("\0{}\0{}", user.name, user.password);
            return self.say(text.as_bytes()).map(|_| ());
        };
        let nonce: String = (0..3_u8)
            .map(|n| format!("{:016x}", RandomState::new().hash_one(n)))
            .collect();
        let proof = Proof::new(hash, &user.name, &nonce);
        let told = self.say(proof.first().as_bytes())?;
        let (said, wanted) = proof
            .last(&String::from_utf8_lossy(&told), &user.password)
            .map_err(io::Error::other)?;
        let told = self.say(said.as_bytes())?;
        if told != wanted.as_bytes() {
            return Err(io::Error::other(
                "SCRAM: the broker does not know the password",
            ));
        }
        Ok(())
    }

    /// Words of a mechanism, and the broker's.
    fn say(&mut self, words: &[u8]) -> io::Result<Vec<u8>> {
        let mut question = Vec::new();
        put_length(&mut question, words.len())?;
        question.extend(words);
        let told = self.ask(SASL_AUTHENTICATE, 0, &question)?;
        let mut told = Reader(&told);
        let (code, why) = (told.i16()?, told.text()?);
        if code != 0 {
            let why = why.unwrap_or_else(|| format!("error {code}"));
            return Err(io::Error::other(cut::bytes(&why, MAX_TOLD)));
        }
        Ok(told.block()?.to_vec())
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// When the connection breaks, or the answer is to something else or too long.
    pub fn ask(&mut self, what: i16, version: i16, body: &[u8]) -> io::Result<Vec<u8>> {
        self.last = self.last.wrapping_add(1);
        let mut question = Vec::with_capacity(body.len() + 16);
        question.extend(what.to_be_bytes());
        question.extend(version.to_be_bytes());
        question.extend(self.last.to_be_bytes());
        put_text(&mut question, "sensor")?;
        question.extend(body);
        let mut framed = Vec::with_capacity(question.len() + 4);
        put_length(&mut framed, question.len())?;
        framed.extend(question);
        self.stream.write_all(&framed)?;
        self.stream.flush()?;
        let mut head = [0; 8];
        self.stream.read_exact(&mut head)?;
        let mut head = Reader(&head);
        let length = usize::try_from(head.i32()?).ok();
        let length = length.and_then(|length| length.checked_sub(4));
        let length = length.filter(|length| *length <= MAX_ANSWER);
        let length = length.ok_or_else(|| io::Error::other("no broker of Kafka"))?;
        if head.i32()? != self.last {
            return Err(io::Error::other("an answer to another question"));
        }
        let mut told = vec![0; length];
        self.stream.read_exact(&mut told)?;
        Ok(told)
    }
}

fn hash_of(mechanism: &str) -> Option<Hash> {
    let known = [scram::sha512(), scram::sha256()];
    known.into_iter().find(|hash| hash.name == mechanism)
}

/// The best of the mechanisms that a broker offers: a password is shown within TLS alone.
fn choose(offered: &[String], is_secured: bool) -> io::Result<String> {
    let has = |name: &&str| offered.iter().any(|one| one == name);
    let known = [scram::sha512().name, scram::sha256().name];
    if let Some(name) = known.iter().find(|name| has(name)) {
        return Ok((*name).to_owned());
    }
    match (has(&PLAIN), is_secured) {
        (true, true) => Ok(PLAIN.to_owned()),
        (true, false) => Err(io::Error::other(
            "it wants the password in the clear (PLAIN): set transport = \"tls\"",
        )),
        (false, _) => Err(io::Error::other(format!(
            "it takes none of SCRAM-SHA-512, SCRAM-SHA-256 and PLAIN, but {}",
            cut::bytes(&offered.join(", "), MAX_TOLD)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_shown_within_tls_alone() {
        let offer = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let all = offer(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]);
        assert_eq!(choose(&all, true).unwrap(), "SCRAM-SHA-512");
        let older = offer(&["PLAIN", "SCRAM-SHA-256"]);
        assert_eq!(choose(&older, false).unwrap(), "SCRAM-SHA-256");
        let plain = offer(&["PLAIN"]);
        assert_eq!(choose(&plain, true).unwrap(), "PLAIN");
        assert!(
            choose(&plain, false)
                .unwrap_err()
                .to_string()
                .contains("tls")
        );
        assert!(choose(&offer(&["GSSAPI"]), true).is_err());
    }
}
