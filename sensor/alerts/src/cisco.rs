//! Refusals of Cisco ASA and Firepower (Cisco Secure Firewall ASA Series Syslog Messages): `%ASA-LEVEL-ID: text`.
//! Segments of connections that are over (106015) are no refusal of anybody: honest hosts send them.

use std::net::IpAddr;

use crate::{Alert, Unread, address, weight_of};

/// Messages that blame the first address of their text.
const REFUSALS: &[u32] = &[
    106_001, 106_006, 106_007, 106_010, 106_014, 106_016, 106_017, 106_021, 106_022, 106_023,
    106_100, 401_004, 733_101, 733_102,
];
/// Signatures of the built-in intrusion prevention.
const SIGNATURES: std::ops::RangeInclusive<u32> = 400_000..=400_051;

pub fn read(text: &str) -> Option<Result<Alert, Unread>> {
    let (product, (_, rest)) = match text.split_once("%ASA-") {
        Some(found) => ("Cisco ASA", found),
        None => ("Cisco FTD", text.split_once("%FTD-")?),
    };
    Some(read_body(product, rest))
}

fn read_body(product: &str, rest: &str) -> Result<Alert, Unread> {
    let (head, text) = rest.split_once(':').ok_or(Unread::Broken)?;
    let (level, id) = head.rsplit_once('-').ok_or(Unread::Broken)?;
    let id: u32 = id.trim().parse().map_err(|_| Unread::Broken)?;
    let is_signature = SIGNATURES.contains(&id);
    // An access list logs what it permits by the same message.
    let is_permit = id == 106_100 && !text.contains(" denied ");
    if (!REFUSALS.contains(&id) && !is_signature) || is_permit {
        return Err(Unread::Harmless);
    }
    let mut addresses = text.split_whitespace().filter_map(within);
    let what = text.split(" from ").next().unwrap_or(text);
    let what = what.split(" src ").next().unwrap_or(what);
    let mut alert = Alert::about(addresses.next(), product, &format!("{id} {}", what.trim()))?;
    alert.destination = addresses.next();
    alert.is_blocked = !is_signature && id != 733_101;
    let words = [
        "emergency",
        "alert",
        "critical",
        "high",
        "medium",
        "notice",
        "informational",
    ];
    let level = level
        .rsplit('-')
        .next()
        .and_then(|level| level.parse::<usize>().ok());
    alert.weight = level.and_then(|level| weight_of(words.get(level)?));
    Ok(alert)
}

/// Address of a word: alone, with a port, or behind an interface (`outside:192.0.2.1/80`, `outside/192.0.2.1(80)`).
fn within(word: &str) -> Option<IpAddr> {
    let word = word
        .split_once('(')
        .map_or(word, |(before, after)| match before {
            "" => after,
            before => before,
        });
    let behind = |mark| word.split_once(mark).and_then(|(_, rest)| address(rest));
    address(word)
        .or_else(|| behind(':'))
        .or_else(|| behind('/'))
}
