//! Prometheus Alertmanager, API v2.

use sensor_record::{Severity, Timestamp};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::envelope::Envelope;
use crate::http::{Http, Request, authorization, base};
use crate::settings::SinkSettings;
use crate::shapes::{alert_annotations, alert_labels, alert_times};
use crate::sink::Sink;

struct Alertmanager {
    settings: SinkSettings,
    http: Http,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    Ok(Box::new(Alertmanager {
        settings: settings.clone(),
        http: Http::new(settings)?,
    }))
}

impl Sink for Alertmanager {
    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        batch
            .iter()
            .map(|envelope| self.post(envelope).unwrap_or_else(|answer| answer))
            .collect()
    }
}

impl Alertmanager {
    fn post(&self, envelope: &Envelope) -> Result<Answer, Answer> {
        let url = base(&self.settings, "")?;
        let mut headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        headers.extend(authorization(&self.settings, "Bearer").map_err(Answer::later)?);
        let reply = self.http.post(&Request {
            url: format!("{url}/api/v2/alerts"),
            headers,
            body: self
                .alerts(envelope, Timestamp::now())
                .to_string()
                .into_bytes(),
        })?;
        Ok(reply.answer())
    }

    /// One alert for each severity, so that routes may go by it: that of now fires, the others are over.
    fn alerts(&self, envelope: &Envelope, now: Timestamp) -> Value {
        let hold = Timestamp(
            now.0
                .saturating_add(self.settings.hold_ms.saturating_mul(1_000_000)),
        );
        let (start, end) = alert_times(envelope);
        let severity = envelope
            .incident()
            .map_or(Severity::Low, |incident| incident.severity);
        let annotations = alert_annotations(envelope);
        let alert = |of: Severity| {
            let mut labels = alert_labels(envelope);
            labels.insert("severity", of.label().to_owned());
            let fires = of == severity && end.is_none();
            // Nothing ends before it begins, whatever the clocks say.
            let over = end.unwrap_or(now).max(start);
            let end = if fires { hold.max(start) } else { over };
            json!({
                "labels": labels,
                "annotations": annotations,
                "startsAt": start.to_string(),
                "endsAt": end.to_string(),
            })
        };
        Severity::ALL.into_iter().map(alert).collect()
    }
}
