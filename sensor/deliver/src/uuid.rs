//! Identifiers that are derived from names (UUID version 5, RFC 9562): the same thing has the same one,
//! however often it is told.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// Namespace of identifiers.
#[derive(Clone, Copy)]
pub struct Namespace(pub [u8; 16]);

/// Namespace of everything that is the sensor's own.
pub const SENSOR: Namespace = Namespace([
    0x5b, 0x1c, 0x0f, 0x6e, 0x2d, 0x0a, 0x4c, 0x3b, 0x9e, 0x77, 0x64, 0x8d, 0x0b, 0xa1, 0xc2, 0x53,
]);

/// Identifier of a name.
pub fn v5(namespace: Namespace, name: &str) -> String {
    let hash = digest(
        &SHA1_FOR_LEGACY_USE_ONLY,
        &[&namespace.0[..], name.as_bytes()].concat(),
    );
    let mut bytes = [0; 16];
    for (byte, from) in bytes.iter_mut().zip(hash.as_ref()) {
        *byte = *from;
    }
    bytes[6] = bytes[6] & 0x0f | 0x50;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (n, byte) in bytes.iter().enumerate() {
        if [4, 6, 8, 10].contains(&n) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_comes_out() {
        let dns = Namespace([
            0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4,
            0x30, 0xc8,
        ]);
        let id = v5(dns, "www.example.com");
        assert_eq!(id, "2ed6657d-e927-568b-95e1-2665a8aea6a2");
    }
}
