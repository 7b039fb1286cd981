//! `sensor report`: a span of time in numbers, for those who were not there.

mod html;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use sensor_record::text::Table;
use sensor_record::{Timestamp, Zone, json};
use sensor_store::Report as Counted;

use super::ask::moment;
use super::client::Reach;
use super::out::{put, say, say_table};
use crate::agent::protocol::{ReportQuery, Request};

#[derive(Args)]
#[command(
    after_help = "The page that --html writes is one file without scripts; a browser prints it to paper or PDF. \
    Precision is by feedback (`sensor feedback`), as far as there is some; what nobody found is not known, and \
    so no recall is told.\n\n\
    Example: sensor report --from 7days\n\
    Example: sensor report --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --html > november.html"
)]
pub struct Report {
    /// Beginning: an age as 12h or 7days, or a time of RFC 3339.
    #[arg(long, value_name = "AGE|TIME", value_parser = moment, default_value = "7days")]
    from: Timestamp,
    /// End: an age or a time. Default: now.
    #[arg(long, value_name = "AGE|TIME", value_parser = moment)]
    to: Option<Timestamp>,
    /// Print a page of HTML.
    #[arg(long, conflicts_with = "json")]
    html: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Part of the judged incidents that a person held for an attack, as a word.
fn precision(attacks: u64, benign: u64) -> String {
    match attacks + benign {
        0 => "–".to_owned(),
        judged => format!(
            "{:.0} % of {judged}",
            100.0 * attacks as f64 / judged as f64
        ),
    }
}

impl Report {
    pub fn execute(self) -> Result<ExitCode> {
        let query = ReportQuery {
            since: self.from,
            until: self.to.unwrap_or_else(Timestamp::now),
        };
        if query.since > query.until {
            bail!("--from is after --to");
        }
        let counted: Counted = self.reach.connect()?.ask(&Request::Report(query))?;
        let zone = Zone::local();
        if self.reach.json {
            say!("{}", json::line(&counted))?;
        } else if self.html {
            put(&html::page(&counted, &zone))?;
        } else {
            print(&counted, &zone)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(of: &Counted, zone: &Zone) -> Result<()> {
    say!("{} to {}", zone.second(of.since), zone.second(of.until))?;
    say!(
        "{} incidents, {} in as long a time before",
        of.incidents.total(),
        of.before
    )?;
    let mut table = Table::new(&[
        "family",
        "critical",
        "high",
        "medium",
        "low",
        "before",
        "precision",
    ]);
    for row in &of.families {
        table.row(vec![
            row.family.clone(),
            row.incidents.critical.to_string(),
            row.incidents.high.to_string(),
            row.incidents.medium.to_string(),
            row.incidents.low.to_string(),
            row.before.to_string(),
            precision(row.attacks, row.benign),
        ]);
    }
    say_table(&table)?;
    let mut table = Table::new(&["action", "outcome", "decisions"]);
    for row in &of.decisions {
        let n = row.decisions.to_string();
        table.row(vec![row.action.clone(), row.outcome.clone(), n]);
    }
    say_table(&table)?;
    for (head, hosts) in [("source", &of.sources), ("victim", &of.victims)] {
        let mut table = Table::new(&[head, "incidents"]);
        for row in hosts {
            table.row(vec![row.address.clone(), row.incidents.to_string()]);
        }
        say_table(&table)?;
    }
    Ok(())
}
