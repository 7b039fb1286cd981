//! Rates second by second, those of services in steps of ten, and minute by minute for longer.

use anyhow::Result;
use rusqlite::{Connection, Transaction, params};
use schemars::JsonSchema;
use sensor_record::Timestamp;
use serde::{Deserialize, Serialize};

const SECOND_NS: u64 = 1_000_000_000;
/// Age of the rates of single seconds.
const SECONDS_FOR_S: u64 = 2 * 86_400;
/// Points of an answer of each interface, and of each service.
const MAX_POINTS: [u64; 2] = [3_600, 360];
/// Rows of an answer.
const MAX_ROWS: u64 = 28_800;
/// Services of one step that are kept by name; the rest is summed.
const MAX_SERVICES: usize = 20;
/// Name of the rest.
const REST: &str = "/rest";

/// Packets and bytes that went through something since the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// An interface, or `all`; or a service, as `tcp/443`, or `/rest`. No interface has a `/` in its name.
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
    /// Interface, or `all`; or service, as `tcp/443`, or `/rest`
    pub name: String,
    /// Packets that came in, or were sent to the service, a second
    #[schemars(extend("x-unit" = "packets/s"))]
    pub in_packets_per_s: f64,
    /// Bytes that came in, or were sent to the service, a second
    #[schemars(extend("x-unit" = "bytes/s"))]
    pub in_bytes_per_s: f64,
    /// Packets that went out, or that the service sent, a second
    #[schemars(extend("x-unit" = "packets/s"))]
    pub out_packets_per_s: f64,
    /// Bytes that went out, or that the service sent, a second
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

/// Kind of rates that are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum RateOf {
    #[default]
    Interfaces,
    Services,
}

impl RateOf {
    fn of_name(name: &str) -> Self {
        if name.contains('/') {
            Self::Services
        } else {
            Self::Interfaces
        }
    }

    /// Shortest step that is kept, s.
    pub const fn step_s(self) -> u64 {
        match self {
            Self::Interfaces => 1,
            Self::Services => 10,
        }
    }
}

/// Chooses the services with the most bytes, and sums the rest up, which is what they lack of `all`.
#[must_use]
pub fn top(mut services: Vec<Rate>, all: Rate) -> Vec<Rate> {
    let bytes = |rate: &Rate| rate.bytes[0].saturating_add(rate.bytes[1]);
    services.retain(|rate| rate.packets != [0, 0]);
    services.sort_by(|a, b| bytes(b).cmp(&bytes(a)).then_with(|| a.name.cmp(&b.name)));
    services.truncate(MAX_SERVICES);
    let mut rest = Rate {
        name: REST.to_owned(),
        ..all
    };
    for rate in &services {
        for side in 0..2 {
            rest.packets[side] = rest.packets[side].saturating_sub(rate.packets[side]);
            rest.bytes[side] = rest.bytes[side].saturating_sub(rate.bytes[side]);
        }
    }
    services.extend((rest.packets != [0, 0]).then_some(rest));
    services
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
    for step in [RateOf::of_name(&rate.name).step_s(), 60] {
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
    let short_s = age_s.min(SECONDS_FOR_S);
    for (step, age_s) in [(1, short_s), (10, short_s), (60, age_s)] {
        let before = signed(now_s.saturating_sub(age_s));
        to.prepare_cached("DELETE FROM rate WHERE step = ? AND at < ?")?
            .execute([step, before])?;
    }
    Ok(())
}

/// Hands out the minutes of interfaces within a span, ns.
pub fn each(
    from: &Connection,
    (since_ns, until_ns): (u64, u64),
    mut take: impl FnMut(RateRow) -> Result<()>,
) -> Result<()> {
    let mut query = from.prepare(
        "SELECT at, name, packets_in, packets_out, bytes_in, bytes_out FROM rate
         WHERE step = 60 AND at BETWEEN ?1 AND ?2 AND instr(name, '/') = 0 ORDER BY at, name",
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

/// Reads rates within a span: the shortest steps where they are few, else minutes, or more of them.
pub fn find(
    from: &Connection,
    of: RateOf,
    (since_ns, until_ns): (u64, u64),
) -> Result<Vec<RatePoint>> {
    let (since, until) = (since_ns / SECOND_NS, until_ns / SECOND_NS);
    let [of_interfaces, of_services] = MAX_POINTS;
    let (most, is_service) = match of {
        RateOf::Interfaces => (of_interfaces, 0),
        RateOf::Services => (of_services, 1),
    };
    let wanted = until.saturating_sub(since) / most;
    let (step, group) = match of.step_s() {
        short if wanted < short => (short, short),
        _ => (60, (wanted / 60 + 1) * 60),
    };
    let mut query = from.prepare(
        "SELECT at - at % ?1 AS began, name, sum(packets_in), sum(bytes_in), sum(packets_out), sum(bytes_out)
         FROM rate WHERE step = ?2 AND at BETWEEN ?3 AND ?4 AND (instr(name, '/') > 0) = ?6
         GROUP BY name, began ORDER BY began, name LIMIT ?5",
    )?;
    let rows = query.query_map(
        [group, step, since, until, MAX_ROWS, is_service].map(signed),
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
