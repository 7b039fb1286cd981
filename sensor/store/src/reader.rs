//! The one that looks things up: each question opens the files anew and is bounded in rows and in time.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rusqlite::Connection;
use schemars::JsonSchema;
use sensor_record::{Decision, Incident};
use serde::{Deserialize, Serialize};

use crate::file;
use crate::filter::Filter;
use crate::flow::StoredFlow;
use crate::incidents::{self, Story};
use crate::rates::{self, RateOf, RatePoint, RateRow};
use crate::report::{self, Report};
use crate::segments;
use crate::writer::main_file;

/// Rows of an answer, of each kind.
const MAX_ROWS: usize = 10_000;
/// Time of a question.
const PATIENCE: Duration = Duration::from_secs(5);
/// Steps of SQLite's machine between two looks at the clock: some ten microseconds.
const STEPS: i32 = 10_000;

/// Incidents and flows that were found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "found")]
pub struct Found {
    /// Incidents, the latest first
    pub incidents: Vec<Incident>,
    /// Flows, the latest first
    pub flows: Vec<StoredFlow>,
    /// Says that there are more of a kind than were asked for
    pub is_cut: bool,
    /// Kinds that were not looked through, since the expression says nothing of them
    pub left_out: Vec<String>,
}

/// Reads the files of a folder.
#[derive(Clone, Debug)]
pub struct Reader {
    folder: PathBuf,
}

fn within(limit: Instant) -> impl Fn(&mut Connection) -> rusqlite::Result<()> {
    move |connection: &mut Connection| {
        connection.progress_handler(STEPS, Some(move || Instant::now() > limit))
    }
}

impl Reader {
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    fn main(&self) -> Result<Connection> {
        let mut main = file::open_to_read(&main_file(&self.folder))?;
        within(Instant::now() + PATIENCE)(&mut main)?;
        Ok(main)
    }

    /// Finds incidents and flows.
    ///
    /// # Errors
    /// When a file can't be read, or it takes too long.
    pub fn find(&self, filter: &Filter, limit: usize) -> Result<Found> {
        let limit = limit.clamp(1, MAX_ROWS);
        let until = Instant::now() + PATIENCE;
        let late = |cause: anyhow::Error| match Instant::now() > until {
            true => cause.context("it took too long: ask for less time, an address or a port"),
            false => cause,
        };
        let mut found = Found::default();
        match incidents::find(&self.main()?, filter, limit + 1).map_err(late)? {
            Some(incidents) => found.incidents = incidents,
            None => found.left_out.push("incidents".to_owned()),
        }
        match segments::find(&self.folder, filter, limit + 1, within(until)).map_err(late)? {
            Some(flows) => found.flows = flows,
            None => found.left_out.push("flows".to_owned()),
        }
        found.is_cut = found.incidents.len() > limit || found.flows.len() > limit;
        found.incidents.truncate(limit);
        found.flows.truncate(limit);
        Ok(found)
    }

    /// Hands out every flow that matches, those of the oldest file first, however many and however long it
    /// takes; none where the expression says nothing of flows.
    ///
    /// # Errors
    /// When a file can't be read, and those of `take`.
    pub fn each_flow(
        &self,
        filter: &Filter,
        take: impl FnMut(StoredFlow) -> Result<()>,
    ) -> Result<()> {
        segments::each(&self.folder, filter, take)
    }

    /// Hands out every incident that matches, the oldest first.
    ///
    /// # Errors
    /// As [`Self::each_flow`].
    pub fn each_incident(
        &self,
        filter: &Filter,
        take: impl FnMut(Incident) -> Result<()>,
    ) -> Result<()> {
        let main = file::open_to_read(&main_file(&self.folder))?;
        incidents::each(&main, filter, incidents::Part::Incidents, take)
    }

    /// Hands out the decisions of every incident that matches, the oldest first.
    ///
    /// # Errors
    /// As [`Self::each_flow`].
    pub fn each_decision(
        &self,
        filter: &Filter,
        take: impl FnMut(Decision) -> Result<()>,
    ) -> Result<()> {
        let main = file::open_to_read(&main_file(&self.folder))?;
        incidents::each(&main, filter, incidents::Part::Decisions, take)
    }

    /// Hands out what went through each interface, minute by minute, within the filter's times.
    ///
    /// # Errors
    /// As [`Self::each_flow`].
    pub fn each_rate(
        &self,
        filter: &Filter,
        take: impl FnMut(RateRow) -> Result<()>,
    ) -> Result<()> {
        let main = file::open_to_read(&main_file(&self.folder))?;
        rates::each(&main, filter.span(), take)
    }

    /// Tells all of one incident.
    ///
    /// # Errors
    /// When the file can't be read, or there is none of that name.
    pub fn story(&self, id: &str) -> Result<Option<Story>> {
        if id.is_empty() {
            bail!("name an incident");
        }
        incidents::story(&self.main()?, id)
    }

    /// Counts incidents, decisions and feedback of a span, ns.
    ///
    /// # Errors
    /// When the file can't be read, or it takes too long.
    pub fn report(&self, span: (u64, u64)) -> Result<Report> {
        let mut main = self.main()?;
        within(Instant::now() + PATIENCE)(&mut main)?;
        report::count(&main, span)
    }

    /// Rates within a span, ns.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn rates(&self, of: RateOf, span: (u64, u64)) -> Result<Vec<RatePoint>> {
        rates::find(&self.main()?, of, span)
    }
}
