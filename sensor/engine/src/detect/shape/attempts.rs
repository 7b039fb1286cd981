//! Attempts to connect that lead nowhere: SYN floods far below the rates at which a link suffers,
//! and programs that hammer a port.

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::{ANSWERABLE_S, Detector, Evidence, Family, Finding, Scattered, evidence, of_pair};
use crate::config::ShapeConfig;
use crate::detect::grade::Grades;
use crate::features::pair::{Pair, PairKey, fast};
use crate::features::victim::{self, Victim};

/// Share of attempts that may become connections.
const COMPLETED: f64 = 0.1;
/// Share of a program's attempts that must have failed.
const FAILED: f64 = 0.3;
/// Attempts per distinct port below which it is a scan, which has its own detector.
const PER_PORT: f64 = 4.0;
/// Ports above which their number is not known well enough.
const MOST_PORTS: f64 = 100.0;

/// One source. A SYN with options comes from a program that calls `connect`: towards a web server
/// that is a flood of the application; a bare one was made by a tool.
pub(super) fn judge(config: &ShapeConfig, key: &PairKey, pair: &Pair) -> Option<Finding> {
    let attempts = pair.fast.get(fast::ATTEMPTS);
    let established = pair.fast.get(fast::ESTABLISHED);
    let is_bare = pair.fast.get(fast::BARE) > 0.5 * attempts;
    let limit = if is_bare {
        config.bare_attempts
    } else {
        config.attempts
    };
    // Of what programs ask the outcome is waited for: whether a service is down shows by it.
    let is_answerable = if is_bare {
        pair.age_s() >= ANSWERABLE_S
    } else {
        pair.fast.get(fast::FAILED) >= FAILED * attempts
    };
    if attempts < limit || established > COMPLETED * attempts || !is_answerable {
        return None;
    }
    let n_ports = pair.ports.len();
    if n_ports > MOST_PORTS || attempts < PER_PORT * n_ports {
        return None;
    }
    let family = if !is_bare && config.web_ports.contains(&pair.port) {
        Family::HttpFlood
    } else {
        Family::SynFlood
    };
    let features = vec![
        evidence("attempts_without_connection", attempts, limit),
        Evidence {
            name: "connections",
            observed: established,
            expected: 0.9 * attempts,
            share: 0.0,
        },
    ];
    Some(of_pair(Detector::Attempts, family, key, pair, features))
}

/// Segments of no connection from one source. Whoever's connections were forgotten, by a restart of the host or
/// by a middlebox, learns it by a reset and connects again, each once: who sends on and on and asks for nothing
/// does not. Keep-alives of a crowd behind one address may look so for a moment.
pub(super) fn judge_stray_of_one(
    config: &ShapeConfig,
    key: &PairKey,
    pair: &Pair,
) -> Option<Finding> {
    let stray = pair.fast.get(fast::STRAY);
    let asked = pair.fast.get(fast::ATTEMPTS);
    let established = pair.fast.get(fast::ESTABLISHED);
    let limit = config.scattered_stray;
    let n_ports = pair.stray_ports.len();
    let is_scan = n_ports > MOST_PORTS || stray < PER_PORT * n_ports;
    if stray < limit || asked.max(established) > COMPLETED * stray || is_scan {
        return None;
    }
    let features = vec![
        evidence("segments_of_no_connection", stray, limit),
        Evidence {
            name: "connections",
            observed: established,
            expected: stray,
            share: 0.0,
        },
    ];
    let finding = of_pair(Detector::Attempts, Family::AckFlood, key, pair, features);
    Some(Finding {
        grades: Grades::SHAPE,
        ..finding
    })
}

/// Many sources, spoofed or not.
pub(super) fn judge_scattered(
    config: &ShapeConfig,
    host: &Address,
    victim: &Victim,
) -> Option<Finding> {
    let attempts = victim.fast.get(victim::fast::ATTEMPTS);
    let established = victim.fast.get(victim::fast::ESTABLISHED);
    let n_sources = victim.sources.len();
    let is_flood = attempts >= config.scattered_attempts
        && established <= COMPLETED * attempts
        && n_sources >= config.scattered_sources
        && victim.age_s(victim.attempts_since_ns) >= ANSWERABLE_S;
    if !is_flood {
        return None;
    }
    let scattered = Scattered {
        detector: Detector::Attempts,
        family: Family::SynFlood,
        host,
        n_sources: n_sources.max(attempts),
        port: victim.port,
        protocol: protocol::TCP,
        first_ns: victim.attempts_since_ns,
        last_ns: victim.last_ns,
    };
    let limit = config.scattered_attempts;
    Some(scattered.finding(vec![evidence(
        "attempts_without_connection",
        attempts,
        limit,
    )]))
}

/// Segments of no connection from many sources: nobody asked for them, and who is not there resets
/// them or says nothing. A server that was restarted sees them, too, but its clients come again.
pub(super) fn judge_stray(
    config: &ShapeConfig,
    host: &Address,
    victim: &Victim,
) -> Option<Finding> {
    let stray = victim.fast.get(victim::fast::STRAY);
    let established = victim.fast.get(victim::fast::ESTABLISHED);
    let n_sources = victim.sources.len();
    let is_flood = stray >= config.scattered_stray
        && established <= COMPLETED * stray
        && n_sources >= config.scattered_sources;
    if !is_flood {
        return None;
    }
    let scattered = Scattered {
        detector: Detector::Attempts,
        family: Family::AckFlood,
        host,
        n_sources: n_sources.max(stray),
        port: victim.port,
        protocol: protocol::TCP,
        first_ns: victim.stray_since_ns,
        last_ns: victim.last_ns,
    };
    let limit = config.scattered_stray;
    Some(scattered.finding(vec![evidence("segments_of_no_connection", stray, limit)]))
}
