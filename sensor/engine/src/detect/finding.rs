//! What detectors say.

use std::net::IpAddr;

use sensor_common::Address;

use super::registry::Detector;
use crate::address::Mac;
use crate::note::Note;

/// Kinds of behaviour; labels as in the output contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    SynFlood,
    AckFlood,
    UdpFlood,
    IcmpFlood,
    FragmentFlood,
    Reflection,
    HttpFlood,
    SlowHttp,
    PortScan,
    HostSweep,
    ArpSweep,
    ArpSpoof,
    BruteForce,
    Beacon,
    DnsTunnel,
    IcmpTunnel,
    Exfiltration,
    LateralMovement,
    MalformedTraffic,
    VolumeAnomaly,
    BehaviourAnomaly,
}

impl Family {
    pub const ALL: [Self; 21] = [
        Self::SynFlood,
        Self::AckFlood,
        Self::UdpFlood,
        Self::IcmpFlood,
        Self::FragmentFlood,
        Self::Reflection,
        Self::HttpFlood,
        Self::SlowHttp,
        Self::PortScan,
        Self::HostSweep,
        Self::ArpSweep,
        Self::ArpSpoof,
        Self::BruteForce,
        Self::Beacon,
        Self::DnsTunnel,
        Self::IcmpTunnel,
        Self::Exfiltration,
        Self::LateralMovement,
        Self::MalformedTraffic,
        Self::VolumeAnomaly,
        Self::BehaviourAnomaly,
    ];

    pub const fn label(self) -> &'static str {
        match self {
            Self::SynFlood => "syn_flood",
            Self::AckFlood => "ack_flood",
            Self::UdpFlood => "udp_flood",
            Self::IcmpFlood => "icmp_flood",
            Self::FragmentFlood => "fragment_flood",
            Self::Reflection => "reflection",
            Self::HttpFlood => "http_flood",
            Self::SlowHttp => "slow_http",
            Self::PortScan => "port_scan",
            Self::HostSweep => "host_sweep",
            Self::ArpSweep => "arp_sweep",
            Self::ArpSpoof => "arp_spoof",
            Self::BruteForce => "brute_force",
            Self::Beacon => "beacon",
            Self::DnsTunnel => "dns_tunnel",
            Self::IcmpTunnel => "icmp_tunnel",
            Self::Exfiltration => "exfiltration",
            Self::LateralMovement => "lateral_movement",
            Self::MalformedTraffic => "malformed_traffic",
            Self::VolumeAnomaly => "volume_anomaly",
            Self::BehaviourAnomaly => "behaviour_anomaly",
        }
    }

    /// MITRE ATT&CK techniques (enterprise matrix).
    pub const fn technique(self) -> &'static str {
        match self {
            Self::SynFlood | Self::AckFlood => "T1499.001",
            Self::UdpFlood | Self::IcmpFlood | Self::FragmentFlood => "T1498.001",
            Self::Reflection => "T1498.002",
            Self::HttpFlood | Self::SlowHttp => "T1499.002",
            Self::PortScan => "T1046",
            Self::HostSweep | Self::ArpSweep => "T1018",
            Self::ArpSpoof => "T1557.002",
            Self::DnsTunnel => "T1071.004",
            Self::IcmpTunnel => "T1095",
            Self::Exfiltration => "T1048",
            Self::LateralMovement => "T1021",
            Self::MalformedTraffic => "T1499.004",
            Self::BruteForce => "T1110",
            Self::Beacon => "T1071.001",
            Self::VolumeAnomaly => "T1498",
            Self::BehaviourAnomaly => "T1071",
        }
    }

    pub const fn is_flood(self) -> bool {
        matches!(
            self,
            Self::SynFlood
                | Self::AckFlood
                | Self::UdpFlood
                | Self::IcmpFlood
                | Self::FragmentFlood
                | Self::Reflection
                | Self::HttpFlood
                | Self::SlowHttp
        )
    }
}

/// Whom a finding is about; what incidents are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entity {
    Victim(Address),
    Source(Address),
    /// A station on the link, where its IP address may be a lie.
    Station(Mac),
}

impl Entity {
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Victim(_) => "victim",
            Self::Source(_) => "source",
            Self::Station(_) => "station",
        }
    }

    /// Its address; of a station the link-local one that belongs to its Ethernet address (RFC 4291
    /// appendix A).
    pub const fn address(&self) -> Address {
        match self {
            Self::Victim(address) | Self::Source(address) => *address,
            Self::Station([a, b, c, d, e, f]) => [
                0xfe80_0000_u32.to_be(),
                0,
                u32::from_ne_bytes([*a ^ 2, *b, *c, 0xff]),
                u32::from_ne_bytes([0xfe, *d, *e, *f]),
            ],
        }
    }

    pub const fn station(&self) -> Option<Mac> {
        match self {
            Self::Station(mac) => Some(*mac),
            Self::Victim(_) | Self::Source(_) => None,
        }
    }
}

/// One number that speaks for the finding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    pub name: &'static str,
    pub observed: f64,
    pub expected: f64,
    /// Part of the score that it accounts for, 0 to 1.
    pub share: f64,
}

/// A score above its limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub detector: Detector,
    pub family: Family,
    pub entity: Entity,
    pub window_ns: u64,
    /// First and last packet of the behaviour in the window.
    pub first_ns: u64,
    pub last_ns: u64,
    /// `-log10(p_value)`.
    pub score: f64,
    pub p_value: f64,
    pub features: Vec<Evidence>,
    pub notes: Vec<Note>,
    /// Blamed addresses; empty where they are spoofed.
    pub sources: Vec<IpAddr>,
    pub n_sources: u64,
    pub is_spoofed: bool,
    pub destinations: Vec<IpAddr>,
    pub n_destinations: u64,
    pub ports: Vec<u16>,
    pub n_ports: u64,
    pub protocol: u8,
}

/// Scores above this say no more.
pub const MAX_SCORE: f64 = 300.0;

/// `-log10` of the Chernoff bound on a Poisson tail: `n` or more events where at most `expected`
/// are normal, P <= exp(-expected) (e expected / n)^n.
pub fn poisson_score(n: f64, expected: f64) -> f64 {
    let expected = expected.max(1e-9);
    if n <= expected || !n.is_finite() {
        return 0.0;
    }
    ((n * (n / expected).ln() - (n - expected)) / std::f64::consts::LN_10).min(MAX_SCORE)
}

/// The probability that belongs to a score.
pub fn p_value(score: f64) -> f64 {
    10f64.powf(-score)
}
