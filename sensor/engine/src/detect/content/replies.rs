//! Guessing of passwords, told by the service's own words: it refuses a client again and again.

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::Seen;
use super::draft::{Span, draft};
use super::paned_window::PanedWindow;
use crate::address::to_ip;
use crate::config::{Config, RepliesConfig};
use crate::detect::Detect;
use crate::detect::Detector;
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Finding, poisson_score};
use crate::detect::grade::Grades;
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::l7::login::{Login, Service};
use crate::note::Note;

#[derive(Clone, Copy, Debug, Default)]
struct Half {
    n_refused: u32,
    n_accepted: u32,
    n_banners: u32,
}

#[derive(Clone, Debug, Default)]
struct Pair {
    short: PanedWindow<Half>,
    long: PanedWindow<Half>,
    service: Option<Service>,
}

impl Priority for Pair {
    fn priority(&self) -> u64 {
        u64::from(self.long.now.n_refused) + u64::from(self.short.now.n_banners)
    }
}

/// Client and the service that it logs in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: Address,
    server: Address,
    port: u16,
}

#[derive(Debug)]
pub(crate) struct RepliesDetector {
    config: RepliesConfig,
    pairs: Bounded<Key, Pair>,
}

impl Detect for RepliesDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.content.replies, config.hash_seed);
        Self {
            config: config.clone(),
            pairs: Bounded::new("login_pairs", config.max_pairs, hash_seed),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.content.replies.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.pairs.usage());
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        let config = &self.config;
        for (key, pair) in self.pairs.iter_mut() {
            let service = pair.service;
            let windows = [
                (config.half_ns, 1, &mut pair.short),
                (config.slow_half_ns, 3, &mut pair.long),
            ];
            for (half_ns, times, window) in windows {
                if !window.is_due(at_ns, half_ns) {
                    continue;
                }
                let Some((name, n, limit)) = judge(config, times, service, window) else {
                    window.judged();
                    continue;
                };
                window.reported(at_ns);
                let span = Span {
                    window_ns: 2 * half_ns,
                    first_ns: window.first_ns,
                    last_ns: window.last_ns,
                };
                let expected = f64::from(limit) / 10.0;
                let score = poisson_score(f64::from(n), expected);
                let numbers = [(name, f64::from(n), expected, 1.0)];
                let entity = Entity::Source(key.client);
                let label = service.map_or("ssh", Service::label);
                findings.push(Finding {
                    sources: vec![to_ip(&key.client)],
                    n_sources: 1,
                    destinations: vec![to_ip(&key.server)],
                    n_destinations: 1,
                    ports: vec![key.port],
                    n_ports: 1,
                    protocol: protocol::TCP,
                    grades: if name == "ssh_connections" {
                        Grades::SHAPE
                    } else {
                        Detector::Replies.grades()
                    },
                    notes: vec![Note {
                        name: "network.protocol",
                        value: label.to_owned(),
                    }],
                    ..draft(
                        Detector::Replies,
                        Family::BruteForce,
                        entity,
                        span,
                        score,
                        &numbers,
                    )
                });
                break;
            }
        }
        let half_ns = config.slow_half_ns;
        self.pairs
            .retain(|_, pair| !pair.long.is_stale(at_ns, half_ns));
    }
}

impl RepliesDetector {
    pub(in crate::detect) fn take(&mut self, seen: &Seen<'_>, login: Login) {
        let packet = &seen.sample.head.packet;
        let is_to_server = !seen.is_answer;
        // Both sides of an SSH session begin with a banner; the client's counts.
        if (login == Login::SshBanner) != is_to_server {
            return;
        }
        let key = if is_to_server {
            Key {
                client: packet.source,
                server: packet.destination,
                port: packet.destination_port,
            }
        } else {
            Key {
                client: packet.destination,
                server: packet.source,
                port: packet.source_port,
            }
        };
        let config = &self.config;
        let pair = self.pairs.get_or_insert_with(key, Pair::default);
        if let Login::Refused(service) | Login::Accepted(service) = login {
            pair.service = Some(service);
        }
        for half in [
            pair.short.at(seen.at_ns, config.half_ns),
            pair.long.at(seen.at_ns, config.slow_half_ns),
        ] {
            let n = match login {
                Login::Refused(_) => &mut half.n_refused,
                Login::Accepted(_) => &mut half.n_accepted,
                Login::SshBanner => &mut half.n_banners,
            };
            *n = n.saturating_add(1);
        }
    }
}

/// Name, number and limit of what is too much.
fn judge(
    config: &RepliesConfig,
    times: u32,
    service: Option<Service>,
    window: &PanedWindow<Half>,
) -> Option<(&'static str, u32, u32)> {
    let (now, before) = (&window.now, &window.before);
    let n_refused = now.n_refused.saturating_add(before.n_refused);
    let n_accepted = now.n_accepted.saturating_add(before.n_accepted);
    let limit = match service {
        Some(Service::Http) => config.refused_http,
        _ => config.refused,
    };
    let limit = limit.saturating_mul(times);
    let share = f64::from(n_refused) / f64::from(n_refused.saturating_add(n_accepted).max(1));
    if n_refused >= limit && share >= config.refused_share {
        return Some(("refused_logins", n_refused, limit));
    }
    let n_banners = now.n_banners.saturating_add(before.n_banners);
    // A machine that is administered by SSH is connected to now and then all day: short window only.
    (times == 1 && n_banners >= config.ssh_banners).then_some((
        "ssh_connections",
        n_banners,
        config.ssh_banners,
    ))
}
