//! Labels by construction: which frames belong to the attack follows from who sent what to whom in
//! the scenario, and the label files say so.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use super::capture::Frames;
use super::packet::{Ends, Kind, Packet};
use super::plan::{Mac, Site};
use super::recipe::{Mark, Recipe};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    Benign,
    Attack,
    /// Packets through a host that stands in another's place, or that are due to the attack.
    Ignore,
}

impl Label {
    /// Number and name in the label files.
    const fn written(self, attack: &str) -> (u8, &str) {
        match self {
            Self::Benign => (0, ""),
            Self::Attack => (1, attack),
            Self::Ignore => (2, "caused"),
        }
    }
}

/// The addresses of a scenario by role.
pub struct Marker<'a> {
    recipe: &'a Recipe,
    by_role: HashMap<&'static str, HashSet<IpAddr>>,
    macs: HashMap<&'static str, HashSet<Mac>>,
    /// All addresses and stations there are.
    known: HashSet<IpAddr>,
    stations: HashSet<Mac>,
    /// Role behind each port of the capture.
    ports: Vec<&'static str>,
}

impl<'a> Marker<'a> {
    /// `ports` are the names of the hosts behind the captured ports.
    pub fn new(recipe: &'a Recipe, site: &Site, ports: &[String]) -> Self {
        let mut by_role: HashMap<&str, HashSet<IpAddr>> = HashMap::new();
        let mut macs: HashMap<&str, HashSet<Mac>> = HashMap::new();
        for host in site.all() {
            let addresses = by_role.entry(host.role).or_default();
            addresses.extend([IpAddr::V4(host.v4), IpAddr::V6(host.v6)]);
            addresses.insert(IpAddr::V6(host.link_local()));
            macs.entry(host.role).or_default().insert(host.mac);
        }
        let role = |name: &String| site.all().find(|host| host.name == *name);
        Self {
            recipe,
            known: by_role.values().flatten().copied().collect(),
            stations: macs.values().flatten().copied().collect(),
            by_role,
            macs,
            ports: ports
                .iter()
                .map(|name| role(name).map_or("", |h| h.role))
                .collect(),
        }
    }

    /// The label of a frame that came in by a port.
    pub fn label(&self, port: usize, frame: &[u8]) -> Label {
        let Some(packet) = Packet::of(frame).filter(|packet| !packet.is_housekeeping()) else {
            return Label::Benign;
        };
        let sender = self.ports.get(port).copied().unwrap_or_default();
        let marks = self.recipe.marks.iter();
        marks
            .map(|mark| self.by_mark(mark, sender, &packet))
            .find(|label| *label != Label::Benign)
            .unwrap_or(Label::Benign)
    }

    fn by_mark(&self, mark: &Mark, sender: &str, packet: &Packet) -> Label {
        let is_attack = match *mark {
            Mark::Of(role) => self.is_of(role, sender, packet),
            Mark::Sweep(role) => {
                let is_caused = matches!(packet.kind, Kind::Arp(..)) && self.is_forged(packet);
                if !self.is_of(role, sender, packet) && (is_caused || is_solicitation(packet)) {
                    return Label::Ignore;
                }
                self.is_of(role, sender, packet)
            }
            Mark::Forged(role) => self.is_of(role, sender, packet) || self.is_forged(packet),
            Mark::Between(a, b) => self.between(a, b, None, packet),
            Mark::Service(a, b, port) => self.between(a, b, Some(port), packet),
            Mark::Claims(role) => return self.by_claims(role, sender, packet),
        };
        if is_attack {
            Label::Attack
        } else {
            Label::Benign
        }
    }

    fn has(&self, role: &str, address: &IpAddr) -> bool {
        self.by_role
            .get(role)
            .is_some_and(|all| all.contains(address))
    }

    fn is_of(&self, role: &str, sender: &str, packet: &Packet) -> bool {
        if sender == role
            || self
                .macs
                .get(role)
                .is_some_and(|m| m.contains(&packet.to_mac))
        {
            return true;
        }
        let has = |ends: Ends| self.has(role, &ends.from) || self.has(role, &ends.to);
        match packet.kind {
            Kind::Ip(ends) => has(ends) || packet.quoted.is_some_and(has),
            Kind::Arp(a, b) => self.has(role, &a.into()) || self.has(role, &b.into()),
            Kind::Other(_) => false,
        }
    }

    /// An address that no host has, on either end.
    fn is_forged(&self, packet: &Packet) -> bool {
        let is_nobody = |address: &IpAddr| {
            let is_special = match address {
                IpAddr::V4(v4) => {
                    v4.is_multicast()
                        || v4.is_broadcast()
                        || v4.is_unspecified()
                        || v4.octets()[3] == 255
                }
                IpAddr::V6(v6) => v6.is_multicast() || v6.is_unspecified(),
            };
            !is_special && !self.known.contains(address)
        };
        match packet.kind {
            Kind::Ip(ends) => is_nobody(&ends.from) || is_nobody(&ends.to),
            Kind::Arp(a, b) => is_nobody(&a.into()) || is_nobody(&b.into()),
            Kind::Other(_) => false,
        }
    }

