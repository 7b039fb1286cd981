//! Floods of one local host, from its rows ten times a second.

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::Detect;
use super::Detector;
use super::attribution::{Attributed, Attribution, Quantity};
use super::family::Family;
use super::finding::{Entity, Evidence, Finding, p_value, poisson_score};
use super::grade::Grades;
use crate::address::to_ip;
use crate::config::{Config, FloodConfig, SECOND_NS};
use crate::features::baseline::Baseline;
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::{Answered, HostLook};
use crate::flow::is_group;

/// Number of kinds of packets that are counted.
const N_QUANTITIES: usize = 6;
/// Times the limit from which half as many looks are enough.
const PLAIN: f64 = 3.0;

/// Part of the fragments from which they are crafted: one of a datagram's is enough.
const CRAFTED_SHARE: f64 = 0.01;
/// Times the limit up to which reports and media are no flood, whatever a host usually gets.
const ONE_WAY: f64 = 10.0;
/// Share of datagrams that a receiver answers: one in fifty, as QUIC does with offloads.
const ANSWERED: f64 = 0.02;
/// Time beyond a look's own that looks may be apart and be one after the other.
const SILENCE_NS: u64 = 50_000_000;

const QUANTITIES: [Quantity; N_QUANTITIES] = [
    Quantity::Syn,
    Quantity::Ack,
    Quantity::Udp,
    Quantity::Icmp,
    Quantity::Fragment,
    Quantity::Other,
];

/// State of a host for one kind of flood.
#[derive(Clone, Copy, Debug, Default)]
struct Gauge {
    normal: Baseline,
    /// Packets of the running second.
    sum: f64,
    /// Looks in a row above the limit.
    n_high: u32,
    since_ns: u64,
    /// Estimates of peers and ports when it began.
    peers_before: f64,
    ports_before: f64,
    n_since: f64,
    reported_ns: u64,
    scanner: Option<Scanner>,
}

/// Source of packets that are a scan and no flood, while it is among the heavy ones.
#[derive(Clone, Copy, Debug)]
struct Scanner {
    address: Address,
    /// Last look at which it scanned.
    until_ns: u64,
    /// True where the growth of ports is counted anew, and is not much to judge by yet.
    is_renewed: bool,
}

/// Packets after which the growth of ports is counted anew: a host that scanned may go on to flood.
/// Fewer than there are ports would say nothing, as the estimate of ports is too coarse.
const RENEW: f64 = 3_000.0;

#[derive(Clone, Debug, Default)]
struct Host {
    gauges: [Gauge; N_QUANTITIES],
    second_ns: u64,
    last_ns: u64,
    has_sent: bool,
    n_peers: f64,
    n_ports: f64,
}

impl Priority for Host {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

/// State of [`FloodDetector`] that is kept over restarts: baselines by host.
pub(crate) type Learned = Vec<(Address, [Baseline; N_QUANTITIES])>;

/// Rate of one kind of packets at one look, with what excuses it.
struct Reading {
    pps: f64,
    prior_pps: f64,
    /// Answered as conversations are.
    is_answered: bool,
    /// Nothing is learnt from what nobody answers: a flood that grows slowly would become usual.
    is_learnt: bool,
    /// Many flows or many sources: no transfer looks like this.
    is_dispersed: bool,
}

#[derive(Debug)]
pub(crate) struct FloodDetector {
    config: FloodConfig,
    hosts: Bounded<Address, Host>,
}

impl Detect for FloodDetector {
    type Learned = Learned;

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.flood, config.hash_seed);
        Self {
            config: config.clone(),
            hosts: Bounded::new("flood_hosts", config.max_local, hash_seed),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.flood.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.hosts.usage());
    }

    /// Copies the baselines of each host.
    fn learned(&self) -> Learned {
        let normals = |host: &Host| host.gauges.map(|gauge| gauge.normal);
        let hosts = self.hosts.iter();
        hosts.map(|(key, host)| (*key, normals(host))).collect()
    }

    /// Takes in what another run learned.
    fn restore(&mut self, learned: Learned) {
        for (address, normals) in learned {
            let host = self.hosts.get_or_insert_with(address, Host::default);
            for (gauge, normal) in host.gauges.iter_mut().zip(normals) {
                gauge.normal = normal;
            }
        }
    }
}

impl FloodDetector {
    /// Takes what a host's rows hold as its past: only what they grow by says something.
    pub(crate) fn begin_from(&mut self, at_ns: u64, look: &HostLook) {
        let host = self.hosts.get_or_insert_with(look.address, Host::default);
        (host.n_peers, host.n_ports) = (look.n_peers, look.n_ports);
        (host.second_ns, host.last_ns) = (at_ns, at_ns);
        host.has_sent |= look.from.packets > 0;
    }

