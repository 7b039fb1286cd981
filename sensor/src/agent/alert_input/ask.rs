//! Products that are asked for their alerts: model breaches of Darktrace (`GET /modelbreaches`), detections of
//! Vectra, of an appliance (`GET /api/v2.5/detections`) or of the platform (`GET /api/v3.3/events/detections`). What
//! is asked and signed is that of their client libraries, `darktrace-sdk` 0.10.1 and `vectra-api-tools` 3.3.1.

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use sensor_alerts::read_answer;
use sensor_deliver::{Answer, Http, Reply, Request, basic, hmac_sha1};
use sensor_record::{Timestamp, Zone, escape};
use serde_json::Value;

use super::Intake;
use crate::config::{AlertInputSettings, AlertKind};

/// Alerts of an answer that are asked for.
const LIMIT: usize = 500;
/// Longest wait after failures, as a multiple of the interval.
const MAX_BACKOFF: u32 = 8;
/// Pages that are asked for at once.
const MAX_PAGES: usize = 16;

/// A product with what was asked of it.
pub struct Product {
    settings: AlertInputSettings,
    http: Http,
    /// Time until which alerts were asked for.
    until: Timestamp,
    /// Place in the product's list, where it keeps one for us.
    checkpoint: Option<u64>,
    access: Option<Access>,
}

/// A token that was given out for a time.
struct Access {
    token: String,
    until: Instant,
}

impl Product {
    pub fn open(settings: &AlertInputSettings) -> Result<Self, String> {
        let every_ns = u64::from(settings.every.0).saturating_mul(1_000_000_000);
        Ok(Self {
            settings: settings.clone(),
            http: Http::to(&settings.connection())?,
            until: Timestamp(Timestamp::now().0.saturating_sub(every_ns)),
            checkpoint: None,
            access: None,
        })
    }

