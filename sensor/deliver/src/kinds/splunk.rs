//! Splunk's HTTP Event Collector (docs.splunk.com, "Format events for HTTP Event Collector", "About HTTP
//! Event Collector Indexer Acknowledgment"): its codes tell more than its statuses.

use std::hash::{BuildHasher as _, RandomState};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::envelope::Envelope;
use crate::http::{Http, Reply, Request, authorization, base};
use crate::settings::SinkSettings;
use crate::shapes::raw_json;
use crate::sink::Sink;

const MOST: usize = 50;
/// Longest wait between two questions whether it was indexed.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

struct Splunk {
    settings: SinkSettings,
    http: Http,
    /// Channel of acknowledgements.
    channel: String,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    Ok(Box::new(Splunk {
        settings: settings.clone(),
        http: Http::new(settings)?,
        channel: channel(),
    }))
}

/// A random GUID: the far side keeps acknowledgements by it.
fn channel() -> String {
    let [a, b] = [0, 1].map(|n: u8| RandomState::new().hash_one(n));
    let (c, d) = (b >> 48, b & 0xffff_ffff_ffff);
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{d:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        c & 0x3fff | 0x8000
    )
}

impl Sink for Splunk {
    fn most(&self) -> usize {
        MOST
    }

    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        match self.send_all(batch).unwrap_or_else(|answer| answer) {
            // One spoils all, and it is not said reliably which.
            Answer::Refused(_) if batch.len() > 1 => {
                let one_by_one = batch.iter().map(std::slice::from_ref);
                one_by_one.flat_map(|one| self.send(one)).collect()
            }
            answer => vec![answer; batch.len()],
        }
    }
}

impl Splunk {
    fn send_all(&self, batch: &[Envelope]) -> Result<Answer, Answer> {
        // One object after the other, no list.
        let body: String = batch
            .iter()
            .map(|envelope| self.event(envelope).to_string())
            .collect();
        let reply = self.post("event", body)?;
        match (verdict(&reply), ack_id(&reply)) {
            (Answer::Accepted(told), Some(id)) if self.settings.acknowledge => self.wait(id, told),
            (Answer::Accepted(_), None) if self.settings.acknowledge => Err(Answer::later(
                "no ackId: switch indexer acknowledgement of the token on",
            )),
            (answer, _) => Ok(answer),
        }
    }

    fn post(&self, path: &str, body: String) -> Result<Reply, Answer> {
        let url = base(&self.settings, "")?;
        let mut headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        headers.extend(authorization(&self.settings, "Splunk").map_err(Answer::later)?);
        if self.settings.acknowledge {
            headers.push(("X-Splunk-Request-Channel".to_owned(), self.channel.clone()));
        }
        self.http.post(&Request {
            url: format!("{url}/services/collector/{path}"),
            headers,
            body: body.into_bytes(),
        })
    }

    fn event(&self, envelope: &Envelope) -> Value {
        let head = envelope.record.head();
        let mut fields = json!({"key": envelope.key(), "sequence": envelope.seq.to_string()});
        if let Some(incident) = envelope.incident() {
            // Names of the Common Information Model.
            let first = |address: Option<&std::net::IpAddr>| address.map(ToString::to_string);
            let named = [
                ("signature", Some(incident.family.to_string())),
                ("severity", Some(incident.severity.label().to_owned())),
                ("src", first(incident.sources.first())),
                ("dest", first(incident.destinations.first())),
                ("dest_port", incident.ports.first().map(ToString::to_string)),
                ("mitre_technique_id", Some(incident.technique.to_string())),
            ];
            for (name, value) in named {
                if let Some(value) = value {
                    fields[name] = value.into();
                }
            }
        }
        let mut event = json!({
            "time": head.at.0 as f64 / 1e9,
            "host": head.sensor.host_name,
            "source": "sensor",
            "sourcetype": format!("sensor:{}", envelope.record.kind()),
            "event": raw_json(envelope),
            "fields": fields,
        });
        if let Some(index) = &self.settings.index {
            event["index"] = index.as_str().into();
        }
        event
    }

    /// Waits until it is indexed, within the time limit of a try. Not yet, lost and unknown look the same.
    fn wait(&self, id: u64, told: String) -> Result<Answer, Answer> {
        let until = Instant::now() + self.settings.timeout();
        let mut pause = Duration::from_millis(self.settings.retry_min_ms);
        while Instant::now() < until {
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_WAIT);
            let path = format!("ack?channel={}", self.channel);
            let reply = self.post(&path, json!({"acks": [id]}).to_string())?;
            let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
            if body["acks"][id.to_string()] == true {
                return Ok(Answer::Accepted(format!("{told}, indexed")));
            }
        }
        Err(Answer::later("taken, but not acknowledged in time"))
    }
}

fn ack_id(reply: &Reply) -> Option<u64> {
    let body: Value = serde_json::from_str(&reply.body).ok()?;
    body["ackId"].as_u64()
}

fn verdict(reply: &Reply) -> Answer {
    let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    match body["code"].as_u64() {
        Some(0) => Answer::Accepted(reply.told()),
        // Data: none, of a wrong form, without an event, with a blank one, with wrong fields.
        Some(5 | 6 | 12 | 13 | 15) => Answer::Refused(reply.told()),
        // Token, index, channel, busy, broken: nothing that the record is to blame for.
        Some(1..=4 | 7..=11 | 14 | 16) => reply.later(),
        _ => reply.answer(),
    }
}