    /// Judges one host's look.
    pub(crate) fn look(
        &mut self,
        at_ns: u64,
        look: &HostLook,
        answered: &Answered,
        attribution: &Attribution<'_>,
        findings: &mut Vec<Finding>,
    ) {
        let config = &self.config;
        let host = self.hosts.get_or_insert_with(look.address, || Host {
            second_ns: at_ns,
            n_peers: 0.0,
            ..Host::default()
        });
        if host.second_ns == 0 {
            host.second_ns = at_ns;
        }
        // A host without packets is in no look: it was silent in those between.
        let looked_ns = (look.elapsed_s * 1e9) as u64;
        if at_ns.saturating_sub(host.last_ns) > looked_ns.saturating_add(SILENCE_NS) {
            host.gauges.iter_mut().for_each(|gauge| gauge.n_high = 0);
        }
        host.last_ns = at_ns;
        host.has_sent |= look.from.packets > 0;
        let is_second = at_ns.saturating_sub(host.second_ns) >= SECOND_NS;
        let second_s = at_ns.saturating_sub(host.second_ns) as f64 / 1e9;
        for (gauge, quantity) in host.gauges.iter_mut().zip(QUANTITIES) {
            let reading = read(config, quantity, look, answered, host.has_sent);
            let before = (host.n_peers, host.n_ports);
            gauge.follow(at_ns, quantity, look, &reading, config, before);
            if is_second {
                gauge.close_second(second_s);
            }
            if let Some(finding) = gauge.judge(at_ns, quantity, look, &reading, config, attribution)
            {
                findings.push(named(finding, quantity, answered));
            }
        }
        if is_second {
            host.second_ns = at_ns;
        }
        (host.n_peers, host.n_ports) = (look.n_peers, look.n_ports);
    }
}

fn read(
    config: &FloodConfig,
    quantity: Quantity,
    look: &HostLook,
    answered: &Answered,
    has_sent: bool,
) -> Reading {
    let (toward, from) = (&look.toward, &look.from);
    let n = quantity.of(toward) as f64;
    let rate = |n: f64| n / look.elapsed_s;
    let share = |part: u64, of: f64| part as f64 > of * n;
    match quantity {
        // Who completes a handshake sends an ACK for every SYN at least. A host that opens as many
        // connections as come in is no victim.
        Quantity::Syn => Reading {
            is_dispersed: true,
            ..reading(
                rate(n),
                config.syn_pps,
                is_completing(look, answered) || is_client_refused(look),
            )
        },
        // A receiver acknowledges: one packet in two, with coalescing one in fifty. Silence counts
        // only from a host that was ever heard.
        Quantity::Ack => Reading {
            is_dispersed: share(from.n_rst, 0.3) || (has_sent && share(toward.n_new_flows, 0.2)),
            ..reading(
                rate(n) - answered.tcp_pps,
                config.ack_pps,
                share(from.n_ack, 0.01) && !share(from.n_rst, 0.3),
            )
        },
        // Groups answer nothing, and reports and media get no answer: they are judged where they are
        // far more than a site has of them. What the host sends beside its known conversations counts
        // as an answer to what comes in beside those.
        Quantity::Udp => {
            let excused = answered.udp_pps + answered.one_way_pps.min(ONE_WAY * config.udp_pps);
            let pps = rate(n) - excused;
            let back_pps = rate(from.n_udp as f64) - answered.udp_back_pps;
            Reading {
                is_dispersed: share(toward.n_new_flows, 0.05),
                ..reading(
                    pps,
                    config.udp_pps,
                    back_pps >= ANSWERED * pps || is_group(&look.address),
                )
            }
        }
        // Errors that answer the host's own packets are no flood (it scans, or its peer is down).
        Quantity::Icmp => {
            let is_error = share(from.n_udp + from.n_syn, 0.3) && !share(from.n_icmp, 0.5);
            Reading {
                is_learnt: is_error || share(from.n_icmp, 0.5),
                is_dispersed: true,
                ..reading(rate(n), config.icmp_pps, is_error)
            }
        }
        // No conversation excuses fragments that no stack makes.
        Quantity::Fragment => Reading {
            is_dispersed: share(toward.n_new_flows, 0.05),
            ..reading(
                rate(n),
                config.fragment_pps,
                (answered.has_fragments || share(from.n_fragments, 0.05))
                    && !share(toward.n_bad_fragments, CRAFTED_SHARE),
            )
        },
        // A tunnel (ESP, GRE) goes both ways, and so does the end of connections. The flow stage says
        // what the packets are.
        Quantity::Other => Reading {
            is_dispersed: share(toward.n_new_flows, 0.2) && answered.stray.is_some(),
            ..reading(
                rate(n) - answered.other_pps,
                config.ack_pps,
                share(from.n_other(), 0.05),
            )
        },
    }
}

