//! Incidents of a span of time in numbers, for those who were not there.

use anyhow::Result;
use rusqlite::{Connection, params};
use schemars::JsonSchema;
use sensor_record::{Severity, Timestamp};
use serde::{Deserialize, Serialize};

use crate::address::address;

const SECOND_NS: u64 = 1_000_000_000;
const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;
/// Spans up to here are told by the hour, longer ones by the day, s.
const BY_HOUR_S: u64 = 2 * DAY_S;
/// Hosts that are named.
const N_HOSTS: i64 = 10;
/// Longest span: every day of it is a row.
pub const MAX_REPORT_S: u64 = 3_660 * DAY_S;

/// Incidents by severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BySeverity {
    pub low: u64,
    pub medium: u64,
    pub high: u64,
    pub critical: u64,
}

impl BySeverity {
    const fn add(&mut self, level: i64, n: u64) {
        let of = match level {
            0 => &mut self.low,
            1 => &mut self.medium,
            2 => &mut self.high,
            _ => &mut self.critical,
        };
        *of += n;
    }

    pub const fn of(&self, severity: Severity) -> u64 {
        match severity {
            Severity::Low => self.low,
            Severity::Medium => self.medium,
            Severity::High => self.high,
            Severity::Critical => self.critical,
        }
    }

    pub const fn total(&self) -> u64 {
        self.low + self.medium + self.high + self.critical
    }
}

/// Incidents of a family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FamilyRow {
    pub family: String,
    #[serde(flatten)]
    pub incidents: BySeverity,
    /// Those of a span of the same length before
    pub before: u64,
    /// Incidents that a person held for an attack
    pub attacks: u64,
    /// Incidents that a person held for benign
    pub benign: u64,
}

/// Incidents that began within a step of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepRow {
    /// Beginning of the step
    pub at: Timestamp,
    #[serde(flatten)]
    pub incidents: BySeverity,
}

/// Decisions with the same action and outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionRow {
    pub action: String,
    /// Latest outcome
    pub outcome: String,
    pub decisions: u64,
}

/// A host with the number of incidents that name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostRow {
    pub address: String,
    pub incidents: u64,
}

