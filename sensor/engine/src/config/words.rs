//! Times and sizes as people write them: "15m", "64MiB". Numbers without a unit were the keys
//! before; the shell still takes those, by the former names of the keys.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

/// Whole units of `UNIT_NS` nanoseconds, written as words: for `#[serde(with = "Time::<1>")]`.
pub struct Time<const UNIT_NS: u64>;

impl<const UNIT_NS: u64> Time<UNIT_NS> {
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T, S>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Copy + Into<u64>,
        S: Serializer,
    {
        let ns = (*value).into().saturating_mul(UNIT_NS);
        serializer.serialize_str(&time_text(ns))
    }

    /// # Errors
    /// When the text is no time, is too long for `T`, or isn't whole in this unit.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: TryFrom<u64>,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        let ns = parse_time(&text).map_err(D::Error::custom)?;
        if !ns.is_multiple_of(UNIT_NS) {
            let unit = time_text(UNIT_NS);
            return Err(D::Error::custom(format!(
                "\"{text}\" is not a multiple of {unit}"
            )));
        }
        T::try_from(ns / UNIT_NS).map_err(|_| D::Error::custom(format!("\"{text}\" is too long")))
    }
}

impl<const UNIT_NS: u64> JsonSchema for Time<UNIT_NS> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(0|([0-9]+ ?[A-Za-zµ]+ ?)+)$",
            "x-kind": "time",
        })
    }
}

/// Bytes, written as words: for `#[serde(with = "Size")]`.
pub struct Size;

impl Size {
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T, S>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Copy + Into<u64>,
        S: Serializer,
    {
        serializer.serialize_str(&size_text((*value).into()))
    }

    /// # Errors
    /// When it is neither a number of bytes nor a size, or too large for `T`.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: TryFrom<u64>,
        D: Deserializer<'de>,
    {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "a size is a number of bytes, or text as \"64MiB\""
        )]
        enum Given {
            Bytes(u64),
            Text(String),
        }
        let bytes = match Given::deserialize(deserializer)? {
            Given::Bytes(bytes) => bytes,
            Given::Text(text) => parse_size(&text).map_err(D::Error::custom)?,
        };
        let too_large = |_| D::Error::custom(format!("{} is too large", size_text(bytes)));
        T::try_from(bytes).map_err(too_large)
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]+ ?([kKMGT]i?)?B$",
            "minimum": 0,
            "x-kind": "size",
        })
    }
}

/// Nanoseconds of a time as "250ms", "15m", "1h 30m".
///
/// # Errors
/// Says what a time looks like.
pub fn parse_time(text: &str) -> Result<u64, String> {
    let example = "as \"250ms\", \"15m\" or \"1h 30m\"";
    if !text.is_empty() && text != "0" && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "\"{text}\" has no unit; write \"{text}s\" for seconds"
        ));
    }
    let time = humantime::parse_duration(text)
        .map_err(|_| format!("\"{text}\" is not a time, {example}"))?;
    u64::try_from(time.as_nanos()).map_err(|_| format!("\"{text}\" is too long; at most 500 years"))
}

/// The shortest words of a time.
pub fn time_text(ns: u64) -> String {
    humantime::format_duration(Duration::from_nanos(ns)).to_string()
}

/// Units of size, largest first; of equal ones the decimal first.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Bytes of a size as "1500B", "20MB", "64MiB".
///
/// # Errors
/// Says what a size looks like.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let end = trimmed
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    let unit = unit.trim();
    let known = SIZE_UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let (Ok(number), Some((_, bytes))) = (number.parse::<u64>(), known) else {
        return Err(format!(
            "\"{text}\" is not a size, as \"1500B\", \"20MB\" or \"64MiB\""
        ));
    };
    number
        .checked_mul(*bytes)
        .ok_or_else(|| format!("\"{text}\" is too large"))
}

/// A size in the largest unit that leaves no fraction.
pub fn size_text(bytes: u64) -> String {
    let whole = |unit: &&(&str, u64)| bytes >= unit.1 && bytes.is_multiple_of(unit.1);
    let (unit, size) = SIZE_UNITS.iter().find(whole).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_as_they_are_written() {
        for ns in [
            0,
            1,
            250_000_000,
            1_500_000_000,
            900_000_000_000,
            5_400_000_000_000,
            u64::MAX,
        ] {
            assert_eq!(parse_time(&time_text(ns)), Ok(ns), "{}", time_text(ns));
        }
        assert_eq!(parse_time("1h30m"), parse_time("90m"));
        assert_eq!(time_text(900_000_000_000), "15m");
        for bytes in [
            0,
            1,
            999,
            1_024,
            1_500,
            20_000_000,
            64 << 20,
            (1 << 40) + 1,
            u64::MAX,
        ] {
            assert_eq!(
                parse_size(&size_text(bytes)),
                Ok(bytes),
                "{}",
                size_text(bytes)
            );
        }
        assert_eq!(size_text(20_000_000), "20MB");
        assert_eq!(size_text(64 << 20), "64MiB");
        assert_eq!(parse_size("1 gib"), Ok(1 << 30));
    }

    #[test]
    fn a_time_or_size_without_unit_is_refused_with_an_example() {
        for text in [
            "",
            "5",
            "fast",
            "5 parsecs",
            "-1s",
            "1e3s",
            "99999999999999999999s",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_time("5"),
            Err("\"5\" has no unit; write \"5s\" for seconds".to_owned())
        );
        for text in ["", "5", "MB", "1.5MB", "-1B", "5 parsecs", "99999999999TB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
