//! `[[detect.except]]`: findings that the site knows to be legitimate.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use sensor_engine::{Detector, Exception, Family};
use sensor_record::{Reason, Timestamp, protocol, transport};
use serde::{Deserialize, Serialize};

use sensor_respond::Network;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DetectSettings {
    /// Exceptions: findings that are counted, but not made into incidents. A finding is excepted when
    /// it meets every condition that the table names.
    #[schemars(length(max = 1_000))]
    pub except: Vec<ExceptSettings>,
}

/// One exception.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExceptSettings {
    /// Detector, as in findings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"scan")]
    pub detector: Option<Named<Detector>>,
    /// Family, as in incidents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"port_scan")]
    pub family: Option<Named<Family>>,
    /// Address or network of the source. A finding with several sources is excepted only if all of
    /// them are inside; one with spoofed or unlisted sources is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"192.0.2.10")]
    pub source: Option<Network>,
    /// Address or network of the destination. A finding with several destinations is excepted only if
    /// all that it lists are inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"198.51.100.0/24")]
    pub destination: Option<Network>,
    /// Protocol of the service: tcp, udp, icmp, ipv6-icmp, sctp or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"tcp")]
    pub protocol: Option<Protocol>,
    /// Port of the service. A finding about several ports is not excepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), example = 22)]
    pub port: Option<u16>,
    /// End of the exception, as RFC 3339 (`2027-01-01T00:00:00Z`) or as a date, which ends as it
    /// begins in UTC; without: no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"2099-01-01")]
    pub until: Option<Until>,
    /// Reason of the exception, shown in `sensor status`, at most 512 bytes.
    #[schemars(with = "String", example = &"vulnerability scan of the auditors")]
    pub reason: Reason,
}

impl ExceptSettings {
    /// Exception in the form that the engine takes.
    pub fn exception(&self) -> Exception {
        Exception {
            detector: self.detector.map(|named| named.0),
            family: self.family.map(|named| named.0),
            source: self.source.map(|network| network.0),
            destination: self.destination.map(|network| network.0),
            protocol: self.protocol.map(|protocol| protocol.0),
            port: self.port,
            until_ns: self.until.map(|until| until.0.0),
            reason: self.reason.as_str().to_owned(),
        }
    }

    /// Contradiction within the table: key and message.
    pub(super) fn conflict(&self) -> Option<(&'static str, String)> {
        let has_ports = |protocol: Protocol| matches!(protocol.0, 6 | 17 | 132);
        if let (Some(protocol), Some(_)) = (self.protocol, self.port)
            && !has_ports(protocol)
        {
            return Some(("port", format!("{protocol} has no ports; leave it out")));
        }
        let exception = self.exception();
        let conditions = Exception {
            until_ns: None,
            reason: String::new(),
            ..exception
        };
        if conditions == Exception::default() {
            let message = "covers every finding; name a detector, family, source, destination, \
                           protocol or port";
            return Some(("", message.to_owned()));
        }
        self.reason
            .as_str()
            .trim()
            .is_empty()
            .then(|| ("reason", "is empty; say why".to_owned()))
    }

    /// Message for an exception that no longer holds.
    pub(super) fn expiry(&self, now: Timestamp) -> Option<String> {
        let until = self.until.filter(|until| until.0 <= now)?;
        Some(format!(
            "expired at {}; remove it or set a later time",
            until.0
        ))
    }
}

/// Name out of one of the engine's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    into = "String",
    try_from = "String",
    bound(serialize = "T: Listed", deserialize = "T: Listed")
)]
pub struct Named<T>(pub T);

/// List of names.
pub trait Listed: Copy + 'static {
    const ALL: &'static [Self];
    const SCHEMA_NAME: &'static str;
    fn label(self) -> &'static str;
}

impl Listed for Family {
    const ALL: &'static [Self] = &Family::ALL;
    const SCHEMA_NAME: &'static str = "Family";
    fn label(self) -> &'static str {
        Family::label(self)
    }
}

impl Listed for Detector {
    const ALL: &'static [Self] = Detector::ALL;
    const SCHEMA_NAME: &'static str = "Detector";
    fn label(self) -> &'static str {
        Detector::label(self)
    }
}

impl<T: Listed> From<Named<T>> for String {
    fn from(named: Named<T>) -> Self {
        named.0.label().to_owned()
    }
}

impl<T: Listed> TryFrom<String> for Named<T> {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let found = T::ALL.iter().find(|item| item.label() == text);
        found
            .map(|item| Self(*item))
            .ok_or_else(|| format!("\"{text}\" is not one of: {}", labels::<T>().join(", ")))
    }
}

impl<T: Listed> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::SCHEMA_NAME.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": labels::<T>()})
    }
}

fn labels<T: Listed>() -> Vec<&'static str> {
    T::ALL.iter().map(|item| item.label()).collect()
}

/// IP protocol, by name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Protocol(pub u8);

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&transport(self.0))
    }
}

impl From<Protocol> for String {
    fn from(protocol: Protocol) -> Self {
        protocol.to_string()
    }
}

impl TryFrom<String> for Protocol {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let number = protocol(&text).map_err(|wanted| format!("\"{text}\": {wanted}"))?;
        Ok(Self(number))
    }
}

/// Time, or the beginning of a day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Until(pub Timestamp);

impl From<Until> for String {
    fn from(until: Until) -> Self {
        until.0.to_string()
    }
}

impl TryFrom<String> for Until {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let is_date = text.len() == "2027-01-01".len();
        let whole = if is_date {
            format!("{text}T00:00:00Z")
        } else {
            text.clone()
        };
        whole
            .parse()
            .map(Self)
            .map_err(|_| format!("\"{text}\" is not a time, as 2027-01-01T00:00:00Z or 2027-01-01"))
    }
}
