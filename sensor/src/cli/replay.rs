//! `sensor replay`.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use sensor_common::counters::{Event, Outcome};
use serde_json::json;
use tracing::error;

use super::site::Site;
use super::{EXIT_BAD_INPUT, EXIT_USAGE};
use crate::naming;
use crate::output::timestamp;
use crate::pipeline::{Pipeline, Show};
use crate::print::{Format, Printer};
use crate::respond::NoRespond;
use sensor_capture::pcap::CaptureReader;
use sensor_capture::player::{ClockFaults, Conditions, Player};

#[derive(Args)]
#[command(after_help = "Example: sensor replay --json --flows office.pcap.zst | jq .kind")]
pub struct Replay {
    /// Captures: pcap or pcapng, plain, gzip or zstd. Read in this order, as one stream.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    site: Site,
    /// JSON lines on standard output.
    #[arg(long)]
    json: bool,
    /// Print every flow at its end.
    #[arg(long)]
    flows: bool,
    /// Print every score above its limit.
    #[arg(long)]
    findings: bool,
    /// Name families with this model instead of the one that comes with the sensor.
    #[arg(long, value_name = "FILE")]
    naming_model: Option<PathBuf>,
}

impl Replay {
    pub fn execute(self) -> Result<ExitCode> {
        let mut conditions = self.site.conditions()?;
        match self.naming_model.as_deref().map(naming::read).transpose() {
            Ok(None) => {}
            Ok(namer) => conditions.engine.naming.namer = namer,
            Err(cause) => {
                error!("{cause}");
                return Ok(ExitCode::from(EXIT_USAGE));
            }
        }
        let show = Show {
            flows: self.flows,
            findings: self.findings,
        };
        let format = if self.json {
            Format::Json
        } else {
            Format::Text
        };
        let mut replaying = Replaying::new(&conditions, show, format);
        let mut is_good = true;
        for path in &self.files {
            is_good &= replaying.play(path)?;
        }
        replaying.finish(self.json)?;
        Ok(if is_good {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_BAD_INPUT)
        })
    }
}

/// Frames after which the bar moves.
const FRAMES_SHOWN: usize = 16_384;

/// Player and printer.
struct Replaying {
    player: Player<Pipeline<NoRespond>>,
    started: Instant,
}

impl Replaying {
    fn new(conditions: &Conditions, show: Show, format: Format) -> Self {
        let printer = Box::new(Printer::new(format));
        let pipeline = Pipeline::new(conditions.engine.clone(), NoRespond, show, printer);
        Self {
            player: Player::new(pipeline, conditions),
            started: Instant::now(),
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
        let (mut is_good, mut n_frames) = (true, 0);
        let mut clock = ClockFaults::default();
        loop {
            match reader.next_frames() {
                Ok(frames) if frames.len() == 0 => break,
                Ok(frames) => {
                    n_frames += frames.len();
                    self.player.take_all(frames)?;
                    for set_back in self.player.take_set_backs() {
                        if let Some(fault) = clock.note(path, set_back) {
                            error!("{fault}");
                        }
                    }
                }
                Err(cause) => {
                    error!("{}: {cause}", path.display());
                    is_good = false;
                }
            }
            if n_frames >= FRAMES_SHOWN {
                n_frames = 0;
                bar.set_position(reader.progress().0);
            }
        }
        bar.finish_and_clear();
        if let Some(rest) = clock.rest(path) {
            error!("{rest}");
        }
        Ok(is_good && clock.is_none())
    }

    fn finish(mut self, json: bool) -> Result<()> {
        self.player.finish()?;
        let seconds = self.started.elapsed().as_secs_f64();
        if json {
            println!("{}", self.summary(seconds));
        } else {
            self.print(seconds);
        }
        Ok(())
    }

    fn summary(&self, seconds: f64) -> serde_json::Value {
        let player = &self.player;
        let played = player.played();
        let malformed: serde_json::Map<_, _> = Outcome::ALL
            .iter()
            .filter(|outcome| outcome.is_malformed() && player.outcome(**outcome).packets > 0)
            .map(|o| (o.label().to_owned(), json!(player.outcome(*o).packets)))
            .collect();
        let shed: serde_json::Map<_, _> = [Event::NotAdmittedRate, Event::HostNotAdmitted]
            .iter()
            .map(|event| {
                (
                    event.label().to_owned(),
                    json!(player.event(*event).packets),
                )
            })
            .collect();
        json!({
            "kind": "summary",
            "@timestamp": timestamp(played.last_ns),
            "packets": played.n_packets,
            "bytes": played.n_bytes,
            "flows": player.listener.n_flows_ended(),
            "malformed": malformed,
            "incidents": player.listener.incidents(),
            "shed": shed,
            "packets_back_in_time": played.n_backward,
            "wall_time_s": seconds,
            "event.start": timestamp(played.first_ns),
            "event.end": timestamp(played.last_ns),
        })
    }

    fn print(&self, seconds: f64) {
        let played = self.player.played();
        println!(
            "{} packets, {} bytes, {} flows in {seconds:.2} s ({:.2} million packets/s)",
            played.n_packets,
            played.n_bytes,
            self.player.listener.n_flows_ended(),
            played.n_packets as f64 / seconds / 1e6,
        );
        for (family, n) in self.player.listener.incidents() {
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
