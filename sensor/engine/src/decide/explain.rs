//! Sentences of incidents: that of the family's row, filled in with the incident's numbers.

use std::net::IpAddr;

use super::confidence::Confidence;
use super::incident::{Case, Incident};
use crate::detect::{Detector, Evidence, Family, Finding, MAX_SCORE, strength};
use crate::features::MAX_COUNTED;

/// Makes the sentence of an incident.
pub(super) fn explain(incident: &Incident) -> String {
    let told = fill(incident, sentence(incident));
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

/// Makes the sentence of one finding alone, as of an incident of its own, with the given source
/// before the others.
pub(super) fn reason(finding: &Finding, source: IpAddr) -> String {
    let mut case = Case::new(String::new(), finding, None);
    case.take(finding.last_ns, finding, Confidence::FULL, usize::MAX);
    let mut incident = case.incident().clone();
    incident.sources.retain(|other| *other != source);
    incident.sources.insert(0, source);
    explain(&incident)
}

/// Evidence in words: the name of a number, its words after "got", "had" or "in", and, where it says
/// more than the family, a sentence of its own.
struct Counted {
    name: &'static str,
    words: &'static str,
    sentence: Option<&'static str>,
}

const fn words(name: &'static str, words: &'static str) -> Counted {
    Counted {
        name,
        words,
        sentence: None,
    }
}

const fn sentence_of(name: &'static str, sentence: &'static str) -> Counted {
    Counted {
        name,
        words: name,
        sentence: Some(sentence),
    }
}

/// Words by evidence; a number that is not listed goes by its name.
const COUNTED: &[Counted] = &[
    words("syn_pps", "SYN/s that lead to no connection"),
    words(
        "ports_tried_per_s",
        "ports asked for in a second, each from another port,",
    ),
    words(
        "ports_failed",
        "ports that refused or did not answer, each from another port,",
    ),
    words(
        "odd_flags_or_protocol_pps",
        "packets/s with odd TCP flags or of a protocol that it does not use",
    ),
    words("unmatched_ack_pps", "ACK/s that belong to no connection"),
    words("one_way_udp_pps", "UDP packets/s that it never answered"),
    words("icmp_pps", "ICMP packets/s"),
    words("fragment_pps", "IP fragments/s"),
    words(
        "attempts_without_connection",
        "attempts to connect in 5 s, next to none of which became a connection,",
    ),
    words(
        "short_web_sessions",
        "web sessions in 5 s that came and went",
    ),
    words(
        "open_connections",
        "connections kept open that say next to nothing",
    ),
    words(
        "requests_of_all_clients",
        "requests in 5 s over connections that stay, of many clients,",
    ),
    words(
        "sessions_of_all_clients",
        "sessions in 5 s that came and went, of many clients,",
    ),
    words(
        "open_connections_of_all_clients",
        "connections of many clients kept open that say next to nothing",
    ),
    words("mqtt_messages", "MQTT messages in 5 s"),
    words("unanswered_flows", "unanswered UDP flows in 5 s"),
    words(
        "segments_of_no_connection",
        "TCP flows in 5 s that belong to no connection",
    ),
    words("echo_requests", "echo requests in 5 s"),
    words(
        "requests_in_kept_connections",
        "requests in 5 s over connections that stay",
    ),
    words(
        "packets_of_no_conversation",
        "packets in 5 s that belong to no conversation",
    ),
    words(
        "unasked_answers",
        "answers of amplifying services in 5 s that it never asked for",
    ),
    words(
        "unasked_syn_acks",
        "SYN-ACKs in a minute to handshakes that it never began",
    ),
    words("short_sessions", "short sessions"),
    words("refused_logins", "refused logins"),
    sentence_of(
        "login_after_refusals",
        "{sources} logged in to port {port} of {victim} after {observed} refused guesses: a password \
         was found, {end}",
    ),
    sentence_of(
        "mail_servers",
        "{sources}, which accepts no mail itself, spoke to {observed} mail servers within a minute \
         where {expected} would be many, {end}",
    ),
    sentence_of(
        "requests_with_programs",
        "{sources} sent {observed} requests to port {port} of {victim} that carry programs ({note}) \
         where values belong, {end}",
    ),
];

/// Sentence of the learned model alone.
const LEARNED: &str = "{sources} behaves as attacks do, most of all in {what} ({observed_2} where ordinary \
     traffic has {expected_2}), {end}";

/// Sentence of a network alone.
const NETWORK: &str = "a network ({note}) finds the order and rhythm of what {sources} does out of the ordinary: it \
     gives {observed_2}, where {expected_2} is the limit, {end}";

fn strongest(incident: &Incident) -> Option<&Evidence> {
    incident.features.first()
}

fn counted(incident: &Incident) -> Option<&'static Counted> {
    let name = strongest(incident)?.name;
    COUNTED.iter().find(|counted| counted.name == name)
}

