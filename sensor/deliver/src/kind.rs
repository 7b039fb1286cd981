//! Words for the kinds of sinks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Kind of a sink.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Kind {
    /// A POST for each record.
    Webhook,
    /// A program for each record.
    Exec,
    /// Lines in a file.
    File,
    /// Lines on standard output.
    Stdout,
    /// Entries of the system's journal.
    Journald,
    /// Messages of syslog.
    Syslog,
    /// Documents of Elasticsearch or OpenSearch.
    Elasticsearch,
    /// Events of Splunk.
    Splunk,
    /// Alerts of PagerDuty.
    Pagerduty,
    /// Alerts of Jira Service Management or Opsgenie.
    Opsgenie,
    /// Alerts of Prometheus Alertmanager.
    Alertmanager,
    /// Events of ServiceNow.
    Servicenow,
    /// Alerts of CrowdSec.
    Crowdsec,
    /// Logs of OpenTelemetry.
    Otlp,
    /// E-mail.
    Email,
    /// Cases of IBM QRadar SOAR.
    QradarSoar,
    /// Events of MISP.
    Misp,
    /// Objects of STIX in a collection of TAXII.
    Taxii,
    /// Messages of NATS JetStream.
    Nats,
    /// Messages of Kafka.
    Kafka,
}
