//! Incidents with what was decided about them and said of them: the latest state of each, and the
//! moments at which it changed.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params, params_from_iter};
use schemars::JsonSchema;
use sensor_record::{
    Decision, Feedback, FeedbackGiven, Incident, Remark, Severity, Timestamp, json,
};
use serde::{Deserialize, Serialize};

use crate::address::bytes;
use crate::file::Steps;
use crate::filter::{Filter, Kind};

/// Schema of the file of incidents and rates; times are in ns of Unix time.
pub const STEPS: Steps = &["
    CREATE TABLE incident (
        id TEXT PRIMARY KEY, since INTEGER NOT NULL, until INTEGER NOT NULL, family TEXT NOT NULL,
        severity INTEGER NOT NULL, state TEXT NOT NULL, json TEXT NOT NULL);
    CREATE INDEX incident_until ON incident (until);
    CREATE TABLE end (
        address BLOB NOT NULL, incident TEXT NOT NULL, side INTEGER NOT NULL,
        PRIMARY KEY (address, incident, side)) WITHOUT ROWID;
    CREATE INDEX end_incident ON end (incident);
    CREATE TABLE port (port INTEGER NOT NULL, incident TEXT NOT NULL, PRIMARY KEY (port, incident)) WITHOUT ROWID;
    CREATE INDEX port_incident ON port (incident);
    CREATE TABLE moment (incident TEXT NOT NULL, at INTEGER NOT NULL, state TEXT NOT NULL, severity INTEGER NOT NULL);
    CREATE INDEX moment_incident ON moment (incident, at);
    CREATE TABLE decision (id TEXT NOT NULL, incident TEXT NOT NULL, at INTEGER NOT NULL, json TEXT NOT NULL);
    CREATE INDEX decision_incident ON decision (incident, at);
    CREATE TABLE feedback (incident TEXT PRIMARY KEY, at INTEGER NOT NULL, json TEXT NOT NULL);
    CREATE TABLE rate (
        step INTEGER NOT NULL, name TEXT NOT NULL, at INTEGER NOT NULL, packets_in INTEGER NOT NULL,
        bytes_in INTEGER NOT NULL, packets_out INTEGER NOT NULL, bytes_out INTEGER NOT NULL,
        PRIMARY KEY (step, name, at)) WITHOUT ROWID
", "
    CREATE TABLE remark (incident TEXT NOT NULL, at INTEGER NOT NULL, json TEXT NOT NULL);
    CREATE INDEX remark_incident ON remark (incident, at)
"];

/// Remarks of an incident that are taken.
pub const MAX_REMARKS: usize = 200;

/// Moments and decisions of an incident that are kept.
const MAX_MOMENTS: i64 = 200;
/// Related incidents that are told.
const MAX_RELATED: usize = 20;
/// Incidents that go at once when something has to go.
const BATCH: i64 = 500;

/// A change of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Moment {
    /// Time of it
    pub at: Timestamp,
    /// State from then on
    pub state: String,
    /// Severity from then on
    pub severity: Severity,
}

/// An incident with all that the store knows of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "story")]
pub struct Story {
    /// Latest state
    pub incident: Incident,
    /// Changes of state and severity, the oldest first
    pub moments: Vec<Moment>,
    /// Decisions, the oldest first
    pub decisions: Vec<Decision>,
    /// Latest feedback of a person
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Feedback>,
    /// Remarks of people, the oldest first
    #[serde(default)]
    pub remarks: Vec<Remark>,
    /// Other incidents that share a source or a victim with it, the latest first
    pub related: Vec<Incident>,
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn severity(n: i64) -> Severity {
    let at = usize::try_from(n).unwrap_or(0);
    Severity::ALL.get(at).copied().unwrap_or(Severity::Low)
}

/// Takes the latest state of an incident.
pub fn put(to: &Transaction<'_>, incident: &Incident) -> rusqlite::Result<()> {
    let level = incident.severity as u8;
    let state = incident.state.label();
    let before = to
        .prepare_cached("SELECT state, severity FROM incident WHERE id = ?")?
        .query_row([&incident.id], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, u8>(1)?))
        })
        .optional()?;
    to.prepare_cached("INSERT OR REPLACE INTO incident VALUES (?, ?, ?, ?, ?, ?, ?)")?
        .execute(params![
            incident.id,
            signed(incident.start.0),
            signed(incident.end.0),
            incident.family,
            level,
            state,
            json::line(incident),
        ])?;
    if before.as_ref() != Some(&(state.to_owned(), level)) {
        to.prepare_cached(
            "INSERT INTO moment SELECT ?1, ?2, ?3, ?4
             WHERE (SELECT count(*) FROM moment WHERE incident = ?1) < ?5",
        )?
        .execute(params![
            incident.id,
            signed(incident.head.at.0),
            state,
            level,
            MAX_MOMENTS
        ])?;
    }
    let mut end = to.prepare_cached("INSERT OR IGNORE INTO end VALUES (?, ?, ?)")?;
    for (side, addresses) in [(0, &incident.sources), (1, &incident.destinations)] {
        for address in addresses {
            end.execute(params![bytes(*address), incident.id, side])?;
        }
    }
    let mut port = to.prepare_cached("INSERT OR IGNORE INTO port VALUES (?, ?)")?;
    for number in &incident.ports {
        port.execute(params![number, incident.id])?;
    }
    Ok(())
}

pub fn put_decision(to: &Transaction<'_>, decision: &Decision) -> rusqlite::Result<()> {
    to.prepare_cached(
        "INSERT INTO decision SELECT ?1, ?2, ?3, ?4
         WHERE (SELECT count(*) FROM decision WHERE incident = ?2) < ?5",
    )?
    .execute(params![
        decision.id,
        decision.incident_id,
        signed(decision.head.at.0),
        json::line(decision),
        MAX_MOMENTS,
    ])?;
    Ok(())
}

