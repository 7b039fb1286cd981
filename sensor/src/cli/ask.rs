//! `sensor status`, `flows`, `top`, `incidents`: what the running agent sees.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Error, Result};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use sensor_engine::Family;
use sensor_record::answer::{self, Load, TopFlow, TopHost, TopRows, TopWhat};
use sensor_record::text::{Table, end};
use sensor_record::unit::{bits, count, duration};
use sensor_record::{
    Incident, Name, Reason, Remark, Severity, Timestamp, Zone, escape, json, mostly_not_ip,
};

use super::client::{Client, Reach};
use super::out::{print_lines, put, say, say_table, width};
use super::{proposals, query};
use crate::agent::protocol::Request;
use crate::agent::{FlowOrder, FlowQuery, IncidentQuery, TopOrder, TopQuery};
use sensor_respond::Network;

#[derive(Args)]
#[command(after_help = "Example: sensor status --json | jq .events.dropped")]
pub struct Status {
    #[command(flatten)]
    reach: Reach,
}

impl Status {
    pub fn execute(self) -> Result<ExitCode> {
        let status: answer::Status = self.reach.connect()?.ask(&Request::Status)?;
        if self.reach.json {
            say!("{}", json::line(&status))?;
        } else {
            print_status(&status)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print_status(status: &answer::Status) -> Result<()> {
    say!(
        "sensor {} (process {}), {} mode, up {}",
        escape(&status.version),
        status.pid,
        status.mode.label(),
        duration(status.uptime_s as u64),
    )?;
    for at in &status.attach {
        let why = match at.reason.as_str() {
            "" => String::new(),
            reason => format!(" ({reason})"),
        };
        let link = if at.link_up { "" } else { ", link down" };
        let line = if at.attached {
            let (name, mode, egress) = (&at.interface, &at.mode, &at.egress);
            format!("  {name}: {mode} XDP{why}, {egress}{link}")
        } else {
            format!("  {}: not attached{why}", at.interface)
        };
        say!("{}", escape(&line))?;
    }
    let mut table = Table::new(&["", "packets", "bytes", "packets/s", "load"]);
    for (way, load) in [("ingress", status.ingress), ("egress", status.egress)] {
        let Load {
            packets,
            bytes,
            packets_per_s,
            bytes_per_s,
        } = load;
        table.row(vec![
            way.to_owned(),
            count(packets as f64),
            count(bytes as f64),
            count(packets_per_s),
            bits(bytes_per_s),
        ]);
    }
    say_table(&table)?;
    say!(
        "flows {}, incidents {} ({} open), block entries {}",
        status.flows,
        status.incidents.values().sum::<u64>(),
        status.incidents_open,
        status.blocks,
    )?;
    say!(
        "alarms in the last 24 h: {} of {} (above low severity)",
        status.alarms_of_day.values().sum::<u64>(),
        status.alarm_budget,
    )?;
    print_guard(&status.guard)?;
    print_radius(&status.radius)?;
    print_exceptions(&status.exceptions)?;
    let packets = status.ingress.packets.saturating_add(status.egress.packets);
    if let Some(line) = mostly_not_ip(packets, &status.not_ip) {
        say!("  {}", escape(&line))?;
    }
    for (name, n) in status.events.iter().chain(&status.malformed) {
        if *n > 0 {
            say!("  {}: {n}", escape(name))?;
        }
    }
    for (name, queue) in &status.queues {
        if queue.shed > 0 {
            say!("  queue {}: {} shed", escape(name), queue.shed)?;
        }
    }
    print_health(status)
}

/// Faults of files, services and outputs; nothing where all is well.
fn print_health(status: &answer::Status) -> Result<()> {
    for (name, file) in &status.files {
        if let Some(error) = &file.error {
            say!(
                "file {} ({}): {}",
                escape(name),
                escape(&file.path),
                escape(error)
            )?;
        }
    }
    for (name, service) in &status.services {
        if let Some(error) = &service.error {
            say!("{} is not served: {}", escape(name), escape(error))?;
        }
    }
    for (name, output) in &status.outputs {
        print_output(name, output)?;
    }
    for (name, sink) in &status.sinks {
        print_sink(name, sink)?;
    }
    for (name, feed) in &status.feeds {
        print_feed(name, feed)?;
    }
    for (name, input) in &status.flow_inputs {
        print_flow_input(name, input)?;
    }
    for (name, input) in &status.alert_inputs {
        print_alert_input(name, input)?;
    }
    for network in &status.networks {
        print_network(network)?;
    }
    Ok(())
}

/// Prints a sink in one line.
fn print_sink(name: &str, sink: &answer::Sink) -> Result<()> {
    let n_dropped: u64 = sink.dropped.values().sum();
    let error = sink
        .error
        .as_deref()
        .map_or(String::new(), |error| format!(": {error}"));
    let line = format!(
        "sink {name} ({}): {} sent, {} wait, {} refused, {n_dropped} dropped{error}",
        sink.kind, sink.sent, sink.waiting, sink.refused
    );
    say!("{}", escape(&line))
}

/// Prints a network in one line.
fn print_network(network: &answer::NetworkState) -> Result<()> {
    let error = network
        .error
        .as_deref()
        .map_or(String::new(), |error| format!(": {error}"));
    let line = format!(
        "network {} ({}, {}): {} sequences judged, {} at its threshold{error}",
        network.name, network.network, network.role, network.judged, network.alarms
    );
    say!("{}", escape(&line))
}

/// Prints a followed list in one line.
fn print_feed(name: &str, feed: &answer::Feed) -> Result<()> {
    let error = feed
        .error
        .as_deref()
        .map_or(String::new(), |error| format!(": {error}"));
    let line = format!(
        "list {name} ({}): {} networks, {} in force, {} refused, {} not followed{error}",
        feed.kind, feed.listed, feed.held, feed.refused, feed.ignored
    );
    say!("{}", escape(&line))
}

/// Prints an input of alerts in one line.
fn print_alert_input(name: &str, input: &answer::AlertInput) -> Result<()> {
    let error = input.error.as_deref();
    let error = error.map_or(String::new(), |error| format!(": {error}"));
    let told: Vec<String> = input
        .counts
        .iter()
        .map(|(event, n)| format!("{event} {n}"))
        .collect();
    let line = format!("alerts {name} ({}): {}{error}", input.kind, told.join(", "));
    say!("{}", escape(&line))
}

/// Prints an input of flow records in one line, and one for each exporter.
fn print_flow_input(name: &str, input: &answer::FlowInput) -> Result<()> {
    let error = input
        .error
        .as_deref()
        .map_or(String::new(), |error| format!(": {error}"));
    let told = input.counts.iter().filter(|(_, n)| **n > 0);
    let told: Vec<String> = told.map(|(event, n)| format!("{event} {n}")).collect();
    let line = format!(
        "flow records {name} ({}): {} exporters, {} records wait, {} incidents; {}{error}",
        input.listen,
        input.exporters_count,
        input.waiting,
        input.incidents,
        told.join(", ")
    );
    say!("{}", escape(&line))?;
    for one in &input.exporters {
        let (ip, records, gaps) = (one.ip, one.records, one.gaps);
        say!(
            "  {ip}: {records} records, {gaps} missed, {} templates",
            one.templates
        )?;
    }
    Ok(())
}

/// Prints the faults of the outputs; nothing where all is well.
fn print_output(name: &str, output: &answer::Output) -> Result<()> {
    let (name, lost) = (escape(name), output.lost);
    if let Some(error) = &output.error {
        say!(
            "output {name} can't be written ({lost} lines lost): {}",
            escape(error)
        )?;
    } else if output.stalled_s > 1.0 {
        let stalled = output.stalled_s;
        say!("output {name}: its reader has stalled for {stalled:.0} s ({lost} lines lost)")?;
    } else if lost > 0 {
        say!("output {name}: {lost} lines lost")?;
    }
    Ok(())
}

/// Prints the bound that holds decisions back; nothing where none does.
fn print_radius(radius: &answer::Radius) -> Result<()> {
    match &radius.held {
        Some(held) => say!(
            "decisions are held back ({} so far): {}",
            radius.refused,
            escape(held)
        ),
        None => Ok(()),
    }
}

/// Prints each exception of the configuration with its use.
fn print_exceptions(exceptions: &[answer::Exception]) -> Result<()> {
    for exception in exceptions {
        let state = if exception.expired { " (expired)" } else { "" };
        let what = match &exception.incident_id {
            Some(id) => format!("muted incident {}", escape(id)),
            None => "exception".to_owned(),
        };
        say!(
            "  {what} \"{}\"{state}: {} findings",
            escape(&exception.reason),
            exception.findings,
        )?;
    }
    Ok(())
}

/// Prints the faults of the guard; nothing where all is well.
fn print_guard(guard: &answer::Guard) -> Result<()> {
    if let Some(missing) = &guard.missing {
        let missing = escape(missing);
        say!("guard incomplete, nothing is blocked: {missing}")?;
    }
    let facts = guard
        .facts
        .iter()
        .map(|(name, fact)| (name.as_ref(), fact.errors, &fact.error));
    let changes = ("changes", guard.change_errors, &guard.change_error);
    for (name, n_errors, error) in facts.chain([changes]) {
        let name = escape(name);
        match error {
            Some(error) => {
                let error = escape(error);
                say!("guard: {name} can't be read ({n_errors} times): {error}")?;
            }
            None if n_errors > 0 => {
                say!("guard: {name} is readable again after {n_errors} errors")?;
            }
            None => {}
        }
    }
    if guard.networks_unlisted > 0 {
        let n = guard.networks_unlisted;
        say!("guard: {n} networks do not fit into the kernel's allow-list")?;
    }
    Ok(())
}

#[derive(Args)]
#[command(after_help = "Example: sensor flows --network 10.0.0.0/8 --port 443 --sort packets")]
pub struct Flows {
    /// Address or network of one of the endpoints.
    #[arg(long, value_name = "ADDRESS|NETWORK")]
    network: Option<Network>,
    /// Port of one of the endpoints.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Protocol: tcp, udp, icmp, ipv6-icmp, sctp or a number.
    #[arg(long, value_parser = protocol)]
    protocol: Option<u8>,
    /// Minimum number of bytes in both directions together.
    #[arg(long, default_value_t = 0)]
    min_bytes: u64,
    /// Order of the flows, the greatest first.
    #[arg(long, value_enum, default_value_t)]
    sort: FlowOrder,
    /// Maximum number of flows, at most 10,000.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    reach: Reach,
}

pub(super) fn protocol(text: &str) -> Result<u8, String> {
    sensor_record::protocol(text)
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
        let found: answer::Flows = self.reach.connect()?.ask(&Request::Flows(query))?;
        if self.reach.json {
            print_lines(&found.flows)?;
            return Ok(ExitCode::SUCCESS);
        }
        let zone = Zone::local();
        let now = found.flows.first().map(|flow| flow.head.at);
        let since = now.map_or_else(String::new, |now| format!("since ({})", zone.offset(now)));
        let mut table = Table::new(&[
            "protocol",
            "source",
            "destination",
            "packets",
            "bytes",
            "back",
            "bytes",
            &since,
        ]);
        for flow in &found.flows {
            table.row(vec![
                flow.transport.to_string(),
                end(flow.source, flow.source_port),
                end(flow.destination, flow.destination_port),
                count(flow.source_packets as f64),
                count(flow.source_bytes as f64),
                count(flow.destination_packets as f64),
                count(flow.destination_bytes as f64),
                zone.clock(flow.start),
            ]);
        }
        say_table(&table)?;
        say!("{} of {} flows match", found.matched, found.of)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Kind of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum What {
    #[default]
    Hosts,
    Flows,
}

impl From<What> for TopWhat {
    fn from(what: What) -> Self {
        match what {
            What::Hosts => Self::Hosts,
            What::Flows => Self::Flows,
        }
    }
}

#[derive(Args)]
#[command(after_help = "Example: sensor top flows --by packets --limit 10")]
pub struct Top {
    /// Kind of the rows.
    #[arg(value_enum, default_value_t)]
    what: What,
    /// Order of the rows, the greatest first.
    #[arg(long, value_enum, default_value_t)]
    by: TopOrder,
    /// Maximum number of rows, at most 1,000.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Print the table once, on a terminal, too.
    #[arg(long)]
    once: bool,
    /// Seconds between updates, from 1 to 5.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=5))]
    interval: u64,
    #[command(flatten)]
    reach: Reach,
}

impl Top {
    pub fn execute(self) -> Result<ExitCode> {
        let query = TopQuery {
            what: self.what.into(),
            by: self.by,
            limit: self.limit,
        };
        let mut client = self.reach.connect()?;
        if self.reach.json {
            let top: answer::Top = client.ask(&Request::Top(query))?;
            match &top.rows {
                TopRows::Hosts(hosts) => print_lines(hosts)?,
                TopRows::Flows(flows) => print_lines(flows)?,
            }
            return Ok(ExitCode::SUCCESS);
        }
        let is_live = !self.once && std::io::stdout().is_terminal();
        loop {
            let lines = self.look(&mut client, query)?;
            if !is_live {
                say!("{}", lines.join("\n"))?;
                return Ok(ExitCode::SUCCESS);
            }
            // Home, each line to its end, then the rest of the screen.
            let screen = lines.join("\x1b[K\n");
            put(&format!("\x1b[H{screen}\x1b[K\n\x1b[J"))?;
            std::thread::sleep(Duration::from_secs(self.interval));
        }
    }

    fn look(&self, client: &mut Client, query: TopQuery) -> Result<Vec<String>> {
        let top: answer::Top = client.ask(&Request::Top(query))?;
        let mut lines = vec![format!(
            "{} by {} over {:.1} s",
            match top.what {
                TopWhat::Hosts => "hosts",
                TopWhat::Flows => "flows",
            },
            match self.by {
                TopOrder::Bytes => "bytes",
                TopOrder::Packets => "packets",
            },
            top.window_s,
        )];
        let table = match (&top.rows, top.what) {
            (TopRows::Flows(rows), _) => talks(rows),
            (TopRows::Hosts(rows), TopWhat::Hosts) => hosts(rows),
            // A list of nothing is of no kind.
            (TopRows::Hosts(_), TopWhat::Flows) => talks(&[]),
        };
        let rows = table.lines_within(width());
        lines.extend(rows.iter().flat_map(|row| row.lines()).map(str::to_owned));
        Ok(lines)
    }
}

fn hosts(rows: &[TopHost]) -> Table {
    let mut table = Table::new(&["host", "in packets/s", "in", "out packets/s", "out"]);
    for row in rows {
        table.row(vec![
            row.ip.to_string(),
            count(row.in_packets_per_s),
            bits(row.in_bytes_per_s),
            count(row.out_packets_per_s),
            bits(row.out_bytes_per_s),
        ]);
    }
    table
}

fn talks(rows: &[TopFlow]) -> Table {
    let mut table = Table::new(&["protocol", "a", "b", "a packets/s", "a", "b packets/s", "b"]);
    for row in rows {
        table.row(vec![
            row.transport.to_string(),
            end(row.a_ip, row.a_port),
            end(row.b_ip, row.b_port),
            count(row.a_packets_per_s),
            bits(row.a_bytes_per_s),
            count(row.b_packets_per_s),
            bits(row.b_bytes_per_s),
        ]);
    }
    table
}

#[derive(Args)]
#[command(
    after_help = "Example: sensor incidents --severity high --since 1day\n\
    Example: sensor incidents --host 192.0.2.0/24 --family port_scan --json\n\
    Example: sensor incidents mute 000007 --for 7days --reason 'our own scanner'",
    args_conflicts_with_subcommands = true
)]
pub struct Incidents {
    #[command(subcommand)]
    change: Option<Change>,
    /// Network or address of a source or a victim.
    #[arg(long, value_name = "ADDRESS|NETWORK")]
    host: Option<Network>,
    /// Family, for example port_scan.
    #[arg(long, value_parser = PossibleValuesParser::new(Family::ALL.map(Family::label)))]
    family: Option<String>,
    /// Minimum severity: low, medium, high or critical.
    #[arg(long, value_parser = severity)]
    severity: Option<Severity>,
    /// Earliest end: an age as 90m or 2days, or a time of RFC 3339.
    #[arg(long, value_name = "AGE|TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Latest start: an age or a time.
    #[arg(long, value_name = "AGE|TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Maximum number of incidents, newest first; the agent remembers 10,000, also over a restart.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    reach: Reach,
}

/// Change of what is told.
#[derive(Subcommand)]
enum Change {
    /// Mute an incident's kind by its source or about its victim: findings are counted and open no
    /// incident. `sensor status` lists what is muted.
    #[command(
        after_help = "Example: sensor incidents mute 000007 --for 7days --reason 'our own scanner'"
    )]
    Mute {
        /// Identifier of the incident, a unique beginning of one, its number, or `last`.
        id: Name,
        /// Time until it is told again, 90 days at most.
        #[arg(long = "for", default_value = "1day", value_parser = humantime::parse_duration)]
        time: Duration,
        /// Reason, for those who ask later.
        #[arg(long, default_value = "")]
        reason: Reason,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show an incident of the store with its time line, what was done, and related ones.
    #[command(after_help = "Example: sensor incidents show 000007")]
    Show {
        /// Identifier of the incident, a unique beginning of one, its number, or `last`.
        id: Name,
        #[command(flatten)]
        reach: Reach,
    },
    /// Add a remark to an incident of the store, say who has it in hand, or name its ticket.
    #[command(
        after_help = "The audit log says who said it; `sensor incidents show` lists the remarks.\n\n\
        Example: sensor incidents remark 000007 'asked the owner' --assign ann --ticket OPS-17"
    )]
    Remark {
        /// Identifier of the incident, a unique beginning of one, its number, or `last`.
        id: Name,
        /// Text.
        #[arg(default_value = "")]
        text: Reason,
        /// Name of whoever has it in hand from now on; empty: nobody.
        #[arg(long, value_name = "NAME")]
        assign: Option<Name>,
        /// Number or address of a ticket; empty: none.
        #[arg(long)]
        ticket: Option<Name>,
        #[command(flatten)]
        reach: Reach,
    },
    /// List the decisions that wait for a person.
    #[command(after_help = "Example: sensor incidents proposals --json")]
    Proposals {
        #[command(flatten)]
        reach: Reach,
    },
    /// Carry out what waits for a person: all of an incident, or one decision.
    #[command(after_help = "Example: sensor incidents approve 000007")]
    Approve {
        /// Identifier of the incident, or of the decision.
        id: Name,
        #[command(flatten)]
        reach: Reach,
    },
    /// Refuse what waits for a person; the same is not proposed again for as long as a proposal waits.
    #[command(after_help = "Example: sensor incidents reject d000003-00000000000000ff")]
    Reject {
        /// Identifier of the incident, or of the decision.
        id: Name,
        #[command(flatten)]
        reach: Reach,
    },
    /// End that an incident is muted.
    #[command(after_help = "Example: sensor incidents unmute 000007")]
    Unmute {
        /// Identifier of the incident, or its number.
        id: Name,
        #[command(flatten)]
        reach: Reach,
    },
}

