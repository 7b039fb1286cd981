//! Settings as the datapath and the loop that drives the engine take them: one translation for the
//! running sensor and for replays under its configuration.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use sensor_capture::drive::Pace;
use sensor_capture::kernel::LoadOptions;
use sensor_capture::player::Conditions;
use sensor_common::Address;
use sensor_common::datapath::{Clock, Events, TunnelPeer};
use sensor_engine::from_ip;

use crate::config::{Settings, TickSettings, TunnelPeerSettings};
use sensor_respond::Network;

/// Times between looks.
pub const fn pace(tick: &TickSettings) -> Pace {
    Pace::new(
        tick.hosts_ms.saturating_mul(1_000_000),
        tick.n_hosts_per_flows(),
    )
}

/// Options that the datapath is loaded with, hashing under `seed`.
pub fn load_options(settings: &Settings, seed: u64) -> LoadOptions {
    let capture = &settings.capture;
    let mut events = Events::DEFAULT;
    if settings.output.events || (settings.ring.enabled && settings.ring.first_packets) {
        events.0 |= Events::FLOW_STARTED;
    }
    LoadOptions {
        seed,
        events,
        flow_buckets_per_cpu: capture.flow_buckets_per_cpu,
        admit_per_second: capture.admitted_flows_per_s,
        tunnels: capture.decapsulate(),
        tunnel_peers: capture.tunnel_peers.iter().map(tunnel_peer).collect(),
        clock: if capture.precise_clock {
            Clock::Precise
        } else {
            Clock::Coarse
        },
        ..LoadOptions::fixed()
    }
}

fn tunnel_peer(peer: &TunnelPeerSettings) -> TunnelPeer {
    let (local, local_mask) = words(&peer.local);
    let (remote, remote_mask) = words(&peer.remote);
    TunnelPeer {
        local,
        local_mask,
        remote,
        remote_mask,
    }
}

/// Address and mask of a network, in the datapath's form.
fn words(Network(network): &Network) -> (Address, Address) {
    let length = match network {
        IpNet::V4(v4) => 96 + u32::from(v4.prefix_len()),
        IpNet::V6(v6) => u32::from(v6.prefix_len()),
    };
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    let mask = IpAddr::V6(Ipv6Addr::from_bits(mask));
    (from_ip(network.network()), from_ip(mask))
}

/// Conditions of a replay: the same settings give the same output every time, so the secret of the
/// hashes is a known one.
pub fn of_replay(settings: &Settings) -> Conditions {
    Conditions {
        load: load_options(settings, LoadOptions::fixed().seed),
        pace: pace(&settings.tick),
        engine: settings.engine.clone(),
    }
}

/// Seed of the hashes of a replay, which everybody knows.
pub fn known_seed() -> u64 {
    LoadOptions::fixed().seed
}

/// Conditions of flow records, hashing under `seed`: nothing is sampled, for there is no payload, and what
/// works with single packets is off: the models, and the naming by them.
pub fn of_records(settings: &Settings, seed: u64) -> Conditions {
    let mut conditions = of_replay(settings);
    conditions.load.seed = seed;
    conditions.load.events = Events::NONE;
    let engine = &mut conditions.engine;
    engine.from_records = true;
    engine.scoring.models.clear();
    engine.naming.enabled = false;
    engine.learned.enabled = false;
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnel_peers_join_their_networks_either_way_round() {
        let network = |text: &str| text.parse().expect("a network");
        let address = |text: &str| from_ip(text.parse().expect("an address"));
        let cases = [
            (
                "192.0.2.1",
                "198.51.100.0/24",
                "192.0.2.1",
                "198.51.100.77",
                true,
            ),
            (
                "192.0.2.1",
                "198.51.100.0/24",
                "198.51.100.77",
                "192.0.2.1",
                true,
            ),
            (
                "192.0.2.1",
                "198.51.100.0/24",
                "192.0.2.2",
                "198.51.100.77",
                false,
            ),
            (
                "192.0.2.1",
                "198.51.100.0/24",
                "192.0.2.1",
                "198.51.101.1",
                false,
            ),
            ("0.0.0.0/0", "10.0.0.1", "192.0.2.1", "10.0.0.1", true),
            ("0.0.0.0/0", "10.0.0.1", "2001:db8::1", "10.0.0.1", false),
            (
                "2001:db8::/32",
                "2001:db8:1::2",
                "2001:db8:9::1",
                "2001:db8:1::2",
                true,
            ),
            (
                "2001:db8::/32",
                "2001:db8:1::2",
                "2001:db9::1",
                "2001:db8:1::2",
                false,
            ),
        ];
        for (local, remote, a, b, expected) in cases {
            let peer = tunnel_peer(&TunnelPeerSettings {
                local: network(local),
                remote: network(remote),
            });
            assert_eq!(
                peer.joins(&address(a), &address(b)),
                expected,
                "{local} {a}"
            );
        }
    }

    #[test]
    fn default_settings_are_the_default_conditions() {
        let (ours, default) = (of_replay(&Settings::default()), Conditions::default());
        assert_eq!(ours.pace, default.pace);
        assert_eq!(format!("{:?}", ours.load), format!("{:?}", default.load));
        assert_eq!(ours.engine, default.engine);
    }
}
