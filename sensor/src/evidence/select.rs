//! Packets and flows that belong to an incident.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use sensor_capture::pcap::EthernetFrame;
use sensor_common::Address;
use sensor_common::packet::{Decapsulate, Packet, parse, parse_inner};
use sensor_engine::{from_ip, to_ip};
use sensor_record::{Decision, Flow, Incident, Timestamp};

/// Time before its first and after its last packet that belongs to an incident.
const AROUND_NS: u64 = 1_000_000_000;
const S: u64 = 1_000_000_000;

/// Packets by time, hosts and ports of an incident. Lists that the incident does not hold in full are no
/// condition, as long as another one is.
pub struct Selector {
    name: String,
    from: Timestamp,
    to: Timestamp,
    station: Option<[u8; 6]>,
    sources: Option<BTreeSet<Address>>,
    destinations: Option<BTreeSet<Address>>,
    ports: Option<BTreeSet<u16>>,
    decisions: Vec<Decision>,
}

/// Set of a list, where that is all there are.
fn whole<T, K: Ord>(listed: &[T], n: u64, key: impl Fn(&T) -> K) -> Option<BTreeSet<K>> {
    let is_whole = !listed.is_empty() && n <= listed.len() as u64;
    is_whole.then(|| listed.iter().map(key).collect())
}

fn all(listed: &[IpAddr]) -> Option<BTreeSet<Address>> {
    (!listed.is_empty()).then(|| listed.iter().copied().map(from_ip).collect())
}

impl Selector {
    /// Reads off an incident what belongs to it; `decisions` are those about its sources.
    pub fn new(incident: &Incident, decisions: &[Decision]) -> Self {
        let key = |ip: &IpAddr| from_ip(*ip);
        let mut sources = match incident.is_spoofed {
            true => None,
            false => whole(&incident.sources, incident.n_sources, key),
        };
        let mut destinations = whole(&incident.destinations, incident.n_destinations, key);
        if sources.is_none() && destinations.is_none() {
            // Those that are listed, for want of all.
            destinations = all(&incident.destinations);
            if destinations.is_none() {
                sources = all(&incident.sources);
            }
        }
        Self {
            name: format!(
                "{} {} ({})",
                incident.family,
                incident.id,
                incident.severity.label()
            ),
            from: Timestamp(incident.start.0.saturating_sub(AROUND_NS)),
            to: Timestamp(incident.end.0.saturating_add(AROUND_NS)),
            station: incident.source_mac.map(|mac| mac.0),
            sources,
            destinations,
            ports: whole(&incident.ports, incident.n_ports, |port| *port),
            decisions: decisions.to_vec(),
        }
    }

    /// Times between which packets belong to the incident.
    pub const fn span(&self) -> (Timestamp, Timestamp) {
        (self.from, self.to)
    }

    /// Comment on a packet, if it belongs to the incident.
    pub fn comment(&self, at: Timestamp, frame: &EthernetFrame<'_>) -> Option<String> {
        if at < self.from || at > self.to {
            return None;
        }
        if let Some(station) = self.station {
            return self.of_station(&station, frame.data);
        }
        let mut outer = Packet::default();
        parse(frame.data, &Decapsulate::ALL, &mut outer);
        let mut told = self.of_packet(at, &outer);
        if told.is_none() && outer.may_carry_packet() {
            let mut inner = Packet::default();
            parse_inner(frame.data, &mut outer, &mut inner);
            if outer.carries_packet() {
                told = self.of_packet(at, &inner);
            }
        }
        told
    }

    fn of_station(&self, station: &[u8; 6], frame: &[u8]) -> Option<String> {
        let role = if frame.get(6..12) == Some(station) {
            "sent by the station"
        } else if frame.get(..6) == Some(station) {
            "sent to the station"
        } else {
            return None;
        };
        Some(format!("{}: {role}", self.name))
    }

    fn of_packet(&self, at: Timestamp, packet: &Packet) -> Option<String> {
        let (source, destination) = (&packet.source, &packet.destination);
        let is_forward = self.is_between(source, destination);
        if !is_forward && !self.is_between(destination, source) {
            return None;
        }
        let ports = [packet.source_port, packet.destination_port];
        // Fragments and messages of ICMP have none.
        let has_ports = ports != [0, 0] && matches!(packet.protocol, 6 | 17 | 132);
        if let Some(known) = self.ports.as_ref().filter(|_| has_ports)
            && !ports.iter().any(|port| known.contains(port))
        {
            return None;
        }
        let role = match (is_forward, &self.sources) {
            (true, Some(_)) => "sent by the source",
            (true, None) => "sent to the victim",
            (false, Some(_)) => "sent to the source",
            (false, None) => "sent by the victim",
        };
        let mut told = format!("{}: {role}", self.name);
        if is_forward {
            self.add_response(at, to_ip(source), &mut told);
        }
        Some(told)
    }

    /// Names the measure that was in force against the source by then.
    fn add_response(&self, at: Timestamp, source: IpAddr, told: &mut String) {
        let is_in_force = |one: &&Decision| {
            let end = one.head.at.0.saturating_add(one.ttl_s.saturating_mul(S));
            one.target.0.contains(&source) && (one.head.at.0..end).contains(&at.0)
        };
        if let Some(decision) = self.decisions.iter().rfind(is_in_force) {
            let (action, outcome) = (decision.action.label(), decision.outcome.label());
            let _infallible = write!(told, "; decided by then: {action} ({outcome})");
        }
    }

