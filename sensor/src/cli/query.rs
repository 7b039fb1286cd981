//! `sensor query` and `sensor incidents show`: what the store keeps.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use sensor_record::text::{Table, by, measure, outcome};
use sensor_record::unit::{bytes, duration};
use sensor_record::{Name, Zone, escape, json};
use sensor_store::{Found, Story};

use super::client::{PacketsOf, Reach};
use super::out::{note, print_lines, say, say_table};
use crate::agent::protocol::{Request, StoreQuery};

#[derive(Args)]
#[command(
    after_help = "Terms: [src|dst] host, net or port; proto; family; severity (at least); since, until TIME; last \
    DURATION. They are joined by and (or nothing), or, not and parentheses. A term that says nothing of \
    flows, or of incidents, leaves those out.\n\n\
    Example: sensor query 'host 192.0.2.7 last 2h'\n\
    Example: sensor query 'net 10.0.0.0/8 and (port 22 or port 3389) and not src host 10.0.0.5' --json\n\
    Example: sensor query 'host 192.0.2.7 last 10m' --packets packets.pcapng"
)]
pub struct Query {
    /// Expression; several words need no quotes.
    #[arg(value_name = "EXPRESSION")]
    words: Vec<String>,
    /// Maximum number of incidents, and of flows, newest first.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Write packets of those flows to a pcapng file, as far as the ring has any.
    #[arg(long, value_name = "FILE")]
    packets: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
}

impl Query {
    pub fn execute(self) -> Result<ExitCode> {
        if let Some(path) = &self.packets {
            return self.save(path);
        }
        let request = Request::Query(StoreQuery {
            q: self.words.join(" "),
            limit: self.limit,
        });
        let found: Found = self.reach.connect()?.ask(&request)?;
        if self.reach.json {
            print_lines(&found.incidents)?;
            print_lines(&found.flows)?;
        } else {
            print(&found)?;
        }
        if found.is_cut {
            note!("there is more: raise --limit, or narrow the expression down");
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Query {
    fn save(&self, path: &Path) -> Result<ExitCode> {
        let q = self.words.join(" ");
        let of = PacketsOf::Query(&q, self.limit);
        let found = self.reach.connect()?.packets(&of)?;
        let shown = path.display();
        fs::write(path, &found.file).with_context(|| shown.to_string())?;
        say!("{shown}: {} packets", found.n_packets)?;
        if found.n_left_out > 0 {
            note!(
                "{} packets did not fit: narrow the expression down",
                found.n_left_out
            );
        }
        if found.is_cut {
            note!(
                "only packets of the latest {} flows: raise --limit (10,000 at most), or narrow the expression down",
                self.limit
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(found: &Found) -> Result<()> {
    let zone = Zone::local();
    if !found.incidents.is_empty() {
        let mut table = Table::new(&["since", "incident", "severity", "family", "what"]);
        for one in &found.incidents {
            table.row(vec![
                zone.second(one.start),
                one.id.clone(),
                one.severity.label().to_owned(),
                one.family.to_string(),
                one.explanation.clone(),
            ]);
        }
        say_table(&table)?;
    }
    let mut table = Table::new(&[
        "since",
        "protocol",
        "source",
        "destination",
        "sent",
        "received",
    ]);
    for one in &found.flows {
        table.row(vec![
            zone.second(one.start),
            one.transport.to_string(),
            sensor_record::text::end(one.source, one.source_port),
            sensor_record::text::end(one.destination, one.destination_port),
            bytes(one.source_bytes as f64),
            bytes(one.destination_bytes as f64),
        ]);
    }
    say_table(&table)
}

/// Shows an incident with its time line and its relatives.
pub fn show(reach: &Reach, id: Name) -> Result<ExitCode> {
    let story: Story = reach.connect()?.ask(&Request::Story { id })?;
    if reach.json {
        say!("{}", json::line(&story))?;
        return Ok(ExitCode::SUCCESS);
    }
    let zone = Zone::local();
    let incident = &story.incident;
    say!(
        "{}: {}, {}",
        incident.id,
        incident.family,
        escape(&incident.explanation)
    )?;
    let moments = story.moments.iter().map(|one| {
        let severity = one.severity.label();
        (one.at, format!("{}, {severity}", one.state))
    });
    let decisions = story.decisions.iter().map(|one| {
        let ttl = duration(one.ttl_s);
        let told = format!(
            "{} for {ttl}: {}",
            measure(one),
            escape(&outcome(&one.outcome))
        );
        (one.head.at, told)
    });
    let remarks = story.remarks.iter().map(|one| {
        let told = format!("{}, by {}", one.told(), by(&one.by));
        (one.at(), escape(&told).into_owned())
    });
    let mut line: Vec<_> = moments.chain(decisions).chain(remarks).collect();
    line.sort_by_key(|(at, _)| *at);
    for (at, told) in line {
        say!("  {}  {told}", zone.second(at))?;
    }
    if let Some(feedback) = &story.feedback {
        say!("  said to be {}", feedback.said.label())?;
    }
    if !story.related.is_empty() {
        say!("related, by a source or a victim:")?;
        for one in &story.related {
            say!(
                "  {}  {}  {}",
                zone.second(one.start),
                one.id,
                escape(&one.explanation)
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