const fn reading(pps: f64, prior_pps: f64, is_answered: bool) -> Reading {
    Reading {
        pps,
        prior_pps,
        is_answered,
        is_learnt: is_answered,
        is_dispersed: false,
    }
}

/// True where SYNs towards the host lead to connections. ACKs of other connections could hide a
/// flood, so what the flow stage saw of handshakes goes first.
fn is_completing(look: &HostLook, answered: &Answered) -> bool {
    if answered.asked_per_s >= 100.0 {
        return answered.established_per_s >= 0.3 * answered.asked_per_s;
    }
    let background = answered.tcp_pps * look.elapsed_s;
    let acks = look.toward.n_ack as f64 - background;
    acks >= look.toward.n_syn as f64 || look.from.n_syn > look.toward.n_syn
}

/// True where programs that call `connect` are refused at once: their SYNs carry options, and what
/// comes back is resets. That is a service that is down, which the flow stage judges by its clients.
fn is_client_refused(look: &HostLook) -> bool {
    let (toward, from) = (&look.toward, &look.from);
    let bare = if sensor_common::is_v4(&look.address) {
        60
    } else {
        74
    };
    let is_mostly_syn = toward.n_syn.saturating_mul(10) >= toward.packets.saturating_mul(9);
    let has_options = toward.bytes > (bare + 4) * toward.packets;
    is_mostly_syn && has_options && from.n_rst.saturating_mul(2) >= toward.n_syn
}

/// Names a finding by what the flow stage knows of the packets.
fn named(mut finding: Finding, quantity: Quantity, answered: &Answered) -> Finding {
    if quantity == Quantity::Other
        && let Some(kind) = answered.stray
    {
        finding.family = Family::of_stray(kind);
        // How a protocol of one direction looks, and one whose answers go another way.
        finding.grades = Grades::SHAPE;
        finding.protocol = kind.protocol();
    }
    let reflected =
        answered.reflected_pps >= 1000.0 && answered.reflected_pps > 0.5 * answered.one_way_udp_pps;
    if finding.family == Family::UdpFlood && reflected {
        finding.family = Family::Reflection;
    }
    finding
}

impl Gauge {
    fn follow(
        &mut self,
        at_ns: u64,
        quantity: Quantity,
        look: &HostLook,
        reading: &Reading,
        config: &FloodConfig,
        before: (f64, f64),
    ) {
        if reading.is_learnt {
            self.sum += reading.pps.max(0.0) * look.elapsed_s;
        }
        if reading.pps < self.limit(reading, config) || reading.is_answered {
            self.n_high = 0;
            return;
        }
        if self.n_high == 0 {
            self.begin(at_ns, look, before);
        }
        self.n_since += quantity.of(&look.toward) as f64;
        self.n_high = self.n_high.saturating_add(1);
    }

    /// Begins with this look; estimates of peers and ports grow from those given.
    fn begin(&mut self, at_ns: u64, look: &HostLook, before: (f64, f64)) {
        self.since_ns = at_ns.saturating_sub((look.elapsed_s * 1e9) as u64);
        (self.peers_before, self.ports_before) = before;
        self.n_since = 0.0;
        self.n_high = 0;
        self.scanner = None;
    }

    fn limit(&self, reading: &Reading, config: &FloodConfig) -> f64 {
        self.normal
            .limit(config.level_factor, config.spread_factor)
            .max(reading.prior_pps)
    }

    fn close_second(&mut self, second_s: f64) {
        self.normal
            .learn(self.sum / second_s.max(0.1), self.n_high > 0);
        self.sum = 0.0;
    }

