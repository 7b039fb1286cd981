//! A station that asks for many addresses that nobody has.

use std::net::{IpAddr, Ipv4Addr};

use super::Seen;
use super::paned_window::PanedWindow;
use crate::address::Mac;
use crate::config::{ArpSweepConfig, Config, SECOND_NS};
use crate::detect::Detect;
use crate::detect::Detector;
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Evidence, Finding, p_value, poisson_score};
use crate::detect::grade::Grades;
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::decay::Spread;
use crate::features::sketch::Distinct;
use crate::l7::arp::{Arp, Operation};

/// Addresses named in a finding.
const NAMED: usize = 16;

#[derive(Clone, Debug, Default)]
struct Half {
    asked: Distinct,
    answered: Distinct,
    n_asked: u32,
}

/// Questions for each address from which a station asks for what it needs and not for who is there: a
/// system asks three times (RFC 4861 10; Linux does so for ARP, too), a sweep goes on to the next address,
/// and comes back once. Who asks round after round polls hosts that are off, or passes on what is for them.
const PER_ADDRESS: u32 = 5;
/// Time after which a poller has begun its next round.
const ROUND_NS: u64 = 20 * SECOND_NS;

/// Stations that ask for an address, from which it is that of a router or a server: it passes on what strangers send
/// to addresses of the link, and who scans from outside has it ask for all of them.
const WANTED_BY: f64 = 1.5;
/// Time after which nobody is taken to want an address any more.
const WANTED_NS: u64 = 3_600 * SECOND_NS;
/// Addresses that stations ask for, 40 bytes each.
const MAX_WANTED: usize = 4_096;

/// Stations that asked for an address.
#[derive(Clone, Copy, Debug, Default)]
struct Wanted {
    by: Spread,
    last_ns: u64,
}

impl Priority for Wanted {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

#[derive(Clone, Debug, Default)]
struct Station {
    window: PanedWindow<Half>,
    sender: Option<IpAddr>,
    named: Vec<IpAddr>,
}

impl Priority for Station {
    fn priority(&self) -> u64 {
        u64::from(self.window.now.asked.len())
    }
}

impl Station {
    /// True where several others ask for it.
    fn is_wanted(&self, wanted: &Bounded<Ipv4Addr, Wanted>) -> bool {
        let Some(IpAddr::V4(own)) = self.sender else {
            return false;
        };
        wanted
            .get(&own)
            .is_some_and(|wanted| wanted.by.len() > WANTED_BY)
    }
}

#[derive(Debug)]
pub(crate) struct ArpSweepDetector {
    config: ArpSweepConfig,
    stations: Bounded<Mac, Station>,
    wanted: Bounded<Ipv4Addr, Wanted>,
}

impl Detect for ArpSweepDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.content.arp_sweep, config.hash_seed);
        Self {
            config: config.clone(),
            stations: Bounded::new("arp_sweep_stations", config.max_stations, hash_seed),
            wanted: Bounded::new("arp_sweep_wanted", MAX_WANTED, hash_seed),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.content.arp_sweep.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.stations.usage());
        out.push(self.wanted.usage());
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        let (config, wanted) = (&self.config, &self.wanted);
        for (mac, station) in self.stations.iter_mut() {
            if !station.window.is_due(at_ns, config.half_ns) {
                continue;
            }
            let judged = judge(config, at_ns, &station.window);
            let Some(judged) = judged.filter(|it| it.is_proven || !station.is_wanted(wanted))
            else {
                station.window.judged();
                continue;
            };
            findings.push(finding(config, mac, station, &judged));
            if judged.is_early {
                station.window.waits(at_ns);
            } else {
                station.window.reported(at_ns);
            }
        }
        let half_ns = config.half_ns;
        self.stations
            .retain(|_, station| !station.window.is_stale(at_ns, half_ns));
        self.wanted
            .retain(|_, wanted| at_ns.saturating_sub(wanted.last_ns) < WANTED_NS);
    }
}

/// Answers from which those of others are seen: one may be the watched host's own, on a port of a switch
/// where nothing but broadcasts is seen of what others say.
const ANSWERS: u32 = 2;

struct Judged {
    asked: u32,
    answered: u32,
    /// Nobody who polls asks like that.
    is_proven: bool,
    /// It may yet turn out to poll.
    is_early: bool,
}

