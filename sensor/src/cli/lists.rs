//! `sensor block` and `sensor allow`.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use sensor_record::answer::{
    AllowAdded, AllowListed, BlockAdded, BlockFlushed, BlockListed, BlockRemoved, Done,
    LossAccepted,
};
use sensor_record::text::{self, Table};
use sensor_record::unit::{count, duration};
use sensor_record::{Block as Entry, Mode, Reason, escape, json};
use serde::Serialize;

use super::EXIT_BAD_INPUT;
use super::ask::protocol;
use super::client::Reach;
use super::feeds;
use super::out::{note, print_lines, say, say_table};
use crate::agent::protocol::Request;
use crate::agent::{BlockAdd, BlockDel, BlockList, MAX_TARGETS, OrderScope};
use sensor_respond::{BlockAction, Network, parse_network};

/// Part of a source's traffic that is blocked.
#[derive(Args)]
struct ScopeFlags {
    /// Local port to which the entry is limited.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Protocol to which the entry is limited: tcp, udp, icmp, ipv6-icmp, sctp or a number.
    #[arg(long, value_parser = protocol)]
    protocol: Option<u8>,
}

impl ScopeFlags {
    /// # Errors
    /// When a port is given with a protocol that has none.
    fn scope(&self) -> Result<Option<OrderScope>> {
        let scope = self.given();
        scope
            .unwrap_or_default()
            .check()
            .map_err(anyhow::Error::msg)?;
        Ok(scope)
    }

    fn given(&self) -> Option<OrderScope> {
        (self.port.is_some() || self.protocol.is_some()).then(|| OrderScope {
            protocol: self.protocol.unwrap_or(0),
            port: self.port.unwrap_or(0),
        })
    }
}

#[derive(Args)]
#[command(after_help = "Example: sensor block add 198.51.100.7 --ttl 1h --reason 'scans us'")]
pub struct Block {
    #[command(subcommand)]
    command: BlockCommand,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand)]
enum BlockCommand {
    /// Block sources, or renew their blocks; in monitor mode their packets are counted, not
    /// dropped.
    #[command(
        after_help = "Example: sensor block add 203.0.113.0/24 --ttl 1day --port 22\n\
        Example: sensor block add 203.0.113.9 --action quarantine --ttl 10min\n\
        Example: sensor block add --file drop.txt --ttl 12h"
    )]
    Add {
        /// Addresses and networks to block.
        targets: Vec<Network>,
        /// File with further targets, one per line; `#` and `;` begin comments; `-` is standard
        /// input.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Time until the entry expires, for example 90s, 1h or 2days.
        #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
        ttl: Duration,
        /// Action on their packets; limit if a rate is given, else drop.
        #[arg(long, value_enum)]
        action: Option<BlockAction>,
        /// New packets per second that a limit lets pass; flows that go both ways go on beside them.
        #[arg(long, value_name = "PACKETS_PER_S")]
        rate: Option<u32>,
        /// Reason, at most 512 bytes; shown in the list and in the audit log.
        #[arg(long, default_value = "")]
        reason: Reason,
        #[command(flatten)]
        scope: ScopeFlags,
    },
    /// Unblock a source.
    #[command(after_help = "Example: sensor block del 198.51.100.7")]
    Del {
        /// Address or network, as listed.
        target: Network,
        #[command(flatten)]
        scope: ScopeFlags,
    },
    /// List the entries with expiry, reason and hits.
    #[command(after_help = "Example: sensor block list --within 198.51.100.0/24 --json")]
    List {
        /// Network that contains the entries to list.
        #[arg(long)]
        within: Option<Network>,
        /// Maximum number of entries, at most 10,000.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Load a list of offenders; what it had before and has no longer goes. The guard and the allow-list
    /// hold for it, bad lines are named, and a mostly bad list is refused as a whole.
    #[command(
        after_help = "Entries of a list expire by their --ttl and are not kept over a restart: import it by a \
        timer.\n\nExample: sensor block import drop.txt --feed spamhaus_drop --ttl 2days\n\
        Example: zcat list.gz | sensor block import - --feed partner --action limit --rate 100"
    )]
    Import(feeds::Import),
    /// Print the entries in a form for other programs.
    #[command(after_help = "Example: sensor block export --form ipset | ipset restore")]
    Export(feeds::Export),
    /// Show what an entry would have hit within the last hour.
    #[command(after_help = "Example: sensor block preview 198.51.100.0/24")]
    Preview(feeds::Preview),
    /// Remove all entries.
    #[command(after_help = "Example: sensor block flush")]
    Flush,
}

