//! `sensor replay`.

use std::borrow::Cow;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use sensor_common::counters::{Event, Outcome};
use sensor_record::{Counts, Sensor, Summary, Timestamp};
use tracing::error;

use super::site::Site;
use super::{EXIT_BAD_INPUT, EXIT_FAILED, EXIT_USAGE};
use crate::conditions;
use crate::identity;
use crate::naming;
use crate::pipeline::{Pipeline, Show};
use crate::print::{Format, Printer};
use crate::tables::Tables;
use sensor_capture::pcap::{CaptureReader, STANDARD_INPUT};
use sensor_capture::player::{Conditions, Player};
use sensor_respond::NoRespond;

#[derive(Args)]
#[command(after_help = "Example: sensor replay --json --flows office.pcap.zst | jq .kind")]
pub struct Replay {
    /// Captures (pcap or pcapng; plain, gzip or zstd), read in the given order as one stream; - is
    /// standard input.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    site: Site,
    /// Print JSON lines to standard output.
    #[arg(long)]
    json: bool,
    /// Print each flow when it ends.
    #[arg(long)]
    flows: bool,
    /// Print each finding: every score above its threshold.
    #[arg(long)]
    findings: bool,
    /// Name families with this model instead of the one that comes with the sensor.
    #[arg(long, value_name = "FILE")]
    naming_model: Option<PathBuf>,
    /// Write the windows of pairs and sources to this file, as CSV, with the learned model's sum.
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,
    /// Write the scores of the streaming models to this file, as CSV.
    #[arg(long, value_name = "FILE")]
    scores: Option<PathBuf>,
}

impl Replay {
    pub fn execute(self) -> Result<ExitCode> {
        let settings = self.site.settings()?;
        let mut conditions = conditions::of_replay(&settings);
        match self.naming_model.as_deref().map(naming::read).transpose() {
            Ok(None) => {}
            Ok(namer) => conditions.engine.naming.namer = namer,
            Err(cause) => {
                error!("{cause}");
                return Ok(ExitCode::from(EXIT_USAGE));
            }
        }
        let tables = match Tables::create(self.vectors.as_deref(), self.scores.as_deref()) {
            Ok(tables) => tables,
            Err(cause) => {
                error!("the file of vectors or scores can't be written: {cause}");
                return Ok(ExitCode::from(EXIT_USAGE));
            }
        };
        let wanted = tables.wants();
        (
            conditions.engine.emit_vectors,
            conditions.engine.emit_scores,
        ) = wanted;
        let show = Show {
            flows: self.flows,
            findings: self.findings,
        };
        let format = if self.json {
            Format::Json
        } else {
            Format::Text
        };
        let absent = self.files.iter().filter_map(|path| absent(path));
        let absent: Vec<String> = absent.collect();
        if !absent.is_empty() {
            absent.iter().for_each(|fault| error!("{fault}"));
            return Ok(ExitCode::from(EXIT_USAGE));
        }
        let sensor = identity::of_replay(&settings);
        let mut replaying = Replaying::new(&conditions, show, format, sensor);
        replaying.player.listener.write_to(tables);
        let mut is_good = true;
        for path in &self.files {
            is_good &= replaying.play(path)?;
        }
        if !replaying.has_read {
            return Ok(ExitCode::from(EXIT_FAILED));
        }
        replaying.finish()?;
        Ok(if is_good {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_BAD_INPUT)
        })
    }
}

/// Says what is wrong with a path that can't be that of a capture.
fn absent(path: &Path) -> Option<String> {
    if path.as_os_str() == STANDARD_INPUT {
        return None;
    }
    let fault = match std::fs::metadata(path) {
        Ok(about) if about.is_dir() => "is a folder; name the captures in it".to_owned(),
        Ok(_) => return None,
        Err(cause) => format!("{cause}; name a capture, or - for standard input"),
    };
    Some(format!("{}: {fault}", path.display()))
}

/// Name of an input for messages.
fn name(path: &Path) -> Cow<'_, str> {
    if path.as_os_str() == STANDARD_INPUT {
        Cow::Borrowed("standard input")
    } else {
        path.to_string_lossy()
    }
}

/// Frames after which the bar moves.
const FRAMES_SHOWN: usize = 16_384;

/// Player and printer.
struct Replaying {
    player: Player<Pipeline<NoRespond>>,
    sensor: Arc<Sensor>,
    started: Instant,
    /// Set once a capture could be read.
    has_read: bool,
}

impl Replaying {
    fn new(conditions: &Conditions, show: Show, format: Format, sensor: Arc<Sensor>) -> Self {
        let printer = Box::new(Printer::new(format));
        let config = conditions.engine.clone();
        let pipeline = Pipeline::new(config, NoRespond, show, Arc::clone(&sensor), printer);
        Self {
            sensor,
            player: Player::new(pipeline, conditions),
            started: Instant::now(),
            has_read: false,
        }
    }

    /// Reads one capture. `false`: part of it was bad, and named on standard error.
    fn play(&mut self, path: &Path) -> Result<bool> {
        let mut reader = match CaptureReader::open(path) {
            Ok(reader) => reader,
            Err(cause) => {
                error!("{}: {cause}", name(path));
                return Ok(false);
            }
        };
        self.has_read = true;
        let bar = progress(path, reader.progress().1);
        let (mut is_good, mut n_frames) = (true, 0);
        loop {
            match reader.next_frames() {
                Ok(frames) if frames.len() == 0 => break,
                Ok(frames) => {
                    n_frames += frames.len();
                    self.player.take_all(frames)?;
                    for set_back in self.player.take_set_backs() {
                        error!("{}: {set_back}", name(path));
                        is_good = false;
                    }
                }
                Err(cause) => {
                    error!("{}: {cause}", name(path));
                    is_good = false;
                }
            }
            if n_frames >= FRAMES_SHOWN {
                n_frames = 0;
                bar.set_position(reader.progress().0);
            }
        }
        bar.finish_and_clear();
        Ok(is_good)
    }

    fn finish(mut self) -> Result<()> {
        self.player.finish()?;
        self.player.listener.finish_tables()?;
        let summary = self.summary(self.started.elapsed().as_secs_f64());
        self.player.listener.put_out(summary.into())?;
        Ok(())
    }

    fn summary(&self, seconds: f64) -> Summary {
        let player = &self.player;
        let played = player.played();
        let counts = |is_wanted: fn(Outcome) -> bool| -> Counts {
            let wanted = Outcome::ALL.iter().filter(|outcome| is_wanted(**outcome));
            wanted
                .map(|outcome| (outcome.label().into(), player.outcome(*outcome).packets))
                .filter(|(_, n)| *n > 0)
                .collect()
        };
        let shed = [Event::NotAdmittedRate, Event::HostNotAdmitted];
        let shed = shed.map(|event| (event.label().into(), player.event(event).packets));
        let incidents = player.listener.incidents().iter();
        let has_packets = played.n_packets > 0;
        let at = |ns: u64| has_packets.then_some(Timestamp(ns));
        Summary {
            head: self
                .sensor
                .head(at(played.last_ns).unwrap_or_else(Timestamp::now).0),
            packets: played.n_packets,
            bytes: played.n_bytes,
            flows: player.listener.n_flows_ended(),
            malformed: counts(Outcome::is_malformed),
            not_ip: counts(Outcome::is_not_ip),
            incidents: incidents
                .map(|(family, n)| ((*family).into(), *n))
                .collect(),
            shed: shed.into(),
            wall_time_s: seconds,
            start: at(played.first_ns),
            end: at(played.last_ns),
            packets_back_in_time: Some(played.n_backward),
            ..Summary::default()
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
