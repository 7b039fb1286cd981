//! Settings of a sink: one table of `[[sink]]`.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use sensor_record::{Network, Severity, Size, State, Time};
use serde::{Deserialize, Serialize};

use crate::connection::{Connection, Far};
use crate::kind::Kind;
use crate::secret::Secret;
use crate::shapes::Format;

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

/// Kind of record that a sink takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum RecordKind {
    /// Incidents.
    Incident,
    /// Decisions with their outcomes.
    Decision,
    /// Starts, stops and faults of the sensor itself.
    Sensor,
}

/// Record that gives way when the spool is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ShedChoice {
    #[default]
    Oldest,
    Newest,
}

/// Transport of syslog, NATS and Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Transport {
    Udp,
    #[default]
    Tcp,
    Tls,
}

/// Protection of e-mail on its way to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum MailSecurity {
    /// Begun in the clear, then TLS or nothing (port 587).
    #[default]
    Starttls,
    /// TLS from the start (port 465).
    Tls,
    /// Neither: for a server on the same machine.
    None,
}

/// Ends of messages on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Framing {
    /// The length comes first.
    #[default]
    OctetCounting,
    /// A line each.
    Newline,
}

/// One sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkSettings {
    /// Name of the sink, for metrics, the log and its spool: letters, digits, - and _.
    #[schemars(example = &"soc")]
    pub name: String,
    /// Kind of the sink; `sensor sinks kinds` lists all with their keys.
    #[schemars(example = &"webhook")]
    pub kind: Kind,
    /// Deliver to it; records are not even kept for it otherwise.
    #[serde(default = "yes")]
    #[schemars(example = true)]
    pub enabled: bool,
    /// Kinds of records to deliver.
    #[serde(default = "incidents")]
    #[schemars(extend("examples" = [["incident"]]))]
    pub records: Vec<RecordKind>,
    /// States of incidents to deliver.
    #[serde(default = "all_states")]
    #[schemars(extend("examples" = [["opened", "updated", "closed"]]))]
    pub states: Vec<State>,
    /// Least severity of incidents to deliver. One that reaches it late is delivered from then on, and
    /// its end with it.
    #[serde(default = "low")]
    #[schemars(example = &"low")]
    pub min_severity: Severity,
    /// Families of incidents to deliver; empty: all.
    #[serde(default)]
    #[schemars(extend("examples" = [["port_scan", "brute_force"]]))]
    pub families: Vec<String>,
    /// Networks: incidents and decisions with an address inside are delivered; empty: all.
    #[serde(default)]
    #[schemars(with = "Vec<String>", extend("examples" = [["192.0.2.0/24"]]))]
    pub networks: Vec<Network>,
    /// Greatest number of records a minute; more wait in the spool. 0: any.
    #[serde(default)]
    #[schemars(example = 60)]
    pub rate_per_min: u32,
    /// Bytes that the spool takes on disk.
    #[serde(default = "spool_size", with = "Size")]
    #[schemars(extend("x-minimum" = "64KiB", "x-maximum" = "64GiB"), example = &"64MiB")]
    pub spool_size: u64,
    /// Records that give way when the spool is full.
    #[serde(default)]
    #[schemars(example = &"oldest")]
    pub shed: ShedChoice,
    /// Age at which a record that still waits is given up and counted.
    #[serde(rename = "max_age", default = "max_age", with = "Time::<MS>")]
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "365d"), example = &"7d")]
    pub max_age_ms: u64,
    /// Time limit of one try.
    #[serde(rename = "timeout", default = "timeout", with = "Time::<MS>")]
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "5m"), example = &"10s")]
    pub timeout_ms: u64,
    /// Wait before the second try; it doubles from try to try.
    #[serde(rename = "retry_min", default = "retry_min", with = "Time::<MS>")]
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "1h"), example = &"1s")]
    pub retry_min_ms: u64,
    /// Longest wait between two tries, unless the far side asks for more.
    #[serde(rename = "retry_max", default = "retry_max", with = "Time::<MS>")]
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "1d"), example = &"5m")]
    pub retry_max_ms: u64,
    /// Format of what is sent, of those that the kind takes; without: the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"json")]
    pub format: Option<Format>,
    /// Template (Jinja) of what is sent, for `format = "template"`; its variable is `record`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-apart" = true), example = &"{{ record.severity }}: {{ record.explanation }}")]
    pub template: Option<String>,
    #[serde(flatten)]
    pub far: Far,
    /// User name; the token is the password then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"sensor")]
    pub user: Option<String>,
    /// Header lines to add, `Name: value`.
    #[serde(default)]
    #[schemars(length(max = 32), extend("examples" = [["X-Team: soc"]]))]
    pub headers: Vec<String>,
    /// Certificate chain (PEM) that the sensor shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"/etc/sensor/client.pem")]
    pub client_cert_file: Option<PathBuf>,
    /// Private key (PEM) of that certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"file:/etc/sensor/client.key")]
    pub client_key: Option<Secret>,
    /// Program with its arguments; it is given the record on standard input.
    #[serde(default)]
    #[schemars(extend("x-apart" = true), length(max = 64), extend("examples" = [["/usr/local/bin/alert", "--quiet"]]))]
    pub command: Vec<String>,
    /// File that lines are appended to. SIGHUP reopens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-apart" = true), example = &"/var/log/sensor/incidents.jsonl")]
    pub path: Option<PathBuf>,
    /// Size at which the file is set aside as `PATH.1` and begun anew; 0: never.
    #[serde(default, with = "Size")]
    #[schemars(extend("x-apart" = true), example = &"100MB")]
    pub rotate_size: u64,
    /// Number of files set aside that are kept.
    #[serde(default = "keep_files")]
    #[schemars(extend("x-apart" = true), range(min = 1, max = 1_000), example = 7)]
    pub keep_files: u32,
    /// Address of the far side, `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-apart" = true), example = &"syslog.example.org:6514")]
    pub address: Option<String>,
    /// Transport of syslog; NATS and Kafka go over TCP or TLS.
    #[serde(default)]
    #[schemars(extend("x-apart" = true), example = &"tls")]
    pub transport: Transport,
    /// Framing of messages over TCP and TLS: the length before each, or a line each.
    #[serde(default)]
    #[schemars(extend("x-apart" = true), example = &"octet_counting")]
    pub framing: Framing,
    /// Facility of syslog; 16 is local0.
    #[serde(default = "facility")]
    #[schemars(extend("x-apart" = true), range(max = 23), example = 16)]
    pub facility: u8,
    /// Private enterprise number in the name of the structured data; 32473 is that of documentation.
    #[serde(default = "enterprise_number")]
    #[schemars(extend("x-apart" = true), example = 32473)]
    pub enterprise_number: u32,
    /// Bytes of a message at most; 2,048 is taken by every receiver of RFC 5424.
    #[serde(default = "max_message")]
    #[schemars(extend("x-apart" = true), range(min = 480, max = 65_000), example = 8192)]
    pub max_message: u32,
    /// Index, or data stream, that records go into; without: that of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-apart" = true), example = &"logs-sensor.records-default")]
    pub index: Option<String>,
    /// Wait until Splunk says that a record is indexed; the token needs indexer acknowledgement.
    #[serde(default)]
    #[schemars(extend("x-apart" = true), example = true)]
    pub acknowledge: bool,
    /// Time that an alert stands in Alertmanager after the last word of it.
    #[serde(rename = "hold", default = "hold", with = "Time::<MS>")]
    #[schemars(extend("x-apart" = true, "x-minimum" = "1m", "x-maximum" = "30d"), example = &"1h")]
    pub hold_ms: u64,
    /// Mailbox that e-mail is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-apart" = true), example = &"Sensor <sensor@example.org>")]
    pub from: Option<String>,
    /// Mailboxes that e-mail goes to.
    #[serde(default)]
    #[schemars(extend("x-apart" = true), length(max = 32), extend("examples" = [["soc@example.org"]]))]
    pub to: Vec<String>,
    /// Protection of e-mail on its way to the server.
    #[serde(default)]
    #[schemars(extend("x-apart" = true), example = &"starttls")]
    pub security: MailSecurity,
    /// Number of the organization of QRadar SOAR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-apart" = true), example = &"201")]
    pub organization: Option<String>,
    /// Field of cases that holds the incident's identifier, by its name in the API; without: the case's
    /// name does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-apart" = true), example = &"sensor_incident_id")]
    pub id_field: Option<String>,
    /// Subject of messages of NATS; without: `sensor.incidents`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-apart" = true), example = &"sensor.incidents")]
    pub subject: Option<String>,
    /// Topic of Kafka; without: `sensor.incidents`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-apart" = true), example = &"sensor.incidents")]
    pub topic: Option<String>,
}

