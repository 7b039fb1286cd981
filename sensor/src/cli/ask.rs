//! `sensor status`, `flows`, `top`, `incidents`: what the running agent sees.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::Value;

use super::client::{Client, Reach};
use super::table::{Table, bits, short};
use crate::agent::protocol::Request;
use crate::agent::{FlowOrder, FlowQuery, TopOrder, TopQuery, TopWhat};
use crate::respond::Network;

pub(super) fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or(0.0)
}

pub(super) fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// `address:port`, or the address alone.
fn end(value: &Value, ip: &str, port: &str) -> String {
    let (ip, port) = (word(value, ip), number(value, port));
    match (ip.contains(':'), port > 0.0) {
        (_, false) => ip.to_owned(),
        (false, true) => format!("{ip}:{port}"),
        (true, true) => format!("[{ip}]:{port}"),
    }
}

pub(super) fn print_lines(values: &[Value]) {
    for value in values {
        println!("{value}");
    }
}

pub(super) fn rows(value: &Value, key: &str) -> Vec<Value> {
    value[key].as_array().cloned().unwrap_or_default()
}

#[derive(Args)]
#[command(after_help = "Example: sensor status --json | jq .events.dropped")]
pub struct Status {
    #[command(flatten)]
    reach: Reach,
}

impl Status {
    pub fn execute(self) -> Result<ExitCode> {
        let status = self.reach.connect()?.ask(&Request::Status)?;
        if self.reach.json {
            println!("{status}");
        } else {
            print_status(&status);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print_status(status: &Value) {
    let uptime = Duration::from_secs(number(status, "uptime_s") as u64);
    println!(
        "sensor {} (process {}), {} mode, up {}",
        word(status, "sensor.version"),
        status["process.pid"],
        word(status, "mode"),
        humantime::format_duration(uptime),
    );
    for at in rows(status, "attach") {
        let (reason, mode) = (word(&at, "reason"), word(&at, "mode"));
        let why = if reason.is_empty() {
            String::new()
        } else {
            format!(" ({reason})")
        };
        let egress = word(&at, "egress");
        println!("  {}: {mode} XDP{why}, {egress}", word(&at, "interface"));
    }
    let mut table = Table::new(&["", "packets", "bytes", "packets/s", "load"]);
    for way in ["ingress", "egress"] {
        let counts = &status[way];
        table.row(vec![
            way.to_owned(),
            short(number(counts, "packets")),
            short(number(counts, "bytes")),
            short(number(counts, "packets_per_s")),
            bits(number(counts, "bytes_per_s")),
        ]);
    }
    table.print();
    let opened: u64 = status["incidents"]
        .as_object()
        .map_or(0, |all| all.values().filter_map(Value::as_u64).sum());
    println!(
        "flows {}, incidents {opened} ({} open), block entries {}",
        status["flows"], status["incidents_open"], status["blocks"],
    );
    for key in ["events", "malformed"] {
        for (name, n) in status[key].as_object().into_iter().flatten() {
            if n.as_u64() != Some(0) {
                println!("  {name}: {n}");
            }
        }
    }
    for (name, queue) in status["queues"].as_object().into_iter().flatten() {
        if queue["shed"].as_u64() != Some(0) {
            println!("  queue {name}: {} shed", queue["shed"]);
        }
    }
}

#[derive(Args)]
#[command(after_help = "Example: sensor flows --network 10.0.0.0/8 --port 443 --sort packets")]
pub struct Flows {
    /// One end lies in this network, or is this address.
    #[arg(long, value_name = "ADDRESS|NETWORK")]
    network: Option<Network>,
    /// One end has this port.
    #[arg(long)]
    port: Option<u16>,
    /// tcp, udp, icmp, ipv6-icmp, sctp or a number.
    #[arg(long, value_parser = protocol)]
    protocol: Option<u8>,
    /// At least so many bytes, both ways.
    #[arg(long, default_value_t = 0)]
    min_bytes: u64,
    #[arg(long, value_enum, default_value_t)]
    sort: FlowOrder,
    /// At most so many flows (10,000 are the most).
    #[arg(long, default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    reach: Reach,
}

pub(super) fn protocol(text: &str) -> Result<u8, String> {
    match text.to_ascii_lowercase().as_str() {
        "icmp" => Ok(1),
        "tcp" => Ok(6),
        "udp" => Ok(17),
        "ipv6-icmp" | "icmpv6" => Ok(58),
        "sctp" => Ok(132),
        other => other
            .parse()
            .map_err(|_| "write tcp, udp, icmp, ipv6-icmp, sctp or a number to 255".to_owned()),
    }
}

impl Flows {
    pub fn execute(self) -> Result<ExitCode> {
        let query = FlowQuery {
            network: self.network,
            port: self.port,
            protocol: self.protocol,
            min_bytes: self.min_bytes,
            sort: self.sort,
            limit: self.limit,
        };
        let found = self.reach.connect()?.ask(&Request::Flows(query))?;
        let flows = rows(&found, "flows");
        if self.reach.json {
            print_lines(&flows);
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = Table::new(&[
            "protocol",
            "source",
            "destination",
            "packets",
            "bytes",
            "back",
            "bytes",
            "since",
        ]);
        for flow in &flows {
            table.row(vec![
                word(flow, "network.transport").to_owned(),
                end(flow, "source.ip", "source.port"),
                end(flow, "destination.ip", "destination.port"),
                short(number(flow, "source.packets")),
                short(number(flow, "source.bytes")),
                short(number(flow, "destination.packets")),
                short(number(flow, "destination.bytes")),
                word(flow, "event.start")
                    .get(11..19)
                    .unwrap_or_default()
                    .to_owned(),
            ]);
        }
        table.print();
        println!("{} of {} flows match", found["matched"], found["of"]);
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Args)]
#[command(after_help = "Example: sensor top flows --by packets --limit 10")]
pub struct Top {
    #[arg(value_enum, default_value_t)]
    what: TopWhat,
    #[arg(long, value_enum, default_value_t)]
    by: TopOrder,
    /// At most so many rows (1,000 are the most).
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Look once, also on a terminal.
    #[arg(long)]
    once: bool,
    /// From one look to the next, s.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=5))]
    interval: u64,
    #[command(flatten)]
    reach: Reach,
}

impl Top {
    pub fn execute(self) -> Result<ExitCode> {
        let query = TopQuery {
            what: self.what,
            by: self.by,
            limit: self.limit,
        };
        let mut client = self.reach.connect()?;
        if self.reach.json {
            print_lines(&rows(&client.ask(&Request::Top(query))?, "rows"));
            return Ok(ExitCode::SUCCESS);
        }
        let is_live = !self.once && std::io::stdout().is_terminal();
        loop {
            let lines = self.look(&mut client, query)?;
            if !is_live {
                println!("{}", lines.join("\n"));
                return Ok(ExitCode::SUCCESS);
            }
            // Home, each line to its end, then the rest of the screen.
            let screen = lines.join("\x1b[K\n");
            print!("\x1b[H{screen}\x1b[K\n\x1b[J");
            std::io::stdout().flush()?;
            std::thread::sleep(Duration::from_secs(self.interval));
        }
    }

    fn look(&self, client: &mut Client, query: TopQuery) -> Result<Vec<String>> {
        let top = client.ask(&Request::Top(query))?;
        let rows = rows(&top, "rows");
        let mut lines = vec![format!(
            "{} by {} over {:.1} s",
            word(&top, "what"),
            if self.by == TopOrder::Bytes {
                "bytes"
            } else {
                "packets"
            },
            number(&top, "window_s"),
        )];
        let table = match self.what {
            TopWhat::Hosts => hosts(&rows),
            TopWhat::Flows => talks(&rows),
        };
        lines.extend(table.lines());
        Ok(lines)
    }
}

fn hosts(rows: &[Value]) -> Table {
    let mut table = Table::new(&["host", "in packets/s", "in", "out packets/s", "out"]);
    for row in rows {
        table.row(vec![
            word(row, "host.ip").to_owned(),
            short(number(row, "in.packets_per_s")),
            bits(number(row, "in.bytes_per_s")),
            short(number(row, "out.packets_per_s")),
            bits(number(row, "out.bytes_per_s")),
        ]);
    }
    table
}

fn talks(rows: &[Value]) -> Table {
    let mut table = Table::new(&["protocol", "a", "b", "a packets/s", "a", "b packets/s", "b"]);
    for row in rows {
        table.row(vec![
            word(row, "network.transport").to_owned(),
            end(row, "a.ip", "a.port"),
            end(row, "b.ip", "b.port"),
            short(number(row, "a.packets_per_s")),
            bits(number(row, "a.bytes_per_s")),
            short(number(row, "b.packets_per_s")),
            bits(number(row, "b.bytes_per_s")),
        ]);
    }
    table
}

#[derive(Args)]
#[command(after_help = "Example: sensor incidents --json | jq 'select(.severity == \"high\")'")]
pub struct Incidents {
    /// At most so many, the newest first (the agent remembers 1,000).
    #[arg(long, default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    reach: Reach,
}

impl Incidents {
    pub fn execute(self) -> Result<ExitCode> {
        let limit = self.limit;
        let found = self.reach.connect()?.ask(&Request::Incidents { limit })?;
        let incidents = found
            .as_array()
            .ok_or_else(|| anyhow!("the answer is no list"))?;
        if self.reach.json {
            print_lines(incidents);
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = Table::new(&["since", "state", "severity", "family", "what"]);
        for incident in incidents {
            table.row(vec![
                word(incident, "event.start")
                    .get(..19)
                    .unwrap_or_default()
                    .replace('T', " "),
                word(incident, "incident.state").to_owned(),
                word(incident, "severity").to_owned(),
                word(incident, "incident.family").to_owned(),
                word(incident, "explanation").to_owned(),
            ]);
        }
        table.print();
        Ok(ExitCode::SUCCESS)
    }
}
