//! Denial of a service by its clients: many short web sessions, many requests or messages over few
//! connections, or many connections that are kept open and say next to nothing.

use super::{Detector, Evidence, Family, Finding, evidence, of_pair};
use crate::config::ShapeConfig;
use crate::detect::finding::{AT_ONCE, REQUESTS, SESSIONS_AT_ONCE};
use crate::detect::grade::Grades;
use crate::features::pair::{Pair, PairKey, fast};

/// Bytes a connection, each way, up to which it says next to nothing.
const NEARLY_SILENT: u64 = 4_000;

/// Times the limit from which it is a flood all the same: an order of magnitude.
const CEILING: f64 = 10.0;

/// Many sessions that come and go.
pub(super) fn judge_sessions(config: &ShapeConfig, key: &PairKey, pair: &Pair) -> Option<Finding> {
    let sessions = pair.fast.get(fast::SESSIONS);
    let is_open_loop = pair.sessions_at_once() >= AT_ONCE;
    let limit = if is_open_loop { 1.0 } else { CEILING } * config.web_sessions;
    if sessions < limit {
        return None;
    }
    let features = vec![
        evidence("short_web_sessions", sessions, config.web_sessions),
        Evidence {
            name: SESSIONS_AT_ONCE,
            observed: pair.sessions_at_once(),
            expected: 1.0,
            share: 0.0,
        },
    ];
    Some(of_pair(
        Detector::Web,
        Family::HttpFlood,
        key,
        pair,
        features,
    ))
}

/// Bytes of a request or message up to which it is none of an upload.
const REQUEST_BYTES: f64 = 1_500.0;
/// Share of requests that are answered: a stream that is only acknowledged asks for nothing.
const REPLIED: f64 = 0.3;
/// Seconds that it lasts: a page with all that belongs to it was fetched by then.
const LASTS_S: f64 = 3.0;
/// Times the limit of the web for services whose clients are programs: databases, caches, brokers.
const PROGRAM_TIMES: f64 = 2.0;

/// Many requests over connections that stay.
pub(super) fn judge_requests(config: &ShapeConfig, key: &PairKey, pair: &Pair) -> Option<Finding> {
    let requests = pair.fast.get(fast::REQUESTS);
    let is_web = config.web_ports.contains(&pair.port);
    let limit = if is_web {
        config.web_requests
    } else {
        PROGRAM_TIMES * config.web_requests
    };
    let is_flood = requests >= limit
        && pair.fast.get(fast::REQUEST_BYTES) <= REQUEST_BYTES * requests
        && pair.fast.get(fast::REPLIES) >= REPLIED * requests
        && pair.age_s() >= LASTS_S;
    if !is_flood {
        return None;
    }
    let family = if is_web {
        Family::HttpFlood
    } else {
        Family::RequestFlood
    };
    let features = vec![
        evidence(REQUESTS, requests, limit),
        Evidence {
            name: "bytes_per_request",
            observed: pair.fast.get(fast::REQUEST_BYTES) / requests,
            expected: REQUEST_BYTES,
            share: 0.0,
        },
    ];
    Some(of_pair(Detector::Web, family, key, pair, features))
}

/// Connections that never end what they began to ask, from which on they are too many: a browser opens
/// six to a server.
const UNENDED: u32 = 8;
/// Segments on each of them: who waits for an answer has asked in one, or a few at once.
const PIECES: u64 = 2;
/// Times the limit of the web for services whose clients keep pools of connections.
const POOL_TIMES: u32 = 6;

/// Open connections from which a pair is looked at every second.
pub(super) fn watched_from(config: &ShapeConfig) -> u32 {
    UNENDED.min(config.web_open)
}

/// Many connections that stay.
pub(super) fn judge_open(
    config: &ShapeConfig,
    at_ns: u64,
    key: &PairKey,
    pair: &mut Pair,
) -> Option<Finding> {
    let n_open = u64::from(pair.n_open);
    let is_web = config.web_ports.contains(&pair.port);
    // Who waits for a message asked for it and was answered; who never ends a request is not.
    let is_unanswered = pair.open_answers < n_open / 2;
    let is_unended = is_unanswered && pair.open_asks >= PIECES * n_open;
    let limit = match (is_web, is_unended) {
        (_, true) => watched_from(config),
        (true, false) => config.web_open,
        (false, false) => POOL_TIMES * config.web_open,
    };
    if pair.n_open < limit {
        return None;
    }
    let n_kept = pair.n_kept(at_ns);
    let is_silent =
        pair.open_sent <= NEARLY_SILENT * n_open && pair.open_got <= NEARLY_SILENT * n_open;
    if !is_silent || n_kept < limit {
        return None;
    }
    let features = vec![
        evidence("open_connections", f64::from(n_kept), f64::from(limit)),
        Evidence {
            name: "bytes_sent_per_connection",
            observed: pair.open_sent as f64 / n_open as f64,
            expected: NEARLY_SILENT as f64,
            share: 0.0,
        },
    ];
    // A pool opens its connections before it has anything to ask.
    let grades = if is_unended {
        Grades::SHAPE.with(Grades::OUTCOME)
    } else {
        Grades::SHAPE
    };
    let family = if is_web {
        Family::SlowHttp
    } else {
        Family::ConnectionExhaustion
    };
    let finding = of_pair(Detector::Web, family, key, pair, features);
    Some(Finding { grades, ..finding })
}