    fn judge(
        &mut self,
        at_ns: u64,
        quantity: Quantity,
        look: &HostLook,
        reading: &Reading,
        config: &FloodConfig,
        attribution: &Attribution<'_>,
    ) -> Option<Finding> {
        let is_plain = reading.pps >= PLAIN * self.limit(reading, config);
        let needed = if reading.is_dispersed {
            config.n_ticks * if is_plain { 1 } else { 2 }
        } else {
            config.n_ticks_concentrated
        };
        // Once a second is enough to say that it goes on.
        let is_due = at_ns.saturating_sub(self.reported_ns) >= SECOND_NS;
        if self.n_high < needed || !is_due {
            return None;
        }
        let attributed =
            attribution.heavy(quantity, reading.pps * look.elapsed_s, config.heavy_share);
        if matches!(quantity, Quantity::Syn | Quantity::Other)
            && self.sets_aside(at_ns, quantity, look, &attributed)
        {
            return None;
        }
        self.reported_ns = at_ns;
        let limit = self.limit(reading, config);
        let score = poisson_score(reading.pps * look.elapsed_s, limit * look.elapsed_s);
        let peers = (look.n_peers - self.peers_before).max(0.0) as u64;
        let is_spoofed = attributed.sources.is_empty();
        let scanned_ns = self.scanner.map_or(0, |scanner| scanner.until_ns);
        let first_ns = self.since_ns.max(scanned_ns);
        Some(Finding {
            detector: Detector::HostRates,
            family: family(quantity),
            entity: Entity::Victim(look.address),
            window_ns: (look.elapsed_s * 1e9) as u64,
            first_ns,
            last_ns: look.last_ns.max(first_ns),
            score,
            p_value: p_value(score),
            grades: grades(quantity),
            notes: Vec::new(),
            features: vec![
                evidence(rate_name(quantity), reading.pps, limit, 1.0),
                evidence(
                    "packets_from_host_per_s",
                    look.from.packets as f64 / look.elapsed_s,
                    reading.pps,
                    0.0,
                ),
            ],
            n_sources: if is_spoofed {
                peers.max(1)
            } else {
                attributed.sources.len() as u64
            },
            sources: attributed.sources.iter().map(to_ip).collect(),
            is_spoofed,
            destination_mac: None,
            destinations: vec![to_ip(&look.address)],
            n_destinations: 1,
            ports: Vec::new(),
            n_ports: 0,
            protocol: ip_protocol(quantity),
        })
    }

    /// Leaves a scan to its own detector: true where these packets are one, or are the first after
    /// one. A flood has a start and a reason of its own, not those of a scan that another host made.
    fn sets_aside(
        &mut self,
        at_ns: u64,
        quantity: Quantity,
        look: &HostLook,
        attributed: &Attributed,
    ) -> bool {
        let gone = |scanner: Scanner| !attributed.sources.contains(&scanner.address);
        if self.scanner.is_some_and(gone) {
            self.begin(at_ns, look, (look.n_peers, look.n_ports));
            self.n_since = quantity.of(&look.toward) as f64;
            self.n_high = 1;
            return true;
        }
        let renewal = RENEW.max(look.n_ports);
        let is_renewed = self.scanner.is_some_and(|scanner| scanner.is_renewed);
        let is_early = is_renewed && self.n_since < 0.5 * renewal;
        if !is_early && !self.is_scan(look, attributed.top_share) {
            return false;
        }
        let Some(address) = attributed.sources.first() else {
            return true;
        };
        let renews = self.n_since >= renewal;
        if renews {
            (self.since_ns, self.ports_before, self.n_since) = (at_ns, look.n_ports, 0.0);
        }
        self.scanner = Some(Scanner {
            address: self.scanner.map_or(*address, |scanner| scanner.address),
            until_ns: at_ns,
            is_renewed: is_renewed || renews,
        });
        true
    }

    /// One source that knocks on many ports is a scan, which has its own detector; the RSTs or new
    /// ports tell it from a flood of one service.
    fn is_scan(&self, look: &HostLook, top_share: f64) -> bool {
        let grown = look.n_ports - self.ports_before;
        let new_ports = grown >= 20.0 && grown > 0.3 * self.n_since.min(3_000.0);
        let refused = look.from.n_rst as f64 > 0.5 * look.toward.n_syn as f64;
        top_share >= 0.5 && (new_ports || (refused && look.n_ports >= 300.0))
    }
}

const fn evidence(name: &'static str, observed: f64, expected: f64, share: f64) -> Evidence {
    Evidence {
        name,
        observed,
        expected,
        share,
    }
}

/// Silence is an outcome; echoes and fragments are judged by their number.
const fn grades(quantity: Quantity) -> Grades {
    match quantity {
        Quantity::Icmp | Quantity::Fragment => Grades::SHAPE,
        Quantity::Syn | Quantity::Ack | Quantity::Udp | Quantity::Other => {
            Detector::HostRates.grades()
        }
    }
}

const fn family(quantity: Quantity) -> Family {
    match quantity {
        Quantity::Syn => Family::SynFlood,
        Quantity::Ack | Quantity::Other => Family::AckFlood,
        Quantity::Udp => Family::UdpFlood,
        Quantity::Icmp => Family::IcmpFlood,
        Quantity::Fragment => Family::FragmentFlood,
    }
}

const fn rate_name(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::Syn => "syn_pps",
        Quantity::Ack => "unmatched_ack_pps",
        Quantity::Other => "odd_flags_or_protocol_pps",
        Quantity::Udp => "one_way_udp_pps",
        Quantity::Icmp => "icmp_pps",
        Quantity::Fragment => "fragment_pps",
    }
}

/// 0: any.
const fn ip_protocol(quantity: Quantity) -> u8 {
    match quantity {
        Quantity::Syn | Quantity::Ack => protocol::TCP,
        Quantity::Udp => protocol::UDP,
        Quantity::Icmp => protocol::ICMP,
        Quantity::Fragment | Quantity::Other => 0,
    }
}