/// A span of time in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "report")]
pub struct Report {
    pub since: Timestamp,
    pub until: Timestamp,
    /// Incidents that were under way in that time
    pub incidents: BySeverity,
    /// Incidents of a span of the same length before
    pub before: u64,
    /// Families, those with the most incidents first
    pub families: Vec<FamilyRow>,
    /// Length of a step
    #[schemars(extend("x-unit" = "s"))]
    pub step_s: u64,
    /// Steps with an incident, the oldest first
    pub steps: Vec<StepRow>,
    /// Decisions, by action and outcome
    pub decisions: Vec<DecisionRow>,
    /// Sources that most incidents name
    pub sources: Vec<HostRow>,
    /// Victims that most incidents name
    pub victims: Vec<HostRow>,
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// Rows of a question with the span as its two parameters.
fn rows<T>(
    from: &Connection,
    text: &str,
    span: (u64, u64),
    read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut query = from.prepare(text)?;
    let rows = query.query_map(params![signed(span.0), signed(span.1)], read)?;
    rows.collect()
}

/// Incidents under way within a span, by family and severity.
fn counted(from: &Connection, span: (u64, u64)) -> rusqlite::Result<Vec<(String, i64, u64)>> {
    let text = "SELECT family, severity, count(*) FROM incident WHERE until >= ?1 AND since <= ?2 \
                GROUP BY family, severity ORDER BY family";
    rows(from, text, span, |row| {
        Ok((row.get(0)?, row.get(1)?, unsigned(row.get(2)?)))
    })
}

fn families(from: &Connection, span: (u64, u64)) -> rusqlite::Result<Vec<FamilyRow>> {
    let mut families: Vec<FamilyRow> = Vec::new();
    let of = |families: &mut Vec<FamilyRow>, family: String| {
        let known = families.iter().position(|row| row.family == family);
        known.unwrap_or_else(|| {
            families.push(FamilyRow {
                family,
                incidents: BySeverity::default(),
                before: 0,
                attacks: 0,
                benign: 0,
            });
            families.len() - 1
        })
    };
    for (family, level, n) in counted(from, span)? {
        let at = of(&mut families, family);
        families[at].incidents.add(level, n);
    }
    for (family, _, n) in counted(from, before(span))? {
        let at = of(&mut families, family);
        families[at].before += n;
    }
    let said = "SELECT i.family, json_extract(f.json, '$.feedback'), count(*)
        FROM feedback f JOIN incident i ON i.id = f.incident
        WHERE i.until >= ?1 AND i.since <= ?2 GROUP BY 1, 2 ORDER BY 1, 2";
    let said = rows(from, said, span, |row| {
        let said: Option<String> = row.get(1)?;
        Ok((row.get(0)?, said, unsigned(row.get(2)?)))
    })?;
    for (family, said, n) in said {
        let at = of(&mut families, family);
        match said.as_deref() {
            Some("attack") => families[at].attacks += n,
            Some("benign") => families[at].benign += n,
            _ => {}
        }
    }
    families.sort_by_key(|row| std::cmp::Reverse(row.incidents.total()));
    Ok(families)
}

fn before((since, until): (u64, u64)) -> (u64, u64) {
    let length = until.saturating_sub(since);
    (since.saturating_sub(length), since.saturating_sub(1))
}

fn steps(from: &Connection, span: (u64, u64), step_s: u64) -> rusqlite::Result<Vec<StepRow>> {
    let step = step_s.saturating_mul(SECOND_NS);
    let text = format!(
        "SELECT since / {step}, severity, count(*) FROM incident WHERE since BETWEEN ?1 AND ?2
         GROUP BY 1, 2 ORDER BY 1"
    );
    let mut steps: Vec<StepRow> = Vec::new();
    let counted = rows(from, &text, span, |row| {
        Ok((unsigned(row.get(0)?), row.get(1)?, unsigned(row.get(2)?)))
    })?;
    for (number, level, n) in counted {
        let at = Timestamp(number.saturating_mul(step));
        if steps.last().is_none_or(|last| last.at != at) {
            let incidents = BySeverity::default();
            steps.push(StepRow { at, incidents });
        }
        if let Some(last) = steps.last_mut() {
            last.incidents.add(level, n);
        }
    }
    Ok(steps)
}

fn decisions(from: &Connection, span: (u64, u64)) -> rusqlite::Result<Vec<DecisionRow>> {
    // The latest line of each decision says what became of it.
    let text = "SELECT json_extract(json, '$.\"decision.action\"'), json_extract(json, '$.\"decision.outcome\"'), count(*)
        FROM decision WHERE rowid IN (SELECT max(rowid) FROM decision WHERE at BETWEEN ?1 AND ?2 GROUP BY id)
        GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2";
    rows(from, text, span, |row| {
        let word = |n: usize| {
            Ok::<_, rusqlite::Error>(row.get::<_, Option<String>>(n)?.unwrap_or_default())
        };
        Ok(DecisionRow {
            action: word(0)?,
            outcome: word(1)?,
            decisions: unsigned(row.get(2)?),
        })
    })
}

fn hosts(from: &Connection, span: (u64, u64), side: u8) -> rusqlite::Result<Vec<HostRow>> {
    let text = format!(
        "SELECT address, count(*) FROM end JOIN incident ON id = incident
         WHERE side = {side} AND until >= ?1 AND since <= ?2
         GROUP BY address ORDER BY 2 DESC, 1 LIMIT {N_HOSTS}"
    );
    let found = rows(from, &text, span, |row| {
        Ok((row.get::<_, Vec<u8>>(0)?, unsigned(row.get(1)?)))
    })?;
    let row = |(bytes, incidents): (Vec<u8>, u64)| {
        let address = address(&bytes)?.to_string();
        Some(HostRow { address, incidents })
    };
    Ok(found.into_iter().filter_map(row).collect())
}

/// Counts a span, ns.
pub fn count(from: &Connection, span: (u64, u64)) -> Result<Report> {
    let step_s = match span.1.saturating_sub(span.0) / SECOND_NS {
        0..=BY_HOUR_S => HOUR_S,
        _ => DAY_S,
    };
    let families = families(from, span)?;
    let mut incidents = BySeverity::default();
    for row in &families {
        for severity in Severity::ALL {
            incidents.add(severity as i64, row.incidents.of(severity));
        }
    }
    Ok(Report {
        since: Timestamp(span.0),
        until: Timestamp(span.1),
        incidents,
        before: families.iter().map(|row| row.before).sum(),
        families,
        step_s,
        steps: steps(from, span, step_s)?,
        decisions: decisions(from, span)?,
        sources: hosts(from, span, 0)?,
        victims: hosts(from, span, 1)?,
    })
}
