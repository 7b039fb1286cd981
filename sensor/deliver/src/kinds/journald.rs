//! Entries of the systemd journal, by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use sensor_record::{Severity, json};

use crate::answer::Answer;
use crate::cut;
use crate::envelope::Envelope;
use crate::settings::SinkSettings;
use crate::sink::Sink;
use crate::wording::Words;

const SOCKET: &str = "/run/systemd/journal/socket";
/// Type of these entries, for `journalctl MESSAGE_ID=…`.
const MESSAGE_ID: &str = "5c3a3fd4f2f44d0f9a3e0bb1d1a7c2e6";
/// Bytes of the whole record; a datagram has room for some 200 KB.
const MAX_RECORD: usize = 96 << 10;
const MAX_MESSAGE: usize = 8 << 10;

struct Journal {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    let path = settings.path.clone();
    Ok(Box::new(Journal {
        path: path.unwrap_or_else(|| Path::new(SOCKET).to_owned()),
        socket: None,
    }))
}

impl Sink for Journal {
    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        batch
            .iter()
            .map(|envelope| self.write(&entry(envelope)))
            .collect()
    }
}

impl Journal {
    fn write(&mut self, entry: &[u8]) -> Answer {
        let sent = match self.socket.take() {
            Some(socket) => Ok(socket),
            None => UnixDatagram::unbound(),
        }
        .and_then(|socket| {
            socket.send_to(entry, &self.path)?;
            self.socket = Some(socket);
            Ok(())
        });
        match sent {
            Ok(()) => Answer::Accepted("written to the journal".to_owned()),
            Err(cause) => Answer::later(format!("{}: {cause}", self.path.display())),
        }
    }
}

/// An entry: fields as lines; those of several lines with their length.
fn entry(envelope: &Envelope) -> Vec<u8> {
    let words = Words::of(envelope);
    let mut bytes = Vec::new();
    let mut field = |name: &str, value: &str| {
        bytes.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            bytes.push(b'\n');
            bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            bytes.push(b'=');
        }
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(b'\n');
    };
    let message = format!("{}: {}", words.title, words.text);
    field("MESSAGE", &cut::bytes(&message, MAX_MESSAGE));
    field("MESSAGE_ID", MESSAGE_ID);
    field("SYSLOG_IDENTIFIER", "sensor");
    field("PRIORITY", priority(envelope));
    field("SENSOR_SEQUENCE", &envelope.seq.to_string());
    field("SENSOR_RECORD_KIND", envelope.record.kind());
    if let Some(id) = envelope.incident_id() {
        field("SENSOR_INCIDENT_ID", id);
    }
    if let Some(incident) = envelope.incident() {
        field("SENSOR_INCIDENT_STATE", incident.state.label());
        field("SENSOR_FAMILY", &incident.family);
        field("SENSOR_SEVERITY", incident.severity.label());
    }
    let record = json::line(&envelope.record);
    if record.len() <= MAX_RECORD {
        field("SENSOR_RECORD", &record);
    }
    bytes
}

/// Level of syslog.
fn priority(envelope: &Envelope) -> &'static str {
    match envelope.incident().map(|incident| incident.severity) {
        Some(Severity::Critical) => "2",
        Some(Severity::High) => "3",
        Some(Severity::Medium) => "4",
        Some(Severity::Low) => "5",
        None => "6",
    }
}

#[cfg(test)]
mod tests {
    use sensor_record::example;

    use super::*;
    use crate::kinds::Kind;

    #[test]
    fn an_entry_has_fields_and_one_of_several_lines_its_length() {
        let path = std::env::temp_dir().join(format!("sensor-journal-{}", std::process::id()));
        let journal = UnixDatagram::bind(&path).unwrap();
        let mut settings = SinkSettings::new("soc", Kind::Journald);
        settings.path = Some(path.clone());
        let mut sink = open(&settings).unwrap();
        let mut incident = example::incident();
        incident.explanation = "two\nlines".to_owned();
        let envelope = Envelope {
            seq: 3,
            at_ns: 0,
            record: incident.into(),
        };
        assert_eq!(sink.send(&[envelope])[0].label(), "accepted");
        let mut bytes = vec![0; 64 << 10];
        let n = journal.recv(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
        assert!(
            text.contains("\nPRIORITY=4\n") && text.contains("\nSENSOR_SEQUENCE=3\n"),
            "{text}"
        );
        let message = b"MESSAGE\n";
        assert_eq!(&bytes[..message.len()], message);
        let length = u64::from_le_bytes(bytes[8..16].try_into().unwrap()) as usize;
        assert!(bytes[16..16 + length].ends_with(b"two\nlines"));
        assert_eq!(bytes[16 + length], b'\n');
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_journal_that_is_away_is_waited_for() {
        let mut settings = SinkSettings::new("soc", Kind::Journald);
        settings.path = Some("/nonexistent/journal".into());
        let envelope = Envelope {
            seq: 3,
            at_ns: 0,
            record: example::incident().into(),
        };
        assert_eq!(
            open(&settings).unwrap().send(&[envelope])[0].label(),
            "later"
        );
    }
}
