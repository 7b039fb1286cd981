//! Orders carried out on the shields.

use std::sync::Arc;
use std::time::Duration;

use sensor_capture::kernel::monotonic_ns;
use sensor_record::answer::Shields;
use sensor_record::{Head, Shield, transport};
use sensor_respond::{
    KernelRespond, ListedShield, Origin, Respond as _, ShieldError, ShieldRequest,
};

use super::orders::{OrderScope, ShieldOff, ShieldOn};

/// Arms a shield.
///
/// # Errors
/// Why not, for the person who asked.
pub fn on(
    respond: &mut KernelRespond,
    on: &ShieldOn,
    by: &Origin,
    head: &Head,
) -> Result<Shields, String> {
    let reason = match on.reason.as_str() {
        "" => "by hand",
        given => given,
    };
    let request = ShieldRequest {
        address: on.address,
        scope: on.scope.scope(),
        strangers_per_s: on.rate_packets_per_s,
        ttl: Duration::from_secs(on.ttl_s),
        origin: by.clone(),
        reason: Arc::from(reason),
    };
    let armed = respond.shield(&request).map_err(told)?;
    Ok(answer(respond, &[armed], head))
}

/// Ends shields.
///
/// # Errors
/// Where there is none.
pub fn off(
    respond: &mut KernelRespond,
    off: &ShieldOff,
    by: &Origin,
    head: &Head,
) -> Result<Shields, String> {
    let scope = off.scope.map(OrderScope::scope);
    let ended = respond.unshield(off.address, scope, by).map_err(told)?;
    Ok(answer(respond, &ended, head))
}

/// The shields that are armed.
pub fn list(respond: &KernelRespond, head: &Head) -> Shields {
    let armed: Vec<ListedShield> = respond.shields().collect();
    answer(respond, &armed, head)
}

fn answer(respond: &KernelRespond, shields: &[ListedShield], head: &Head) -> Shields {
    Shields {
        shields: shields.iter().map(|one| shield(head, one)).collect(),
        mode: respond.mode().into(),
    }
}

fn shield(head: &Head, listed: &ListedShield) -> Shield {
    let left_ns = listed.expires_ns.saturating_sub(monotonic_ns());
    let protocol = listed.scope.protocol;
    Shield {
        head: head.clone(),
        address: listed.address,
        protocol,
        transport: (protocol != 0).then(|| transport(protocol)),
        port: listed.scope.local_port,
        measures: listed.measures.clone(),
        strangers_packets_per_s: listed.strangers_per_s,
        ttl_s: left_ns / 1_000_000_000,
        answered: listed.answered,
        completed: listed.completed,
        held: listed.held,
        origin: Origin::clone(&listed.origin),
        reason: listed.reason.to_string(),
    }
}

fn told(cause: ShieldError) -> String {
    cause.to_string()
}
