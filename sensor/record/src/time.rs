//! Times: unix nanoseconds inside, RFC 3339 in UTC in JSON, local time with its offset for a person.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Unix time, ns, to the year 2554. In JSON as RFC 3339 in UTC with nine decimals.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(into = "String", try_from = "String")]
#[schemars(
    with = "String",
    inline,
    extend("format" = "date-time", "pattern" = "^(19[7-9][0-9]|2[0-4][0-9][0-9]|25[0-4][0-9]|255[0-4])-")
)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The wall clock.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let ns = since.map_or(0, |since| since.as_nanos());
        Self(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    fn instant(self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(self.0.into()).unwrap_or(jiff::Timestamp::MAX)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.9}", self.instant())
    }
}

impl From<Timestamp> for String {
    fn from(at: Timestamp) -> Self {
        at.to_string()
    }
}

impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = "write a time of RFC 3339 as 2026-01-02T03:04:05.000000000Z";
        let at: jiff::Timestamp = text
            .parse()
            .map_err(|_| format!("\"{text}\" is no time: {wanted}"))?;
        u64::try_from(at.as_nanosecond())
            .map(Self)
            .map_err(|_| format!("\"{text}\" is before 1970: {wanted}"))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The time zone that people are told times in.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// Time zone of this process: `TZ`, else `/etc/localtime`, else UTC.
    pub fn local() -> Self {
        Self(TimeZone::system())
    }

    pub const fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// Time zone of an IANA name such as `Europe/Berlin`, where the system's database has it.
    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self)
    }

    fn format(&self, at: Timestamp, form: &str) -> String {
        at.instant()
            .to_zoned(self.0.clone())
            .strftime(form)
            .to_string()
    }

    /// `Z`, or hours and minutes from UTC: `+01:00`.
    pub fn offset(&self, at: Timestamp) -> String {
        match self.format(at, "%:z") {
            zero if zero == "+00:00" => "Z".to_owned(),
            other => other,
        }
    }

    /// `2026-01-02 04:04:05.125+01:00`.
    pub fn millisecond(&self, at: Timestamp) -> String {
        self.format(at, "%Y-%m-%d %H:%M:%S%.3f") + &self.offset(at)
    }

    /// `2026-01-02 04:04:05+01:00`.
    pub fn second(&self, at: Timestamp) -> String {
        self.format(at, "%Y-%m-%d %H:%M:%S") + &self.offset(at)
    }

    /// `04:04:05`, for where the zone is told beside.
    pub fn clock(&self, at: Timestamp) -> String {
        self.format(at, "%H:%M:%S")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(1_767_323_045_125_000_001);

    #[test]
    fn json_has_utc_with_nine_decimals() {
        let text = "2026-01-02T03:04:05.125000001Z";
        assert_eq!(AT.to_string(), text);
        assert_eq!(text.parse(), Ok(AT));
        assert_eq!("2026-01-02T04:04:05.125000001+01:00".parse(), Ok(AT));
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000000000Z");
        let last = Timestamp(u64::MAX);
        assert_eq!(last.to_string().parse(), Ok(last));
        for bad in ["", "yesterday", "2026-01-02", "1969-12-31T23:59:59Z"] {
            let told = bad.parse::<Timestamp>().unwrap_err();
            assert!(told.contains("RFC 3339"), "{told}");
        }
    }

    #[test]
    fn people_are_told_local_time_with_its_offset() {
        assert_eq!(Zone::utc().millisecond(AT), "2026-01-02 03:04:05.125Z");
        // A rule of POSIX, so that no database is needed.
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let berlin = Zone(berlin);
        assert_eq!(berlin.millisecond(AT), "2026-01-02 04:04:05.125+01:00");
        let summer: Timestamp = "2026-07-02T22:30:00Z".parse().unwrap();
        assert_eq!(berlin.second(summer), "2026-07-03 00:30:00+02:00");
        assert_eq!(berlin.clock(summer), "00:30:00");
    }
}
