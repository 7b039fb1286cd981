//! `sensor explain`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use sensor_deliver::stix_bundle;
use sensor_record::answer::Explanation;
use sensor_record::{Account, Accounts, Name, Record, Zone, json, text};
use tracing::error;

use super::EXIT_BAD_INPUT;
use super::client::Reach;
use super::out::say;
use crate::agent::protocol::Request;

/// Longer lines are none of the sensor's.
const MAX_LINE: u64 = 1 << 20;

#[derive(Args)]
#[command(
    after_help = "The agent remembers the last 1,000 incidents. --from reads the output of \
    `sensor run --json` or `sensor replay --json`.\n\n\
    Example: sensor explain 000001\n\
    Example: sensor replay --json office.pcap.zst > office.jsonl; \
    sensor explain 000001 --from office.jsonl\n\
    Example: sensor explain last --stix > incident.stix.json"
)]
pub struct Explain {
    /// Identifier of the incident, a unique beginning of one, its number, or `last`.
    id: Name,
    /// File of JSON lines to read instead of asking the running agent; - is standard input.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Print the incident as a bundle of STIX 2.1 instead: indicators, sightings, technique.
    #[arg(long)]
    stix: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Explain {
    pub fn execute(self) -> Result<ExitCode> {
        let (account, is_good) = match &self.from {
            Some(path) => from_file(path, self.id.as_str())?,
            None => (self.ask()?, true),
        };
        if self.stix {
            say!("{:#}", stix_bundle(&account.incident))?;
        } else if self.reach.json {
            say!("{}", json::line(&Explanation::from(account)))?;
        } else {
            let sentences = text::explain::sentences(&account, &Zone::local());
            say!("{}", sentences.join("\n"))?;
        }
        Ok(if is_good {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_BAD_INPUT)
        })
    }

    fn ask(&self) -> Result<Account> {
        let id = self.id.clone();
        let found: Explanation = self.reach.connect()?.ask(&Request::Explain { id })?;
        Ok(found.into())
    }
}

/// `false`: some lines were bad, and named on standard error.
pub(super) fn from_file(path: &Path, id: &str) -> Result<(Account, bool)> {
    let mut accounts = Accounts::new(id);
    let n_bad = read(path, |record| accounts.take(record))?;
    let account = accounts
        .finish()
        .map_err(|missing| anyhow!("{}: {missing}", path.display()))?;
    Ok((account, n_bad == 0))
}

/// Reads the records of a file, of `-` those of standard input. Says how many lines were bad; the first few
/// are named.
pub(super) fn read(path: &Path, mut take: impl FnMut(Record)) -> Result<u64> {
    const NAMED: u64 = 5;
    let shown = path.display();
    let mut reader: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).with_context(|| shown.to_string())?;
        Box::new(BufReader::new(file))
    };
    let (mut line, mut number, mut n_bad) = (Vec::new(), 0u64, 0);
    loop {
        line.clear();
        let n = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line);
        if n.with_context(|| shown.to_string())? == 0 {
            break;
        }
        number += 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        match Record::read(&line) {
            Ok(Some(record)) => take(record),
            Ok(None) => {}
            Err(cause) => {
                n_bad += 1;
                if n_bad <= NAMED {
                    error!("{shown}:{number}: {cause}; skipped");
                }
            }
        }
    }
    if n_bad > NAMED {
        error!("{shown}: {n_bad} invalid lines in total");
    }
    Ok(n_bad)
}
