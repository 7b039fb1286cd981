//! Kinds of sinks: one row each, and a file.

mod alertmanager;
mod crowdsec;
mod elasticsearch;
mod email;
mod exec;
mod file;
mod journald;
mod kafka;
mod misp;
mod nats;
mod opsgenie;
mod otlp;
mod pagerduty;
mod qradar_soar;
mod servicenow;
mod splunk;
mod stdout;
mod syslog;
mod taxii;
mod webhook;

pub use crate::kind::Kind;
use crate::settings::SinkSettings;
use crate::shapes::Format;
use crate::sink::Sink;
pub use crowdsec::ORIGIN as CROWDSEC_ORIGIN;
pub use email::mailbox;

/// A kind of sink.
pub struct Row {
    pub kind: Kind,
    /// Word of it in the configuration.
    pub label: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// Keys that must be given.
    pub needs: &'static [&'static str],
    /// Keys that may be given, besides those of every sink.
    pub takes: &'static [&'static str],
    /// Set if it takes nothing but incidents.
    pub only_incidents: bool,
    /// Formats of what is sent, the usual one first; none where the far side has its own.
    pub formats: &'static [Format],
    pub(crate) open: fn(&SinkSettings) -> Result<Box<dyn Sink>, String>,
}

/// Keys of everything that speaks HTTP.
macro_rules! http_keys {
    ($($more:literal),*) => {
        &["token", "user", "headers", "proxy", "ca_file", "client_cert_file", "client_key", $($more),*]
    };
}

