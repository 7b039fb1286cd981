//! Webhook of a Microsoft Teams workflow: a message with an adaptive card.

use serde_json::{Value, json};

use super::Body;
use crate::cut;
use crate::envelope::Envelope;
use crate::wording::Words;

/// A message has 28 KB at most; these leave room for what is around them.
const MAX_TITLE: usize = 400;
const MAX_TEXT: usize = 4_000;
const MAX_FACT: usize = 400;

pub fn shape(envelope: &Envelope) -> Body {
    let words = Words::of(envelope);
    let fact = |(name, value): &(&str, String)| json!({"title": name, "value": cut::characters(&plain(value), MAX_FACT)});
    let facts: Vec<Value> = words.facts.iter().map(fact).collect();
    let title = cut::characters(&plain(&words.title), MAX_TITLE);
    let text = cut::characters(&plain(&words.text), MAX_TEXT);
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [
            {"type": "TextBlock", "text": title, "weight": "bolder", "size": "medium", "wrap": true},
            {"type": "TextBlock", "text": text, "wrap": true},
            {"type": "FactSet", "facts": facts},
        ],
    });
    Body::json(&json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": card,
        }],
    }))
}

/// Text without what the card's Markdown would take for links.
fn plain(text: &str) -> String {
    text.replace('[', "(").replace(']', ")")
}