fn judge(config: &ArpSweepConfig, at_ns: u64, window: &PanedWindow<Half>) -> Option<Judged> {
    let asked = window.now.asked.union_len(&window.before.asked);
    let answered = window.now.answered.union_len(&window.before.answered);
    if asked < config.addresses || answered.saturating_mul(2) > asked {
        return None;
    }
    let n_asked = window.now.n_asked.saturating_add(window.before.n_asked);
    let is_persistent = n_asked >= asked.saturating_mul(PER_ADDRESS);
    // Who asks but once needs no waiting for.
    let is_repeated = n_asked >= asked.saturating_mul(2);
    let is_early = is_repeated && at_ns.saturating_sub(window.first_ns) < ROUND_NS;
    Some(Judged {
        asked,
        answered,
        is_proven: answered >= ANSWERS && !is_persistent && !is_early,
        is_early,
    })
}

fn finding(config: &ArpSweepConfig, mac: &Mac, station: &Station, judged: &Judged) -> Finding {
    let (asked, answered) = (judged.asked, judged.answered);
    let evidence = [
        ("addresses_asked", asked, config.addresses, 0.9),
        ("addresses_answered", answered, asked / 2, 0.1),
    ];
    let score = poisson_score(f64::from(asked), f64::from(config.addresses) / 10.0);
    Finding {
        detector: Detector::ArpSweep,
        family: Family::ArpSweep,
        entity: Entity::Station(*mac),
        window_ns: 2 * config.half_ns,
        first_ns: station.window.first_ns,
        last_ns: station.window.last_ns,
        score,
        p_value: p_value(score),
        grades: if judged.is_proven {
            Detector::ArpSweep.grades()
        } else {
            Grades::SHAPE
        },
        features: evidence
            .map(|(name, observed, expected, share)| Evidence {
                name,
                observed: f64::from(observed),
                expected: f64::from(expected) / 10.0,
                share,
            })
            .to_vec(),
        notes: Vec::new(),
        sources: station.sender.into_iter().collect(),
        n_sources: 1,
        is_spoofed: false,
        destination_mac: None,
        destinations: station.named.clone(),
        n_destinations: u64::from(asked),
        ports: Vec::new(),
        n_ports: 0,
        protocol: 0,
    }
}

impl ArpSweepDetector {
    pub(in crate::detect) fn take(&mut self, seen: &Seen<'_>, arp: &Arp) {
        let half_ns = self.config.half_ns;
        if arp.operation == Operation::Reply {
            // The one who asked is the target; it is known by the frame's address.
            let asker = seen.sample.head.destination_mac;
            if let Some(station) = self.stations.get_mut(&asker) {
                let value = u64::from(u32::from(arp.sender));
                station
                    .window
                    .at(seen.at_ns, half_ns)
                    .answered
                    .insert(value);
            }
            return;
        }
        if arp.is_gratuitous() {
            return;
        }
        let asked = self.wanted.get_or_insert_with(arp.target, Wanted::default);
        asked.last_ns = seen.at_ns;
        let [a, b, c, d, e, f] = arp.sender_mac;
        asked
            .by
            .insert(u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
        let station = self
            .stations
            .get_or_insert_with(arp.sender_mac, Station::default);
        if !arp.sender.is_unspecified() {
            station.sender = Some(IpAddr::V4(arp.sender));
        }
        let half = station.window.at(seen.at_ns, half_ns);
        half.asked.insert(u64::from(u32::from(arp.target)));
        half.n_asked = half.n_asked.saturating_add(1);
        let target = IpAddr::V4(arp.target);
        if station.named.len() < NAMED && !station.named.contains(&target) {
            station.named.push(target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_station_that_others_ask_for_is_wanted() {
        let own = Ipv4Addr::new(10, 0, 0, 1);
        let station = Station {
            sender: Some(IpAddr::V4(own)),
            ..Station::default()
        };
        let mut wanted = Bounded::new("arp_sweep_wanted", 8, 1);
        assert!(!station.is_wanted(&wanted));
        for (mac, is_wanted) in [(1, false), (1, false), (2, true)] {
            wanted
                .get_or_insert_with(own, Wanted::default)
                .by
                .insert(mac);
            assert_eq!(station.is_wanted(&wanted), is_wanted, "{mac}");
        }
        assert!(!Station::default().is_wanted(&wanted), "without an address");
    }
}
