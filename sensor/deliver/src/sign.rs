//! Signatures of requests, where a far side wants them.

use std::fmt::Write as _;

use ring::hmac;

/// HMAC with SHA-1 in hexadecimal (RFC 2104), for far sides that know no other.
pub fn hmac_sha1(key: &str, text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
    let mut told = String::new();
    for byte in hmac::sign(&key, text.as_bytes()).as_ref() {
        let _infallible = write!(told, "{byte:02x}");
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_case_of_rfc_2202_holds() {
        let told = hmac_sha1("Jefe", "what do ya want for nothing?");
        assert_eq!(told, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    }
}
