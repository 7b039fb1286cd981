//! More echo requests from one host to another than any `ping` without privilege sends.

use super::{Detector, Family, Finding, evidence, of_pair};
use crate::config::ShapeConfig;
use crate::features::pair::{Pair, PairKey, fast};

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
