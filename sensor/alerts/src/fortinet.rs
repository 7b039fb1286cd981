//! Lines of FortiGate (FortiOS Log Message Reference): pairs `key="value"`, of `type` traffic and utm.

use crate::text::Pairs;
use crate::{Alert, Unread, address, is_stop, weight_of};

pub fn read(text: &str) -> Option<Result<Alert, Unread>> {
    if !text.contains("logid=") || !text.contains("devname=") && !text.contains("devid=") {
        return None;
    }
    Some(read_pairs(&Pairs::of(text)))
}

fn read_pairs(pairs: &Pairs<'_>) -> Result<Alert, Unread> {
    let get = |key: &str| pairs.get(key).unwrap_or_default();
    let (action, kind) = (get("action"), get("type"));
    let is_blocked = is_stop(action) || action == "clear_session";
    // Traffic that was let through, and filters that only watch.
    let is_harmless = match kind {
        "utm" => {
            matches!(action, "passthrough" | "pass" | "allow" | "permit")
                && get("attack").is_empty()
        }
        _ => !is_blocked,
    };
    if is_harmless {
        return Err(Unread::Harmless);
    }
    let named = ["attack", "virus", "msg", "subtype"]
        .iter()
        .find_map(|key| pairs.get(key));
    let what = format!("{action} {}", named.unwrap_or(kind));
    let mut alert = Alert::about(address(get("srcip")), "FortiGate", &what)?;
    alert.destination = address(get("dstip"));
    alert.weight = weight_of(get("severity"));
    alert.is_blocked = is_blocked;
    Ok(alert)
}