impl Block {
    pub fn execute(self) -> Result<ExitCode> {
        match self.command {
            BlockCommand::Add {
                mut targets,
                file,
                ttl,
                action,
                rate,
                reason,
                scope,
            } => {
                let n_bad = match &file {
                    Some(path) => read_targets(path, &mut targets)?,
                    None => 0,
                };
                if targets.is_empty() && n_bad == 0 {
                    bail!("no targets: name addresses or networks, or a --file of them");
                }
                let add = BlockAdd {
                    targets,
                    ttl_s: ttl.as_secs(),
                    action,
                    rate_packets_per_s: rate,
                    scope: scope.scope()?.unwrap_or_default(),
                    reason,
                };
                add.measure().map_err(anyhow::Error::msg)?;
                block_add(&self.reach, &add, n_bad)
            }
            BlockCommand::Del { target, scope } => {
                let scope = scope.scope()?;
                let request = Request::BlockDel(BlockDel { target, scope });
                let done: BlockRemoved = self.reach.connect()?.ask(&request)?;
                report(&self.reach, &done.removed, "entries removed")
            }
            BlockCommand::Import(import) => import.execute(&self.reach),
            BlockCommand::Export(export) => export.execute(&self.reach),
            BlockCommand::Preview(preview) => preview.execute(&self.reach),
            BlockCommand::List { within, limit } => {
                let request = Request::BlockList(BlockList {
                    within,
                    limit,
                    ..BlockList::default()
                });
                let listed = self.reach.connect()?.ask(&request)?;
                block_list(&self.reach, &listed)?;
                Ok(ExitCode::SUCCESS)
            }
            BlockCommand::Flush => {
                let done: BlockFlushed = self.reach.connect()?.ask(&Request::BlockFlush)?;
                if self.reach.json {
                    say!("{}", json::line(&done))?;
                } else {
                    say!("{} entries removed", done.n_removed)?;
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// Reads targets, names bad lines on standard error and counts them.
fn read_targets(path: &Path, targets: &mut Vec<Network>) -> Result<u64> {
    let named = path.display();
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = fs::read_to_string(path).with_context(|| named.to_string())?;
    }
    let mut n_bad = 0;
    for (n, line) in text.lines().enumerate() {
        let target = line.split(['#', ';']).next().unwrap_or_default().trim();
        if target.is_empty() {
            continue;
        }
        match parse_network(target) {
            Ok(network) => targets.push(Network(network)),
            Err(cause) => {
                note!("{named}:{}: {}", n + 1, escape(&cause));
                n_bad += 1;
            }
        }
    }
    Ok(n_bad)
}

/// Totals of all requests of one command.
#[derive(Serialize)]
struct Added {
    n_added: u64,
    n_refused: u64,
    mode: Mode,
}

fn block_add(reach: &Reach, add: &BlockAdd, n_bad: u64) -> Result<ExitCode> {
    let mut client = reach.connect()?;
    let (mut n_added, mut n_refused) = (0, 0);
    let mut mode = Mode::Monitor;
    for targets in add.targets.chunks(MAX_TARGETS) {
        let part = BlockAdd {
            targets: targets.to_vec(),
            ..add.clone()
        };
        let done: BlockAdded = client.ask(&Request::BlockAdd(part))?;
        n_added += done.n_added;
        for refusal in &done.refused {
            note!("refused: {}", escape(refusal));
            n_refused += 1;
        }
        mode = done.mode;
    }
    if reach.json {
        let done = Added {
            n_added,
            n_refused,
            mode,
        };
        say!("{}", json::line(&done))?;
    } else {
        let note = if mode == Mode::Monitor {
            " (monitor mode: counted, not dropped)"
        } else {
            ""
        };
        say!("{n_added} entries{note}")?;
    }
    Ok(match (n_added, n_refused + n_bad) {
        (_, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::FAILURE,
        _ => ExitCode::from(EXIT_BAD_INPUT),
    })
}

fn block_list(reach: &Reach, list: &BlockListed) -> Result<()> {
    if reach.json {
        return print_lines(&list.entries);
    }
    let mut table = Table::new(&[
        "target", "what", "action", "ttl", "packets", "bytes", "by", "reason",
    ]);
    for entry in &list.entries {
        let protocol = entry.transport.as_deref().unwrap_or("any");
        table.row(vec![
            entry.target.to_string(),
            match entry.port {
                0 => protocol.to_owned(),
                port => format!("{protocol} port {port}"),
            },
            match entry.rate_packets_per_s {
                Some(rate) => format!("{rate} packets/s"),
                None => entry.action.label().to_owned(),
            },
            duration(entry.ttl_s),
            count(entry.packets as f64),
            count(entry.bytes as f64),
            text::by(&entry.origin),
            entry.reason.clone(),
        ]);
    }
    say_table(&table)?;
    let (n, mode) = (list.entries.len(), list.mode.label());
    say!("{n} of {} entries, {mode} mode", list.of)
}

pub fn report(reach: &Reach, entries: &[Entry], what: &str) -> Result<ExitCode> {
    if reach.json {
        print_lines(entries)?;
    } else {
        say!("{} {what}", entries.len())?;
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Args)]
#[command(after_help = "Example: sensor allow add 192.0.2.0/24")]
pub struct Allow {
    #[command(subcommand)]
    command: AllowCommand,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand)]
enum AllowCommand {
    /// Add an address or a network, and remove blocks of it.
    #[command(after_help = "Example: sensor allow add 192.0.2.0/24")]
    Add {
        network: Network,
        /// Add it even if the network is wider than /8 (IPv6: /32), or if current blocks would end.
        #[arg(long)]
        force: bool,
    },
    /// Remove an address or a network.
    #[command(after_help = "Example: sensor allow del 192.0.2.0/24")]
    Del { network: Network },
    /// Start without the saved allow-list if its file is damaged; the file is moved aside.
    #[command(after_help = "Example: sensor allow accept-loss")]
    AcceptLoss,
    /// List the entries, each with the reason for it.
    #[command(after_help = "Example: sensor allow list --json")]
    List,
}

impl Allow {
    pub fn execute(self) -> Result<ExitCode> {
        let mut client = self.reach.connect()?;
        match self.command {
            AllowCommand::Add { network, force } => {
                let done: AllowAdded = client.ask(&Request::AllowAdd { network, force })?;
                report(&self.reach, &done.unblocked, "blocks removed")
            }
            AllowCommand::Del { network } => {
                let done: Done = client.ask(&Request::AllowDel { network })?;
                if self.reach.json {
                    say!("{}", json::line(&done))?;
                }
                Ok(ExitCode::SUCCESS)
            }
            AllowCommand::AcceptLoss => {
                let done: LossAccepted = client.ask(&Request::AllowAcceptLoss)?;
                if self.reach.json {
                    say!("{}", json::line(&done))?;
                } else {
                    say!(
                        "set aside as {}; the guard is what the host needs",
                        done.set_aside
                    )?;
                }
                Ok(ExitCode::SUCCESS)
            }
            AllowCommand::List => {
                let AllowListed { entries } = client.ask(&Request::AllowList)?;
                if self.reach.json {
                    print_lines(&entries)?;
                    return Ok(ExitCode::SUCCESS);
                }
                let mut table = Table::new(&["network", "why", "by"]);
                for entry in &entries {
                    table.row(vec![
                        entry.network.to_string(),
                        entry.why.to_string(),
                        entry.origin.as_ref().map_or_else(String::new, text::by),
                    ]);
                }
                say_table(&table)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
