//! `[[respond.feed]]`: lists of others that the sensor follows by itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use sensor_deliver::{Connection, Far};
use sensor_engine::{SECOND_NS, Time};
use sensor_record::Name;
use sensor_respond::{BlockAction, Measure};
use serde::{Deserialize, Serialize};

use super::policy::Seconds;

/// Time limit of fetching a list.
const PATIENCE: Duration = Duration::from_secs(30);

/// Kind of a list.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum FeedKind {
    /// A file of addresses, networks and ranges, fetched whole each time.
    #[default]
    List,
    /// Decisions of a CrowdSec local API, as a bouncer gets them.
    Crowdsec,
}

impl FeedKind {
    pub const fn label(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Crowdsec => "crowdsec",
        }
    }
}

/// One list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeedSettings {
    /// Name of the list, shown as the origin of its entries.
    #[schemars(example = &"firehol")]
    pub name: String,
    /// Kind: `list`, a file in any form that `sensor block import` takes, or `crowdsec`, the decisions of a
    /// CrowdSec local API, whose `token` is the key that `cscli bouncers add sensor` prints.
    #[serde(default)]
    #[schemars(example = &"list")]
    pub kind: FeedKind,
    /// Follow it. Entries of one that is not followed any more expire.
    #[serde(default = "yes")]
    #[schemars(example = true)]
    pub enabled: bool,
    #[serde(flatten)]
    pub far: Far,
    /// File, instead of an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-apart" = true), example = &"/var/lib/lists/level1.netset")]
    pub path: Option<PathBuf>,
    /// Interval between two fetches; without: 1h, of CrowdSec 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time::<SECOND_NS>", extend("x-minimum" = "1s"), example = &"1h")]
    pub every: Option<Seconds>,
    /// Lifetime of an entry after the last fetch that had it; of CrowdSec the longest that a decision is
    /// followed without being confirmed, which happens once an hour.
    #[serde(default = "ttl")]
    #[schemars(with = "Time::<SECOND_NS>", extend("x-minimum" = "1s"), example = &"1day")]
    pub ttl: Seconds,
    /// Action on packets of its entries: `drop`, `quarantine`, or `limit` with a rate.
    #[serde(default = "drop_all")]
    #[schemars(example = &"drop")]
    pub action: BlockAction,
    /// New packets per second that a limit lets pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-apart" = true), range(min = 1), example = 50)]
    pub rate_packets_per_s: Option<u32>,
}

const fn yes() -> bool {
    true
}

const fn ttl() -> Seconds {
    Seconds(86_400)
}

const fn drop_all() -> BlockAction {
    BlockAction::Drop
}

impl FeedSettings {
    /// Interval between two fetches.
    pub fn every(&self) -> Duration {
        let usual = match self.kind {
            FeedKind::List => 3_600,
            FeedKind::Crowdsec => 10,
        };
        Duration::from_secs(self.every.map_or(usual, |every| every.0).into())
    }

    pub fn ttl(&self) -> Duration {
        Duration::from_secs(self.ttl.0.into())
    }

    /// Measure of its entries.
    ///
    /// # Errors
    /// When action and rate don't go together.
    pub fn measure(&self) -> Result<Measure, String> {
        BlockAction::measure(Some(self.action), self.rate_packets_per_s)
    }

    /// Way to the far side.
    pub fn connection(&self) -> Connection<'_> {
        self.far.connection(PATIENCE)
    }

    /// Contradiction within the table: key and message.
    pub(super) fn conflict(&self) -> Option<(&'static str, String)> {
        let told = |key, message: &str| Some((key, message.to_owned()));
        if self.name.is_empty() {
            return told("name", "is empty; name the list");
        }
        if let Err(cause) = self.name.parse::<Name>() {
            return Some(("name", cause.to_string()));
        }
        match (&self.far.url, &self.path) {
            (None, None) => return told("url", "missing; say where the list is"),
            (Some(_), Some(_)) => return told("path", "url says already where the list is"),
            _ => {}
        }
        if self.kind == FeedKind::Crowdsec && self.path.is_some() {
            return told("path", "decisions of CrowdSec are fetched: write url");
        }
        if self.kind == FeedKind::Crowdsec && self.far.token.is_none() {
            let message = "missing; `cscli bouncers add sensor` prints the key: write it to a file, and \
                           token = \"file:/PATH\"";
            return told("token", message);
        }
        if self.path.as_deref().is_some_and(Path::is_relative) {
            return told("path", "is relative; write the whole path");
        }
        if let Err(message) = self.measure() {
            let message = message.replace("say --rate PACKETS_PER_S", "set it");
            return Some((
                "rate_packets_per_s",
                message.replace("--action limit", "limit"),
            ));
        }
        if self.ttl() <= self.every() {
            let message =
                "is not above every: entries would expire before the list is fetched again";
            return told("ttl", message);
        }
        None
    }
}
