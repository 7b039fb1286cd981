//! `sensor block` and `sensor allow`.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::EXIT_BAD_INPUT;
use super::ask::{number, print_lines, protocol, rows, word};
use super::client::Reach;
use super::table::{Table, short};
use crate::agent::protocol::Request;
use crate::agent::{BlockAdd, BlockDel, BlockList, MAX_TARGETS, OrderScope};
use crate::respond::{Network, parse_network};

/// What of a source's traffic is meant.
#[derive(Args)]
struct ScopeFlags {
    /// Only towards this local port.
    #[arg(long)]
    port: Option<u16>,
    /// Only this protocol: tcp, udp, icmp, ipv6-icmp, sctp or a number.
    #[arg(long, value_parser = protocol)]
    protocol: Option<u8>,
}

impl ScopeFlags {
    fn scope(&self) -> Option<OrderScope> {
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
    /// Block sources, or renew their blocks. In monitor mode they are counted, not dropped.
    #[command(
        after_help = "Example: sensor block add 203.0.113.0/24 --ttl 1day --port 22\n\
        Example: sensor block add --file drop.txt --ttl 12h"
    )]
    Add {
        /// Addresses and networks.
        targets: Vec<Network>,
        /// More of them from a file, one a line; `#` and `;` begin comments; `-` is standard input.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// How long, e.g. 90s, 1h, 2days.
        #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
        ttl: Duration,
        /// Let through so many packets a second instead of none.
        #[arg(long, value_name = "PACKETS_PER_S")]
        rate: Option<u32>,
        /// Why; it is shown in the list and in the log.
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        scope: ScopeFlags,
    },
    /// Let a source go.
    #[command(after_help = "Example: sensor block del 198.51.100.7")]
    Del {
        target: Network,
        #[command(flatten)]
        scope: ScopeFlags,
    },
    /// Show who is blocked, until when, why, and what that stopped.
    #[command(after_help = "Example: sensor block list --within 198.51.100.0/24 --json")]
    List {
        /// Only entries within this network.
        #[arg(long)]
        within: Option<Network>,
        /// At most so many entries (10,000 are the most).
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Let everybody go.
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
                rate,
                reason,
                scope,
            } => {
                let n_bad = match &file {
                    Some(path) => read_targets(path, &mut targets)?,
                    None => 0,
                };
                if targets.is_empty() && n_bad == 0 {
                    bail!("nobody to block: name addresses or networks, or a --file of them");
                }
                let add = BlockAdd {
                    targets,
                    ttl_s: ttl.as_secs(),
                    rate_packets_per_s: rate,
                    scope: scope.scope().unwrap_or_default(),
                    reason,
                };
                block_add(&self.reach, &add, n_bad)
            }
            BlockCommand::Del { target, scope } => {
                let scope = scope.scope();
                let request = Request::BlockDel(BlockDel { target, scope });
                let done = self.reach.connect()?.ask(&request)?;
                report(&self.reach, &done, "entries removed", "removed")
            }
            BlockCommand::List { within, limit } => {
                let request = Request::BlockList(BlockList { within, limit });
                block_list(&self.reach, &self.reach.connect()?.ask(&request)?)
            }
            BlockCommand::Flush => {
                let done = self.reach.connect()?.ask(&Request::BlockFlush)?;
                if self.reach.json {
                    println!("{done}");
                } else {
                    println!("{} entries removed", done["n_removed"]);
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
                eprintln!("{named}:{}: {cause}", n + 1);
                n_bad += 1;
            }
        }
    }
    Ok(n_bad)
}

