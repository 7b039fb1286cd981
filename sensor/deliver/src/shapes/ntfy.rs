//! Topic of ntfy (docs.ntfy.sh/publish): text as the body, the rest as headers.

use sensor_record::Severity;

use super::Body;
use crate::cut;
use crate::envelope::Envelope;
use crate::wording::Words;

/// Bytes of a message; a longer one would become a file.
const MAX_MESSAGE: usize = 4_096;
const MAX_TITLE: usize = 250;

pub fn shape(envelope: &Envelope) -> Body {
    let words = Words::of(envelope);
    let mut lines = words.text.clone();
    for (name, value) in &words.facts {
        lines.push_str(&format!("\n{name}: {value}"));
    }
    let (priority, tag) = urgency(envelope);
    let header = |name: &str, value: String| (name.to_owned(), value);
    let headers = vec![
        header("Title", cut::bytes(&ascii(&words.title), MAX_TITLE)),
        header("Priority", priority.to_owned()),
        header("Tags", tag.to_owned()),
    ];
    Body {
        headers,
        ..Body::text(cut::bytes(&lines, MAX_MESSAGE))
    }
}

fn urgency(envelope: &Envelope) -> (&'static str, &'static str) {
    let severity = envelope.incident().map(|incident| incident.severity);
    match severity {
        _ if envelope.is_closing() => ("2", "white_check_mark"),
        Some(Severity::Critical) => ("5", "rotating_light"),
        Some(Severity::High) => ("4", "warning"),
        Some(Severity::Medium) => ("3", "warning"),
        Some(Severity::Low) | None => ("2", "information_source"),
    }
}

/// Text that a header may hold.
fn ascii(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_graphic() || c == ' ' {
            c
        } else {
            '?'
        }
    };
    text.chars().map(plain).collect()
}
