//! E-mail by SMTP (RFC 5321), with STARTTLS, TLS from the start, or neither.

use lettre::Transport as _;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{
    Certificate, CertificateStore, Identity, Tls, TlsParameters,
};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error, SmtpTransport};
use sensor_record::Timestamp;

use crate::answer::Answer;
use crate::cut;
use crate::envelope::Envelope;
use crate::settings::{MailSecurity, SinkSettings};
use crate::shapes::{Format, Shape};
use crate::sink::Sink;
use crate::tls;
use crate::wording::Words;

pub const FORMATS: &[Format] = &[Format::Text, Format::Template];
/// Characters of a subject: more is not shown by anybody.
const MAX_SUBJECT: usize = 200;
/// Answers of SMTP (RFC 4954) that the account is to blame for, not the message.
const OF_ACCOUNT: [u16; 5] = [530, 534, 535, 538, 454];

struct Mail {
    settings: SinkSettings,
    shape: Shape,
    from: Mailbox,
    to: Vec<Mailbox>,
    /// Server without its port, and the port.
    server: (String, u16),
}

/// A mailbox, `Name <user@host>` or an address alone.
///
/// # Errors
/// What is wrong with it.
pub fn mailbox(text: &str) -> Result<Mailbox, String> {
    let parsed = text.parse::<Mailbox>();
    parsed.map_err(|cause| format!("\"{text}\" is no mailbox ({cause}); write sensor@example.org"))
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    let address = settings.address.as_deref().unwrap_or_default();
    let (host, port) = address.rsplit_once(':').ok_or("address: has no port")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().map_err(|_| "address: has no port")?;
    let from = mailbox(settings.from.as_deref().unwrap_or_default())?;
    let to = settings.to.iter().map(|to| mailbox(to));
    Ok(Box::new(Mail {
        settings: settings.clone(),
        shape: Shape::new(
            settings.format.unwrap_or(Format::Text),
            settings.template.as_deref(),
        )?,
        from,
        to: to.collect::<Result<_, _>>()?,
        server: (host.to_owned(), port),
    }))
}

impl Sink for Mail {
    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        let send = |envelope| self.send_one(envelope).unwrap_or_else(|answer| answer);
        batch.iter().map(send).collect()
    }
}

impl Mail {
    fn send_one(&self, envelope: &Envelope) -> Result<Answer, Answer> {
        let message = self.message(envelope).map_err(Answer::Refused)?;
        // A connection for each: alerts are rare, and nothing is kept open that a server would close.
        let transport = self.transport(envelope).map_err(Answer::later)?;
        let sent = transport.send(&message).map_err(|cause| failure(&cause))?;
        let words: Vec<&str> = sent.message().collect();
        Ok(Answer::Accepted(format!(
            "{} {}",
            sent.code(),
            words.join(" ")
        )))
    }

    fn transport(&self, envelope: &Envelope) -> Result<SmtpTransport, String> {
        let settings = &self.settings;
        let (host, port) = &self.server;
        let tls = match settings.security {
            MailSecurity::None => Tls::None,
            MailSecurity::Starttls => Tls::Required(self.tls(host)?),
            MailSecurity::Tls => Tls::Wrapper(self.tls(host)?),
        };
        let mut builder = SmtpTransport::builder_dangerous(host)
            .port(*port)
            .timeout(Some(settings.timeout()))
            .hello_name(ClientId::Domain(domain(envelope)))
            .tls(tls);
        if let (Some(user), Some(token)) = (&settings.user, &settings.far.token) {
            builder = builder.credentials(Credentials::new(user.clone(), token.read()?));
        }
        Ok(builder.build())
    }

    fn tls(&self, host: &str) -> Result<TlsParameters, String> {
        let told = |cause: Error| cause.to_string();
        let mut builder = TlsParameters::builder(host.to_owned());
        builder = builder.certificate_store(CertificateStore::None);
        for der in tls::roots_as_der(&self.settings.connection())? {
            // One that can't be read makes the others no worse.
            if let Ok(certificate) = Certificate::from_der(der) {
                builder = builder.add_root_certificate(certificate);
            }
        }
        if let (Some(path), Some(key)) =
            (&self.settings.client_cert_file, &self.settings.client_key)
        {
            let chain =
                std::fs::read(path).map_err(|cause| format!("{}: {cause}", path.display()))?;
            let identity = Identity::from_pem(&chain, key.read()?.as_bytes());
            builder = builder.identify_with(identity.map_err(told)?);
        }
        builder.build().map_err(told)
    }

    fn message(&self, envelope: &Envelope) -> Result<Message, String> {
        let words = Words::of(envelope);
        let host = domain(envelope);
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(cut::characters(&words.title, MAX_SUBJECT))
            .date_now()
            // The same however often it is sent: a server or a reader may drop the second.
            .message_id(Some(format!("<{}@{host}>", plain(&envelope.key()))));
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        if let Some(id) = envelope.incident_id() {
            // All mails of an incident are one thread.
            builder = builder.references(format!("<{}@{host}>", plain(id)));
        }
        for (name, value) in [
            ("Auto-Submitted", "auto-generated".to_owned()),
            ("X-Sensor-Sequence", envelope.seq.to_string()),
        ] {
            let name = HeaderName::new_from_ascii_str(name);
            builder = builder.raw_header(HeaderValue::new(name, value));
        }
        let body = self.shape.of(envelope)?;
        let mut text = String::from_utf8_lossy(&body.bytes).into_owned();
        let at: Timestamp = envelope.record.head().at;
        if self.settings.format != Some(Format::Template) {
            text.push_str(&format!("\ntime: {at}\n"));
        }
        builder.body(text).map_err(|cause| cause.to_string())
    }
}

/// Name that the sensor's host goes by.
fn domain(envelope: &Envelope) -> String {
    let name = plain(&envelope.record.head().sensor.host_name);
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name
    }
}

fn plain(text: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    text.chars().filter(is_plain).take(200).collect()
}

fn failure(cause: &Error) -> Answer {
    let is_of_account = cause
        .status()
        .is_some_and(|code| OF_ACCOUNT.contains(&u16::from(code)));
    let mut told = cause.to_string();
    let mut source = std::error::Error::source(cause);
    while let Some(inner) = source {
        told.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    if cause.is_permanent() && !is_of_account {
        return Answer::Refused(told);
    }
    Answer::later(told)
}
