//! Flows in files of a stretch of time each, an hour at most: what is too old goes with its file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rusqlite::{Connection, Row, Transaction, params, params_from_iter};
use sensor_record::Timestamp;

use crate::address::{address, bytes};
use crate::file::{self, Steps, bytes_on_disk};
use crate::files::FileSet;
use crate::filter::{Filter, Kind};
use crate::flow::{Flow, StoredFlow};

/// Schema of a file of flows; times are in ns of Unix time.
const STEPS: Steps = &["
    CREATE TABLE flow (
        since INTEGER NOT NULL, until INTEGER NOT NULL, source BLOB NOT NULL, source_port INTEGER NOT NULL,
        destination BLOB NOT NULL, destination_port INTEGER NOT NULL, protocol INTEGER NOT NULL,
        source_packets INTEGER NOT NULL, source_bytes INTEGER NOT NULL,
        destination_packets INTEGER NOT NULL, destination_bytes INTEGER NOT NULL, reason TEXT NOT NULL);
    CREATE INDEX flow_source ON flow (source);
    CREATE INDEX flow_destination ON flow (destination)
"];

/// A file is closed after so long, s.
const LONGEST_S: u64 = 3_600;
/// A flow may have ended so long before it is written, s: idle and active timeouts.
const LATE_S: u64 = 3_600;
/// Files among which the size that is allowed is divided.
const N_SHARES: u64 = 16;

/// The file that is written to now.
pub struct Segment {
    pub connection: Connection,
    pub path: PathBuf,
    began_s: u64,
}

/// Files of flows of a folder; their times are in s.
pub fn files(folder: &Path) -> FileSet {
    FileSet {
        folder: folder.to_owned(),
        prefix: "flows-",
        suffix: ".sqlite",
        digits: 10,
        longest: LONGEST_S,
    }
}

impl Segment {
    /// Goes on with the latest file, or begins one.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn open(folder: &Path, now_s: u64) -> Result<Self> {
        let files = files(folder);
        let latest = files
            .list()
            .pop()
            .filter(|(began, _)| is_current(*began, now_s));
        let began_s = latest.map_or(now_s, |(began, _)| began);
        let path = files.path(began_s);
        let (connection, _) = file::open(&path, STEPS)?;
        Ok(Self {
            connection,
            path,
            began_s,
        })
    }

    /// True when the next file is due: this one is an hour old, or holds its share of `max_bytes`.
    pub fn is_full(&self, now_s: u64, max_bytes: u64) -> bool {
        !is_current(self.began_s, now_s) || bytes_on_disk(&self.path) > max_bytes / N_SHARES
    }
}

fn is_current(began_s: u64, now_s: u64) -> bool {
    (began_s..began_s.saturating_add(LONGEST_S)).contains(&now_s)
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub fn put(to: &Transaction<'_>, flow: &Flow) -> rusqlite::Result<()> {
    to.prepare_cached("INSERT INTO flow VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute(params![
            signed(flow.start_ns),
            signed(flow.end_ns),
            bytes(flow.source),
            flow.source_port,
            bytes(flow.destination),
            flow.destination_port,
            flow.protocol,
            signed(flow.packets[0]),
            signed(flow.bytes[0]),
            signed(flow.packets[1]),
            signed(flow.bytes[1]),
            flow.end_reason,
        ])?;
    Ok(())
}

/// Lets go files that are too old, and the oldest while all together are too large; the bytes that are left.
/// The last one stays.
pub fn shed(folder: &Path, now_s: u64, age_s: u64, max_bytes: u64) -> u64 {
    let files = files(folder);
    let last = files.list().pop().map(|(_, path)| path);
    files.shed(now_s, age_s, max_bytes, last.as_deref())
}

/// Hands out every flow that matches, those of the oldest file first.
///
/// # Errors
/// When a file can't be read, and those of `take`.
pub fn each(
    folder: &Path,
    filter: &Filter,
    mut take: impl FnMut(StoredFlow) -> Result<()>,
) -> Result<()> {
    let Some((condition, values)) = filter.sql(Kind::Flows) else {
        return Ok(());
    };
    for (_, path) in files(folder).list() {
        let connection = file::open_to_read(&path)?;
        let text = format!("SELECT * FROM flow WHERE {condition} ORDER BY rowid");
        let mut query = connection
            .prepare(&text)
            .with_context(|| path.display().to_string())?;
        let mut rows = query.query(params_from_iter(values.iter()))?;
        while let Some(row) = rows.next()? {
            if let Some(one) = flow(row)? {
                take(one)?;
            }
        }
    }
    Ok(())
}

/// Reads a flow; none where its addresses can't be read.
fn flow(row: &Row<'_>) -> rusqlite::Result<Option<StoredFlow>> {
    let time = |n: usize| Ok::<_, rusqlite::Error>(Timestamp(count(row.get(n)?)));
    let end = |n: usize| Ok::<_, rusqlite::Error>(address(&row.get::<_, Vec<u8>>(n)?));
    let (source, destination) = (end(2)?, end(4)?);
    let (Some(source), Some(destination)) = (source, destination) else {
        return Ok(None);
    };
    Ok(Some(StoredFlow {
        start: time(0)?,
        end: time(1)?,
        source,
        source_port: row.get(3)?,
        destination,
        destination_port: row.get(5)?,
        transport: StoredFlow::transport_of(row.get(6)?),
        source_packets: count(row.get(7)?),
        source_bytes: count(row.get(8)?),
        destination_packets: count(row.get(9)?),
        destination_bytes: count(row.get(10)?),
        end_reason: row.get(11)?,
    }))
}

/// Finds flows, the latest first; none where the expression says nothing of flows. `prepare` is called with
/// every connection.
///
/// # Errors
/// When a file can't be read, or the time is over.
pub fn find(
    folder: &Path,
    filter: &Filter,
    limit: usize,
    prepare: impl Fn(&mut Connection) -> rusqlite::Result<()>,
) -> Result<Option<Vec<StoredFlow>>> {
    let Some((condition, values)) = filter.sql(Kind::Flows) else {
        return Ok(None);
    };
    let (since_s, until_s) = {
        let (since, until) = filter.span();
        (since / 1_000_000_000, until / 1_000_000_000)
    };
    let mut found = Vec::new();
    for (began_s, path) in files(folder).list().into_iter().rev() {
        let can_match = began_s.saturating_sub(LATE_S) <= until_s
            && began_s.saturating_add(2 * LONGEST_S) >= since_s;
        let missing = limit - found.len();
        if !can_match || missing == 0 {
            continue;
        }
        let mut connection = file::open_to_read(&path)?;
        prepare(&mut connection)?;
        let text =
            format!("SELECT * FROM flow WHERE {condition} ORDER BY rowid DESC LIMIT {missing}");
        let mut query = connection
            .prepare(&text)
            .with_context(|| path.display().to_string())?;
        let rows = query.query_map(params_from_iter(values.iter()), flow)?;
        for row in rows {
            found.extend(row?);
        }
    }
    Ok(Some(found))
}

fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
