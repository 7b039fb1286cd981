//! Decisions of a CrowdSec local API (`GET /v1/decisions/stream`, its swagger 1.4 and later).
//!
//! Kept by the decision's identifier: an address that two decisions name is let go when the last of them
//! is gone. Once an hour the whole set is fetched, so that nothing that was missed stays missed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use sensor_deliver::{CROWDSEC_ORIGIN, Http, Request, Secret, Text};
use sensor_respond::{FeedEntry, narrow};
use serde::Deserialize;

use super::list::told;
use super::{Fetched, Source};
use crate::config::FeedSettings;

/// Decisions that are kept; more are counted as ignored.
const MAX_DECISIONS: usize = 500_000;
/// Interval between two fetches of the whole set.
const WHOLE: Duration = Duration::from_secs(3_600);
/// Longest reason.
const MAX_REASON: usize = 200;

#[derive(Debug, Deserialize)]
struct Stream {
    #[serde(default)]
    new: Option<Vec<Decision>>,
    #[serde(default)]
    deleted: Option<Vec<Decision>>,
}

#[derive(Debug, Deserialize)]
struct Decision {
    #[serde(default)]
    id: i64,
    #[serde(default)]
    origin: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    duration: String,
    #[serde(default)]
    scenario: String,
}

/// A decision that is followed.
#[derive(Debug)]
struct Held {
    network: IpNet,
    until: Instant,
}

/// The local API of a CrowdSec, with what it decided so far.
pub struct Crowdsec {
    http: Http,
    url: Text,
    key: Secret,
    longest: Duration,
    held: BTreeMap<i64, Held>,
    n_ignored: u64,
    /// Time of the last fetch of the whole set.
    whole_at: Option<Instant>,
}

impl Crowdsec {
    pub fn new(settings: &FeedSettings) -> Result<Self, String> {
        Ok(Self {
            http: Http::to(&settings.connection())?,
            url: settings.far.url.clone().ok_or("url is not set")?,
            key: settings.far.token.clone().ok_or("token is not set")?,
            longest: settings.ttl(),
            held: BTreeMap::new(),
            n_ignored: 0,
            whole_at: None,
        })
    }

    fn get(&self, is_start: bool) -> Result<Stream, String> {
        let url = self.url.read()?;
        let url = url.trim_end_matches('/');
        let request = Request {
            url: format!("{url}/v1/decisions/stream?startup={is_start}&scopes=ip,range"),
            headers: vec![("X-Api-Key".to_owned(), self.key.read()?)],
            body: Vec::new(),
        };
        let (reply, body) = self.http.fetch(&request).map_err(told)?;
        match reply.status {
            200 => serde_json::from_slice(&body)
                .map_err(|cause| format!("no answer of a CrowdSec local API: {cause}")),
            403 => Err(format!(
                "the key is not one of a bouncer there; `cscli bouncers add sensor` makes one ({})",
                reply.told()
            )),
            _ => Err(reply.told()),
        }
    }

    /// Takes what has changed.
    fn take(&mut self, stream: Stream, is_start: bool, now: Instant) -> Fetched {
        if is_start {
            self.held.clear();
            self.n_ignored = 0;
        }
        let mut entries = Vec::new();
        let mut touched = Vec::new();
        self.held.retain(|_, held| held.until > now);
        for gone in stream.deleted.unwrap_or_default() {
            touched.extend(self.held.remove(&gone.id).map(|held| held.network));
        }
        for decision in stream.new.unwrap_or_default() {
            match followed(&decision) {
                Some((network, left)) if self.held.len() < MAX_DECISIONS => {
                    let ttl = left.min(self.longest);
                    let until = now + left;
                    self.held.insert(decision.id, Held { network, until });
                    entries.push(FeedEntry {
                        network,
                        ttl,
                        reason: Some(reason(&decision)),
                    });
                }
                _ => self.n_ignored += 1,
            }
        }
        let networks: std::collections::BTreeSet<IpNet> =
            self.held.values().map(|held| held.network).collect();
        // What another decision still names stays.
        touched.retain(|network| !networks.contains(network));
        Fetched {
            entries,
            is_whole: is_start,
            gone: touched,
            n_listed: networks.len() as u64,
            n_ignored: self.n_ignored,
        }
    }
}

impl Source for Crowdsec {
    fn fetch(&mut self) -> Result<Fetched, String> {
        let now = Instant::now();
        let is_start = self
            .whole_at
            .is_none_or(|at| now.saturating_duration_since(at) >= WHOLE);
        let stream = self.get(is_start)?;
        if is_start {
            self.whole_at = Some(now);
        }
        Ok(self.take(stream, is_start, now))
    }

    fn forget(&mut self) {
        self.whole_at = None;
    }
}