    fn is_between(&self, source: &Address, destination: &Address) -> bool {
        let is_in = |set: &Option<BTreeSet<Address>>, address| {
            set.as_ref().is_none_or(|set| set.contains(address))
        };
        let is_any = self.sources.is_none() && self.destinations.is_none();
        !is_any && is_in(&self.sources, source) && is_in(&self.destinations, destination)
    }

    /// True of a flow that belongs to the incident.
    pub fn takes(&self, flow: &Flow) -> bool {
        let (source, destination) = (from_ip(flow.source), from_ip(flow.destination));
        let is_between =
            self.is_between(&source, &destination) || self.is_between(&destination, &source);
        let ports = [flow.source_port, flow.destination_port];
        let is_port = |known: &BTreeSet<u16>| {
            ports == [0, 0] || ports.iter().any(|port| known.contains(port))
        };
        let is_within = flow.end >= self.from && flow.start <= self.to;
        is_within && is_between && self.ports.as_ref().is_none_or(is_port)
    }

    /// Sentence about what is selected.
    pub fn told(&self) -> String {
        let hosts = match (&self.station, &self.sources, &self.destinations) {
            (Some(_), ..) => "from and to the station that is blamed".to_owned(),
            (None, Some(sources), Some(destinations)) => format!(
                "between the incident's sources ({}) and its destinations ({})",
                sources.len(),
                destinations.len()
            ),
            (None, Some(sources), None) => format!("from and to its sources ({})", sources.len()),
            (None, None, Some(to)) => format!("from and to its destinations ({})", to.len()),
            (None, None, None) => "none: the incident names no host".to_owned(),
        };
        let ports = match &self.ports {
            Some(ports) if self.station.is_none() => {
                format!(", of its ports ({}) and without ports", ports.len())
            }
            _ => String::new(),
        };
        format!("{hosts}{ports}, from {} to {}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_record::example;

    /// A UDP datagram.
    fn frame(source: [u8; 4], destination: [u8; 4], ports: [u16; 2]) -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[14..24].copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17]);
        frame[26..30].copy_from_slice(&source);
        frame[30..34].copy_from_slice(&destination);
        frame[34..36].copy_from_slice(&ports[0].to_be_bytes());
        frame[36..38].copy_from_slice(&ports[1].to_be_bytes());
        frame[38..40].copy_from_slice(&26u16.to_be_bytes());
        frame
    }

    fn incident() -> Incident {
        let mut incident = example::incident();
        incident.source_mac = None;
        incident
    }

    fn comment(selector: &Selector, at: Timestamp, data: &[u8]) -> Option<String> {
        let frame = EthernetFrame {
            data,
            wire_len: 60,
            added: 0,
        };
        selector.comment(at, &frame)
    }

    const ATTACKER: [u8; 4] = [198, 51, 100, 7];
    const VICTIM: [u8; 4] = [192, 0, 2, 1];
    const OTHER: [u8; 4] = [203, 0, 113, 9];

    #[test]
    fn packets_of_both_ways_belong_to_it_and_those_of_others_do_not() {
        let incident = incident();
        let selector = Selector::new(&incident, &[]);
        let at = incident.start;
        let told = |from, to| comment(&selector, at, &frame(from, to, [40_000, 7_777]));
        assert!(
            told(ATTACKER, VICTIM)
                .unwrap()
                .ends_with("sent by the source")
        );
        assert!(
            told(VICTIM, ATTACKER)
                .unwrap()
                .ends_with("sent to the source")
        );
        assert_eq!(told(OTHER, VICTIM), None);
        assert_eq!(told(ATTACKER, OTHER), None);
        let late = Timestamp(incident.end.0 + 2 * S);
        let data = frame(ATTACKER, VICTIM, [40_000, 7_777]);
        assert_eq!(comment(&selector, late, &data), None);
    }

    #[test]
    fn a_whole_list_of_ports_is_a_condition() {
        let mut incident = incident();
        incident.n_ports = incident.ports.len() as u64;
        let selector = Selector::new(&incident, &[]);
        let told = |port| {
            let data = frame(ATTACKER, VICTIM, [40_000, port]);
            comment(&selector, incident.start, &data).is_some()
        };
        assert!(told(6) && !told(7));
    }

    #[test]
    fn of_a_flood_from_made_up_sources_the_victim_tells() {
        let mut incident = incident();
        incident.is_spoofed = true;
        incident.n_ports = 0;
        incident.ports.clear();
        let selector = Selector::new(&incident, &[]);
        let data = frame(OTHER, VICTIM, [1, 2]);
        let told = comment(&selector, incident.start, &data).unwrap();
        assert!(told.ends_with("sent to the victim"), "{told}");
    }

    #[test]
    fn a_measure_in_force_is_named_from_then_on() {
        let incident = incident();
        let mut decision = example::decision();
        decision.head.at = Timestamp(incident.start.0 + S);
        let selector = Selector::new(&incident, &[decision]);
        let data = frame(ATTACKER, VICTIM, [40_000, 7]);
        let before = comment(&selector, incident.start, &data).unwrap();
        let after = comment(&selector, incident.end, &data).unwrap();
        assert!(
            !before.contains("decided") && after.contains("decided by then: drop"),
            "{after}"
        );
    }

    #[test]
    fn an_incident_without_hosts_has_no_packets() {
        let mut incident = incident();
        incident.sources.clear();
        incident.destinations.clear();
        let selector = Selector::new(&incident, &[]);
        let data = frame(ATTACKER, VICTIM, [1, 2]);
        assert_eq!(comment(&selector, incident.start, &data), None);
    }
}
