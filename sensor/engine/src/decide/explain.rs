//! One sentence with the numbers.

use super::incident::Incident;
use crate::detect::Family;

pub(super) fn explain(incident: &Incident) -> String {
    let victim = list(&incident.destinations, incident.n_destinations);
    let sources = if incident.is_spoofed {
        format!("about {} spoofed or scattered sources", incident.n_sources)
    } else {
        list(&incident.sources, incident.n_sources)
    };
    let (observed, expected) = incident
        .features
        .first()
        .map_or((0.0, 0.0), |feature| (feature.observed, feature.expected));
    let seconds = incident.end_ns.saturating_sub(incident.start_ns) as f64 / 1e9;
    let end = format!(
        "over {seconds:.1} s, 10^-{:.0} likely by chance",
        incident.score
    );
    match incident.family {
        Family::SynFlood => format!(
            "{victim} got {observed:.0} SYN/s (limit {expected:.0}/s) that lead to no connection from {sources} {end}"
        ),
        Family::AckFlood => format!(
            "{victim} got {observed:.0} ACK/s (limit {expected:.0}/s) that belong to no connection from {sources} {end}"
        ),
        Family::UdpFlood => format!(
            "{victim} got {observed:.0} unanswered UDP packets/s (limit {expected:.0}/s) from {sources} {end}"
        ),
        Family::Reflection => format!(
            "{victim} got {observed:.0} UDP packets/s (limit {expected:.0}/s), mostly answers of amplifying services that it never asked, from {sources} {end}"
        ),
        Family::IcmpFlood => format!(
            "{victim} got {observed:.0} ICMP packets/s (limit {expected:.0}/s) from {sources} {end}"
        ),
        Family::FragmentFlood => format!(
            "{victim} got {observed:.0} IP fragments/s (limit {expected:.0}/s) from {sources} {end}"
        ),
        Family::PortScan => format!(
            "{sources} tried {} ports of {victim}, {observed:.0} in the judged window where {expected:.0} would be many, {end}",
            incident.n_ports
        ),
        Family::HostSweep => format!(
            "{sources} tried port {} on {} hosts, {observed:.0} of them without success where {expected:.0} would be many, {end}",
            incident.ports.first().copied().unwrap_or(0),
            incident.n_destinations
        ),
        Family::BruteForce => format!(
            "{sources} had {observed:.0} short sessions with port {} of {victim} where {expected:.0} would be many, {end}",
            incident.ports.first().copied().unwrap_or(0)
        ),
        Family::VolumeAnomaly => format!(
            "{victim} got {observed:.0} {} where its own past says {expected:.0}, {end}",
            incident.features.first().map_or("per s", |f| f.name)
        ),
        Family::BehaviourAnomaly => format!(
            "{sources} behaves like no source before, most of all in {} ({observed:.2} where {expected:.2} is usual), {end}",
            incident.features.first().map_or("everything", |f| f.name)
        ),
    }
}

fn list<T: ToString>(items: &[T], n: u64) -> String {
    match items {
        [] => format!("{n} addresses"),
        [one] if n <= 1 => one.to_string(),
        [first, ..] => format!("{} and {} more", first.to_string(), n.saturating_sub(1)),
    }
}
