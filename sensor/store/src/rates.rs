//! Rates second by second, and minute by minute for longer.

use anyhow::Result;
use rusqlite::{Connection, Transaction, params};
use schemars::JsonSchema;
use sensor_record::Timestamp;
use serde::{Deserialize, Serialize};

const SECOND_NS: u64 = 1_000_000_000;
/// Age of the rates of single seconds.
const SECONDS_FOR_S: u64 = 2 * 86_400;
/// Points of an answer.
const MAX_POINTS: usize = 3_600;

/// Packets and bytes that went through something since the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// An interface, or `all`.
    pub name: String,
    pub at_s: u64,
    /// In and out.
    pub packets: [u64; 2],
    pub bytes: [u64; 2],
}

/// A point of a rate over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RatePoint {
    /// Beginning of the step
    pub at: Timestamp,
    /// Interface, or `all`
    pub name: String,
    /// Packets that came in, a second
    #[schemars(extend("x-unit" = "packets/s"))]
    pub in_packets_per_s: f64,
    /// Bytes that came in, a second
    #[schemars(extend("x-unit" = "bytes/s"))]
    pub in_bytes_per_s: f64,
    /// Packets that went out, a second
    #[schemars(extend("x-unit" = "packets/s"))]
    pub out_packets_per_s: f64,
    /// Bytes that went out, a second
    #[schemars(extend("x-unit" = "bytes/s"))]
    pub out_bytes_per_s: f64,
}

/// Packets and bytes that went through something in a minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateRow {
    /// Beginning of the minute
    pub at: Timestamp,
    /// Interface, or `all`
    pub name: String,
    /// In and out
    pub packets: [u64; 2],
    pub bytes: [u64; 2],
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Adds what went through to its second and to its minute.
pub fn put(to: &Transaction<'_>, rate: &Rate) -> rusqlite::Result<()> {
    let mut add = to.prepare_cached(
        "INSERT INTO rate VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
         packets_in = packets_in + excluded.packets_in, bytes_in = bytes_in + excluded.bytes_in,
         packets_out = packets_out + excluded.packets_out, bytes_out = bytes_out + excluded.bytes_out",
    )?;
    for step in [1, 60] {
        let at = rate.at_s - rate.at_s % step;
        let step = signed(step);
        let ([packets_in, packets_out], [bytes_in, bytes_out]) =
            (rate.packets.map(signed), rate.bytes.map(signed));
        add.execute(params![
            step,
            rate.name,
            signed(at),
            packets_in,
            bytes_in,
            packets_out,
            bytes_out
        ])?;
    }
    Ok(())
}

/// Deletes what is older than it is kept for.
pub fn delete(to: &Transaction<'_>, now_s: u64, age_s: u64) -> rusqlite::Result<()> {
    for (step, age_s) in [(1, age_s.min(SECONDS_FOR_S)), (60, age_s)] {
        let before = signed(now_s.saturating_sub(age_s));
        to.prepare_cached("DELETE FROM rate WHERE step = ? AND at < ?")?
            .execute([step, before])?;
    }
    Ok(())
}

/// Hands out the minutes of a span, ns.
pub fn each(
    from: &Connection,
    (since_ns, until_ns): (u64, u64),
    mut take: impl FnMut(RateRow) -> Result<()>,
) -> Result<()> {
    let mut query = from.prepare(
        "SELECT at, name, packets_in, packets_out, bytes_in, bytes_out FROM rate
         WHERE step = 60 AND at BETWEEN ?1 AND ?2 ORDER BY at, name",
    )?;
    let [since, until] = [since_ns, until_ns].map(|ns| signed(ns / SECOND_NS));
    let mut rows = query.query([since, until])?;
    while let Some(row) = rows.next()? {
        let count = |n: usize| {
            let n = row.get::<_, i64>(n)?;
            Ok::<_, rusqlite::Error>(u64::try_from(n).unwrap_or(0))
        };
        take(RateRow {
            at: Timestamp(count(0)?.saturating_mul(SECOND_NS)),
            name: row.get(1)?,
            packets: [count(2)?, count(3)?],
            bytes: [count(4)?, count(5)?],
        })?;
    }
    Ok(())
}

/// Reads rates within a span: seconds where they are few, else minutes, or more of them.
pub fn find(from: &Connection, (since_ns, until_ns): (u64, u64)) -> Result<Vec<RatePoint>> {
    let (since, until) = (since_ns / SECOND_NS, until_ns / SECOND_NS);
    let wanted = until.saturating_sub(since) / MAX_POINTS as u64;
    let (step, group) = match wanted {
        0 => (1, 1),
        _ => (60, (wanted / 60 + 1) * 60),
    };
    let mut query = from.prepare(
        "SELECT at - at % ?1 AS began, name, sum(packets_in), sum(bytes_in), sum(packets_out), sum(bytes_out)
         FROM rate WHERE step = ?2 AND at BETWEEN ?3 AND ?4 GROUP BY name, began ORDER BY began LIMIT ?5",
    )?;
    let most = signed(8 * MAX_POINTS as u64);
    let rows = query.query_map(
        [signed(group), step, signed(since), signed(until), most],
        |row| {
            let per_s =
                |n: usize| Ok::<_, rusqlite::Error>(row.get::<_, i64>(n)? as f64 / group as f64);
            let at = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0);
            Ok(RatePoint {
                at: Timestamp(at.saturating_mul(SECOND_NS)),
                name: row.get(1)?,
                in_packets_per_s: per_s(2)?,
                in_bytes_per_s: per_s(3)?,
                out_packets_per_s: per_s(4)?,
                out_bytes_per_s: per_s(5)?,
            })
        },
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}
