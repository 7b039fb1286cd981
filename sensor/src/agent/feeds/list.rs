//! A list that is fetched whole: by HTTP, or from a file.

use std::fs;
use std::path::PathBuf;

use sensor_deliver::{Answer, Http, Request, Secret, Text};
use sensor_respond::{FeedEntry, parse_feed};
use tracing::warn;

use super::{Fetched, Source};
use crate::config::FeedSettings;

/// Bytes of a file at most.
const MAX_FILE: u64 = 64 << 20;

/// The place of a list.
enum Place {
    Url(Box<Http>, Text, Option<Secret>),
    File(PathBuf),
}

/// A list.
pub struct List {
    place: Place,
    settings: FeedSettings,
    had_some: bool,
}

impl List {
    pub fn new(settings: &FeedSettings) -> Result<Self, String> {
        let place = match (&settings.far.url, &settings.path) {
            (Some(url), _) => {
                let http = Http::to(&settings.connection())?;
                Place::Url(Box::new(http), url.clone(), settings.far.token.clone())
            }
            (None, Some(path)) => Place::File(path.clone()),
            (None, None) => return Err("neither url nor path is set".to_owned()),
        };
        Ok(Self {
            place,
            settings: settings.clone(),
            had_some: false,
        })
    }

    fn read(&self) -> Result<Vec<u8>, String> {
        match &self.place {
            Place::File(path) => {
                let told = |cause: std::io::Error| format!("{}: {cause}", path.display());
                let length = fs::metadata(path).map_err(told)?.len();
                if length > MAX_FILE {
                    return Err(format!("{}: {length} bytes are too many", path.display()));
                }
                fs::read(path).map_err(told)
            }
            Place::Url(http, url, token) => {
                let mut headers = Vec::new();
                if let Some(token) = token {
                    let value = format!("Bearer {}", token.read()?);
                    headers.push(("Authorization".to_owned(), value));
                }
                let request = Request {
                    url: url.read()?,
                    headers,
                    body: Vec::new(),
                };
                let (reply, body) = http.fetch(&request).map_err(told)?;
                match reply.status {
                    200 => Ok(body),
                    _ => Err(reply.told()),
                }
            }
        }
    }
}

/// An answer of the client in words.
pub fn told(answer: Answer) -> String {
    match answer {
        Answer::Accepted(why) | Answer::Refused(why) | Answer::Later { why, .. } => why,
    }
}

impl Source for List {
    fn fetch(&mut self) -> Result<Fetched, String> {
        let parsed = parse_feed(&self.read()?)?;
        if parsed.networks.is_empty() && self.had_some {
            return Err("the list is empty now, which is doubted".to_owned());
        }
        self.had_some |= !parsed.networks.is_empty();
        if let Some(bad) = parsed.bad.first() {
            let (n_bad, number, why) = (parsed.n_bad, bad.number, &bad.why);
            let feed = &self.settings.name;
            warn!(feed, n_bad, "lines name no network; line {number}: {why}");
        }
        let ttl = self.settings.ttl();
        let entry = |network| FeedEntry {
            network,
            ttl,
            reason: None,
        };
        Ok(Fetched {
            n_listed: parsed.networks.len() as u64,
            entries: parsed.networks.into_iter().map(entry).collect(),
            is_whole: true,
            gone: Vec::new(),
            n_ignored: parsed.n_bad,
        })
    }
}
