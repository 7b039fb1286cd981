//! Denial of a service by many clients together, none of which does much: held against what the service usually
//! gets. And by the hosts of one IPv6 network of 64 bits, whose owner may have as many addresses as he likes.

use sensor_common::packet::protocol;

use super::web::{self, NEARLY_SILENT, REQUEST_BYTES};
use super::{Detector, Evidence, Family, Finding, Scattered, evidence};
use crate::address::to_ip;
use crate::config::ShapeConfig;
use crate::detect::grade::Grades;
use crate::features::clients::{Clients, ClientsKey, Use};
use crate::features::pair::fast;

/// Number of clients from which they are many.
const MANY: f64 = 4.5;
/// Those of one network are several.
const SEVERAL: f64 = 1.5;
/// Times the usual from which a service gets far more than that.
const USUAL_TIMES: f64 = 5.0;
/// Times the limit of one client: for many of them, and for those of one network.
const TIMES: f64 = 2.0;
const SESSION_TIMES: f64 = 8.0;
const OPEN_TIMES: u32 = 4;
const UNENDED_TIMES: u32 = 3;
/// Number of requests and of sessions of each client in 5 s, on average, that no person makes. Where what is usual is not
/// known yet, only programs are told.
const PROGRAM_REQUESTS: f64 = 75.0;
const PROGRAM_SESSIONS: f64 = 15.0;

/// Names of what is counted.
const ALL_REQUESTS: &str = "requests_of_all_clients";
const ALL_SESSIONS: &str = "sessions_of_all_clients";
const ALL_OPEN: &str = "open_connections_of_all_clients";

/// Limit for all clients or those of a network; `None` where nothing can be said.
fn limit(
    key: &ClientsKey,
    clients: &Clients,
    of: Use,
    floor: f64,
    (observed, of_program): (f64, f64),
) -> Option<f64> {
    let n_sources = clients.n_sources();
    if key.network.is_some() {
        return (n_sources >= SEVERAL).then_some(floor);
    }
    if n_sources < MANY {
        return None;
    }
    match clients.usual(of, clients.sum.last_ns) {
        Some(usual) => Some(floor.max(USUAL_TIMES * usual)),
        None => (observed >= of_program * n_sources).then_some(floor),
    }
}

/// Many requests over connections that stay.
pub(super) fn judge_requests(
    config: &ShapeConfig,
    key: &ClientsKey,
    clients: &Clients,
) -> Option<Finding> {
    let sum = &clients.sum;
    let floor = TIMES * web::request_limit(config, key.port);
    let requests = sum.fast.get(fast::REQUESTS);
    if requests < floor || !web::is_of_requests(sum) {
        return None;
    }
    let observed = (requests, PROGRAM_REQUESTS);
    let limit = limit(key, clients, Use::Requests, floor, observed)?;
    let family = if config.web_ports.contains(&key.port) {
        Family::HttpFlood
    } else {
        Family::RequestFlood
    };
    let bytes = sum.fast.get(fast::REQUEST_BYTES) / requests;
    let features = vec![
        evidence(ALL_REQUESTS, requests, limit),
        number("bytes_per_request", bytes, REQUEST_BYTES),
    ];
    (requests >= limit).then(|| finding(family, key, clients, features))
}

/// Many sessions that come and go.
pub(super) fn judge_sessions(
    config: &ShapeConfig,
    key: &ClientsKey,
    clients: &Clients,
    is_http: bool,
) -> Option<Finding> {
    let sessions = clients.sum.fast.get(fast::SESSIONS);
    let times = if key.network.is_some() {
        TIMES
    } else {
        SESSION_TIMES
    };
    let floor = times * config.web_sessions;
    if sessions < floor {
        return None;
    }
    let observed = (sessions, PROGRAM_SESSIONS);
    let limit = limit(key, clients, Use::Sessions, floor, observed)?;
    let family = if is_http {
        Family::HttpFlood
    } else {
        Family::RequestFlood
    };
    let features = vec![evidence(ALL_SESSIONS, sessions, limit)];
    (sessions >= limit).then(|| finding(family, key, clients, features))
}

/// Open connections of a service from which its clients are looked at every second.
pub(super) fn watched_from(config: &ShapeConfig) -> u32 {
    web::watched_from(config).saturating_mul(UNENDED_TIMES)
}

/// Many connections that stay and say next to nothing. Those that wait for an end of what was asked are too many soon; of
/// those that were answered far more than usual are.
pub(super) fn judge_open(
    config: &ShapeConfig,
    at_ns: u64,
    key: &ClientsKey,
    clients: &mut Clients,
) -> Option<Finding> {
    let is_unended = web::is_unended(&clients.sum);
    let floor = if is_unended {
        watched_from(config)
    } else {
        web::open_limit(config, key.port).saturating_mul(OPEN_TIMES)
    };
    let n_kept = clients.sum.n_kept(at_ns);
    if n_kept < floor || !web::is_silent(&clients.sum) {
        return None;
    }
    let observed = (f64::from(n_kept), f64::INFINITY);
    let limit = if is_unended {
        (clients.n_sources() >= SEVERAL).then_some(f64::from(floor))?
    } else {
        limit(key, clients, Use::Open, f64::from(floor), observed)?
    };
    let family = if config.web_ports.contains(&key.port) {
        Family::SlowHttp
    } else {
        Family::ConnectionExhaustion
    };
    let features = vec![
        evidence(ALL_OPEN, f64::from(n_kept), limit),
        number(
            "bytes_sent_per_connection",
            clients.sum.open_sent as f64 / f64::from(clients.sum.n_open.max(1)),
            NEARLY_SILENT as f64,
        ),
    ];
    if f64::from(n_kept) < limit {
        return None;
    }
    let grades = if is_unended {
        Grades::SHAPE.with(Grades::OUTCOME)
    } else {
        Grades::SHAPE
    };
    Some(Finding {
        grades,
        ..finding(family, key, clients, features)
    })
}