fn block_add(reach: &Reach, add: &BlockAdd, n_bad: u64) -> Result<ExitCode> {
    let mut client = reach.connect()?;
    let (mut n_added, mut n_refused) = (0, 0);
    let mut mode = String::new();
    for targets in add.targets.chunks(MAX_TARGETS) {
        let part = BlockAdd {
            targets: targets.to_vec(),
            ..add.clone()
        };
        let done = client.ask(&Request::BlockAdd(part))?;
        n_added += done["n_added"].as_u64().unwrap_or(0);
        for refusal in rows(&done, "refused") {
            eprintln!("refused: {}", refusal.as_str().unwrap_or_default());
            n_refused += 1;
        }
        word(&done, "mode").clone_into(&mut mode);
    }
    if reach.json {
        let done = serde_json::json!({"n_added": n_added, "n_refused": n_refused, "mode": mode});
        println!("{done}");
    } else {
        let note = if mode == "monitor" {
            " (monitor mode: counted, not dropped)"
        } else {
            ""
        };
        println!("{n_added} entries{note}");
    }
    Ok(match (n_added, n_refused + n_bad) {
        (_, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::FAILURE,
        _ => ExitCode::from(EXIT_BAD_INPUT),
    })
}

fn block_list(reach: &Reach, list: &Value) -> Result<ExitCode> {
    let entries = rows(list, "entries");
    if reach.json {
        print_lines(&entries);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&[
        "target", "what", "action", "ttl", "packets", "bytes", "by", "reason",
    ]);
    for entry in &entries {
        let port = number(entry, "port");
        let protocol = entry["network.transport"].as_str().unwrap_or("any");
        let ttl = Duration::from_secs(number(entry, "ttl_s") as u64);
        table.row(vec![
            word(entry, "target").to_owned(),
            if port > 0.0 {
                format!("{protocol} port {port}")
            } else {
                protocol.to_owned()
            },
            match entry["rate_packets_per_s"].as_u64() {
                Some(rate) => format!("{rate} packets/s"),
                None => word(entry, "action").to_owned(),
            },
            humantime::format_duration(ttl).to_string(),
            short(number(entry, "packets")),
            short(number(entry, "bytes")),
            by(&entry["origin"]),
            word(entry, "reason").to_owned(),
        ]);
    }
    table.print();
    let mode = word(list, "mode");
    println!("{} of {} entries, {mode} mode", entries.len(), list["of"]);
    Ok(ExitCode::SUCCESS)
}

/// Who made an entry.
fn by(origin: &Value) -> String {
    match word(origin, "by") {
        "incident" => format!("incident {}", word(origin, "incident_id")),
        "operator" => format!("user {}", origin["uid"]),
        other => other.to_owned(),
    }
}

fn report(reach: &Reach, done: &Value, what: &str, key: &str) -> Result<ExitCode> {
    let entries = rows(done, key);
    if reach.json {
        print_lines(&entries);
    } else {
        println!("{} {what}", entries.len());
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
    /// Never block this address or network; blocks of it go.
    #[command(after_help = "Example: sensor allow add 192.0.2.0/24")]
    Add { network: Network },
    /// Take a network off the allow-list.
    #[command(after_help = "Example: sensor allow del 192.0.2.0/24")]
    Del { network: Network },
    /// Show what is never blocked, and why.
    #[command(after_help = "Example: sensor allow list --json")]
    List,
}

impl Allow {
    pub fn execute(self) -> Result<ExitCode> {
        let mut client = self.reach.connect()?;
        match self.command {
            AllowCommand::Add { network } => {
                let done = client.ask(&Request::AllowAdd { network })?;
                report(&self.reach, &done, "blocks removed", "unblocked")
            }
            AllowCommand::Del { network } => {
                client.ask(&Request::AllowDel { network })?;
                Ok(ExitCode::SUCCESS)
            }
            AllowCommand::List => {
                let entries = rows(&client.ask(&Request::AllowList)?, "entries");
                if self.reach.json {
                    print_lines(&entries);
                    return Ok(ExitCode::SUCCESS);
                }
                let mut table = Table::new(&["network", "why", "by"]);
                for entry in &entries {
                    table.row(vec![
                        word(entry, "network").to_owned(),
                        word(entry, "why").to_owned(),
                        by(&entry["origin"]),
                    ]);
                }
                table.print();
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