/// The list of all kinds.
pub const KINDS: &[Row] = &[
    Row {
        kind: Kind::Webhook,
        label: "webhook",
        about: "POST over HTTP, one record a request; also Slack, Teams, Discord, Mattermost, ntfy",
        needs: &["url"],
        takes: http_keys!("format", "template"),
        only_incidents: false,
        formats: Format::ALL,
        open: webhook::open,
    },
    Row {
        kind: Kind::Exec,
        label: "exec",
        about: "Program that is given one record on standard input",
        needs: &["command"],
        takes: &["format", "template"],
        only_incidents: false,
        formats: &[
            Format::Json,
            Format::Text,
            Format::Template,
            Format::Alertmanager,
            Format::Stix,
        ],
        open: exec::open,
    },
    Row {
        kind: Kind::File,
        label: "file",
        about: "Lines in a file, reopened on SIGHUP, rotated by size",
        needs: &["path"],
        takes: &["format", "template", "rotate_size", "keep_files"],
        only_incidents: false,
        formats: file::FORMATS,
        open: file::open,
    },
    Row {
        kind: Kind::Stdout,
        label: "stdout",
        about: "Lines on the sensor's standard output",
        needs: &[],
        takes: &["format", "template"],
        only_incidents: false,
        formats: file::FORMATS,
        open: stdout::open,
    },
    Row {
        kind: Kind::Journald,
        label: "journald",
        about: "Entries of the systemd journal, with fields",
        needs: &[],
        takes: &["path"],
        only_incidents: false,
        formats: &[],
        open: journald::open,
    },
    Row {
        kind: Kind::Syslog,
        label: "syslog",
        about: "Messages of RFC 5424 over UDP, TCP or TLS; also CEF and LEEF",
        needs: &["address"],
        takes: &[
            "format",
            "template",
            "transport",
            "framing",
            "facility",
            "enterprise_number",
            "max_message",
            "ca_file",
            "client_cert_file",
            "client_key",
        ],
        only_incidents: false,
        formats: syslog::FORMATS,
        open: syslog::open,
    },
    Row {
        kind: Kind::Elasticsearch,
        label: "elasticsearch",
        about: "Elasticsearch and OpenSearch: ECS documents in a data stream by _bulk",
        needs: &["url"],
        takes: http_keys!("index"),
        only_incidents: false,
        formats: &[],
        open: elasticsearch::open,
    },
    Row {
        kind: Kind::Splunk,
        label: "splunk",
        about: "Splunk HTTP Event Collector, with indexer acknowledgement where wanted",
        needs: &["url", "token"],
        takes: http_keys!("index", "acknowledge"),
        only_incidents: false,
        formats: &[],
        open: splunk::open,
    },
    Row {
        kind: Kind::Pagerduty,
        label: "pagerduty",
        about: "PagerDuty Events API v2: trigger and resolve",
        needs: &["token"],
        takes: http_keys!("url"),
        only_incidents: true,
        formats: &[],
        open: pagerduty::open,
    },
    Row {
        kind: Kind::Opsgenie,
        label: "opsgenie",
        about: "Jira Service Management and Opsgenie: alerts created and closed by alias",
        needs: &["token"],
        takes: http_keys!("url"),
        only_incidents: true,
        formats: &[],
        open: opsgenie::open,
    },
    Row {
        kind: Kind::Alertmanager,
        label: "alertmanager",
        about: "Prometheus Alertmanager, API v2",
        needs: &["url"],
        takes: http_keys!("hold"),
        only_incidents: true,
        formats: &[],
        open: alertmanager::open,
    },
    Row {
        kind: Kind::Servicenow,
        label: "servicenow",
        about: "ServiceNow Event Management",
        needs: &["url", "token"],
        takes: http_keys!(),
        only_incidents: true,
        formats: &[],
        open: servicenow::open,
    },
    Row {
        kind: Kind::Crowdsec,
        label: "crowdsec",
        about: "CrowdSec local API: alerts of a machine, with what was dropped as decisions",
        needs: &["url", "user", "token"],
        takes: http_keys!(),
        only_incidents: false,
        formats: &[],
        open: crowdsec::open,
    },
    Row {
        kind: Kind::Otlp,
        label: "otlp",
        about: "OpenTelemetry logs over HTTP (JSON)",
        needs: &["url"],
        takes: http_keys!(),
        only_incidents: false,
        formats: &[],
        open: otlp::open,
    },
    Row {
        kind: Kind::Email,
        label: "email",
        about: "E-mail by SMTP, with STARTTLS, TLS or neither",
        needs: &["address", "from", "to"],
        takes: &[
            "format",
            "template",
            "security",
            "user",
            "token",
            "ca_file",
            "client_cert_file",
            "client_key",
        ],
        only_incidents: false,
        formats: email::FORMATS,
        open: email::open,
    },
    Row {
        kind: Kind::QradarSoar,
        label: "qradar_soar",
        about: "IBM QRadar SOAR (Resilient): a case for each incident, with artifacts and comments",
        needs: &["url", "organization", "user", "token"],
        takes: http_keys!("id_field"),
        only_incidents: true,
        formats: &[],
        open: qradar_soar::open,
    },
    Row {
        kind: Kind::Misp,
        label: "misp",
        about: "MISP: an event for each incident, with attributes and sightings",
        needs: &["url", "token"],
        takes: &[
            "headers",
            "proxy",
            "ca_file",
            "client_cert_file",
            "client_key",
        ],
        only_incidents: true,
        formats: &[],
        open: misp::open,
    },
    Row {
        kind: Kind::Taxii,
        label: "taxii",
        about: "TAXII 2.1: STIX 2.1 objects into a collection",
        needs: &["url"],
        takes: http_keys!(),
        only_incidents: true,
        formats: &[],
        open: taxii::open,
    },
    Row {
        kind: Kind::Nats,
        label: "nats",
        about: "NATS JetStream: a message for each record, known by its identifier",
        needs: &["address"],
        takes: &[
            "format",
            "template",
            "transport",
            "subject",
            "user",
            "token",
            "ca_file",
            "client_cert_file",
            "client_key",
        ],
        only_incidents: false,
        formats: nats::FORMATS,
        open: nats::open,
    },
    Row {
        kind: Kind::Kafka,
        label: "kafka",
        about: "Kafka: a message for each record, keyed by its incident, written to all replicas in step",
        needs: &["address"],
        takes: &[
            "format",
            "template",
            "transport",
            "topic",
            "user",
            "token",
            "ca_file",
            "client_cert_file",
            "client_key",
        ],
        only_incidents: false,
        formats: kafka::FORMATS,
        open: kafka::open,
    },
];

impl Kind {
    /// Row of the list; a test holds it against the kinds.
    pub fn row(self) -> Option<&'static Row> {
        KINDS.iter().find(|row| row.kind == self)
    }

    pub fn label(self) -> &'static str {
        self.row().map_or("unlisted", |row| row.label)
    }

    /// Makes the sink ready.
    ///
    /// # Errors
    /// What is missing or can't be read.
    pub(crate) fn open(self, settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
        let row = self.row().ok_or("there is no such kind")?;
        (row.open)(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_row() {
        let schema = schemars::schema_for!(Kind).to_value();
        let words: Vec<&str> = schema["oneOf"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["const"].as_str().unwrap())
            .collect();
        let labels: Vec<&str> = KINDS.iter().map(|row| row.label).collect();
        assert_eq!(words, labels);
        let mut kinds: Vec<Kind> = KINDS.iter().map(|row| row.kind).collect();
        kinds.dedup();
        assert_eq!(kinds.len(), KINDS.len());
    }
}
