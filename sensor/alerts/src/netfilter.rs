//! Lines of the kernel's packet filter, iptables' LOG and nftables' log: `PREFIX IN=… OUT=… SRC=… DST=… PROTO=…`.

use crate::text::{Pairs, has};
use crate::{Alert, Unread, address};

const PASSES: [&str; 3] = ["accept", "allow", "pass"];
const STOPS: [&str; 5] = ["block", "den", "drop", "reject", "invalid"];

pub fn read(text: &str) -> Option<Result<Alert, Unread>> {
    let start = text.find("IN=")?;
    if !["OUT=", " SRC=", " DST=", " PROTO="]
        .iter()
        .all(|mark| text.contains(mark))
    {
        return None;
    }
    let (head, body) = text.split_at_checked(start)?;
    Some(read_body(prefix(head), body))
}

/// The prefix of the rule: what stands behind the header of syslog and the kernel's time stamp.
fn prefix(head: &str) -> &str {
    let behind = head
        .rsplit_once("kernel:")
        .map_or(head, |(_, rest)| rest)
        .trim();
    let behind = match behind.strip_prefix('[') {
        Some(stamped) => stamped.split_once(']').map_or(behind, |(_, rest)| rest),
        None => behind,
    };
    behind.trim().trim_end_matches(':')
}

fn read_body(prefix: &str, body: &str) -> Result<Alert, Unread> {
    if has(prefix, &PASSES) {
        return Err(Unread::Harmless);
    }
    let pairs = Pairs::of(body);
    let what = match prefix {
        "" => "logged",
        prefix => prefix,
    };
    let mut alert = Alert::about(pairs.get("SRC").and_then(address), "netfilter", what)?;
    alert.destination = pairs.get("DST").and_then(address);
    alert.is_blocked = has(prefix, &STOPS);
    Ok(alert)
}
