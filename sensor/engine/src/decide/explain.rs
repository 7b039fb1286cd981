//! One sentence with the numbers.

use super::incident::Incident;
use crate::detect::{Evidence, Family};

pub(super) fn explain(incident: &Incident) -> String {
    let told = of_detectors(incident);
    if incident.family == incident.found_as {
        return told;
    }
    let probability = incident.naming.map_or(0.0, |naming| naming.probability);
    format!(
        "{told}; it looks like {} ({:.0} % of the trees)",
        incident.family.label(),
        100.0 * probability
    )
}

fn of_detectors(incident: &Incident) -> String {
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
    let what = phrase(incident);
    match incident.found_as {
        Family::SynFlood
        | Family::AckFlood
        | Family::UdpFlood
        | Family::Reflection
        | Family::HttpFlood
        | Family::SlowHttp
        | Family::IcmpFlood
        | Family::FragmentFlood => format!(
            "{victim} got {observed:.0} {what} (usual: up to {expected:.0}) from {sources} {end}"
        ),
        Family::PortScan => format!(
            "{sources} tried {} ports of {victim}, {observed:.0} in the judged window where {expected:.0} would be many, {end}",
            incident.n_ports
        ),
        Family::HostSweep if what == "mail_servers" => format!(
            "{sources}, which accepts no mail itself, spoke to {observed:.0} mail servers within a minute where {expected:.0} would be many, {end}"
        ),
        Family::HostSweep => format!(
            "{sources} tried port {} on {} hosts, {observed:.0} of them without success where {expected:.0} would be many, {end}",
            incident.ports.first().copied().unwrap_or(0),
            incident.n_destinations
        ),
        Family::BruteForce => format!(
            "{sources} had {observed:.0} {what} with port {} of {victim} where {expected:.0} would be many, {end}",
            incident.ports.first().copied().unwrap_or(0)
        ),
        Family::ArpSweep
        | Family::ArpSpoof
        | Family::DnsTunnel
        | Family::IcmpTunnel
        | Family::LateralMovement
        | Family::MalformedTraffic => of_samples(incident, &sources, &victim, &end),
        Family::Exfiltration => of_upload(incident, &sources, &victim, &end),
        Family::Beacon => of_beacon(incident, &sources, &victim, &end),
        Family::VolumeAnomaly => format!(
            "{victim} got {observed:.0} {what} where its own past says {expected:.0}, {end}"
        ),
        Family::BehaviourAnomaly if what == "requests_with_programs" => {
            of_requests(incident, &sources, &victim, &end)
        }
        Family::BehaviourAnomaly => format!(
            "{} behaves as nothing did before, most of all in {what} ({observed:.2} where {expected:.2} is usual), {end}",
            if incident.sources.is_empty() {
                &victim
            } else {
                &sources
            }
        ),
    }
}

fn of_upload(incident: &Incident, sources: &str, victim: &str, end: &str) -> String {
    let sent = incident.features.first();
    let megabytes = |bytes: f64| bytes / 1e6;
    format!(
        "{sources} sent {:.1} MB to port {} of {victim}, where {:.1} MB would be usual for the most that it sends to one address in ten minutes, {end}",
        sent.map_or(0.0, |e| megabytes(e.observed)),
        incident.ports.first().copied().unwrap_or(0),
        sent.map_or(0.0, |e| megabytes(e.expected)),
    )
}

fn of_requests(incident: &Incident, sources: &str, victim: &str, end: &str) -> String {
    format!(
        "{sources} sent {:.0} requests to port {} of {victim} that carry programs ({}) where values belong, {end}",
        incident.features.first().map_or(0.0, |e| e.observed),
        incident.ports.first().copied().unwrap_or(0),
        incident.notes.first().map_or("", |note| &note.value)
    )
}