fn sentence(incident: &Incident) -> &'static str {
    if incident.detectors == [Detector::Learned] {
        return LEARNED;
    }
    if incident.detectors == [Detector::Networks] {
        return NETWORK;
    }
    // A number can be the strongest of other families, too.
    let may_differ = matches!(
        incident.found_as,
        Family::HostSweep | Family::BehaviourAnomaly | Family::BruteForce
    );
    let own = counted(incident).and_then(|counted| counted.sentence);
    own.filter(|_| may_differ)
        .unwrap_or(incident.found_as.sentence())
}

/// Puts an incident's own words where the sentence has a name in braces.
fn fill(incident: &Incident, sentence: &str) -> String {
    let mut told = String::new();
    let mut rest = sentence;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        told.push_str(before);
        told.push_str(&word(incident, name).unwrap_or_default());
        rest = after;
    }
    told.push_str(rest);
    told
}

/// The words that a name in a sentence stands for; nothing for an unknown one.
fn word(incident: &Incident, name: &str) -> Option<String> {
    let (observed, expected) = strongest(incident).map_or((0.0, 0.0), |e| (e.observed, e.expected));
    let of = |name| {
        let feature = incident.features.iter().find(|f| f.name == name);
        feature.map_or((0.0, 0.0), |f| (f.observed, f.expected))
    };
    Some(match name {
        "victim" => victim(incident),
        "sources" => sources(incident),
        "either" if incident.sources.is_empty() => victim(incident),
        "either" => sources(incident),
        "station" => station(incident),
        "observed" if is_estimated(incident) => about(observed),
        "observed" => format!("{observed:.0}"),
        "expected" => format!("{expected:.0}"),
        "observed_2" => format!("{observed:.2}"),
        "expected_2" => format!("{expected:.2}"),
        "observed_mb" => format!("{:.1}", observed / 1e6),
        "expected_mb" => format!("{:.1}", expected / 1e6),
        "what" => match counted(incident) {
            Some(counted) => counted.words.to_owned(),
            None => strongest(incident).map_or("", |e| e.name).to_owned(),
        },
        "evidence" => evidence(incident),
        "note" => incident.notes.first().map(|note| note.value.clone())?,
        "port" => incident.ports.first().copied().unwrap_or(0).to_string(),
        "n_ports" => about(incident.n_ports as f64),
        "n_hosts" => about(incident.n_destinations as f64),
        "contacts" => format!("{:.0}", of("contacts").0),
        "period" => format!("{:.1}", of("period_s").0),
        "regular" => format!("{:.0}", 100.0 * of("regular_share").0),
        "by_chance" => format!("{:.0}", 100.0 * of("regular_share").1),
        "end" => end(incident),
        _ => return None,
    })
}

/// Numbers of distinct values.
const DISTINCT: &[&str] = &[
    "ports_tried_per_s",
    "ports_failed",
    "ports_failed_in_an_hour",
    "hosts_failed",
    "hosts_failed_in_an_hour",
    "mail_servers",
];

/// True where the strongest number is of distinct values.
fn is_estimated(incident: &Incident) -> bool {
    strongest(incident).is_some_and(|evidence| DISTINCT.contains(&evidence.name))
}

/// A number of distinct values: many are estimated.
fn about(n: f64) -> String {
    if n > MAX_COUNTED as f64 {
        format!("about {n:.0}")
    } else {
        format!("{n:.0}")
    }
}

fn victim(incident: &Incident) -> String {
    list(&incident.destinations, incident.n_destinations)
}

