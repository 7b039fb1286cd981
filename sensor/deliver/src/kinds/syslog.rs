//! Syslog (RFC 5424) over UDP (RFC 5426), TCP (RFC 6587) and TLS (RFC 5425).
//!
//! There is no answer in syslog: a record counts as accepted once the system took its bytes. A connection
//! that the far side closed is seen before the next record is written; what was still on its way then is
//! lost, which only a protocol with answers could prevent.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};

use sensor_record::{Severity, Timestamp};
use serde_json::{Map, Value};

use crate::answer::Answer;
use crate::cut;
use crate::envelope::Envelope;
use crate::reach::{Secured, Way};
use crate::settings::{Framing, SinkSettings, Transport};
use crate::shapes::{Format, Shape};
use crate::sink::Sink;
use crate::wording::Words;

pub const FORMATS: &[Format] = &[
    Format::Text,
    Format::Json,
    Format::Cef,
    Format::Leef,
    Format::Template,
    Format::Ecs,
    Format::Ocsf,
    Format::Eve,
];
/// Records that are written at once.
const MOST: usize = 64;
/// Reads of what a receiver says, before it is taken for a fault.
const MAX_UNASKED: usize = 64;

struct Syslog {
    settings: SinkSettings,
    shape: Shape,
    way: Way,
    link: Option<Link>,
}

enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<Secured>),
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    let format = settings.format.unwrap_or(Format::Text);
    Ok(Box::new(Syslog {
        settings: settings.clone(),
        shape: Shape::new(format, settings.template.as_deref())?,
        way: Way::new(settings)?,
        link: None,
    }))
}

impl Sink for Syslog {
    fn most(&self) -> usize {
        MOST
    }

    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        let mut answers = Vec::new();
        for envelope in batch {
            let answer = self.send_one(envelope).unwrap_or_else(|answer| answer);
            let is_over = matches!(answer, Answer::Later { .. });
            answers.push(answer);
            if is_over {
                self.link = None;
                break;
            }
        }
        answers
    }

    fn reopen(&mut self) {
        self.link = None;
    }
}

impl Syslog {
    fn send_one(&mut self, envelope: &Envelope) -> Result<Answer, Answer> {
        let message = self.message(envelope).map_err(Answer::Refused)?;
        let sent = self.write(&message);
        let place = self.way.address();
        sent.map_err(|cause| Answer::later(format!("{place}: {cause}")))?;
        Ok(Answer::Accepted(format!(
            "handed to {place}; syslog has no answer"
        )))
    }

    /// The whole message, within the limit of the receiver.
    fn message(&self, envelope: &Envelope) -> Result<Vec<u8>, String> {
        let settings = &self.settings;
        let format = settings.format.unwrap_or(Format::Text);
        let mut head = header(settings, envelope, format);
        let most = settings.max_message as usize;
        let room = most
            .checked_sub(head.len())
            .ok_or("max_message has no room for the header")?;
        let text = match format {
            Format::Json | Format::Ecs | Format::Ocsf | Format::Eve => {
                fitting_json(&self.shape.of(envelope)?.bytes, room)?
            }
            Format::Text => one_line(&Words::of(envelope).text),
            _ => one_line(&String::from_utf8_lossy(&self.shape.of(envelope)?.bytes)),
        };
        // RFC 5424, 6.4: text beyond ASCII begins with a mark; others would stumble over it.
        let mark = if format == Format::Text && !text.is_ascii() {
            "\u{feff}"
        } else {
            ""
        };
        head.push_str(mark);
        head.push_str(&cut::bytes(&text, room.saturating_sub(mark.len())));
        Ok(head.into_bytes())
    }

    fn write(&mut self, message: &[u8]) -> io::Result<()> {
        let known = self
            .link
            .take()
            .and_then(|mut link| link.is_open().then_some(link));
        let mut link = match known {
            Some(link) => link,
            None => self.connect()?,
        };
        let framed = match self.settings.framing {
            Framing::OctetCounting => [format!("{} ", message.len()).as_bytes(), message].concat(),
            Framing::Newline => [message, b"\n"].concat(),
        };
        match &mut link {
            Link::Udp(socket) => socket.send(message).map(|_| ()),
            Link::Tcp(stream) => stream.write_all(&framed),
            Link::Tls(stream) => stream.write_all(&framed).and_then(|()| stream.flush()),
        }?;
        self.link = Some(link);
        Ok(())
    }

    fn connect(&self) -> io::Result<Link> {
        Ok(match self.settings.transport {
            Transport::Udp => Link::Udp(self.way.first(udp)?),
            Transport::Tcp => Link::Tcp(self.way.tcp()?),
            Transport::Tls => Link::Tls(Box::new(self.way.secure(self.way.tcp()?)?)),
        })
    }
}

fn udp(place: std::net::SocketAddr) -> io::Result<UdpSocket> {
    let any = if place.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(place)?;
    Ok(socket)
}

