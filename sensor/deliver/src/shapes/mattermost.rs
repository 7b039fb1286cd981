//! Incoming webhook of Mattermost (developers.mattermost.com: message attachments).

use serde_json::{Value, json};

use super::{Body, colour_of};
use crate::cut;
use crate::envelope::Envelope;
use crate::wording::Words;

/// Characters of a message in all supported versions are 4,000; these leave room for the fields.
const MAX_TITLE: usize = 250;
const MAX_TEXT: usize = 2_000;
const MAX_VALUE: usize = 250;

pub fn shape(envelope: &Envelope) -> Body {
    let words = Words::of(envelope);
    let field = |(name, value): &(&str, String)| {
        let value = cut::characters(&silent(value), MAX_VALUE);
        json!({"short": true, "title": name, "value": value})
    };
    let fields: Vec<Value> = words.facts.iter().map(field).collect();
    let title = cut::characters(&silent(&words.title), MAX_TITLE);
    Body::json(&json!({
        "text": title,
        "attachments": [{
            "fallback": title,
            "color": format!("#{:06x}", colour_of(envelope)),
            "text": cut::characters(&silent(&words.text), MAX_TEXT),
            "fields": fields,
        }],
    }))
}

/// Text that mentions nobody: a character without width parts the sign from the name.
fn silent(text: &str) -> String {
    text.replace('@', "@\u{200b}")
}
