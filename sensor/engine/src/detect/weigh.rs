//! Findings held against the outcome ledger: who is real, and whose failure it was.

use sensor_common::packet::protocol;

use super::Detector;
use super::family::Family;
use super::finding::Finding;
use super::grade::Grades;
use crate::address::from_ip;
use crate::features::Ledger;
use crate::features::ledger::ServiceKey;

/// Adds what the ledger knows. Attempts in vain at a service that answers nobody are the service's
/// failure: its clients try again, as they must.
pub(crate) fn weigh(ledger: &Ledger, finding: &mut Finding) {
    let mut sources = finding.sources.iter().map(|source| from_ip(*source));
    if !finding.sources.is_empty() && sources.all(|source| ledger.is_real(&source)) {
        finding.grades = finding.grades.with(Grades::TWO_WAY);
    }
    // A peer of before whose connections or tunnels were cut off sends on for a while.
    let mut sources = finding.sources.iter().map(|source| from_ip(*source));
    if finding.detector == Detector::Strays
        && !finding.sources.is_empty()
        && sources.all(|source| ledger.is_peer(finding.first_ns, &source))
    {
        finding.grades = Grades::SHAPE.with(Grades::TWO_WAY);
    }
    let is_vain = finding.detector == Detector::Attempts && finding.protocol == protocol::TCP;
    let is_outage = is_vain
        && finding.family != Family::AckFlood
        && service_of(finding).is_some_and(|service| ledger.is_down(&service));
    if is_outage {
        finding.family = Family::ServiceDown;
        finding.grades = Grades::OUTCOME;
    }
}

/// The service that a finding is about, where it names one.
fn service_of(finding: &Finding) -> Option<ServiceKey> {
    match (finding.destinations.as_slice(), finding.ports.as_slice()) {
        ([host], [port]) => Some(ServiceKey {
            host: from_ip(*host),
            port: *port,
            protocol: finding.protocol,
        }),
        _ => None,
    }
}
