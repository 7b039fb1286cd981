//! `sensor replay`.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use sensor_common::counters::{Event, Outcome};
use sensor_common::host::HostRow;
use sensor_engine::{Config, Input};
use serde_json::json;
use tracing::error;

use super::EXIT_BAD_INPUT;
use crate::capture::kernel::LoadOptions;
use crate::capture::pcap::{CaptureReader, to_ethernet};
use crate::capture::software::{Look, Software};
use crate::output::timestamp;
use crate::pipeline::{Passes, Pipeline, Show};
use crate::respond::NoRespond;

/// Host rows are looked at this often, event time.
pub const HOST_TICK_NS: u64 = 100_000_000;
/// Flows are looked at every so many host ticks.
pub const FLOW_TICKS: u64 = 10;

/// The engine forgets rows that it is not shown for 100 looks: show all of them before.
const LOOKS_PER_WHOLE: u64 = 50;

#[derive(Args)]
#[command(after_help = "Example: sensor replay --json --flows office.pcap.zst | jq .kind")]
pub struct Replay {
    /// Captures: pcap or pcapng, plain, gzip or zstd. Read in this order, as one stream.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// JSON lines on standard output.
    #[arg(long)]
    json: bool,
    /// Print every flow at its end.
    #[arg(long)]
    flows: bool,
    /// Print every score above its limit.
    #[arg(long)]
    findings: bool,
}

impl Replay {
    pub fn execute(self) -> Result<ExitCode> {
        let show = Show {
            json: self.json,
            flows: self.flows,
            findings: self.findings,
        };
        let mut player = Player::new(show);
        let mut is_good = true;
        for path in &self.files {
            is_good &= player.play(path)?;
        }
        player.finish(self.json)?;
        Ok(if is_good {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_BAD_INPUT)
        })
    }
}

/// Drives the software datapath and the engine by the packets' time.
struct Player {
    path: Software,
    pipeline: Pipeline<NoRespond>,
    local: Vec<HostRow>,
    remote: Vec<HostRow>,
    scratch: Vec<u8>,
    started: Instant,
    first_ns: u64,
    now_ns: u64,
    next_tick_ns: u64,
    n_ticks: u64,
    n_looks: u64,
    passes: Passes,
    n_packets: u64,
    n_bytes: u64,
    n_backward: u64,
    n_host_dropped: u64,
}

impl Player {
    fn new(show: Show) -> Self {
        Self {
            path: Software::new(&LoadOptions::fixed()),
            pipeline: Pipeline::new(Config::default(), NoRespond, show),
            local: Vec::new(),
            remote: Vec::new(),
            scratch: Vec::new(),
            started: Instant::now(),
            first_ns: 0,
            now_ns: 0,
            next_tick_ns: 0,
            n_ticks: 0,
            n_looks: 0,
            passes: Passes::default(),
            n_packets: 0,
            n_bytes: 0,
            n_backward: 0,
            n_host_dropped: 0,
        }
    }

