//! Thresholds of the shape detectors: behaviour that no ordinary client shows, whatever its host's
//! history.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Behaviour with a known shape, from flow updates. Counts decay with a time constant of 5 s unless
/// noted otherwise: a steady rate settles at five times itself, a burst counts at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ShapeConfig {
    /// Number of connection attempts of one source to few ports of one host, nearly all
    /// unsuccessful. A client whose server is down retries a few times per second at most.
    pub attempts: f64,
    /// Number of unsuccessful connection attempts of one source to few ports of one host by SYNs
    /// without TCP options, which no operating system sends.
    pub bare_attempts: f64,
    /// Number of connection attempts of many sources to one host, nearly all unsuccessful.
    pub scattered_attempts: f64,
    /// Number of unanswered UDP flows of many sources to one host.
    pub scattered_datagrams: f64,
    /// Number of echo requests of many sources to one host.
    pub scattered_echoes: f64,
    /// Number of TCP flows of many sources to one host that begin without a handshake and are reset
    /// or unanswered, and of packets as in `stray_packets`.
    pub scattered_stray: f64,
    /// Number of packets of one source to one host that belong to no conversation: resets, and
    /// packets of an IP protocol that the host does not answer; five times as many of IGMP.
    pub stray_packets: f64,
    /// Minimum number of sources of a distributed attack.
    pub scattered_sources: f64,
    /// Number of short web sessions of one source with one host, some of them at the same time; ten times as
    /// many one after the other. A browser reuses its connections.
    pub web_sessions: f64,
    /// Number of requests of one source to one web server over connections that stay; twice as many
    /// to any other service, whose clients are programs.
    pub web_requests: f64,
    /// Number of nearly silent web connections of one source to one host that are open at the same
    /// time. A browser opens six. Eight of any service that send piece after piece and are never
    /// answered are enough; six times as many that are answered, for other services than the web.
    pub web_open: u32,
    /// Number of unanswered UDP flows of one source to few ports of one host; 1.6 times as many to
    /// port 53.
    pub datagram_flows: f64,
    /// Number of echo requests of one source to one host. `ping` sends one per second, and at most
    /// five per second without privileges.
    pub echoes: f64,
    /// Number of unsolicited packets from services used for amplification.
    pub reflected: f64,
    /// Minimum number of services that they come from.
    pub reflectors: f64,
    /// Minimum mean length of them, bytes.
    pub reflected_length: f64,
    /// Number of SYN-ACKs without a handshake in progress, with a time constant of 60 s.
    pub unasked: f64,
    /// Minimum number of hosts that they come from.
    pub unasked_hosts: f64,
    /// Number of short sessions with a service that authenticates with a password, with a time
    /// constant of 30 s.
    pub password_sessions: f64,
    /// Number of short, similar sessions with any other service but the web, with a time constant
    /// of 30 s.
    pub alike_sessions: f64,
    /// Maximum coefficient of variation of the packet counts of similar sessions.
    pub alike: f64,
    /// Minimum number of regular contacts with one service.
    pub beacon_contacts: u32,
    /// Ports of web servers.
    pub web_ports: Vec<u16>,
    /// Maximum number of pairs of hosts tracked, about 200 bytes each.
    #[schemars(extend("x-restart" = true))]
    pub max_pairs: usize,
    /// Maximum number of hosts tracked, about 200 bytes each.
    #[schemars(extend("x-restart" = true))]
    pub max_victims: usize,
}

impl Default for ShapeConfig {
    fn default() -> Self {
        Self {
            attempts: 30.0,
            bare_attempts: 8.0,
            scattered_attempts: 100.0,
            scattered_datagrams: 300.0,
            scattered_echoes: 150.0,
            scattered_stray: 200.0,
            stray_packets: 100.0,
            scattered_sources: 30.0,
            web_sessions: 25.0,
            web_requests: 750.0,
            web_open: 16,
            datagram_flows: 25.0,
            echoes: 40.0,
            reflected: 25.0,
            reflectors: 5.0,
            reflected_length: 150.0,
            unasked: 10.0,
            unasked_hosts: 2.0,
            password_sessions: 12.0,
            alike_sessions: 25.0,
            alike: 0.35,
            beacon_contacts: 20,
            web_ports: vec![
                80, 81, 443, 591, 3000, 5000, 8000, 8008, 8080, 8081, 8088, 8443, 8888,
            ],
            max_pairs: 65_536,
            max_victims: 8_192,
        }
    }
}