    fn between(&self, a: &str, b: &str, port: Option<u16>, packet: &Packet) -> bool {
        let is = |ends: Ends| {
            let there = self.has(a, &ends.from) && self.has(b, &ends.to);
            let back = self.has(b, &ends.from) && self.has(a, &ends.to);
            (there || back) && port.is_none_or(|port| ends.has_port(port))
        };
        match packet.kind {
            Kind::Ip(ends) => is(ends) || packet.quoted.is_some_and(is),
            Kind::Arp(..) | Kind::Other(_) => false,
        }
    }

    fn by_claims(&self, role: &str, sender: &str, packet: &Packet) -> Label {
        let is_claim =
            matches!(packet.kind, Kind::Arp(..)) || packet.is_discovery() || packet.is_dhcp();
        let is_to_it = self
            .macs
            .get(role)
            .is_some_and(|m| m.contains(&packet.to_mac));
        let is_group = packet.to_mac[0] & 1 == 1;
        if sender == role && is_claim {
            Label::Attack
        } else if !is_group && !self.stations.contains(&packet.to_mac) {
            // To a station that only the attacker's messages know of.
            Label::Attack
        } else if sender == role || is_to_it {
            Label::Ignore
        } else {
            Label::Benign
        }
    }
}

/// Looks for a neighbour (RFC 4861).
fn is_solicitation(packet: &Packet) -> bool {
    packet.is_discovery() && packet.icmp_type == Some(135)
}

/// A stretch of one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub first: usize,
    pub last: usize,
    pub label: Label,
}

/// One stretch of the attack, as a row of the label file.
#[derive(Clone, Debug)]
pub struct Episode {
    pub label: Label,
    pub start_ns: u64,
    pub end_ns: u64,
    sources: BTreeSet<String>,
    destinations: BTreeSet<String>,
    ports: BTreeSet<u16>,
    protocols: BTreeSet<&'static str>,
    pub n_packets: u64,
}

/// Labels of a capture.
#[derive(Debug, Default)]
pub struct Labels {
    pub runs: Vec<Run>,
    pub episodes: Vec<Episode>,
    /// Numbers of benign, attack and ignored packets.
    pub n: [u64; 3],
}

impl Labels {
    pub fn of(marker: &Marker, frames: &Frames) -> Self {
        let mut labels = Self::default();
        for (place, frame) in frames.list.iter().enumerate() {
            let data = frames.data(frame);
            let label = marker.label(frame.port, data);
            labels.add(place + 1, label);
            if label != Label::Benign {
                labels.add_to_episode(marker, label, frame.at_ns, data);
            }
        }
        labels
    }

    fn add(&mut self, number: usize, label: Label) {
        if let Some(n) = self.n.get_mut(label as usize) {
            *n += 1;
        }
        match self.runs.last_mut() {
            Some(run) if run.label == label => run.last = number,
            _ => self.runs.push(Run {
                first: number,
                last: number,
                label,
            }),
        }
    }

    fn add_to_episode(&mut self, marker: &Marker, label: Label, at_ns: u64, frame: &[u8]) {
        let gap_ns = u64::from(marker.recipe.gap_s) * 1_000_000_000;
        let is_open = |episode: &Episode| {
            episode.label == label && at_ns <= episode.end_ns.saturating_add(gap_ns)
        };
        let place = self.episodes.iter().rposition(is_open).unwrap_or_else(|| {
            self.episodes.push(Episode {
                label,
                start_ns: at_ns,
                end_ns: at_ns,
                sources: BTreeSet::new(),
                destinations: BTreeSet::new(),
                ports: BTreeSet::new(),
                protocols: BTreeSet::new(),
                n_packets: 0,
            });
            self.episodes.len() - 1
        });
        let (Some(episode), Some(packet)) = (self.episodes.get_mut(place), Packet::of(frame))
        else {
            return;
        };
        episode.end_ns = at_ns;
        episode.n_packets += 1;
        episode.protocols.insert(packet.protocol());
        let (from, to) = match packet.kind {
            Kind::Ip(ends) => {
                // Of the attack's first packet; then whoever sends to the same.
                if let Some((_, port)) = ends.ports.filter(|_| marker.is_forward(&ends)) {
                    episode.ports.insert(port);
                }
                (ends.from, ends.to)
            }
            Kind::Arp(a, b) => (a.into(), b.into()),
            Kind::Other(_) => return,
        };
        let (source, destination) = if marker.began(&from) {
            (from, to)
        } else {
            (to, from)
        };
        episode.sources.insert(source.to_string());
        episode.destinations.insert(destination.to_string());
    }

    /// `ID.pkt.csv`.
    pub fn packets_csv(&self, attack: &str) -> String {
        let mut text = String::from("first_pkt,last_pkt,label,attack\n");
        for run in &self.runs {
            let (label, name) = run.label.written(attack);
            let _ = writeln!(text, "{},{},{label},{name}", run.first, run.last);
        }
        text
    }

