//! Elasticsearch and OpenSearch: documents in ECS into a data stream by `_bulk`, with an answer for each.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::cut;
use crate::envelope::Envelope;
use crate::http::{Http, Reply, Request, authorization, base};
use crate::settings::SinkSettings;
use crate::shapes::ecs_document;
use crate::sink::Sink;

/// Data stream for which Elasticsearch has a template of its own.
const INDEX: &str = "logs-sensor.records-default";
const MOST: usize = 200;
const MAX_TOLD: usize = 512;

struct Elastic {
    settings: SinkSettings,
    http: Http,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    Ok(Box::new(Elastic {
        settings: settings.clone(),
        http: Http::new(settings)?,
    }))
}

impl Sink for Elastic {
    fn most(&self) -> usize {
        MOST
    }

    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        let reply = match self.bulk(batch) {
            Ok(reply) => reply,
            Err(answer) => return vec![answer; batch.len()],
        };
        match reply.answer() {
            Answer::Accepted(_) => by_item(&reply, batch.len()),
            // Too large, or one spoils all: each is sent alone.
            Answer::Refused(_) if batch.len() > 1 => {
                let (left, right) = batch.split_at(batch.len() / 2);
                [self.send(left), self.send(right)].concat()
            }
            answer => vec![answer; batch.len()],
        }
    }
}

impl Elastic {
    fn bulk(&self, batch: &[Envelope]) -> Result<Reply, Answer> {
        let url = base(&self.settings, "")?;
        let index = self.settings.index.as_deref().unwrap_or(INDEX);
        let mut body = String::new();
        for envelope in batch {
            // A resend meets its own identifier: 409, which is a success.
            let action = json!({"create": {"_id": envelope.key()}});
            body.push_str(&format!("{action}\n{}\n", ecs_document(envelope)));
        }
        let mut headers = vec![("Content-Type".to_owned(), "application/x-ndjson".to_owned())];
        headers.extend(authorization(&self.settings, "ApiKey").map_err(Answer::later)?);
        self.http.post(&Request {
            url: format!("{url}/{index}/_bulk"),
            headers,
            body: body.into_bytes(),
        })
    }
}

/// An answer for each item: the status of the whole says nothing of them.
fn by_item(reply: &Reply, n: usize) -> Vec<Answer> {
    let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    let Some(items) = body["items"].as_array().filter(|items| items.len() == n) else {
        let why = format!("no answer for each record: {}", reply.told());
        return vec![Answer::later(why); n];
    };
    items.iter().map(|item| answer(&item["create"])).collect()
}

fn answer(item: &Value) -> Answer {
    let part = |name: &str| item["error"][name].as_str().unwrap_or_default();
    let status = item["status"].as_u64().unwrap_or_default();
    let told = format!("{status} {} {}", part("type"), part("reason"));
    let told = cut::bytes(told.trim(), MAX_TOLD);
    match status {
        200..=299 => Answer::Accepted(told),
        409 => Answer::Accepted(format!("{told} (is there already)")),
        401 | 403 | 404 | 429 | 500..=599 | 0 => Answer::later(told),
        _ => Answer::Refused(told),
    }
}