    /// Reads one capture. `false`: part of it was bad, and named on standard error.
    fn play(&mut self, path: &Path) -> Result<bool> {
        let mut reader = match CaptureReader::open(path) {
            Ok(reader) => reader,
            Err(cause) => {
                error!("{}: {cause}", path.display());
                return Ok(false);
            }
        };
        let bar = progress(path, reader.progress().1);
        let mut is_good = true;
        loop {
            match reader.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    self.advance(frame.at_ns)?;
                    let mut scratch = std::mem::take(&mut self.scratch);
                    let ethernet = to_ethernet(&frame, &mut scratch);
                    self.n_packets += 1;
                    self.n_bytes += u64::from(ethernet.wire_len);
                    self.path
                        .process(ethernet.data, self.now_ns, ethernet.wire_len);
                    self.scratch = scratch;
                }
                Err(cause) => {
                    error!("{}: {cause}", path.display());
                    is_good = false;
                }
            }
            if self.n_packets.is_multiple_of(16_384) {
                bar.set_position(reader.progress().0);
            }
        }
        bar.finish_and_clear();
        Ok(is_good)
    }

    /// Moves event time on, with the ticks that lie before the packet. Time never runs back: a
    /// packet from before counts as of now.
    fn advance(&mut self, at_ns: u64) -> Result<()> {
        if self.now_ns == 0 {
            self.first_ns = at_ns;
            self.next_tick_ns = at_ns.saturating_add(HOST_TICK_NS);
        }
        if at_ns < self.now_ns {
            self.n_backward += 1;
            return Ok(());
        }
        while at_ns >= self.next_tick_ns {
            self.tick(self.next_tick_ns)?;
            // Over a long silence all but the flow ticks would see the same rows.
            let silent = at_ns.saturating_sub(self.next_tick_ns) > 2_000_000_000;
            let n = if silent { FLOW_TICKS } else { 1 };
            self.n_ticks += n;
            self.next_tick_ns = self.next_tick_ns.saturating_add(n * HOST_TICK_NS);
        }
        self.now_ns = at_ns;
        Ok(())
    }

    fn tick(&mut self, at_ns: u64) -> Result<()> {
        let pipeline = &mut self.pipeline;
        self.path
            .drain(|flow| pipeline.feed(at_ns, Input::FlowSent(flow)));
        let which = if self.n_looks.is_multiple_of(LOOKS_PER_WHOLE) {
            Look::All
        } else {
            Look::Touched
        };
        self.n_looks += 1;
        self.path
            .read_hosts(which, &mut self.local, &mut self.remote);
        pipeline.feed(
            at_ns,
            Input::Hosts {
                local: &self.local,
                remote: &self.remote,
            },
        );
        let dropped = self.path.event(Event::HostNotAdmitted).packets;
        if dropped > self.n_host_dropped {
            let packets = dropped - self.n_host_dropped;
            pipeline.feed(at_ns, Input::HostDropped { packets });
            self.n_host_dropped = dropped;
        }
        if self.n_ticks.is_multiple_of(FLOW_TICKS) {
            let since_ns = self.passes.begin(at_ns);
            self.path
                .scan_flows(since_ns, |flow| pipeline.feed(at_ns, Input::FlowLive(flow)));
            pipeline.feed(at_ns, Input::FlowTick);
        }
        pipeline.deliver(at_ns)?;
        Ok(())
    }

    fn finish(mut self, json: bool) -> Result<()> {
        let at_ns = self.now_ns;
        let pipeline = &mut self.pipeline;
        self.path
            .drain(|flow| pipeline.feed(at_ns, Input::FlowSent(flow)));
        self.path
            .scan_flows(0, |flow| pipeline.feed(at_ns, Input::FlowLive(flow)));
        pipeline.finish(at_ns);
        pipeline.deliver(at_ns)?;
        let seconds = self.started.elapsed().as_secs_f64();
        if json {
            println!("{}", self.summary(seconds));
        } else {
            self.print(seconds);
        }
        Ok(())
    }

    fn summary(&self, seconds: f64) -> serde_json::Value {
        let malformed: serde_json::Map<_, _> = Outcome::ALL
            .iter()
            .filter(|outcome| outcome.is_malformed() && self.path.outcome(**outcome).packets > 0)
            .map(|o| (o.label().to_owned(), json!(self.path.outcome(*o).packets)))
            .collect();
        let shed: serde_json::Map<_, _> = [Event::NotAdmittedRate, Event::HostNotAdmitted]
            .iter()
            .map(|event| {
                (
                    event.label().to_owned(),
                    json!(self.path.event(*event).packets),
                )
            })
            .collect();
        json!({
            "kind": "summary",
            "@timestamp": timestamp(self.now_ns),
            "packets": self.n_packets,
            "bytes": self.n_bytes,
            "flows": self.pipeline.n_flows(),
            "malformed": malformed,
            "incidents": self.pipeline.incidents(),
            "shed": shed,
            "packets_back_in_time": self.n_backward,
            "wall_time_s": seconds,
            "event.start": timestamp(self.first_ns),
            "event.end": timestamp(self.now_ns),
        })
    }

    fn print(&self, seconds: f64) {
        println!(
            "{} packets, {} bytes, {} flows in {seconds:.2} s ({:.2} million packets/s)",
            self.n_packets,
            self.n_bytes,
            self.pipeline.n_flows(),
            self.n_packets as f64 / seconds / 1e6,
        );
        for (family, n) in self.pipeline.incidents() {
            println!("  {n:>4} {family}");
        }
    }
}

fn progress(path: &Path, n_bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(n_bytes);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {eta}") {
        bar.set_style(style);
    }
    bar.set_message(path.display().to_string());
    bar
}
