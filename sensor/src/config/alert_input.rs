//! `[[capture.alert_input]]`: alerts of other systems, as context of incidents.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use sensor_deliver::{Connection, Far};
use sensor_engine::{SECOND_NS, Time};
use sensor_respond::Network;
use serde::{Deserialize, Serialize};

use super::policy::Seconds;

/// Time limit of asking once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Way on which alerts come.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// Messages of syslog over UDP.
    #[default]
    Udp,
    /// Messages of syslog over TCP, a line each or with their length before them.
    Tcp,
    /// Model breaches of Darktrace, asked for.
    Darktrace,
    /// Detections of Vectra, asked for.
    Vectra,
}

impl AlertKind {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Darktrace => "darktrace",
            Self::Vectra => "vectra",
        }
    }

    /// True where others send; else the sensor asks.
    pub const fn is_listening(self) -> bool {
        matches!(self, Self::Udp | Self::Tcp)
    }
}

/// One input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertInputSettings {
    /// Name of the input, for incidents, `said_by` of the policy and metrics: letters, digits, - and _.
    #[schemars(example = &"ndr")]
    pub name: String,
    /// Kind: `udp` and `tcp` listen for syslog, `darktrace` and `vectra` ask the product.
    #[schemars(example = &"darktrace")]
    pub kind: AlertKind,
    /// Take what comes.
    #[serde(default = "yes")]
    #[schemars(example = true)]
    pub enabled: bool,
    /// Address and port to listen at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-apart" = true), with = "Option<String>", example = &"0.0.0.0:5514")]
    pub listen: Option<SocketAddr>,
    /// Addresses and networks of senders. What others send is counted and dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-apart" = true), with = "Vec<String>", example = ["192.0.2.250"])]
    pub senders: Vec<Network>,
    #[serde(flatten)]
    pub far: Far,
    /// Public token of Darktrace, client identifier of Vectra's platform; without it Vectra is asked as an appliance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"6a0b1c2d")]
    pub user: Option<String>,
    /// Interval between two questions.
    #[serde(default = "every")]
    #[schemars(with = "Time::<SECOND_NS>", extend("x-minimum" = "1s", "x-maximum" = "1day"), example = &"1m")]
    pub every: Seconds,
    /// Time that a statement stands after it came last.
    #[serde(default = "hold")]
    #[schemars(with = "Time::<SECOND_NS>", extend("x-minimum" = "1s", "x-maximum" = "7days"), example = &"1h")]
    pub hold: Seconds,
}

const fn yes() -> bool {
    true
}

const fn every() -> Seconds {
    Seconds(60)
}

const fn hold() -> Seconds {
    Seconds(3_600)
}

impl AlertInputSettings {
    /// True for a sender that is listened to.
    pub fn allows(&self, address: std::net::IpAddr) -> bool {
        let address = address.to_canonical();
        let mut networks = self.senders.iter();
        networks.any(|Network(network)| network.contains(&address))
    }

    /// Way to the product.
    pub fn connection(&self) -> Connection<'_> {
        self.far.connection(PATIENCE)
    }

    /// Contradictions within the table: key and message.
    fn conflicts(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(is_plain) {
            let message = format!(
                "\"{}\" is no name: write 1 to 64 letters, digits, - and _, as ndr",
                self.name
            );
            found.push(("name", message));
        }
        let is_listening = self.kind.is_listening();
        let kind = self.kind.label();
        let needs = [
            ("listen", is_listening, self.listen.is_some()),
            ("senders", is_listening, !self.senders.is_empty()),
            ("url", !is_listening, self.far.url.is_some()),
            ("token", !is_listening, self.far.token.is_some()),
        ];
        for (key, is_needed, is_given) in needs {
            match (is_needed, is_given) {
                (true, false) => {
                    found.push((key, format!("missing: an input of kind {kind} needs it")))
                }
                (false, true) => {
                    found.push((
                        key,
                        format!("is nothing for an input of kind {kind}; leave it out"),
                    ));
                }
                _ => {}
            }
        }
        if self.listen.is_some_and(|listen| listen.port() == 0) {
            let message = "senders have to know the port; write ADDRESS:PORT".to_owned();
            found.push(("listen", message));
        }
        if self.kind == AlertKind::Darktrace && self.user.is_none() {
            found.push(("user", "missing: write the public token there".to_owned()));
        }
        found
    }
}

/// Contradictions of the inputs, by themselves and with each other: key and message.
pub(super) fn conflicts(inputs: &[AlertInputSettings]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (i, input) in inputs.iter().enumerate() {
        let path = |key: &str| format!("capture.alert_input[{i}].{key}");
        let own = input.conflicts().into_iter();
        found.extend(own.map(|(key, message)| (path(key), message)));
        let before = inputs.iter().take(i);
        if before.clone().any(|before| before.name == input.name) {
            let message = format!("\"{}\" is the name of an input above, too", input.name);
            found.push((path("name"), message));
        }
        let is_same = |before: &AlertInputSettings| {
            input.listen.is_some() && (before.kind, before.listen) == (input.kind, input.listen)
        };
        if before.clone().any(is_same) {
            found.push((
                path("listen"),
                "an input above listens there, too".to_owned(),
            ));
        }
    }
    found
}

/// Rows of the policy that ask for a statement of an input that there is not: key and message.
pub(super) fn unknown_names<'a>(
    inputs: &[AlertInputSettings],
    rows: impl Iterator<Item = &'a [String]>,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (i, names) in rows.enumerate() {
        let is_there = |name: &&String| inputs.iter().any(|input| input.name == **name);
        if let Some(name) = names.iter().find(|name| !is_there(name)) {
            let message = format!("\"{name}\" is the name of no capture.alert_input");
            found.push((format!("respond.policy[{i}].said_by"), message));
        }
    }
    found
}
