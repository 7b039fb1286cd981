//! Priors of the detectors of shapes: what no ordinary client does, whatever its host is used to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Behaviour with a definite shape, from flow updates. Counts fade with a time constant of 5 s
/// unless said otherwise: a steady rate settles at five times itself, a burst counts at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ShapeConfig {
    /// Attempts of one source on few ports of one host of which next to none becomes a
    /// connection. A client whose server is down tries again a few times a second at most.
    pub attempts: f64,
    /// The same of SYNs without options, which no stack of an operating system sends.
    pub bare_attempts: f64,
    /// Attempts of many sources on one host of which next to none becomes a connection.
    pub scattered_attempts: f64,
    /// Unanswered UDP flows of many sources to one host.
    pub scattered_datagrams: f64,
    /// Echo requests of many sources to one host.
    pub scattered_echoes: f64,
    /// TCP flows of many sources to one host that begin without a handshake and are refused or not
    /// answered.
    pub scattered_stray: f64,
    /// How many sources are many.
    pub scattered_sources: f64,
    /// Short web sessions of one source with one host. A browser keeps its connections.
    pub web_sessions: f64,
    /// Web connections of one source to one host, open at once and next to silent. A browser opens
    /// six.
    pub web_open: u32,
    /// Unanswered UDP flows of one source to few ports of one host; 1.6 times as
    /// many to port 53.
    pub datagram_flows: f64,
    /// Echo requests of one source to one host. `ping` sends one a second, and five a second at
    /// most without privilege.
    pub echoes: f64,
    /// Packets from amplifying services that were never asked.
    pub reflected: f64,
    /// Amplifying services that they come from, at least.
    pub reflectors: f64,
    /// Their mean length, bytes, at least.
    pub reflected_length: f64,
    /// SYN-ACKs to handshakes that were never begun, time constant of 60 s.
    pub unasked: f64,
    /// Hosts that they come from, at least.
    pub unasked_hosts: f64,
    /// Short sessions with a service that asks for a password, time constant of 30 s.
    pub password_sessions: f64,
    /// Short sessions with any other service but the web, where all are alike, of the same time
    /// constant.
    pub alike_sessions: f64,
    /// Standard deviation of the packets of sessions over their mean, up to which they are alike.
    pub alike: f64,
    /// Regular contacts with one service outside of the site; twice as many at periods from 20 s
    /// on, three times as many from 120 s on.
    pub beacon_contacts: u32,
    /// Ports of web servers.
    pub web_ports: Vec<u16>,
    /// Pairs followed, about 200 bytes each.
    #[schemars(extend("x-restart" = true))]
    pub max_pairs: usize,
    /// Hosts followed, about 200 bytes each.
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
            scattered_sources: 30.0,
            web_sessions: 25.0,
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
            beacon_contacts: 10,
            web_ports: vec![
                80, 81, 443, 591, 3000, 5000, 8000, 8008, 8080, 8081, 8088, 8443, 8888,
            ],
            max_pairs: 65_536,
            max_victims: 8_192,
        }
    }
}