const fn number(name: &'static str, observed: f64, expected: f64) -> Evidence {
    Evidence {
        name,
        observed,
        expected,
        share: 0.0,
    }
}

/// Clients of everywhere are not named: which of them are honest doesn't show.
fn finding(
    family: Family,
    key: &ClientsKey,
    clients: &Clients,
    features: Vec<Evidence>,
) -> Finding {
    let n_sources = clients.n_sources().round().max(1.0);
    let scattered = Scattered {
        detector: Detector::Web,
        family,
        host: &key.host,
        n_sources,
        port: key.port,
        protocol: protocol::TCP,
        first_ns: clients.sum.since_ns.max(clients.sum.first_ns),
        last_ns: clients.sum.last_ns,
    };
    let sources: Vec<_> = clients.named().map(to_ip).collect();
    Finding {
        n_sources: sources.len().max(n_sources as usize) as u64,
        sources,
        is_spoofed: false,
        grades: Grades::SHAPE,
        ..scattered.finding(features)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use sensor_common::Address;

    use super::*;
    use crate::address::from_ip;
    use crate::config::SECOND_NS;
    use crate::features::clients::Services;
    use crate::flow::{Delta, FlowUpdate, Progress};
    use crate::tests::{T0, ip};

    const HOST: u16 = 9_000;

    fn update(source: Address, at_ns: u64, n_requests: u64) -> FlowUpdate {
        let delta = Delta {
            packets: n_requests,
            bytes: n_requests * 200,
            n_flags: [0, 0, 0, n_requests, n_requests],
            ..Delta::default()
        };
        FlowUpdate {
            source,
            destination: ip(HOST),
            source_port: 40_000,
            destination_port: 80,
            protocol: protocol::TCP,
            is_claimed: false,
            has_fragments: false,
            forward: delta,
            backward: delta,
            n_forward: n_requests,
            n_backward: n_requests,
            n_flags: [0, 0, 0, n_requests, n_requests],
            is_attempt: true,
            is_one_way: false,
            begins_to_close: false,
            is_stray: false,
            is_new: false,
            progress: Progress::Established,
            has_progressed: false,
            has_closed: false,
            first_ns: at_ns,
            last_ns: at_ns,
        }
    }

    /// Feeds so many requests a second of each source, for so many seconds from `from_s` on.
    fn feed(
        services: &mut Services,
        sources: &[Address],
        seconds: std::ops::Range<u64>,
        n_requests: u64,
    ) -> Vec<Finding> {
        let config = ShapeConfig::default();
        let mut findings = Vec::new();
        for second in seconds {
            for source in sources {
                let update = update(*source, T0 + second * SECOND_NS, n_requests);
                services.take(&update, &mut |key, clients| {
                    findings.extend(judge_requests(&config, key, clients));
                });
            }
        }
        findings
    }

    fn services() -> Services {
        Services::new(64, 1)
    }

    fn everywhere(n: u16) -> Vec<Address> {
        (1..=n).map(ip).collect()
    }

    #[test]
    fn programs_at_twenty_sources_flood_together_and_people_at_two_hundred_do_not() {
        let found = feed(&mut services(), &everywhere(20), 0..12, 50);
        let finding = found.last().expect("a flood");
        assert_eq!(finding.family, Family::HttpFlood);
        assert!(finding.sources.is_empty() && finding.n_sources > 10);
        assert_eq!(finding.destinations, [to_ip(&ip(HOST))]);
        // From the beginning on, so that what is usual is not known.
        assert!(feed(&mut services(), &everywhere(200), 0..12, 2).is_empty());
    }

    #[test]
    fn a_busy_service_is_held_against_its_own_use() {
        let (mut services, clients) = (services(), everywhere(100));
        assert!(feed(&mut services, &clients, 0..300, 5).is_empty());
        assert!(feed(&mut services, &clients, 300..330, 12).is_empty());
        assert!(!feed(&mut services, &clients, 330..360, 40).is_empty());
    }

    #[test]
    fn a_flood_that_grows_within_the_hour_does_not_become_usual() {
        let (mut services, clients) = (services(), everywhere(50));
        feed(&mut services, &clients, 0..120, 1);
        let grown = (0..20).flat_map(|step| {
            let from = 120 + step * 60;
            feed(&mut services, &clients, from..from + 60, 1 + step)
        });
        assert!(grown.count() > 0);
    }

    #[test]
    fn hosts_of_one_network_of_ipv6_count_as_one() {
        let of_network = |network: u16, n: u16| {
            let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, n);
            from_ip(IpAddr::V6(v6))
        };
        let one: Vec<Address> = (1..=4).map(|n| of_network(1, n)).collect();
        let found = feed(&mut services(), &one, 0..10, 90);
        assert!(found.iter().all(|finding| finding.sources.len() == 4));
        assert!(!found.is_empty());
        let four: Vec<Address> = (1..=4).map(|n| of_network(n, 1)).collect();
        assert!(feed(&mut services(), &four, 0..10, 90).is_empty());
    }
}
