//! Alerts of other systems, read into who blames which address of what.
//!
//! Messages are those of syslog, with any header or none: CEF, the JSON of Darktrace, Vectra and Suricata, and
//! lines of firewalls. Nothing of them is taken for true: whoever can send to the sensor can write them.
#![forbid(unsafe_code)]

mod cef;
mod cisco;
pub mod example;
mod fortinet;
mod json;
mod netfilter;
mod paloalto;
mod pf;
mod text;

use std::net::IpAddr;

use text::{begins, clean};

/// Longest message that is read; what is beyond it is cut off.
pub const MAX_MESSAGE: usize = 64 << 10;

/// An alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Product that says it.
    pub product: String,
    /// Name of what it says.
    pub what: String,
    /// Address that is blamed.
    pub source: IpAddr,
    pub destination: Option<IpAddr>,
    /// Weight that the product gives it, 0 to 100.
    pub weight: Option<u8>,
    /// Certainty of the product, 0 to 100.
    pub certainty: Option<u8>,
    /// It says that it stopped it.
    pub is_blocked: bool,
}

impl Alert {
    /// Makes an alert of an address that can be blamed.
    fn about(source: Option<IpAddr>, product: &str, what: &str) -> Result<Self, Unread> {
        let source = source.ok_or(Unread::NoAddress)?;
        Ok(Self {
            product: clean(product),
            what: clean(what),
            source,
            destination: None,
            weight: None,
            certainty: None,
            is_blocked: false,
        })
    }
}

/// Reason why a message is no alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unread {
    /// It is of none of the formats.
    Unknown,
    /// It is of one, and tells of nothing that was refused or found.
    Harmless,
    /// It blames no address.
    NoAddress,
    /// It breaks off, or contradicts its format.
    Broken,
}

impl Unread {
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Harmless, Self::NoAddress, Self::Broken];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Harmless => "harmless",
            Self::NoAddress => "no_address",
            Self::Broken => "broken",
        }
    }
}

/// A format: finds itself in a message, and reads what follows.
type Reader = fn(&str) -> Option<Result<Alert, Unread>>;

/// Formats, those with the surest marks first.
const FORMATS: [Reader; 7] = [
    cef::read,
    json::read,
    cisco::read,
    pf::read,
    fortinet::read,
    netfilter::read,
    paloalto::read,
];

/// Reads a message of syslog.
///
/// # Errors
/// Why it is no alert.
pub fn read(message: &[u8]) -> Result<Alert, Unread> {
    let message = message.get(..MAX_MESSAGE).unwrap_or(message);
    let text = String::from_utf8_lossy(message);
    let found = FORMATS.iter().find_map(|read| read(&text));
    found.unwrap_or(Err(Unread::Unknown))
}

/// Reads an answer of Darktrace's `/modelbreaches`, or of Vectra's `/detections` and `/events/detections`: a list
/// of alerts, or an object that has one.
///
/// # Errors
/// When it is neither.
pub fn read_answer(answer: &[u8]) -> Result<Vec<Result<Alert, Unread>>, Unread> {
    json::read_answer(answer)
}

/// Address of a text, with a port or prefix length behind it or none.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches(|c: char| "\"'[](),;".contains(c));
    let bare = text.split_once('/').map_or(text, |(bare, _)| bare);
    let found: IpAddr = bare.parse().ok()?;
    let found = found.to_canonical();
    let is_nobody = found.is_unspecified() || found.is_loopback() || found.is_multicast();
    (!is_nobody).then_some(found)
}

/// True for a word by which products say that they stopped something.
fn is_stop(action: &str) -> bool {
    const STOPS: [&str; 6] = ["block", "den", "drop", "reject", "reset", "shun"];
    begins(action, &STOPS)
}

/// Weight of a word for severity.
fn weight_of(severity: &str) -> Option<u8> {
    const WORDS: [(&str, u8); 9] = [
        ("informational", 10),
        ("info", 10),
        ("notice", 20),
        ("low", 30),
        ("medium", 50),
        ("warning", 50),
        ("high", 70),
        ("alert", 80),
        ("critical", 90),
    ];
    let known = WORDS
        .iter()
        .find(|(word, _)| severity.eq_ignore_ascii_case(word));
    known.map(|(_, weight)| *weight)
}

#[cfg(test)]
mod tests;
