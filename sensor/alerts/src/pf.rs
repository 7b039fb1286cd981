//! Blocks of pf as pfSense and OPNsense log them (Netgate, "Raw Filter Log Format"): `filterlog[N]: field,field,…`.

use crate::text::fields;
use crate::{Alert, Unread, address};

/// Places of fields: interface, action, direction, version, then source by version.
const INTERFACE: usize = 4;
const ACTION: usize = 6;
const DIRECTION: usize = 7;
const VERSION: usize = 8;
const SOURCE_4: usize = 18;
const SOURCE_6: usize = 15;

pub fn read(text: &str) -> Option<Result<Alert, Unread>> {
    let (_, rest) = text.split_once("filterlog")?;
    let line = rest
        .split_whitespace()
        .find(|word| word.matches(',').count() > VERSION)?;
    Some(read_fields(&fields(line)))
}

fn read_fields(fields: &[&str]) -> Result<Alert, Unread> {
    let at = |n: usize| fields.get(n).copied().ok_or(Unread::Broken);
    let action = at(ACTION)?;
    if !matches!(action, "block" | "reject") {
        return Err(Unread::Harmless);
    }
    let source = match at(VERSION)? {
        "4" => SOURCE_4,
        "6" => SOURCE_6,
        _ => return Err(Unread::Broken),
    };
    let what = format!(
        "{action} {} on {}, rule {}",
        at(DIRECTION)?,
        at(INTERFACE)?,
        at(0)?
    );
    let mut alert = Alert::about(address(at(source)?), "pf", &what)?;
    alert.destination = address(at(source + 1)?);
    alert.is_blocked = true;
    Ok(alert)
}
