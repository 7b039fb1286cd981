//! Denial of a service by its clients: many short web sessions, many requests or messages over few
//! connections, or many connections that are kept open and say next to nothing.

use super::{Detector, Evidence, Family, Finding, evidence, of_pair};
use crate::config::ShapeConfig;
use crate::detect::finding::{AT_ONCE, REQUESTS, SESSIONS_AT_ONCE};
use crate::detect::grade::Grades;
use crate::features::pair::{Pair, PairKey, fast};

/// Bytes a connection, each way, up to which it says next to nothing.
pub(super) const NEARLY_SILENT: u64 = 4_000;

/// Times the limit from which it is a flood all the same: an order of magnitude.
const CEILING: f64 = 10.0;

/// Times the limit of the web for sessions with services that programs connect to for each action.
pub(super) const ACTION_TIMES: f64 = 8.0;

/// Many sessions that come and go; `times` the limit of the web.
pub(super) fn judge_sessions(
    config: &ShapeConfig,
    key: &PairKey,
    pair: &Pair,
    (is_web, times): (bool, f64),
) -> Option<Finding> {
    let sessions = pair.fast.get(fast::SESSIONS);
    let is_open_loop = pair.sessions_at_once() >= AT_ONCE;
    let limit = if is_open_loop { 1.0 } else { CEILING } * times * config.web_sessions;
    if sessions < limit {
        return None;
    }
    let features = vec![
        evidence("short_web_sessions", sessions, times * config.web_sessions),
        Evidence {
            name: SESSIONS_AT_ONCE,
            observed: pair.sessions_at_once(),
            expected: 1.0,
            share: 0.0,
        },
    ];
    let family = if is_web {
        Family::HttpFlood
    } else {
        Family::RequestFlood
    };
    Some(of_pair(Detector::Web, family, key, pair, features))
}

/// Bytes of a request or message up to which it is none of an upload.
pub(super) const REQUEST_BYTES: f64 = 1_500.0;
/// Share of requests that are answered: a stream that is only acknowledged asks for nothing.
const REPLIED: f64 = 0.3;
/// Seconds that it lasts: a page with all that belongs to it was fetched by then.
const LASTS_S: f64 = 3.0;
/// Times the limit of the web for services whose clients are programs: databases, caches, brokers.
const PROGRAM_TIMES: f64 = 2.0;

/// Part of the limit for name servers, which are asked by TCP where an answer was too long for a datagram.
const NAMES_TIMES: f64 = 0.5;
const DNS: u16 = 53;

/// Number of requests of one client that is much.
pub(super) fn request_limit(config: &ShapeConfig, port: u16) -> f64 {
    let times = match port {
        DNS => NAMES_TIMES,
        _ if config.web_ports.contains(&port) => 1.0,
        _ => PROGRAM_TIMES,
    };
    times * config.web_requests
}

/// True where what is sent are requests: short, answered, and for longer than a page takes.
pub(super) fn is_of_requests(pair: &Pair) -> bool {
    let requests = pair.fast.get(fast::REQUESTS);
    pair.fast.get(fast::REQUEST_BYTES) <= REQUEST_BYTES * requests
        && pair.fast.get(fast::REPLIES) >= REPLIED * requests
        && pair.age_s() >= LASTS_S
}

/// Many requests over connections that stay.
pub(super) fn judge_requests(config: &ShapeConfig, key: &PairKey, pair: &Pair) -> Option<Finding> {
    let requests = pair.fast.get(fast::REQUESTS);
    let limit = request_limit(config, pair.port);
    if requests < limit || !is_of_requests(pair) {
        return None;
    }
    let family = if config.web_ports.contains(&pair.port) {
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

/// Number of connections of one client that are answered and stay that is much.
pub(super) fn open_limit(config: &ShapeConfig, port: u16) -> u32 {
    if config.web_ports.contains(&port) {
        config.web_open
    } else {
        POOL_TIMES * config.web_open
    }
}

/// True where connections send piece after piece and get no answer. Who waits for a message asked for it and was
/// answered; who never ends a request is not. Where nothing at all came back, acknowledgements neither, answers go
/// another way: whether there were any can't be said.
pub(super) fn is_unended(pair: &Pair) -> bool {
    let n_open = u64::from(pair.n_open);
    pair.open_got > 0 && pair.open_answers < n_open / 2 && pair.open_asks >= PIECES * n_open
}

/// Questions and answers on each of them from which they are conversations (websockets, chats), however little they say.
const CONVERSES: u64 = 4;

/// True where open connections say next to nothing, and not to and fro.
pub(super) fn is_silent(pair: &Pair) -> bool {
    let n_open = u64::from(pair.n_open);
    let most = NEARLY_SILENT * n_open;
    let is_conversation = pair.open_asks.min(pair.open_answers) >= CONVERSES * n_open;
    pair.open_sent <= most && pair.open_got <= most && !is_conversation
}

/// Many connections that stay.
pub(super) fn judge_open(
    config: &ShapeConfig,
    at_ns: u64,
    key: &PairKey,
    pair: &mut Pair,
) -> Option<Finding> {
    let is_unended = is_unended(pair);
    let limit = if is_unended {
        watched_from(config)
    } else {
        open_limit(config, pair.port)
    };
    let n_kept = pair.n_kept(at_ns);
    if n_kept < limit || !is_silent(pair) {
        return None;
    }
    let features = vec![
        evidence("open_connections", f64::from(n_kept), f64::from(limit)),
        Evidence {
            name: "bytes_sent_per_connection",
            observed: pair.open_sent as f64 / f64::from(pair.n_open.max(1)),
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
    let family = if config.web_ports.contains(&pair.port) {
        Family::SlowHttp
    } else {
        Family::ConnectionExhaustion
    };
    let finding = of_pair(Detector::Web, family, key, pair, features);
    Some(Finding { grades, ..finding })
}
