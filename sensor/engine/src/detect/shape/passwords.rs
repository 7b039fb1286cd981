//! Guessing of passwords: one short session after the other, all of one shape, with one service.

use super::{Detector, Entity, Evidence, Family, Finding, evidence, of_pair};
use crate::config::ShapeConfig;
use crate::features::pair::{Pair, PairKey, slow};

/// Packets of a mean session, both ways: fewer is a probe, more is work.
const MOST_PACKETS: f64 = 60.0;
/// Answers of a name server over TCP come and go like that.
const DNS: [u16; 2] = [53, 853];

pub(super) fn judge(
    config: &ShapeConfig,
    auth_ports: &[u16],
    key: &PairKey,
    pair: &Pair,
) -> Option<Finding> {
    let sessions = pair.slow.get(slow::SESSIONS);
    let (packets, deviation) = pair.session_shape();
    let is_auth = auth_ports.contains(&pair.port);
    let limit = if is_auth {
        config.password_sessions
    } else {
        config.alike_sessions
    };
    let is_alike = is_auth || (deviation <= config.alike && !is_other(config, pair.port));
    if sessions < limit || packets > MOST_PACKETS || !is_alike {
        return None;
    }
    let features = vec![
        evidence("short_sessions", sessions, limit),
        Evidence {
            name: "packets_per_session",
            observed: packets,
            expected: MOST_PACKETS,
            share: 0.0,
        },
    ];
    let finding = of_pair(Detector::Brute, Family::BruteForce, key, pair, features);
    Some(Finding {
        entity: Entity::Source(key.source),
        ..finding
    })
}

fn is_other(config: &ShapeConfig, port: u16) -> bool {
    DNS.contains(&port) || config.web_ports.contains(&port)
}