const fn hold() -> u64 {
    3_600_000
}

const fn facility() -> u8 {
    16
}

const fn enterprise_number() -> u32 {
    32_473
}

const fn max_message() -> u32 {
    8_192
}

const fn yes() -> bool {
    true
}

fn incidents() -> Vec<RecordKind> {
    vec![RecordKind::Incident]
}

fn all_states() -> Vec<State> {
    vec![State::Opened, State::Updated, State::Closed]
}

const fn low() -> Severity {
    Severity::Low
}

const fn spool_size() -> u64 {
    64 << 20
}

const fn max_age() -> u64 {
    7 * 24 * 3_600_000
}

const fn timeout() -> u64 {
    10_000
}

const fn retry_min() -> u64 {
    1_000
}

const fn retry_max() -> u64 {
    300_000
}

const fn keep_files() -> u32 {
    7
}

impl SinkSettings {
    /// A sink with all else at its default.
    pub fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            enabled: true,
            records: incidents(),
            states: all_states(),
            min_severity: low(),
            families: Vec::new(),
            networks: Vec::new(),
            rate_per_min: 0,
            spool_size: spool_size(),
            shed: ShedChoice::default(),
            max_age_ms: max_age(),
            timeout_ms: timeout(),
            retry_min_ms: retry_min(),
            retry_max_ms: retry_max(),
            format: None,
            template: None,
            far: Far::default(),
            user: None,
            headers: Vec::new(),
            client_cert_file: None,
            client_key: None,
            command: Vec::new(),
            path: None,
            rotate_size: 0,
            keep_files: keep_files(),
            address: None,
            transport: Transport::default(),
            framing: Framing::default(),
            facility: facility(),
            enterprise_number: enterprise_number(),
            max_message: max_message(),
            index: None,
            acknowledge: false,
            hold_ms: hold(),
            from: None,
            to: Vec::new(),
            security: MailSecurity::default(),
            organization: None,
            id_field: None,
            subject: None,
            topic: None,
        }
    }

    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Way to the far side.
    pub fn connection(&self) -> Connection<'_> {
        Connection {
            headers: &self.headers,
            client_cert_file: self.client_cert_file.as_deref(),
            client_key: self.client_key.as_ref(),
            ..self.far.connection(self.timeout())
        }
    }

    /// Mailboxes with their keys.
    pub(crate) fn mailboxes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let from = self.from.iter().map(|text| ("from", text.as_str()));
        from.chain(self.to.iter().map(|text| ("to", text.as_str())))
    }

    /// Keys that were given and are of some kinds only, by name.
    pub(crate) fn given(&self) -> Vec<&'static str> {
        let keys = [
            ("format", self.format.is_some()),
            ("template", self.template.is_some()),
            ("url", self.far.url.is_some()),
            ("token", self.far.token.is_some()),
            ("user", self.user.is_some()),
            ("headers", !self.headers.is_empty()),
            ("proxy", self.far.proxy.is_some()),
            ("ca_file", self.far.ca_file.is_some()),
            ("client_cert_file", self.client_cert_file.is_some()),
            ("client_key", self.client_key.is_some()),
            ("command", !self.command.is_empty()),
            ("path", self.path.is_some()),
            ("rotate_size", self.rotate_size > 0),
            ("address", self.address.is_some()),
            ("transport", self.transport != Transport::default()),
            ("framing", self.framing != Framing::default()),
            ("facility", self.facility != facility()),
            (
                "enterprise_number",
                self.enterprise_number != enterprise_number(),
            ),
            ("max_message", self.max_message != max_message()),
            ("index", self.index.is_some()),
            ("acknowledge", self.acknowledge),
            ("hold", self.hold_ms != hold()),
            ("from", self.from.is_some()),
            ("to", !self.to.is_empty()),
            ("security", self.security != MailSecurity::default()),
            ("organization", self.organization.is_some()),
            ("id_field", self.id_field.is_some()),
            ("subject", self.subject.is_some()),
            ("topic", self.topic.is_some()),
        ];
        let given = keys.into_iter().filter(|(_, is_given)| *is_given);
        given.map(|(key, _)| key).collect()
    }
}
