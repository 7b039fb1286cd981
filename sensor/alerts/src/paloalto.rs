//! Lines of PAN-OS (Palo Alto Networks, "Syslog Field Descriptions"), of type TRAFFIC and THREAT, with commas.

use crate::text::fields;
use crate::{Alert, Unread, address, is_stop, weight_of};

/// Places of fields, from the first on.
const KIND: usize = 3;
const SUBTYPE: usize = 4;
const SOURCE: usize = 7;
const DESTINATION: usize = 8;
const RULE: usize = 11;
const ACTION: usize = 30;
const THREAT: usize = 32;
const SEVERITY: usize = 34;

pub fn read(text: &str) -> Option<Result<Alert, Unread>> {
    let fields = fields(text);
    let is_kind = |field: &&str| matches!(*field, "TRAFFIC" | "THREAT");
    let at = fields.iter().position(is_kind)?;
    let fields = fields.get(at.checked_sub(KIND)?..)?;
    Some(read_fields(fields))
}

fn read_fields(fields: &[&str]) -> Result<Alert, Unread> {
    let at = |n: usize| fields.get(n).copied().ok_or(Unread::Broken);
    let is_threat = at(KIND)? == "THREAT";
    let action = at(ACTION)?;
    let is_blocked = is_stop(action);
    let severity = if is_threat { at(SEVERITY)? } else { "" };
    if !is_blocked && (!is_threat || severity == "informational") {
        return Err(Unread::Harmless);
    }
    let what = match is_threat {
        true => format!("{} {}", at(SUBTYPE)?, at(THREAT)?),
        false => format!("{action}, rule {}", at(RULE)?),
    };
    let mut alert = Alert::about(address(at(SOURCE)?), "PAN-OS", &what)?;
    alert.destination = address(at(DESTINATION)?);
    alert.weight = weight_of(severity);
    alert.is_blocked = is_blocked;
    Ok(alert)
}
