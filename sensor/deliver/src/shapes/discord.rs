//! Webhook of Discord (discord.com/developers: "Execute Webhook", limits of embeds).

use serde_json::{Value, json};

use super::{Body, colour_of};
use crate::cut;
use crate::envelope::Envelope;
use crate::wording::Words;

const MAX_TITLE: usize = 256;
const MAX_TEXT: usize = 2_000;
/// Together with the others within the 6,000 characters of an embed.
const MAX_VALUE: usize = 250;
const MAX_FIELDS: usize = 12;

pub fn shape(envelope: &Envelope) -> Body {
    let words = Words::of(envelope);
    let field = |(name, value): &(&str, String)| json!({"name": name, "value": cut::characters(value, MAX_VALUE), "inline": true});
    let fields: Vec<Value> = words.facts.iter().take(MAX_FIELDS).map(field).collect();
    Body::json(&json!({
        // Whatever the text says, nobody is pinged by it.
        "allowed_mentions": {"parse": []},
        "embeds": [{
            "title": cut::characters(&words.title, MAX_TITLE),
            "description": cut::characters(&words.text, MAX_TEXT),
            "color": colour_of(envelope),
            "fields": fields,
            "timestamp": envelope.record.head().at.to_string(),
        }],
    }))
}
