//! NATS JetStream: a message for each record, with an identifier by which a stream tells those that come again
//! (docs.nats.io, "Client Protocol" and "JetStream wire API"). A publisher needs six words of the protocol: they
//! are spoken here.

use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::cut;
use crate::envelope::Envelope;
use crate::reach::{Stream, Way};
use crate::settings::{SinkSettings, Transport};
use crate::shapes::{Format, Shape};
use crate::sink::Sink;

pub const FORMATS: &[Format] = &[
    Format::Json,
    Format::Text,
    Format::Template,
    Format::Ecs,
    Format::Ocsf,
    Format::Eve,
    Format::Stix,
];
const SUBJECT: &str = "sensor.incidents";
/// Messages that are on their way at once.
const MOST: usize = 64;
/// Longest line and longest answer.
const MAX_LINE: u64 = 64 << 10;
const MAX_REPLY: usize = 1 << 20;
const MAX_TOLD: usize = 512;

struct Nats {
    settings: SinkSettings,
    shape: Shape,
    subject: String,
    way: Way,
    link: Option<Link>,
}

/// A connection that listens on an inbox of its own.
struct Link {
    stream: BufReader<Box<dyn Stream>>,
    inbox: String,
    max_payload: usize,
    /// Number of the next message.
    next: usize,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    let format = settings.format.unwrap_or(Format::Json);
    let subject = settings
        .subject
        .clone()
        .unwrap_or_else(|| SUBJECT.to_owned());
    let is_plain = |c: char| c.is_ascii_graphic() && !"*>".contains(c);
    if subject.is_empty() || !subject.chars().all(is_plain) {
        return Err(format!("subject: \"{subject}\" is none to publish to"));
    }
    if settings.transport == Transport::Udp {
        return Err("transport: NATS goes over tcp or tls".to_owned());
    }
    Ok(Box::new(Nats {
        settings: settings.clone(),
        shape: Shape::new(format, settings.template.as_deref())?,
        subject,
        way: Way::new(settings)?,
        link: None,
    }))
}

impl Sink for Nats {
    fn most(&self) -> usize {
        MOST
    }

    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        // A connection of before may be gone: messages come twice at most, which the stream tells.
        let is_old = self.link.is_some();
        let mut sent = self.publish(batch);
        if sent.is_err() && is_old {
            sent = self.publish(batch);
        }
        sent.unwrap_or_else(|cause| {
            vec![Answer::later(format!("{}: {cause}", self.way.address())); batch.len()]
        })
    }

    fn reopen(&mut self) {
        self.link = None;
    }
}

impl Nats {
    /// Publishes all, then waits for what the stream says of each.
    fn publish(&mut self, batch: &[Envelope]) -> io::Result<Vec<Answer>> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => self.connect()?,
        };
        let first = link.next;
        let mut bytes = Vec::new();
        let mut answers: Vec<Option<Answer>> = Vec::new();
        for (n, envelope) in batch.iter().enumerate() {
            let made = self.message(&link, first + n, envelope);
            answers.push(match made {
                Ok(message) => {
                    bytes.extend_from_slice(&message);
                    None
                }
                Err(why) => Some(Answer::Refused(why)),
            });
        }
        link.next += batch.len();
        link.write(&bytes)?;
        while answers.iter().any(Option::is_none) {
            let Some((number, answer)) = link.read()? else {
                continue;
            };
            let place = number.checked_sub(first).and_then(|n| answers.get_mut(n));
            if let Some(place) = place {
                *place = Some(answer);
            }
        }
        self.link = Some(link);
        Ok(answers.into_iter().flatten().collect())
    }

    fn message(&self, link: &Link, number: usize, envelope: &Envelope) -> Result<Vec<u8>, String> {
        let body = self.shape.of(envelope)?.bytes;
        let head = format!("NATS/1.0\r\nNats-Msg-Id: {}\r\n\r\n", envelope.key());
        let total = head.len() + body.len();
        if total > link.max_payload {
            let most = link.max_payload;
            return Err(format!(
                "{total} bytes: the server takes {most} (max_payload)"
            ));
        }
        let line = format!(
            "HPUB {} {}.{number} {} {total}\r\n",
            self.subject,
            link.inbox,
            head.len()
        );
        Ok([line.as_bytes(), head.as_bytes(), &body, b"\r\n"].concat())
    }

    /// Hears who is there, secures the connection where that is wanted, and says who this is.
    fn connect(&self) -> io::Result<Link> {
        let mut stream = self.way.tcp()?;
        let info = information(&mut stream)?;
        if info["tls_required"] == true && !self.way.is_secured() {
            return Err(io::Error::other("it wants TLS: set transport = \"tls\""));
        }
        let stream = self.way.over(stream)?;
        let [a, b] = [0, 1].map(|n: u8| RandomState::new().hash_one(n));
        let max_payload = info["max_payload"].as_u64().unwrap_or(1 << 20);
        let mut link = Link {
            stream: BufReader::new(stream),
            inbox: format!("_INBOX.{a:016x}{b:016x}"),
            max_payload: usize::try_from(max_payload).unwrap_or(usize::MAX),
            next: 0,
        };
        let about = self.about().map_err(io::Error::other)?;
        let text = format!("CONNECT {about}\r\nSUB {}.* 1\r\nPING\r\n", link.inbox);
        link.write(text.as_bytes())?;
        // The answer to PING comes once the server has taken what was said before.
        while link.line()? != "PONG" {}
        Ok(link)
    }

    fn about(&self) -> Result<Value, String> {
        let mut about = json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true,
            "tls_required": self.way.is_secured(), "echo": false, "protocol": 1,
            "name": "sensor", "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
        });
        if let Some(token) = &self.settings.far.token {
            let secret = token.read()?;
            match &self.settings.user {
                Some(user) => {
                    about["user"] = user.as_str().into();
                    about["pass"] = secret.into();
                }
                None => about["auth_token"] = secret.into(),
            }
        }
        Ok(about)
    }
}