pub fn put_feedback(to: &Transaction<'_>, given: &FeedbackGiven) -> rusqlite::Result<()> {
    to.prepare_cached("INSERT OR REPLACE INTO feedback VALUES (?, ?, ?)")?
        .execute(params![
            given.feedback.incident_id,
            signed(given.head.at.0),
            json::line(&given.feedback),
        ])?;
    Ok(())
}

pub fn put_remark(to: &Transaction<'_>, remark: &Remark) -> rusqlite::Result<()> {
    to.prepare_cached("INSERT INTO remark VALUES (?, ?, ?)")?
        .execute(params![
            remark.incident_id,
            signed(remark.at().0),
            json::line(remark),
        ])?;
    Ok(())
}

/// Deletes incidents that ended before a time, or, without one, the oldest; how many.
pub fn delete(to: &Transaction<'_>, before_ns: Option<u64>) -> rusqlite::Result<usize> {
    let before = before_ns.map_or(i64::MAX, signed);
    let mut oldest =
        to.prepare_cached("SELECT id FROM incident WHERE until < ? ORDER BY until LIMIT ?")?;
    let ids = oldest.query_map([before, BATCH], |row| row.get::<_, String>(0))?;
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    for id in &ids {
        for table in ["end", "port", "moment", "decision", "feedback", "remark"] {
            let text = format!("DELETE FROM {table} WHERE incident = ?");
            to.prepare_cached(&text)?.execute([id])?;
        }
        to.prepare_cached("DELETE FROM incident WHERE id = ?")?
            .execute([id])?;
    }
    Ok(ids.len())
}

/// Finds incidents, the latest first. A row that can't be read is passed over.
pub fn find(from: &Connection, filter: &Filter, limit: usize) -> Result<Option<Vec<Incident>>> {
    let Some((condition, values)) = filter.sql(Kind::Incidents) else {
        return Ok(None);
    };
    let text =
        format!("SELECT json FROM incident WHERE {condition} ORDER BY until DESC LIMIT {limit}");
    let mut query = from.prepare(&text)?;
    let rows = query.query_map(params_from_iter(values), |row| row.get::<_, String>(0))?;
    let mut found = Vec::new();
    for row in rows {
        found.extend(json::read(row?.as_bytes()).ok());
    }
    Ok(Some(found))
}

/// Part of what is kept of incidents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Incidents,
    Decisions,
}

/// Hands out that part of all incidents that match, the oldest first. A row that can't be read is passed
/// over, and so is everything where the expression says nothing of incidents.
pub fn each<T: serde::de::DeserializeOwned>(
    from: &Connection,
    filter: &Filter,
    part: Part,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let Some((condition, values)) = filter.sql(Kind::Incidents) else {
        return Ok(());
    };
    let text = match part {
        Part::Incidents => {
            format!("SELECT json FROM incident WHERE {condition} ORDER BY since, id")
        }
        Part::Decisions => format!(
            "SELECT json FROM decision WHERE incident IN (SELECT id FROM incident WHERE {condition})
             ORDER BY at, rowid"
        ),
    };
    let mut query = from.prepare(&text)?;
    let mut rows = query.query(params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        if let Ok(one) = json::read(row.get::<_, String>(0)?.as_bytes()) {
            take(one)?;
        }
    }
    Ok(())
}

fn all<T: serde::de::DeserializeOwned>(from: &Connection, text: &str, id: &str) -> Result<Vec<T>> {
    let mut query = from.prepare(text)?;
    let rows = query.query_map([id], |row| row.get::<_, String>(0))?;
    let mut found = Vec::new();
    for row in rows {
        found.extend(json::read(row?.as_bytes()).ok());
    }
    Ok(found)
}

/// Tells all of one incident, by its identifier or a beginning that no other has.
pub fn story(from: &Connection, id: &str) -> Result<Option<Story>> {
    let mut begins =
        from.prepare("SELECT id FROM incident WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2")?;
    let ids = begins.query_map([id], |row| row.get::<_, String>(0))?;
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let whole = ids.iter().find(|one| *one == id);
    let [id] = whole.map_or(ids.as_slice(), std::slice::from_ref) else {
        return Ok(None);
    };
    let incident = all(from, "SELECT json FROM incident WHERE id = ?", id)?.pop();
    let Some(incident) = incident else {
        return Ok(None);
    };
    let mut query = from
        .prepare("SELECT at, state, severity FROM moment WHERE incident = ? ORDER BY at, rowid")?;
    let moments = query.query_map([id], |row| {
        Ok(Moment {
            at: Timestamp(unsigned(row.get(0)?)),
            state: row.get(1)?,
            severity: severity(row.get(2)?),
        })
    })?;
    let related = format!(
        "SELECT json FROM incident WHERE id IN (
            SELECT b.incident FROM end a JOIN end b ON a.address = b.address AND a.side = b.side
            WHERE a.incident = ?1 AND b.incident <> ?1) ORDER BY until DESC LIMIT {MAX_RELATED}"
    );
    Ok(Some(Story {
        incident,
        moments: moments.collect::<Result<_, _>>()?,
        decisions: all(
            from,
            "SELECT json FROM decision WHERE incident = ? ORDER BY at, rowid",
            id,
        )?,
        feedback: all(from, "SELECT json FROM feedback WHERE incident = ?", id)?.pop(),
        remarks: all(
            from,
            "SELECT json FROM remark WHERE incident = ? ORDER BY at, rowid",
            id,
        )?,
        related: all(from, &related, id)?,
    }))
}
