//! Lists of others: `sensor block import`, `export` and `preview`.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use sensor_record::answer::{BlockImported, BlockListed, BlockPreview};
use sensor_record::text::{self, Table};
use sensor_record::unit::count;
use sensor_record::{Action, Block as Entry, Mode, Name, Timestamp, escape, json, transport};
use serde::Serialize;

use super::EXIT_BAD_INPUT;
use super::client::Reach;
use super::out::{note, say, say_table};
use crate::agent::protocol::Request;
use crate::agent::{BlockImport, BlockList, MAX_OF_FEED};
use sensor_respond::{BlockAction, Network, Parsed, parse_feed};

#[derive(Args)]
pub struct Import {
    /// File, plain or packed by gzip: an address, network or range a line, CSV, a FireHOL netset or a saved
    /// ipset; - is standard input.
    file: PathBuf,
    /// Name of the list. Entries that it had before and has no longer are removed.
    #[arg(long)]
    feed: Name,
    /// Time until an entry expires, unless the list is imported again.
    #[arg(long, default_value = "1day", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// Action on their packets; limit if a rate is given, else drop.
    #[arg(long, value_enum)]
    action: Option<BlockAction>,
    /// New packets per second that a limit lets pass.
    #[arg(long, value_name = "PACKETS_PER_S")]
    rate: Option<u32>,
}

/// Totals of all parts of one import.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "block_imported")]
struct Imported<'a> {
    feed: &'a str,
    n_added: u64,
    n_renewed: u64,
    n_removed: u64,
    n_refused: u64,
    n_bad_lines: u64,
    mode: Mode,
}

impl Import {
    pub fn execute(self, reach: &Reach) -> Result<ExitCode> {
        BlockAction::measure(self.action, self.rate).map_err(anyhow::Error::msg)?;
        let named = self.file.display().to_string();
        let parsed = parse_feed(&read(&self.file)?).map_err(|why| anyhow!("{named}: {why}"))?;
        for bad in &parsed.bad {
            note!("{}:{}: {}", escape(&named), bad.number, escape(&bad.why));
        }
        let more = parsed.n_bad.saturating_sub(parsed.bad.len() as u64);
        if more > 0 {
            note!("{}: {more} more bad lines", escape(&named));
        }
        let done = self.send(reach, &parsed)?;
        for refusal in &done.refused {
            note!("refused: {}", escape(refusal));
        }
        let n_bad_lines = parsed.n_bad;
        let totals = Imported {
            feed: self.feed.as_str(),
            n_added: done.n_added,
            n_renewed: done.n_renewed,
            n_removed: done.n_removed,
            n_refused: done.n_refused,
            n_bad_lines,
            mode: done.mode,
        };
        if reach.json {
            say!("{}", json::line(&totals))?;
        } else {
            say!(
                "{} new, {} renewed, {} removed, {} refused, {n_bad_lines} bad lines",
                done.n_added,
                done.n_renewed,
                done.n_removed,
                done.n_refused
            )?;
        }
        Ok(if n_bad_lines + done.n_refused == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_BAD_INPUT)
        })
    }

    /// Sends the parts; the answer to the last has the totals.
    fn send(&self, reach: &Reach, parsed: &Parsed) -> Result<BlockImported> {
        let mut client = reach.connect()?;
        let mut parts: Vec<&[ipnet::IpNet]> = parsed.networks.chunks(MAX_OF_FEED).collect();
        // A list of nobody takes out what it had before.
        let last = parts.pop().unwrap_or_default();
        let generation = Timestamp::now().0;
        let part = |networks: &[ipnet::IpNet], is_last| {
            Request::BlockImport(BlockImport {
                feed: self.feed.clone(),
                generation,
                targets: networks.iter().copied().map(Network).collect(),
                ttl_s: self.ttl.as_secs(),
                action: self.action,
                rate_packets_per_s: self.rate,
                is_last,
            })
        };
        for networks in parts {
            let _so_far: BlockImported = client.ask(&part(networks, false))?;
        }
        client.ask(&part(last, true))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes)?;
    } else {
        bytes = fs::read(path).with_context(|| path.display().to_string())?;
    }
    Ok(bytes)
}