    /// `ID.csv`.
    pub fn episodes_csv(&self, attack: &str) -> String {
        let mut text = String::from("start_s,end_s,src,dst,dport,proto,label,attack,packets\n");
        for episode in &self.episodes {
            let (label, name) = episode.label.written(attack);
            let ports: BTreeSet<String> = episode.ports.iter().map(u16::to_string).collect();
            let protocols: Vec<&str> = episode.protocols.iter().copied().collect();
            let _ = writeln!(
                text,
                "{},{},{},{},{},{},{label},{name},{}",
                seconds(episode.start_ns),
                seconds(episode.end_ns),
                listed(&episode.sources),
                listed(&episode.destinations),
                listed(&ports),
                protocols.join("+"),
                episode.n_packets
            );
        }
        text
    }
}

impl Marker<'_> {
    /// True for addresses of the first role of a mark, and for those of nobody.
    fn began(&self, address: &IpAddr) -> bool {
        let is_first = self.recipe.marks.iter().any(|mark| match mark {
            Mark::Of(role)
            | Mark::Sweep(role)
            | Mark::Forged(role)
            | Mark::Claims(role)
            | Mark::Between(role, _)
            | Mark::Service(role, ..) => self.has(role, address),
        });
        is_first || !self.known.contains(address)
    }

    fn is_forward(&self, ends: &Ends) -> bool {
        self.began(&ends.from)
    }
}

/// The values, or how many there are.
fn listed(values: &BTreeSet<String>) -> String {
    if values.len() > 4 {
        return format!("*({})", values.len());
    }
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    values.join(" ")
}

/// Decimal seconds with microseconds, as in the capture.
pub fn seconds(at_ns: u64) -> String {
    format!(
        "{}.{:06}",
        at_ns / 1_000_000_000,
        at_ns % 1_000_000_000 / 1_000
    )
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::super::recipe::{ATTACK, Mark, inside, outside};
    use super::*;

    const RECIPE: Recipe = Recipe {
        name: "x",
        attack: "scan_tcp_syn",
        ..ATTACK
    };

    fn frame(site: &Site, from: IpAddr, to: IpAddr) -> Vec<u8> {
        let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) else {
            panic!("IPv4 only");
        };
        let mut frame = site.router.mac.to_vec();
        frame.extend([2, 0, 0, 0, 0, 9, 8, 0]);
        frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
        frame.extend(from.octets());
        frame.extend(to.octets());
        frame.extend([0x9c, 0x40, 0, 22]);
        frame.extend([0; 16]);
        frame
    }

    #[test]
    fn both_directions_of_an_attack_are_labelled_and_nothing_else() {
        let roles = [
            inside("server", 1),
            outside("client", 1),
            outside("attacker", 1),
        ];
        let site = Site::new(&roles, &mut Random::new(7, "x"));
        let ports = ["server".to_owned(), "router".to_owned()];
        let marker = Marker::new(&RECIPE, &site, &ports);
        let address = |name| IpAddr::V4(site.of_role(name).next().unwrap().v4);
        let (server, client, attacker) =
            (address("server"), address("client"), address("attacker"));
        let mut frames = Frames::default();
        for (n, (port, from, to)) in [
            (1, client, server),
            (1, attacker, server),
            (0, server, attacker),
            (0, server, client),
            (1, attacker, server),
        ]
        .into_iter()
        .enumerate()
        {
            frames.push(n as u64 * 30_000_000_000, port, 54, &frame(&site, from, to));
        }
        let labels = Labels::of(&marker, &frames);
        assert_eq!(labels.n, [2, 3, 0]);
        let csv = labels.packets_csv(RECIPE.attack);
        assert_eq!(
            csv,
            "first_pkt,last_pkt,label,attack\n1,1,0,\n2,3,1,scan_tcp_syn\n4,4,0,\n5,5,1,scan_tcp_syn\n"
        );
        // 60 s of silence or less are of one episode.
        assert_eq!(labels.episodes.len(), 1);
        let csv = labels.episodes_csv(RECIPE.attack);
        let row = format!("30.000000,120.000000,{attacker},{server},22,tcp,1,scan_tcp_syn,3\n");
        assert!(csv.ends_with(&row), "{csv}");
    }

    #[test]
    fn what_comes_from_nobody_is_the_forgers() {
        let recipe = Recipe {
            marks: &[Mark::Forged("attacker")],
            ..RECIPE
        };
        let roles = [inside("server", 1), outside("attacker", 1)];
        let site = Site::new(&roles, &mut Random::new(7, "x"));
        let marker = Marker::new(&recipe, &site, &["server".to_owned(), "router".to_owned()]);
        let server = IpAddr::V4(site.of_role("server").next().unwrap().v4);
        let forged = frame(&site, IpAddr::from([9, 9, 9, 9]), server);
        assert_eq!(marker.label(1, &forged), Label::Attack);
    }
}