    pub fn run(mut self, mut intake: Intake) {
        let every = Duration::from_secs(self.settings.every.0.into());
        let mut n_failed = 0_u32;
        loop {
            let asked = self.ask(&mut intake);
            n_failed = match &asked {
                Ok(()) => 0,
                Err(_) => n_failed.saturating_add(1),
            };
            if asked.is_err() {
                intake.count("failures", 1);
            }
            intake.note(asked);
            if !intake.hand_over() {
                return;
            }
            let wait = every.saturating_mul((1 << n_failed.min(8)).min(MAX_BACKOFF));
            if intake.ended.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    fn ask(&mut self, intake: &mut Intake) -> Result<(), String> {
        let now = Timestamp::now();
        match (self.settings.kind, self.settings.user.clone()) {
            (AlertKind::Darktrace, Some(public)) => self.ask_darktrace(&public, now, intake)?,
            (AlertKind::Vectra, Some(client)) => self.ask_platform(&client, intake)?,
            _ => self.ask_appliance(intake)?,
        }
        self.until = now;
        Ok(())
    }

    fn url(&self) -> Result<String, String> {
        let url = self
            .settings
            .far
            .url
            .as_ref()
            .ok_or("url is not set")?
            .read()?;
        Ok(url.trim_end_matches('/').to_owned())
    }

    fn secret(&self) -> Result<String, String> {
        self.settings
            .far
            .token
            .as_ref()
            .ok_or("token is not set")?
            .read()
    }

    fn ask_darktrace(
        &self,
        public: &str,
        now: Timestamp,
        intake: &mut Intake,
    ) -> Result<(), String> {
        let [since, until] = [self.until, now].map(|at| at.0 / 1_000_000);
        // Parameters are signed in the order of their names.
        let path = format!(
            "/modelbreaches?creationtime=true&endtime={until}&includeacknowledged=false&starttime={since}"
        );
        let date = date(now);
        let signature = hmac_sha1(&self.secret()?, &format!("{path}\n{public}\n{date}"));
        let headers = [
            ("DTAPI-Token", public.to_owned()),
            ("DTAPI-Date", date),
            ("DTAPI-Signature", signature),
        ];
        let body = self.get(&path, &headers)?;
        take(&body, intake)
    }

    fn ask_appliance(&self, intake: &mut Intake) -> Result<(), String> {
        let since = date(self.until).replace(' ', "T");
        let path = format!(
            "/api/v2.5/detections?last_timestamp_gte={since}Z&page_size={LIMIT}&state=active"
        );
        let headers = [("Authorization", format!("Token {}", self.secret()?))];
        let body = self.get(&path, &headers)?;
        take(&body, intake)
    }

    fn ask_platform(&mut self, client: &str, intake: &mut Intake) -> Result<(), String> {
        let token = self.access(client)?;
        for _page in 0..MAX_PAGES {
            let from = match self.checkpoint {
                Some(checkpoint) => format!("checkpoint={checkpoint}"),
                None => format!(
                    "event_timestamp_gte={}Z",
                    date(self.until).replace(' ', "T")
                ),
            };
            let path = format!("/api/v3.3/events/detections?{from}&limit={LIMIT}");
            let headers = [("Authorization", format!("Bearer {token}"))];
            let body = self
                .get(&path, &headers)
                .inspect_err(|_| self.access = None)?;
            take(&body, intake)?;
            let told: Value = serde_json::from_slice(&body).unwrap_or_default();
            self.checkpoint = told["next_checkpoint"].as_u64().or(self.checkpoint);
            if told["remaining_count"].as_u64().unwrap_or(0) == 0 {
                break;
            }
        }
        Ok(())
    }

    /// A token of the platform, asked for where the last is about to end (OAuth 2.0, client credentials).
    fn access(&mut self, client: &str) -> Result<String, String> {
        let now = Instant::now();
        if let Some(access) = self.access.as_ref().filter(|access| access.until > now) {
            return Ok(access.token.clone());
        }
        let reply = self.http.post(&Request {
            url: format!("{}/oauth2/token", self.url()?),
            headers: vec![
                ("Authorization".to_owned(), basic(client, &self.secret()?)),
                (
                    "Content-Type".to_owned(),
                    "application/x-www-form-urlencoded".to_owned(),
                ),
            ],
            body: b"grant_type=client_credentials".to_vec(),
        });
        let reply = reply.map_err(told)?;
        let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        let (Some(token), true) = (body["access_token"].as_str(), reply.status == 200) else {
            return Err(format!("no token: {}", reply.told()));
        };
        let lasts = Duration::from_secs(body["expires_in"].as_u64().unwrap_or(60).min(86_400));
        self.access = Some(Access {
            token: token.to_owned(),
            until: now + lasts.saturating_sub(Duration::from_secs(30)),
        });
        Ok(token.to_owned())
    }

    fn get(&self, path: &str, headers: &[(&str, String)]) -> Result<Vec<u8>, String> {
        let headers = headers.iter();
        let request = Request {
            url: format!("{}{path}", self.url()?),
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            body: Vec::new(),
        };
        let (reply, body): (Reply, _) = self.http.fetch(&request).map_err(told)?;
        match reply.status {
            200 => Ok(body),
            _ => Err(reply.told()),
        }
    }
}

/// Takes the alerts of an answer.
fn take(body: &[u8], intake: &mut Intake) -> Result<(), String> {
    let alerts = read_answer(body).map_err(|_| "its answer has no list of alerts".to_owned())?;
    for alert in alerts {
        if intake.is_full() && !intake.hand_over() {
            break;
        }
        intake.take(alert);
    }
    Ok(())
}

fn told(answer: Answer) -> String {
    escape(answer.text()).into_owned()
}

/// UTC, `YYYY-MM-DD HH:MM:SS`.
fn date(at: Timestamp) -> String {
    let text = Zone::utc().second(at);
    text.get(..19).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_signatures_are_those_of_the_client_library() {
        let at = Timestamp(1_800_000_000_123_000_000);
        assert_eq!(date(at), "2027-01-15 08:00:00");
        // DarktraceAuth("public", "private").generate_signature("/modelbreaches?a=1", that date)
        let text = "/modelbreaches?a=1\npublic\n2027-01-15 08:00:00";
        assert_eq!(
            hmac_sha1("private", text),
            "844c9e13e2e93254f6336ec126b694b9e0fdfcf6"
        );
    }
}
