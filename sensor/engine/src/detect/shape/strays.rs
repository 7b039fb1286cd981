//! Packets of no conversation in numbers: floods of resets and FINs, and of IP protocols that the host
//! does not answer.

use sensor_common::Address;

use super::{Detector, Evidence, Family, Finding, Scattered, evidence};
use crate::address::to_ip;
use crate::config::SECOND_NS;
use crate::config::ShapeConfig;
use crate::detect::finding::{Entity, p_value, poisson_score};
use crate::detect::grade::Grades;
use crate::features::stray::{Stray, StrayKind, count};

/// Share that must have failed for a proof: silence alone is how a protocol of one direction looks, and
/// one whose answers go another way.
const FAILED: f64 = 0.5;
/// Seconds that silence must last.
const LASTS_S: f64 = 2.0;
/// Packets for each distinct port below which it is a scan, which has its own detector.
const PER_PORT: f64 = 4.0;
/// Ports above which their number is not known well enough.
const MOST_PORTS: f64 = 100.0;
/// Times the limit for reports of group membership, which a network of many groups has in bursts.
const IGMP_TIMES: f64 = 5.0;

/// One source.
pub(super) fn judge(
    config: &ShapeConfig,
    (source, host): (&Address, &Address),
    kind: StrayKind,
    stray: &Stray,
) -> Option<Finding> {
    let packets = stray.counts.get(count::PACKETS);
    // No stack begins with anything but a SYN.
    let limit = match kind {
        StrayKind::Fin => config.attempts,
        StrayKind::Igmp => IGMP_TIMES * config.stray_packets,
        _ => config.stray_packets,
    };
    let has_failed = stray.counts.get(count::FAILED) >= FAILED * packets;
    if packets < limit || is_scan(kind, stray) || !has_failed && stray.age_s() < LASTS_S {
        return None;
    }
    // Nothing answers a reset, and who closes connections that the other side forgot is told so:
    // balancers and pools do that by the hundred.
    let is_proof = has_failed && !matches!(kind, StrayKind::Reset | StrayKind::Fin);
    let grades = if is_proof {
        Detector::Strays.grades()
    } else {
        Grades::SHAPE
    };
    let features = features(stray, limit);
    let score = features
        .first()
        .map_or(0.0, |e| poisson_score(e.observed, e.expected));
    let ports = ports(kind, stray);
    Some(Finding {
        window_ns: 5 * SECOND_NS,
        first_ns: stray.since_ns,
        last_ns: stray.last_ns,
        score,
        p_value: p_value(score),
        grades,
        features,
        sources: vec![to_ip(source)],
        n_sources: 1,
        destinations: vec![to_ip(host)],
        n_destinations: 1,
        n_ports: ports.len() as u64,
        ports,
        protocol: kind.protocol(),
        ..Finding::new(
            Detector::Strays,
            Family::of_stray(kind),
            Entity::Victim(*host),
            stray.since_ns,
        )
    })
}

/// Many sources, spoofed or not.
pub(super) fn judge_scattered(
    config: &ShapeConfig,
    host: &Address,
    kind: StrayKind,
    stray: &Stray,
) -> Option<Finding> {
    let packets = stray.counts.get(count::PACKETS);
    let n_sources = stray.sources.len();
    let has_failed = stray.counts.get(count::FAILED) >= FAILED * packets;
    let is_flood = packets >= config.scattered_stray
        && n_sources >= config.scattered_sources
        && (has_failed || stray.age_s() >= LASTS_S);
    if !is_flood {
        return None;
    }
    let scattered = Scattered {
        detector: Detector::Strays,
        family: Family::of_stray(kind),
        host,
        n_sources: n_sources.max(packets),
        port: stray.port,
        protocol: kind.protocol(),
        first_ns: stray.since_ns,
        last_ns: stray.last_ns,
    };
    let mut finding = scattered.finding(features(stray, config.scattered_stray));
    if !has_failed {
        finding.grades = Grades::SHAPE;
    }
    Some(finding)
}

/// One source that tries many ports.
fn is_scan(kind: StrayKind, stray: &Stray) -> bool {
    let n_ports = stray.ports.len();
    let packets = stray.counts.get(count::PACKETS);
    kind.has_ports() && (n_ports > MOST_PORTS || packets < PER_PORT * n_ports)
}

fn ports(kind: StrayKind, stray: &Stray) -> Vec<u16> {
    if kind.has_ports() {
        vec![stray.port]
    } else {
        Vec::new()
    }
}

fn features(stray: &Stray, limit: f64) -> Vec<Evidence> {
    let packets = stray.counts.get(count::PACKETS);
    vec![
        evidence("packets_of_no_conversation", packets, limit),
        Evidence {
            name: "failed_share",
            observed: stray.counts.get(count::FAILED) / packets.max(1e-6),
            expected: 0.0,
            share: 0.0,
        },
    ]
}