impl Change {
    fn execute(self) -> Result<ExitCode> {
        match self {
            Self::Mute {
                id,
                time,
                reason,
                reach,
            } => {
                let for_s = time.as_secs();
                let request = Request::Mute { id, for_s, reason };
                let muted: answer::Exception = reach.connect()?.ask(&request)?;
                if reach.json {
                    say!("{}", json::line(&muted))?;
                } else {
                    let until = muted.until.map(|until| Zone::local().second(until));
                    say!(
                        "{} is muted until {}: {}",
                        escape(&muted.incident_id.unwrap_or_default()),
                        until.unwrap_or_default(),
                        escape(&muted.reason),
                    )?;
                }
            }
            Self::Remark {
                id,
                text,
                assign,
                ticket,
                reach,
            } => {
                let request = Request::Remark {
                    id,
                    remark: text,
                    assignee: assign,
                    ticket,
                };
                let made: Remark = reach.connect()?.ask(&request)?;
                if reach.json {
                    say!("{}", json::line(&made))?;
                } else {
                    let (of, told) = (escape(&made.incident_id), made.told());
                    say!("{of}: {}", escape(&told))?;
                }
            }
            Self::Show { id, reach } => return query::show(&reach, id),
            Self::Proposals { reach } => return proposals::list(&reach),
            Self::Approve { id, reach } => {
                return proposals::judge(&reach, &Request::Approve { id });
            }
            Self::Reject { id, reach } => {
                return proposals::judge(&reach, &Request::Reject { id });
            }
            Self::Unmute { id, reach } => {
                let _done: answer::Done = reach.connect()?.ask(&Request::Unmute { id })?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn severity(text: &str) -> Result<Severity, String> {
    let mut all = Severity::ALL.into_iter();
    let found = all.find(|severity| severity.label() == text);
    found.ok_or_else(|| format!("\"{text}\" is no severity: write low, medium, high or critical"))
}

/// A time, or an age before now.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(age) = humantime::parse_duration(text) {
        let age_ns = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        return Ok(Timestamp(Timestamp::now().0.saturating_sub(age_ns)));
    }
    text.parse()
}

impl Incidents {
    pub fn execute(self) -> Result<ExitCode> {
        if let Some(change) = self.change {
            return change.execute();
        }
        let query = IncidentQuery {
            host: self.host,
            family: self
                .family
                .map(|name| name.parse())
                .transpose()
                .map_err(Error::msg)?,
            severity: self.severity,
            since: self.since,
            until: self.until,
            limit: self.limit,
        };
        let incidents: Vec<Incident> = self.reach.connect()?.ask(&Request::Incidents(query))?;
        if self.reach.json {
            print_lines(&incidents)?;
            return Ok(ExitCode::SUCCESS);
        }
        let zone = Zone::local();
        let mut table = Table::new(&["since", "state", "severity", "family", "what"]);
        for incident in &incidents {
            table.row(vec![
                zone.second(incident.start),
                incident.state.label().to_owned(),
                incident.severity.label().to_owned(),
                incident.family.to_string(),
                incident.explanation.clone(),
            ]);
        }
        say_table(&table)?;
        Ok(ExitCode::SUCCESS)
    }
}