/// Form of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// An address or network a line: sources that are dropped altogether.
    #[default]
    Plain,
    /// Addresses and networks, for `ipset restore`.
    Ipset,
    /// Every entry, with its scope, action, time to live, origin and reason.
    Csv,
}

#[derive(Args)]
pub struct Export {
    /// Form of the lines.
    #[arg(long, value_enum, default_value_t)]
    form: Form,
    /// Network that contains the entries.
    #[arg(long)]
    within: Option<Network>,
}

/// Entries of one request.
const PAGE: usize = 10_000;

impl Export {
    pub fn execute(self, reach: &Reach) -> Result<ExitCode> {
        let mut client = reach.connect()?;
        let (mut skip, mut n_left_out) = (0, 0u64);
        self.begin(reach)?;
        loop {
            let request = Request::BlockList(BlockList {
                within: self.within,
                skip,
                limit: PAGE,
            });
            let BlockListed { entries, .. } = client.ask(&request)?;
            for entry in &entries {
                n_left_out += u64::from(!self.tell(reach, entry)?);
            }
            if entries.len() < PAGE {
                break;
            }
            skip += entries.len();
        }
        if n_left_out > 0 {
            note!(
                "{n_left_out} entries are not for everything from a source, or no drop: left out"
            );
        }
        Ok(ExitCode::SUCCESS)
    }

    fn begin(&self, reach: &Reach) -> Result<()> {
        match self.form {
            _ if reach.json => Ok(()),
            Form::Plain => Ok(()),
            Form::Ipset => say!(
                "create sensor4 hash:net family inet -exist\ncreate sensor6 hash:net family inet6 -exist"
            ),
            Form::Csv => say!("target,action,protocol,port,ttl_s,by,reason"),
        }
    }

    /// Prints an entry; false where the form has no words for it.
    fn tell(&self, reach: &Reach, entry: &Entry) -> Result<bool> {
        if reach.json {
            say!("{}", json::line(entry))?;
            return Ok(true);
        }
        let is_whole = entry.protocol == 0 && entry.port == 0 && entry.action == Action::Drop;
        match self.form {
            Form::Csv => {
                say!(
                    "{},{},{},{},{},{},{}",
                    entry.target,
                    entry.action.label(),
                    if entry.protocol == 0 {
                        String::new()
                    } else {
                        transport(entry.protocol).into()
                    },
                    entry.port,
                    entry.ttl_s,
                    quoted(&text::by(&entry.origin)),
                    quoted(&entry.reason)
                )?;
                return Ok(true);
            }
            Form::Plain | Form::Ipset if !is_whole => return Ok(false),
            Form::Plain => say!("{}", entry.target)?,
            Form::Ipset => {
                let set = match entry.target.0 {
                    ipnet::IpNet::V4(_) => "sensor4",
                    ipnet::IpNet::V6(_) => "sensor6",
                };
                say!("add {set} {} -exist", entry.target)?;
            }
        }
        Ok(true)
    }
}

/// Text as a field of CSV (RFC 4180), without what a terminal would obey.
fn quoted(text: &str) -> String {
    format!("\"{}\"", escape(text).replace('"', "\"\""))
}

#[derive(Args)]
pub struct Preview {
    /// Address or network.
    network: Network,
}

impl Preview {
    pub fn execute(self, reach: &Reach) -> Result<ExitCode> {
        let network = self.network;
        let found: BlockPreview = reach.connect()?.ask(&Request::BlockPreview { network })?;
        if reach.json {
            say!("{}", json::line(&found))?;
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(refused) = &found.refused {
            say!("would be refused: {}", escape(refused))?;
        }
        say!(
            "{}: {} sources within the last hour, {} of them proven real, {} good peers",
            found.target,
            found.sources,
            found.sources_real,
            found.sources_good
        )?;
        say!(
            "{} connections came about, {} bytes; {} flows now; {} incidents name a source of it",
            found.connections,
            count(found.bytes as f64),
            found.flows,
            found.incidents
        )?;
        let mut table = Table::new(&["service", "protocol", "served", "failed"]);
        for service in &found.services {
            table.row(vec![
                text::end(service.host, service.port),
                transport(service.protocol).into(),
                service.used.to_string(),
                service.failed.to_string(),
            ]);
        }
        if !found.services.is_empty() {
            say_table(&table)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