/// What samples of packets showed.
fn of_samples(incident: &Incident, sources: &str, victim: &str, end: &str) -> String {
    let zone = incident.notes.first().map_or("", |note| &note.value);
    let observed = incident.features.first().map_or(0.0, |f| f.observed);
    let evidence = evidence(incident);
    match incident.found_as {
        Family::ArpSweep => format!(
            "{} asked by ARP for {observed:.0} addresses within a minute, most of which nobody has, {end}",
            station(incident)
        ),
        Family::ArpSpoof => format!(
            "{} speaks for {victim} as if it were its own address ({evidence}), {end}",
            station(incident)
        ),
        Family::DnsTunnel => format!(
            "{sources} asked for {observed:.0} different names below {zone} that carry data ({evidence}), {end}"
        ),
        Family::IcmpTunnel => {
            format!("{sources} exchanges data in ICMP echoes with {victim} ({evidence}), {end}")
        }
        Family::LateralMovement => {
            format!("{sources} used {victim} as none of its peers did before ({evidence}), {end}")
        }
        Family::MalformedTraffic => format!(
            "{sources} sent {observed:.0} messages to {victim} that break their protocol ({evidence}), {end}"
        ),
        other => format!(
            "{sources} and {victim}: {} ({evidence}), {end}",
            other.label()
        ),
    }
}

fn station(incident: &Incident) -> String {
    incident.source_mac.map_or_else(String::new, |mac| {
        let [a, b, c, d, e, f] = mac;
        format!("station {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    })
}

/// Every number by name.
fn evidence(incident: &Incident) -> String {
    let one = |e: &Evidence| format!("{} {:.1}", e.name, e.observed);
    let all: Vec<String> = incident.features.iter().map(one).collect();
    all.join(", ")
}

fn of_beacon(incident: &Incident, sources: &str, victim: &str, end: &str) -> String {
    let of = |name| {
        let feature = incident.features.iter().find(|f| f.name == name);
        feature.map_or((0.0, 0.0), |f| (f.observed, f.expected))
    };
    let (regular, by_chance) = of("regular_share");
    format!(
        "{sources} called port {} of {victim} {:.0} times, every {:.1} s: {:.0} % of the intervals are alike where {:.0} % would be by chance, {end}",
        incident.ports.first().copied().unwrap_or(0),
        of("contacts").0,
        of("period_s").0,
        100.0 * regular,
        100.0 * by_chance
    )
}

/// What the strongest number counts, in words; a model's feature goes by its name.
fn phrase(incident: &Incident) -> &'static str {
    let name = incident.features.first().map_or("", |f| f.name);
    match name {
        "syn_pps" => "SYN/s that lead to no connection",
        "ports_tried_per_s" => "ports asked for in a second, each from another port,",
        "ports_failed" => "ports asked for in vain, each from another port,",
        "odd_flags_or_protocol_pps" => {
            "packets/s with odd TCP flags or of a protocol that it does not use"
        }
        "unmatched_ack_pps" => "ACK/s that belong to no connection",
        "one_way_udp_pps" => "UDP packets/s that it never answered",
        "icmp_pps" => "ICMP packets/s",
        "fragment_pps" => "IP fragments/s",
        "attempts_without_connection" => {
            "attempts to connect in 5 s, next to none of which became a connection,"
        }
        "short_web_sessions" => "web sessions in 5 s that came and went",
        "open_connections" => "connections kept open that say next to nothing",
        "unanswered_flows" => "unanswered UDP flows in 5 s",
        "segments_of_no_connection" => "TCP flows in 5 s that belong to no connection",
        "echo_requests" => "echo requests in 5 s",
        "unasked_answers" => "answers of amplifying services in 5 s that it never asked for",
        "unasked_syn_acks" => "SYN-ACKs in a minute to handshakes that it never began",
        "short_sessions" => "short sessions",
        other => other,
    }
}

fn list<T: ToString>(items: &[T], n: u64) -> String {
    match items {
        [] => format!("{n} addresses"),
        [one] if n <= 1 => one.to_string(),
        [first, ..] => format!("{} and {} more", first.to_string(), n.saturating_sub(1)),
    }
}
