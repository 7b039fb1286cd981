//! Incoming webhook of Slack (docs.slack.dev: "Sending messages using incoming webhooks", block kit).

use serde_json::{Value, json};

use super::{Body, colour_of};
use crate::cut;
use crate::envelope::Envelope;
use crate::wording::Words;

/// Characters of a header block, a section, a field; fields of a section.
const MAX_HEADER: usize = 150;
const MAX_SECTION: usize = 3_000;
const MAX_FIELD: usize = 2_000;
const MAX_FIELDS: usize = 10;

pub fn shape(envelope: &Envelope) -> Body {
    let words = Words::of(envelope);
    let field = |(name, value): &(&str, String)| {
        let text = format!("*{name}*\n{}", escaped(value));
        json!({"type": "mrkdwn", "text": cut::characters(&text, MAX_FIELD)})
    };
    let fields: Vec<Value> = words.facts.iter().take(MAX_FIELDS).map(field).collect();
    let header = cut::characters(&words.title, MAX_HEADER);
    let text = cut::characters(&escaped(&words.text), MAX_SECTION);
    let blocks = json!([
        {"type": "header", "text": {"type": "plain_text", "text": header}},
        {"type": "section", "text": {"type": "mrkdwn", "text": text}},
        {"type": "section", "fields": fields},
    ]);
    Body::json(&json!({
        "text": cut::characters(&escaped(&words.title), MAX_SECTION),
        "attachments": [{"color": format!("#{:06x}", colour_of(envelope)), "blocks": blocks}],
    }))
}

/// Text in which nothing is a link, a mention or a command.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
