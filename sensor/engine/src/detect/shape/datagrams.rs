//! Datagrams to a service that never answers, each from another port.

use super::{Detector, Family, Finding, evidence, of_pair};
use crate::config::ShapeConfig;
use crate::features::pair::{Pair, PairKey, fast};

/// Share of flows that may be answered.
const ANSWERED: f64 = 0.05;
/// Flows per distinct port below which it is a scan.
const PER_PORT: f64 = 4.0;
/// Ports above which their number is not known well enough.
const MOST_PORTS: f64 = 100.0;

pub(super) fn judge(config: &ShapeConfig, key: &PairKey, pair: &Pair) -> Option<Finding> {
    let flows = pair.fast.get(fast::ATTEMPTS);
    let answered = pair.fast.get(fast::ESTABLISHED);
    let is_flood = flows >= config.datagram_flows
        && answered <= ANSWERED * flows
        && pair.ports.len() <= MOST_PORTS
        && flows >= PER_PORT * pair.ports.len();
    if !is_flood {
        return None;
    }
    let features = vec![evidence("unanswered_flows", flows, config.datagram_flows)];
    Some(of_pair(
        Detector::Datagrams,
        Family::UdpFlood,
        key,
        pair,
        features,
    ))
}
