//! Incidents that a person does not want to hear of for a while: an exception for their kind, by their
//! source or about their victim.

use std::net::IpAddr;

use ipnet::IpNet;
use sensor_engine::{Exception, Family, SECOND_NS};
use sensor_record::Account;

/// Longest time that an incident may be muted for.
pub const MAX_FOR_S: u64 = 90 * 86_400;

/// Makes the exception that mutes an incident from `at_ns` on.
///
/// # Errors
/// When it names neither one source nor one victim, so that others would be muted with it, or when the time
/// is out of bounds.
pub fn exception(
    account: &Account,
    at_ns: u64,
    for_s: u64,
    reason: &str,
) -> Result<Exception, String> {
    if for_s == 0 || for_s > MAX_FOR_S {
        let days = MAX_FOR_S / 86_400;
        return Err(format!(
            "mute it for a second at least, and {days} days at most"
        ));
    }
    let incident = &account.incident;
    let mut families = Family::ALL.into_iter();
    let family = families.find(|family| family.label() == incident.found_as());
    let family = family.ok_or("this version knows no such family")?;
    let sources = if incident.is_spoofed {
        None
    } else {
        the_one(&incident.sources, incident.n_sources)
    };
    let destinations = the_one(&incident.destinations, incident.n_destinations);
    if sources.is_none() && destinations.is_none() {
        let message = "it names neither one source nor one victim: add a [[detect.except]]";
        return Err(message.to_owned());
    }
    let reason = match reason {
        "" => format!("muted: {}", incident.id),
        reason => reason.to_owned(),
    };
    Ok(Exception {
        family: Some(family),
        source: sources,
        destination: destinations,
        until_ns: Some(at_ns.saturating_add(for_s.saturating_mul(SECOND_NS))),
        reason,
        ..Exception::default()
    })
}

/// The only address, where there is but one.
fn the_one(addresses: &[IpAddr], n: u64) -> Option<IpNet> {
    match addresses {
        [one] if n <= 1 => Some(IpNet::from(*one)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(change: impl FnOnce(&mut sensor_record::Incident)) -> Account {
        let mut incident = sensor_record::example::incident();
        change(&mut incident);
        Account::new(incident)
    }

    #[test]
    fn the_kind_is_muted_by_its_source_and_about_its_victim() {
        let known = account(|_| {});
        let muted = exception(&known, 5, 60, "").unwrap();
        assert_eq!(
            muted.family.map(Family::label),
            Some(known.incident.found_as())
        );
        assert!(muted.source.is_some() || muted.destination.is_some());
        assert_eq!(muted.until_ns, Some(5 + 60 * SECOND_NS));
        assert!(muted.reason.contains(&known.incident.id));
        assert!(exception(&known, 5, 0, "").is_err());
        assert!(exception(&known, 5, MAX_FOR_S + 1, "").is_err());
    }

    #[test]
    fn what_names_nobody_is_not_muted() {
        let nobody = account(|incident| {
            incident.sources.clear();
            incident.destinations.clear();
        });
        assert!(exception(&nobody, 5, 60, "").is_err());
        let spoofed = account(|incident| {
            incident.is_spoofed = true;
            incident.destinations.clear();
        });
        assert!(exception(&spoofed, 5, 60, "").is_err());
    }
}
