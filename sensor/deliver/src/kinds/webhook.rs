//! Webhook: a POST for each record.

use crate::answer::Answer;
use crate::envelope::Envelope;
use crate::http::{Http, Request, authorization};
use crate::settings::SinkSettings;
use crate::shapes::{Format, Shape};
use crate::sink::Sink;

struct Webhook {
    settings: SinkSettings,
    shape: Shape,
    http: Http,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    let format = settings.format.unwrap_or(Format::Json);
    Ok(Box::new(Webhook {
        settings: settings.clone(),
        shape: Shape::new(format, settings.template.as_deref())?,
        http: Http::new(settings)?,
    }))
}

impl Webhook {
    fn request(&self, envelope: &Envelope) -> Result<Request, Answer> {
        let body = self.shape.of(envelope).map_err(Answer::Refused)?;
        let url = self
            .settings
            .far
            .url
            .as_ref()
            .map_or(Ok(String::new()), |url| url.read());
        let header = |name: &str, value: String| (name.to_owned(), value);
        let mut headers = body.headers;
        headers.push(header("Content-Type", body.content_type.to_owned()));
        // The same however often it is sent.
        headers.push(header("Idempotency-Key", envelope.key()));
        headers.extend(authorization(&self.settings, "Bearer").map_err(Answer::later)?);
        Ok(Request {
            url: url.map_err(Answer::later)?,
            headers,
            body: body.bytes,
        })
    }
}

impl Sink for Webhook {
    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        let send = |envelope| {
            let request = self.request(envelope)?;
            self.http.post(&request).map(|reply| reply.answer())
        };
        batch
            .iter()
            .map(|envelope| send(envelope).unwrap_or_else(|answer| answer))
            .collect()
    }
}
