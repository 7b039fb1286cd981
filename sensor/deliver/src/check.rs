//! Contradictions within the settings of a sink.

use crate::http::header;
use crate::kinds::{Row, mailbox};
use crate::secret::Text;
use crate::settings::{RecordKind, SinkSettings};
use crate::shapes::{Format, check_template};

impl SinkSettings {
    /// Contradictions within the table: key and message.
    pub fn conflicts(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(is_plain) {
            let message = "is no name: write 1 to 64 letters, digits, - and _, as soc";
            found.push(("name", message.to_owned()));
        }
        if self.records.is_empty() {
            found.push(("records", "is empty; name a kind of record".to_owned()));
        }
        if self.retry_min_ms > self.retry_max_ms {
            let message = "is longer than retry_max";
            found.push(("retry_min", message.to_owned()));
        }
        for line in &self.headers {
            if let Err(why) = header(line) {
                found.push(("headers", why));
            }
        }
        if self.client_cert_file.is_some() != self.client_key.is_some() {
            let message = "needs both client_cert_file and client_key";
            found.push(("client_cert_file", message.to_owned()));
        }
        for (key, text) in self.mailboxes() {
            if let Err(why) = mailbox(text) {
                found.push((key, why));
            }
        }
        if self.user.is_some() && self.far.token.is_none() {
            found.push(("token", "missing: user needs its password there".to_owned()));
        }
        found.extend(of_kind(self));
        found
    }
}

/// Keys that don't fit the kind: key and message.
fn of_kind(settings: &SinkSettings) -> Vec<(&'static str, String)> {
    let Some(row) = settings.kind.row() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let given = settings.given();
    for key in row.needs.iter().filter(|key| !given.contains(key)) {
        found.push((
            *key,
            format!("missing: a sink of kind {} needs it", row.label),
        ));
    }
    let is_known = |key: &&&str| row.needs.contains(key) || row.takes.contains(key);
    for key in given.iter().filter(|key| !is_known(key)) {
        found.push((
            *key,
            format!("is nothing for a sink of kind {}; leave it out", row.label),
        ));
    }
    let is_other = |kind: &RecordKind| *kind != RecordKind::Incident;
    if row.only_incidents && settings.records.iter().any(is_other) {
        let message = format!("a sink of kind {} takes nothing but incidents", row.label);
        found.push(("records", message));
    }
    found.extend(format_conflicts(row, settings));
    let has_port = |address: &str| {
        let (_, port) = address.rsplit_once(':').unwrap_or_default();
        port.parse::<u16>().is_ok()
    };
    if let Some(address) = &settings.address
        && !has_port(address)
    {
        found.push((
            "address",
            format!("\"{address}\" has no port; write HOST:PORT"),
        ));
    }
    if let Some(Text::Plain(url)) = &settings.far.url
        && !(url.starts_with("http://") || url.starts_with("https://"))
    {
        found.push((
            "url",
            "is no URL; write https://HOST/PATH, or file:/PATH".to_owned(),
        ));
    }
    found
}

fn format_conflicts(row: &Row, settings: &SinkSettings) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if let Some(format) = settings.format
        && row.takes.contains(&"format")
        && !row.formats.contains(&format)
    {
        let all: Vec<&str> = row.formats.iter().map(|format| format.label()).collect();
        let message = format!("is not for kind {}; one of: {}", row.label, all.join(", "));
        found.push(("format", message));
    }
    match (&settings.template, settings.format) {
        (Some(text), Some(Format::Template)) => {
            if let Err(why) = check_template(text) {
                found.push(("template", why));
            }
        }
        (Some(_), _) => {
            found.push((
                "template",
                "has no effect; set format = \"template\"".to_owned(),
            ));
        }
        (None, Some(Format::Template)) => {
            found.push((
                "template",
                "missing: format = \"template\" needs it".to_owned(),
            ));
        }
        (None, _) => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kind;

    #[test]
    fn keys_that_do_not_fit_are_told() {
        let mut settings = SinkSettings::new("soc", Kind::Webhook);
        settings.command = vec!["true".to_owned()];
        settings.format = Some(Format::Template);
        let keys: Vec<&str> = settings
            .conflicts()
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(keys, ["url", "command", "template"]);
        settings.command.clear();
        settings.template = Some("{{ record.severity }}".to_owned());
        settings.far.url = Some(Text::Plain("https://127.0.0.1/".to_owned()));
        assert_eq!(settings.conflicts(), []);
        settings.far.url = Some(Text::Plain("htp://127.0.0.1/".to_owned()));
        assert_eq!(settings.conflicts().len(), 1);
    }
}
