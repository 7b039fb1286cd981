//! Whom a finding or an incident is about.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mac::Mac;

/// An address, or a station on the link, whose IP address may be a lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String", inline)]
pub enum Entity {
    Address(IpAddr),
    Station(Mac),
}

/// Role in which an entity is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum EntityKind {
    Source,
    Victim,
    Station,
}

impl EntityKind {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Victim => "victim",
            Self::Station => "station",
        }
    }
}

/// Converts the engine's entity, into itself and its kind.
pub fn entity(of: &sensor_engine::Entity) -> (Entity, EntityKind) {
    use sensor_engine::Entity as Of;
    let kind = match of {
        Of::Source(_) => EntityKind::Source,
        Of::Victim(_) => EntityKind::Victim,
        Of::Station(mac) => return (Entity::Station(Mac(*mac)), EntityKind::Station),
    };
    (Entity::Address(sensor_engine::to_ip(&of.address())), kind)
}

/// The way back.
pub fn engine_entity(entity: Entity, kind: EntityKind) -> Option<sensor_engine::Entity> {
    use sensor_engine::Entity as Of;
    match (entity, kind) {
        (Entity::Address(ip), EntityKind::Source) => Some(Of::Source(sensor_engine::from_ip(ip))),
        (Entity::Address(ip), EntityKind::Victim) => Some(Of::Victim(sensor_engine::from_ip(ip))),
        (Entity::Station(mac), _) => Some(Of::Station(mac.0)),
        (Entity::Address(_), EntityKind::Station) => None,
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(ip) => ip.fmt(f),
            Self::Station(mac) => mac.fmt(f),
        }
    }
}

impl From<Entity> for String {
    fn from(entity: Entity) -> Self {
        entity.to_string()
    }
}

impl FromStr for Entity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ip = text.parse().map(Self::Address);
        ip.or_else(|_| text.parse().map(Self::Station))
            .map_err(|_: String| format!("\"{text}\" is neither an IP nor an Ethernet address"))
    }
}

impl TryFrom<String> for Entity {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
