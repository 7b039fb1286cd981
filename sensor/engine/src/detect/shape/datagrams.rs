//! Datagrams to a service that never answers, each from another port, or each from another source.

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::{ANSWERABLE_S, Detector, Family, Finding, Scattered, evidence, of_pair};
use crate::config::ShapeConfig;
use crate::features::pair::{Pair, PairKey, fast};
use crate::features::victim::{self, Victim};
use crate::flow::is_never_answered;

/// Share of flows that may be answered.
const ANSWERED: f64 = 0.05;
/// Flows per distinct port below which it is a scan.
const PER_PORT: f64 = 4.0;
/// Ports above which their number is not known well enough.
const MOST_PORTS: f64 = 100.0;
/// A resolver whose forwarder is dead asks it again and again, each time from another port.
const DNS: u16 = 53;
const DNS_TIMES: f64 = 1.6;

pub(super) fn judge(config: &ShapeConfig, key: &PairKey, pair: &Pair) -> Option<Finding> {
    let flows = pair.fast.get(fast::ATTEMPTS);
    let answered = pair.fast.get(fast::ESTABLISHED);
    let limit = if pair.port == DNS {
        DNS_TIMES * config.datagram_flows
    } else {
        config.datagram_flows
    };
    let is_flood = flows >= limit
        && answered <= ANSWERED * flows
        && pair.age_s() >= ANSWERABLE_S
        && pair.ports.len() <= MOST_PORTS
        && flows >= PER_PORT * pair.ports.len();
    if !is_flood || is_never_answered(&key.host, pair.port) {
        return None;
    }
    let features = vec![evidence("unanswered_flows", flows, limit)];
    Some(of_pair(
        Detector::Datagrams,
        Family::UdpFlood,
        key,
        pair,
        features,
    ))
}

/// Many sources, spoofed or not.
pub(super) fn judge_scattered(
    config: &ShapeConfig,
    host: &Address,
    victim: &Victim,
) -> Option<Finding> {
    let flows = victim.fast.get(victim::fast::DATAGRAMS);
    let n_sources = victim.datagram_sources.len();
    if flows < config.scattered_datagrams || n_sources < config.scattered_sources {
        return None;
    }
    let scattered = Scattered {
        detector: Detector::Datagrams,
        family: Family::UdpFlood,
        host,
        n_sources: n_sources.max(flows),
        port: victim.port,
        protocol: protocol::UDP,
        first_ns: victim.datagrams_since_ns,
        last_ns: victim.last_ns,
    };
    let limit = config.scattered_datagrams;
    Some(scattered.finding(vec![evidence("unanswered_flows", flows, limit)]))
}
