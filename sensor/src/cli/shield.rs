//! `sensor shield`.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use sensor_record::answer::Shields;
use sensor_record::text::{self, Table};
use sensor_record::unit::{count, duration};
use sensor_record::{Mode, Reason, ShieldMeasure};

use super::ask::protocol;
use super::client::Reach;
use super::out::{print_lines, say, say_table};
use crate::agent::protocol::Request;
use crate::agent::{OrderScope, ShieldOff, ShieldOn};
use sensor_respond::STRANGERS_PER_S;

/// Part of the address's traffic that is shielded.
#[derive(Args)]
struct ScopeFlags {
    /// Local port to which the shield is limited.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..), requires = "protocol")]
    port: Option<u16>,
    /// Protocol to which the shield is limited: tcp, udp, icmp, ipv6-icmp, sctp or a number.
    #[arg(long, value_parser = protocol)]
    protocol: Option<u8>,
}

impl ScopeFlags {
    fn scope(&self) -> Option<OrderScope> {
        self.protocol.map(|protocol| OrderScope {
            protocol,
            port: self.port.unwrap_or(0),
        })
    }
}

#[derive(Args)]
#[command(after_help = "Example: sensor shield on 192.0.2.1 --protocol tcp --port 443 --ttl 30min")]
pub struct Shield {
    #[command(subcommand)]
    command: ShieldCommand,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand)]
enum ShieldCommand {
    /// Shield an address of this host, or a service there, or renew the shield; in monitor mode packets are
    /// counted, not held.
    #[command(
        after_help = "TCP: SYNs of strangers are answered by a SYN cookie in the kernel, and what belongs to no \
        connection is dropped. UDP: replies that nobody asked for are dropped, and strangers share --rate. Other \
        protocols and fragments: strangers share --rate.\n\n\
        Example: sensor shield on 192.0.2.1 --ttl 10min\n\
        Example: sensor shield on 2001:db8::1 --protocol udp --port 53 --rate 5000"
    )]
    On {
        /// Address of this host.
        address: IpAddr,
        /// Time until the shield ends, at most 7days.
        #[arg(long, default_value = "10min", value_parser = humantime::parse_duration)]
        ttl: Duration,
        /// Packets per second that strangers share, where they do.
        #[arg(long, value_name = "PACKETS_PER_S", default_value_t = STRANGERS_PER_S)]
        rate: u32,
        /// Reason, at most 512 bytes; shown in the list and in the audit log.
        #[arg(long, default_value = "")]
        reason: Reason,
        #[command(flatten)]
        scope: ScopeFlags,
    },
    /// End the shields of an address.
    #[command(after_help = "Example: sensor shield off 192.0.2.1")]
    Off {
        /// Address, as listed.
        address: IpAddr,
        #[command(flatten)]
        scope: ScopeFlags,
    },
    /// List the shields with what they held.
    #[command(after_help = "Example: sensor shield list --json")]
    List,
}

impl Shield {
    pub fn execute(self) -> Result<ExitCode> {
        let request = match self.command {
            ShieldCommand::On {
                address,
                ttl,
                rate,
                reason,
                scope,
            } => Request::ShieldOn(ShieldOn {
                address,
                ttl_s: ttl.as_secs(),
                scope: scope.scope().unwrap_or_default(),
                rate_packets_per_s: rate,
                reason,
            }),
            ShieldCommand::Off { address, scope } => {
                let scope = scope.scope();
                Request::ShieldOff(ShieldOff { address, scope })
            }
            ShieldCommand::List => Request::ShieldList,
        };
        let answer: Shields = self.reach.connect()?.ask(&request)?;
        if self.reach.json {
            print_lines(&answer.shields)?;
        } else {
            print(&answer)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(answer: &Shields) -> Result<()> {
    let mut table = Table::new(&[
        "address",
        "what",
        "measures",
        "rate",
        "ttl",
        "answered",
        "completed",
        "held",
        "by",
        "reason",
    ]);
    for shield in &answer.shields {
        let protocol = shield.transport.as_deref().unwrap_or("any");
        let measures = shield.measures.iter().map(|measure| measure.label());
        let has_rate = shield.measures.contains(&ShieldMeasure::Rate);
        table.row(vec![
            shield.address.to_string(),
            match shield.port {
                0 => protocol.to_owned(),
                port => format!("{protocol} port {port}"),
            },
            measures.collect::<Vec<_>>().join(" "),
            if has_rate {
                format!("{} packets/s", shield.strangers_packets_per_s)
            } else {
                String::new()
            },
            duration(shield.ttl_s),
            count(shield.answered as f64),
            count(shield.completed as f64),
            count(shield.held as f64),
            text::by(&shield.origin),
            shield.reason.clone(),
        ]);
    }
    say_table(&table)?;
    let note = if answer.mode == Mode::Monitor {
        " (monitor mode: counted, not held)"
    } else {
        ""
    };
    say!("{} shields{note}", answer.shields.len())
}