fn sources(incident: &Incident) -> String {
    if incident.is_spoofed {
        format!("about {} spoofed or scattered sources", incident.n_sources)
    } else {
        list(&incident.sources, incident.n_sources)
    }
}

fn end(incident: &Incident) -> String {
    let seconds = incident.end_ns.saturating_sub(incident.start_ns) as f64 / 1e9;
    format!(
        "over {seconds:.1} s (score {:.0} of {MAX_SCORE:.0}, {})",
        incident.score,
        strength(incident.score)
    )
}

fn station(incident: &Incident) -> String {
    incident.source_mac.map_or_else(String::new, |mac| {
        let [a, b, c, d, e, f] = mac;
        format!("station {a:02X}-{b:02X}-{c:02X}-{d:02X}-{e:02X}-{f:02X}")
    })
}

/// Lists every number by name.
fn evidence(incident: &Incident) -> String {
    let one = |e: &Evidence| format!("{} {:.1}", e.name, e.observed);
    let all: Vec<String> = incident.features.iter().map(one).collect();
    all.join(", ")
}

fn list<T: ToString>(items: &[T], n: u64) -> String {
    match items {
        [] => format!("{n} addresses"),
        [one] if n <= 1 => one.to_string(),
        [first, ..] => {
            let more = about(n.saturating_sub(1) as f64);
            format!("{} and {more} more", first.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{Detector, Entity};
    use crate::note::Note;
    use crate::tests::{T0, ip};

    fn incident(family: Family, name: &'static str) -> Incident {
        let evidence = |name| Evidence {
            name,
            observed: 40.0,
            expected: 2.0,
            share: 1.0,
        };
        let finding = Finding {
            features: vec![evidence(name)],
            notes: vec![Note {
                name: "zone",
                value: "example.org".to_owned(),
            }],
            sources: vec![crate::to_ip(&ip(1))],
            n_sources: 1,
            destinations: vec![crate::to_ip(&ip(2))],
            n_destinations: 1,
            ports: vec![22],
            n_ports: 1,
            last_ns: T0 + 1_500_000_000,
            score: 120.0,
            ..Finding::new(Detector::Scan, family, Entity::Source(ip(1)), T0)
        };
        let mut case = Case::new(String::new(), &finding, None);
        case.take(T0, &finding, Confidence::FULL, 10);
        case.incident().clone()
    }

    #[test]
    fn every_name_in_a_sentence_stands_for_something() {
        let known = incident(Family::DnsTunnel, "names");
        let families = Family::ALL.iter().map(|family| family.sentence());
        let of_numbers = COUNTED.iter().filter_map(|counted| counted.sentence);
        for sentence in families.chain(of_numbers) {
            for part in sentence.split('{').skip(1) {
                let name = part.split('}').next().unwrap();
                assert!(word(&known, name).is_some(), "{name} in: {sentence}");
            }
            assert!(sentence.ends_with("{end}"), "{sentence}");
        }
    }

    #[test]
    fn a_sentence_has_the_numbers_and_a_number_may_have_its_own() {
        let told = explain(&incident(Family::BruteForce, "short_sessions"));
        let expected = "10.0.0.1 had 40 short sessions with port 22 of 10.0.0.2 where 2 would be \
                        many, over 1.5 s (score 120 of 300, overwhelming)";
        assert_eq!(told, expected);
        let told = explain(&incident(Family::HostSweep, "mail_servers"));
        assert!(told.contains("spoke to 40 mail servers"), "{told}");
        let told = explain(&incident(Family::PortScan, "mail_servers"));
        assert!(told.contains("tried 1 ports of"), "{told}");
    }

    #[test]
    fn many_distinct_values_are_about_so_many_and_stations_have_one_style() {
        let mut known = incident(Family::PortScan, "ports_failed");
        known.features[0].observed = 900.0;
        known.n_ports = 1_000;
        let told = explain(&known);
        assert!(told.contains("tried about 1000 ports of"), "{told}");
        assert!(told.contains("about 900 in the judged window"), "{told}");
        known.features[0].name = "short_sessions";
        assert!(!explain(&known).contains("about 900"));
        known.source_mac = Some([0, 0, 0x5e, 0, 0x53, 0x23]);
        assert_eq!(station(&known), "station 00-00-5E-00-53-23");
    }
}
