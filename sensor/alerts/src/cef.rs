//! Common Event Format, version 0 (ArcSight): `CEF:0|vendor|product|version|id|name|severity|key=value …`.

use crate::{Alert, Unread, address, is_stop, weight_of};

/// Pairs of the extension that are looked at.
const MAX_PAIRS: usize = 256;
/// Fields before the extension.
const HEAD: usize = 7;

pub fn read(text: &str) -> Option<Result<Alert, Unread>> {
    let (_, text) = text.split_once("CEF:")?;
    Some(read_body(text))
}

fn read_body(text: &str) -> Result<Alert, Unread> {
    let parts = head(text).ok_or(Unread::Broken)?;
    let [_version, vendor, product, _, id, name, severity] = &parts.0;
    let pairs = pairs(parts.1);
    let get = |key: &str| {
        let found = pairs.iter().find(|(known, _)| *known == key);
        found.map(|(_, value)| value.as_str())
    };
    let source = get("src").or(get("c6a2")).and_then(address);
    // Models are named by a label of their own where the name is but the kind of event.
    let labelled = |label: &str| {
        let named = pairs
            .iter()
            .find(|(_, value)| value.eq_ignore_ascii_case(label));
        named.and_then(|(key, _)| get(key.strip_suffix("Label")?))
    };
    let what = [
        Some(name.as_str()),
        labelled("model"),
        get("cat"),
        Some(id.as_str()),
    ];
    let mut what: Vec<&str> = what.into_iter().flatten().collect();
    what.dedup();
    let mut alert = Alert::about(source, &format!("{vendor} {product}"), &what.join(", "))?;
    alert.destination = get("dst").or(get("c6a3")).and_then(address);
    let number = |label: &str| labelled(label).and_then(percent);
    alert.weight = number("threat")
        .or(number("score"))
        .or_else(|| of_severity(severity));
    alert.certainty = number("certainty");
    alert.is_blocked = get("act").is_some_and(is_stop);
    // A score that sank to nought tells that it is over.
    if number("threat") == Some(0) {
        return Err(Unread::Harmless);
    }
    Ok(alert)
}

/// A number of 0 to 100; anything else is none.
fn percent(text: &str) -> Option<u8> {
    let value: f64 = text.trim().parse().ok()?;
    (0.0..=100.0).contains(&value).then_some(value as u8)
}

/// Severities are 0 to 10, or words.
fn of_severity(text: &str) -> Option<u8> {
    let value = text
        .trim()
        .parse()
        .ok()
        .filter(|value| (0.0..=10.0).contains(value));
    let weight = value.map(|value: f64| (value * 10.0) as u8);
    weight.or_else(|| weight_of(text.trim()))
}

/// Fields of the head, and the extension. `\|` and `\\` are no ends.
fn head(text: &str) -> Option<([String; HEAD], &str)> {
    let mut fields: Vec<String> = vec![String::new()];
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match (c, is_escaped) {
            ('\\', false) => {
                is_escaped = true;
                continue;
            }
            ('|', false) => {
                if fields.len() == HEAD {
                    let rest = text.get(at + 1..).unwrap_or_default();
                    return Some((fields.try_into().ok()?, rest));
                }
                fields.push(String::new());
            }
            (c, _) => fields.last_mut()?.push(c),
        }
        is_escaped = false;
    }
    None
}

/// Pairs of an extension. A value ends before the last word that stands before an `=`; `\=` is none.
fn pairs(text: &str) -> Vec<(&str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    let mut at = 0;
    let mut open: Option<(&str, usize)> = None;
    while found.len() < MAX_PAIRS {
        let rest = text.get(at..).unwrap_or_default();
        let next = rest
            .char_indices()
            .find(|(n, c)| *c == '=' && !rest.get(..*n).unwrap_or_default().ends_with('\\'));
        let Some((n, _)) = next else {
            break;
        };
        let before = rest.get(..n).unwrap_or_default();
        let key_at = before.rfind(char::is_whitespace).map_or(0, |n| n + 1);
        let key = before.get(key_at..).unwrap_or_default();
        if let Some((known, start)) = open {
            found.push((
                known,
                plain(text.get(start..at + key_at).unwrap_or_default()),
            ));
        }
        at += n + 1;
        open = Some((key, at));
    }
    if let Some((known, start)) = open
        && found.len() < MAX_PAIRS
    {
        found.push((known, plain(text.get(start..).unwrap_or_default())));
    }
    found
}

fn plain(value: &str) -> String {
    value.trim().replace("\\=", "=").replace("\\\\", "\\")
}