/// The server's first line, byte by byte: behind it TLS may begin.
fn information(stream: &mut TcpStream) -> io::Result<Value> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.last() != Some(&b'\n') {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
        if line.len() as u64 > MAX_LINE {
            return Err(io::Error::other(
                "no server of NATS: its first line has no end",
            ));
        }
    }
    let text = line.strip_prefix(b"INFO ").unwrap_or_default();
    serde_json::from_slice(text).map_err(|_| io::Error::other("no server of NATS: no INFO"))
}

impl Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Next line without its end. What the server complains of ends the connection; what it asks is answered.
    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        let n = (&mut self.stream).take(MAX_LINE).read_line(&mut line)?;
        if n == 0 || !line.ends_with('\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if let Some(why) = line.strip_prefix("-ERR ") {
            return Err(io::Error::other(cut::bytes(why, MAX_TOLD)));
        }
        if line == "PING" {
            self.write(b"PONG\r\n")?;
        }
        Ok(line.to_owned())
    }

    /// Next word of the stream on a message, by its number; none: something else was said.
    fn read(&mut self) -> io::Result<Option<(usize, Answer)>> {
        let line = self.line()?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let [kind @ ("MSG" | "HMSG"), subject, .., length] = words[..] else {
            return Ok(None);
        };
        let length: usize = length.parse().map_err(io::Error::other)?;
        if length > MAX_REPLY {
            return Err(io::Error::other("an answer of more than a megabyte"));
        }
        let mut body = vec![0; length + 2];
        self.stream.read_exact(&mut body)?;
        let body = body.get(..length).unwrap_or_default();
        let number = subject.rsplit('.').next().and_then(|n| n.parse().ok());
        Ok(number.map(|number| (number, answer(kind, body))))
    }
}

fn answer(kind: &str, body: &[u8]) -> Answer {
    if kind == "HMSG" {
        let status = String::from_utf8_lossy(body);
        let status = status.lines().next().unwrap_or_default();
        return Answer::later(match status.strip_prefix("NATS/1.0 503") {
            Some(_) => "no stream takes the subject".to_owned(),
            None => cut::bytes(status, MAX_TOLD),
        });
    }
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    if let Some(why) = told["error"]["description"].as_str() {
        return Answer::later(cut::bytes(why, MAX_TOLD));
    }
    match (told["stream"].as_str(), told["seq"].as_u64()) {
        (Some(stream), Some(sequence)) => {
            let again = match told["duplicate"] == true {
                true => " (is there already)",
                false => "",
            };
            Answer::Accepted(format!("stream {stream}, message {sequence}{again}"))
        }
        _ => Answer::later("no acknowledgement of a stream"),
    }
}
