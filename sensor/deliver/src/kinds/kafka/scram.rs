//! Proof of a password without showing it: SCRAM (RFC 5802, RFC 7677).

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

/// Rounds that a server may ask for: what RFC 7677 wants at least, and what takes a second or so.
const ROUNDS: std::ops::RangeInclusive<u32> = 4_096..=1_000_000;

/// Functions of a mechanism.
#[derive(Clone, Copy)]
pub struct Hash {
    pub name: &'static str,
    stretch: pbkdf2::Algorithm,
    sign: hmac::Algorithm,
    digest: &'static digest::Algorithm,
}

pub fn sha512() -> Hash {
    Hash {
        name: "SCRAM-SHA-512",
        stretch: pbkdf2::PBKDF2_HMAC_SHA512,
        sign: hmac::HMAC_SHA512,
        digest: &digest::SHA512,
    }
}

pub fn sha256() -> Hash {
    Hash {
        name: "SCRAM-SHA-256",
        stretch: pbkdf2::PBKDF2_HMAC_SHA256,
        sign: hmac::HMAC_SHA256,
        digest: &digest::SHA256,
    }
}

/// The client's side of one proof.
pub struct Proof {
    hash: Hash,
    nonce: String,
    bare: String,
}

impl Proof {
    pub fn new(hash: Hash, user: &str, nonce: &str) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self {
            hash,
            nonce: nonce.to_owned(),
            bare: format!("n={user},r={nonce}"),
        }
    }

    /// Words that are said first.
    pub fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// Answer to the server's first words, and what it has to say then.
    ///
    /// # Errors
    /// When those are none of this exchange, or ask for too few or too many rounds.
    pub fn last(&self, told: &str, password: &str) -> Result<(String, String), String> {
        let part = |name: &str| {
            let parts = told.split(',');
            parts.into_iter().find_map(|part| part.strip_prefix(name))
        };
        let (Some(nonce), Some(salt), Some(rounds)) = (part("r="), part("s="), part("i=")) else {
            return Err("no answer of SCRAM".to_owned());
        };
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("SCRAM: the answer is to another".to_owned());
        }
        let salt = STANDARD.decode(salt).map_err(|_| "SCRAM: no salt")?;
        let rounds: u32 = rounds.parse().map_err(|_| "SCRAM: no rounds")?;
        let rounds = NonZeroU32::new(rounds)
            .filter(|rounds| ROUNDS.contains(&rounds.get()))
            .ok_or_else(|| format!("SCRAM: {rounds} rounds are too few or too many"))?;
        let mut salted = vec![0; self.hash.digest.output_len()];
        pbkdf2::derive(
            self.hash.stretch,
            rounds,
            &salt,
            password.as_bytes(),
            &mut salted,
        );
        let said = format!("c=biws,r={nonce}");
        let all = format!("{},{told},{said}", self.bare);
        let client = self.sign(&salted, b"Client Key");
        let stored = digest::digest(self.hash.digest, client.as_ref());
        let signature = self.sign(stored.as_ref(), all.as_bytes());
        let pairs = client.as_ref().iter().zip(signature.as_ref());
        let proof: Vec<u8> = pairs.map(|(a, b)| a ^ b).collect();
        let server = self.sign(&salted, b"Server Key");
        let wanted = self.sign(server.as_ref(), all.as_bytes());
        Ok((
            format!("{said},p={}", STANDARD.encode(proof)),
            format!("v={}", STANDARD.encode(wanted)),
        ))
    }

    fn sign(&self, key: &[u8], text: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(self.hash.sign, key), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7677_is_proven() {
        let proof = Proof::new(sha256(), "user", "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(proof.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let told = format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let (said, wanted) = proof.last(&told, "pencil").unwrap();
        assert_eq!(
            said,
            format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
        );
        assert_eq!(wanted, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn answers_to_others_and_endless_rounds_are_no_answers() {
        let proof = Proof::new(sha512(), "a,b", "abc");
        assert_eq!(proof.first(), "n,,n=a=2Cb,r=abc");
        for told in [
            "",
            "r=xyz1,s=AAAA,i=4096",
            "r=abc,s=AAAA,i=4096",
            "r=abc1,s=AAAA,i=1",
            "r=abc1,s=AAAA,i=4000000000",
            "r=abc1,s=!,i=4096",
        ] {
            assert!(proof.last(told, "secret").is_err(), "{told}");
        }
    }
}
