//! Denial of a web server by requests: many short sessions, or many connections that are kept open
//! and say next to nothing.

use super::{Detector, Evidence, Family, Finding, evidence, of_pair};
use crate::config::ShapeConfig;
use crate::detect::grade::Grades;
use crate::features::pair::{Pair, PairKey, fast};

/// Bytes a connection, each way, up to which it says next to nothing.
const NEARLY_SILENT: u64 = 4_000;

/// Many sessions that come and go.
pub(super) fn judge_sessions(config: &ShapeConfig, key: &PairKey, pair: &Pair) -> Option<Finding> {
    let sessions = pair.fast.get(fast::SESSIONS);
    let is_web = config.web_ports.contains(&pair.port);
    if sessions < config.web_sessions || !is_web {
        return None;
    }
    let features = vec![evidence(
        "short_web_sessions",
        sessions,
        config.web_sessions,
    )];
    Some(of_pair(
        Detector::Web,
        Family::HttpFlood,
        key,
        pair,
        features,
    ))
}

/// Many connections that stay.
pub(super) fn judge_open(
    config: &ShapeConfig,
    at_ns: u64,
    key: &PairKey,
    pair: &mut Pair,
) -> Option<Finding> {
    if pair.n_open < config.web_open || !config.web_ports.contains(&pair.port) {
        return None;
    }
    let n_kept = pair.n_kept(at_ns);
    let n_open = u64::from(pair.n_open);
    let is_silent =
        pair.open_sent <= NEARLY_SILENT * n_open && pair.open_got <= NEARLY_SILENT * n_open;
    if !is_silent || n_kept < config.web_open {
        return None;
    }
    let (observed, limit) = (f64::from(n_kept), f64::from(config.web_open));
    let features = vec![
        evidence("open_connections", observed, limit),
        Evidence {
            name: "bytes_sent_per_connection",
            observed: pair.open_sent as f64 / n_open as f64,
            expected: NEARLY_SILENT as f64,
            share: 0.0,
        },
    ];
    // Who waits for a message asked for it and was answered; who never ends a request is not.
    let grades = if pair.open_answers < n_open / 2 {
        Grades::SHAPE.with(Grades::OUTCOME)
    } else {
        Grades::SHAPE
    };
    let finding = of_pair(Detector::Web, Family::SlowHttp, key, pair, features);
    Some(Finding { grades, ..finding })
}
