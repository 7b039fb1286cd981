//! Echo floods: more echo requests from one host to another than any `ping` without privilege sends.

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::{Detector, Family, Finding, Scattered, evidence, of_pair};
use crate::config::ShapeConfig;
use crate::features::pair::{Pair, PairKey, fast};
use crate::features::victim::{self, Victim};

/// Seconds that it must last: a burst of a monitor is over by then.
const LASTS_S: f64 = 2.0;

pub(super) fn judge(config: &ShapeConfig, key: &PairKey, pair: &Pair) -> Option<Finding> {
    let echoes = pair.fast.get(fast::PACKETS);
    if echoes < config.echoes || pair.age_s() < LASTS_S {
        return None;
    }
    let features = vec![evidence("echo_requests", echoes, config.echoes)];
    Some(of_pair(
        Detector::Echoes,
        Family::IcmpFlood,
        key,
        pair,
        features,
    ))
}

/// Many sources, spoofed or not: no host is pinged by so many.
pub(super) fn judge_scattered(
    config: &ShapeConfig,
    host: &Address,
    victim: &Victim,
) -> Option<Finding> {
    let echoes = victim.fast.get(victim::fast::ECHOES);
    let n_sources = victim.echo_sources.len();
    if echoes < config.scattered_echoes || n_sources < config.scattered_sources {
        return None;
    }
    let scattered = Scattered {
        detector: Detector::Echoes,
        family: Family::IcmpFlood,
        host,
        n_sources,
        port: 0,
        protocol: protocol::ICMP,
        first_ns: victim.echoes_since_ns,
        last_ns: victim.last_ns,
    };
    let limit = config.scattered_echoes;
    Some(scattered.finding(vec![evidence("echo_requests", echoes, limit)]))
}