impl Link {
    /// True unless the far side has closed it.
    fn is_open(&mut self) -> bool {
        match self {
            Self::Udp(_) => true,
            Self::Tcp(stream) => is_open(stream, |mut stream| stream.read(&mut [0; 256])),
            Self::Tls(stream) => {
                let Secured { conn, sock } = &mut **stream;
                is_open(sock, |mut sock| {
                    let n = conn.read_tls(&mut sock)?;
                    let state = conn.process_new_packets().map_err(io::Error::other)?;
                    let _unasked = conn.reader().read(&mut [0; 256]);
                    Ok(if state.peer_has_closed() { 0 } else { n })
                })
            }
        }
    }
}

/// True unless the far side has closed: reads what it said, which nobody asked for, without waiting.
fn is_open(stream: &TcpStream, mut read: impl FnMut(&TcpStream) -> io::Result<usize>) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return false;
    }
    let mut is_open = false;
    for _ in 0..MAX_UNASKED {
        match read(stream) {
            Ok(0) => break,
            Ok(_) => {}
            Err(cause) => {
                is_open = cause.kind() == io::ErrorKind::WouldBlock;
                break;
            }
        }
    }
    stream.set_nonblocking(false).is_ok() && is_open
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Self::Tls(stream) = self {
            // Receivers take an end without it for an attack, and say so in their log.
            stream.conn.send_close_notify();
            let _gone = stream.flush();
        }
    }
}

fn header(settings: &SinkSettings, envelope: &Envelope, format: Format) -> String {
    let priority = u32::from(settings.facility) * 8 + level(envelope);
    let head = envelope.record.head();
    let host = printable(&head.sensor.host_name, 255);
    let kind = envelope.record.kind();
    let data = match format {
        // Their parsers look for the beginning of their own format, and they hold it all.
        Format::Text | Format::Template => structured(settings.enterprise_number, envelope),
        _ => "-".to_owned(),
    };
    let at = micros(head.at);
    format!("<{priority}>1 {at} {host} sensor - {kind} {data} ")
}

/// Level of syslog.
fn level(envelope: &Envelope) -> u32 {
    match envelope.incident().map(|incident| incident.severity) {
        Some(Severity::Critical) => 2,
        Some(Severity::High) => 3,
        Some(Severity::Medium) => 4,
        Some(Severity::Low) => 5,
        None => 6,
    }
}

/// A time of RFC 5424 has six decimals at most.
fn micros(at: Timestamp) -> String {
    let text = at.to_string();
    let end = text.len().saturating_sub("000Z".len());
    format!("{}Z", text.get(..end).unwrap_or_default())
}

fn printable(text: &str, most: usize) -> String {
    let plain = text
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '_' });
    let plain: String = plain.take(most).collect();
    if plain.is_empty() {
        "-".to_owned()
    } else {
        plain
    }
}

fn structured(number: u32, envelope: &Envelope) -> String {
    let mut data = format!("[sensor@{number}");
    let mut add = |name: &str, value: &str| {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace(']', "\\]");
        data.push_str(&format!(" {name}=\"{value}\""));
    };
    add("sequence", &envelope.seq.to_string());
    add("sensor", &envelope.record.head().sensor.id);
    if let Some(id) = envelope.incident_id() {
        add("incident", id);
    }
    if let Some(incident) = envelope.incident() {
        add("state", incident.state.label());
        add("family", &incident.family);
        add("severity", incident.severity.label());
        add("technique", &incident.technique);
        if let Some(source) = incident.sources.first() {
            add("src", &source.to_string());
        }
        if let Some(destination) = incident.destinations.first() {
            add("dst", &destination.to_string());
        }
        if let Some(port) = incident.ports.first() {
            add("dpt", &port.to_string());
        }
    }
    data.push(']');
    data
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// A record as JSON within a number of bytes: its longest fields go first, and `sensor.cut` says so.
fn fitting_json(bytes: &[u8], most: usize) -> Result<String, String> {
    let text = String::from_utf8_lossy(bytes);
    if text.len() <= most {
        return Ok(text.into_owned());
    }
    let mut fields: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|cause| cause.to_string())?;
    const KEPT: [&str; 7] = [
        "sensor.cut",
        "kind",
        "@timestamp",
        "incident.id",
        "incident.state",
        "incident.family",
        "severity",
    ];
    fields.insert("sensor.cut".to_owned(), Value::Bool(true));
    loop {
        let text = Value::Object(fields.clone()).to_string();
        if text.len() <= most {
            return Ok(text);
        }
        let loose = fields
            .iter()
            .filter(|(name, _)| !KEPT.contains(&name.as_str()));
        let longest = loose.max_by_key(|(_, value)| value.to_string().len());
        let name = longest.map(|(name, _)| name.clone());
        let name = name.ok_or("max_message has no room for the record")?;
        fields.remove(&name);
    }
}