/// Network and remaining time of a decision that is followed: a ban of an address or a range.
fn followed(decision: &Decision) -> Option<(IpNet, Duration)> {
    let is_ban = decision.kind.eq_ignore_ascii_case("ban");
    // What a sensor decided by itself has its entry there, as strong as its own proof.
    if !is_ban || decision.origin == CROWDSEC_ORIGIN {
        return None;
    }
    let scope = decision.scope.to_ascii_lowercase();
    let network: IpNet = match scope.as_str() {
        "ip" => decision.value.parse::<IpAddr>().ok()?.into(),
        "range" => decision.value.parse().ok()?,
        _ => return None,
    };
    let left = duration(&decision.duration)?;
    Some((narrow(network).ok()?, left))
}

fn reason(decision: &Decision) -> Arc<str> {
    let text = format!("{} ({})", decision.scenario, decision.origin);
    let plain = text.chars().filter(|c| !c.is_control());
    Arc::from(plain.take(MAX_REASON).collect::<String>())
}

/// Duration in Go's form, `4m59.099s`; none if it is negative or no duration.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.starts_with('-') {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let scale = match unit {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    let left = Duration::try_from_secs_f64(seconds).ok()?;
    // An entry lives for a second at least.
    (left > Duration::ZERO).then(|| left.max(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use sensor_deliver::Far;

    use super::*;

    fn api() -> Crowdsec {
        let settings = FeedSettings {
            far: Far {
                url: Some(Text::Plain("http://127.0.0.1:1".to_owned())),
                token: Some(Secret::File("/nowhere".into())),
                ..Far::default()
            },
            ..serde_json::from_value(serde_json::json!({"name": "crowdsec", "kind": "crowdsec"}))
                .unwrap()
        };
        Crowdsec::new(&settings).unwrap()
    }

    fn stream(text: &str) -> Stream {
        serde_json::from_str(text).unwrap()
    }

    fn ban(id: i64, scope: &str, value: &str, duration: &str) -> String {
        format!(
            r#"{{"id":{id},"origin":"cscli","type":"ban","scope":"{scope}","value":"{value}",
                "duration":"{duration}","scenario":"by hand"}}"#
        )
    }

    #[test]
    fn go_durations_are_read() {
        let ms = |text| duration(text).map(|left| left.as_millis());
        assert_eq!(ms("4m59.099s"), Some(299_099));
        assert_eq!(ms("167h59m59s"), Some(604_799_000));
        assert_eq!(ms("1.5h"), Some(5_400_000));
        assert_eq!(ms("300ms"), Some(1_000));
        for text in [
            "-1h2m",
            "",
            "5",
            "h",
            "1x",
            "1..5s",
            "1e9999h",
            "9".repeat(400).as_str(),
        ] {
            assert_eq!(ms(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_and_ranges_are_followed_and_let_go_by_the_last_decision() {
        let mut api = api();
        let now = Instant::now();
        let both = format!(
            r#"{{"new":[{},{},{},{}],"deleted":null}}"#,
            ban(1, "Ip", "192.0.2.7", "4h0m0s"),
            ban(2, "Ip", "192.0.2.7", "1h0m0s"),
            ban(3, "Range", "2001:db8::/32", "4h"),
            r#"{"id":4,"type":"captcha","scope":"Ip","value":"192.0.2.8","duration":"1h"}"#,
        );
        let fetched = api.take(stream(&both), true, now);
        assert!(fetched.is_whole);
        assert_eq!((fetched.n_listed, fetched.n_ignored), (2, 1));
        assert_eq!(fetched.entries.len(), 3);

        let gone = |id| {
            format!(
                r#"{{"new":null,"deleted":[{}]}}"#,
                ban(id, "ip", "192.0.2.7", "-1m")
            )
        };
        let fetched = api.take(stream(&gone(1)), false, now);
        assert!(
            fetched.gone.is_empty(),
            "the second decision still names it"
        );
        let fetched = api.take(stream(&gone(2)), false, now);
        assert_eq!(fetched.gone, ["192.0.2.7/32".parse::<IpNet>().unwrap()]);
        // The same deletion can come twice.
        assert!(api.take(stream(&gone(2)), false, now).gone.is_empty());
        assert_eq!(api.take(stream("{}"), false, now).n_listed, 1);
    }

    #[test]
    fn a_range_that_is_half_the_internet_is_not_followed() {
        let mut api = api();
        for range in [
            "0.0.0.0/0",
            "128.0.0.0/1",
            "::/0",
            "::ffff:0:0/96",
            "2000::/3",
        ] {
            let text = format!(r#"{{"new":[{}]}}"#, ban(1, "range", range, "4h"));
            let fetched = api.take(stream(&text), true, Instant::now());
            assert_eq!((fetched.n_listed, fetched.n_ignored), (0, 1), "{range}");
        }
    }

    #[test]
    fn a_decision_is_forgotten_when_its_time_is_over() {
        let mut api = api();
        let now = Instant::now();
        let text = format!(r#"{{"new":[{}]}}"#, ban(1, "ip", "192.0.2.7", "10s"));
        assert_eq!(api.take(stream(&text), true, now).n_listed, 1);
        let later = now + Duration::from_secs(11);
        assert_eq!(api.take(stream("{}"), false, later).n_listed, 0);
    }
}
