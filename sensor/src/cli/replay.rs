//! `sensor replay`.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use sensor_common::counters::{Event, Outcome};
use sensor_record::{Counts, Sensor, Summary, Timestamp};
use tracing::{error, info, warn};

use super::site::Site;
use super::{EXIT_BAD_INPUT, EXIT_FAILED, EXIT_USAGE};
use crate::conditions;
use crate::identity;
use crate::naming;
use crate::networks::{Here, Judge, load};
use crate::pipeline::{Pipeline, Show};
use crate::print::{Format, Printer};
use crate::tables::{Tables, Wanted};
use sensor_capture::apart::Ear;
use sensor_capture::flow_reader::FlowReader;
use sensor_capture::pcap::{CaptureReader, Frame, STANDARD_INPUT};
use sensor_capture::player::{Conditions, Player};
use sensor_netflow::Counter;
use sensor_respond::NoRespond;

#[derive(Args)]
#[command(after_help = "Example: sensor replay --json --flows office.pcap.zst | jq .kind")]
pub struct Replay {
    /// Captures (pcap or pcapng; plain, gzip or zstd), read in the given order as one stream; - is
    /// standard input.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Replay the flow records that exporters sent to this UDP port (IPFIX, NetFlow versions 5 and 9, sFlow
    /// version 5), instead of the packets of the captures.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    flow_records: Option<u16>,
    /// Time that flow records are waited for: the exporters' inactive timeout and some seconds.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "30s",
        requires = "flow_records"
    )]
    flow_delay: humantime::Duration,
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
    /// Have this network judge sequences, as an installed one does in the running sensor (see `sensor model`);
    /// one of each kind of sequences.
    #[arg(long, value_name = "FILE", conflicts_with = "flow_records")]
    network: Vec<PathBuf>,
    /// Write the windows of pairs and sources to this file, as CSV, with the learned model's sum.
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,
    /// Write the scores of the streaming models to this file, as CSV.
    #[arg(long, value_name = "FILE")]
    scores: Option<PathBuf>,
    /// Write the sequences of contacts, packets and minutes to this file, for training networks (see
    /// docs/sequences.md).
    #[arg(long, value_name = "FILE")]
    sequences: Option<PathBuf>,
    /// Threads: 1, or 2 of which one reads and counts packets and the other judges. What is put out is the
    /// same. Default: 2 where there is more than one CPU; flow records always have one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=2))]
    threads: Option<u8>,
}

impl Replay {
    /// True where what judges gets a thread of its own.
    fn is_parallel(&self) -> bool {
        match self.threads {
            Some(n) => n > 1,
            None => std::thread::available_parallelism().is_ok_and(|n| n.get() > 1),
        }
    }

    /// Makes what reads the captures and tells the pipeline.
    fn source(&self, pipeline: Pipeline<NoRespond>, conditions: &Conditions) -> io::Result<Source> {
        if let Some(port) = self.flow_records {
            let delay_ns = u64::try_from(self.flow_delay.as_nanos()).unwrap_or(u64::MAX);
            let reader = FlowReader::new(Ear::here(pipeline), conditions, port, delay_ns);
            return Ok(Source::Records(Box::new(reader)));
        }
        let ear = if self.is_parallel() {
            Ear::apart(pipeline)?
        } else {
            Ear::here(pipeline)
        };
        Ok(Source::Packets(Box::new(Player::new(ear, conditions))))
    }

    pub fn execute(self) -> Result<ExitCode> {
        let settings = self.site.settings()?;
        let mut conditions = match self.flow_records {
            Some(_) => conditions::of_records(&settings, conditions::known_seed()),
            None => conditions::of_replay(&settings),
        };
        match self.naming_model.as_deref().map(naming::read).transpose() {
            Ok(None) => {}
            Ok(namer) => conditions.engine.naming.namer = namer,
            Err(cause) => {
                error!("{cause}");
                return Ok(ExitCode::from(EXIT_USAGE));
            }
        }
        let wanted = Wanted {
            vectors: self.vectors.as_deref(),
            scores: self.scores.as_deref(),
            sequences: self.sequences.as_deref(),
        };
        let tables = match Tables::create(&wanted) {
            Ok(tables) => tables,
            Err(cause) => {
                error!("the file of vectors, scores or sequences can't be written: {cause}");
                return Ok(ExitCode::from(EXIT_USAGE));
            }
        };
        tables.ask(&mut conditions.engine);
        let show = Show {
            flows: self.flows,
            findings: self.findings,
        };
        let format = if self.json {
            Format::Json
        } else {
            Format::Text
        };
        let networks = match self.inputs() {
            Ok(networks) => networks,
            Err(faults) => {
                faults.iter().for_each(|fault| error!("{fault}"));
                return Ok(ExitCode::from(EXIT_USAGE));
            }
        };
        let sensor = identity::of_replay(&settings);
        let printer = Box::new(Printer::new(format));
        let config = conditions.engine.clone();
        let mut pipeline = Pipeline::new(config, NoRespond, show, Arc::clone(&sensor), printer);
        pipeline.write_to(tables);
        if let Some(networks) = networks {
            pipeline.judge_with(Box::new(networks));
        }
        let source = self.source(pipeline, &conditions)?;
        let mut replaying = Replaying::new(source, sensor);
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

    /// Looks whether the captures are there, and reads the networks.
    fn inputs(&self) -> std::result::Result<Option<Here>, Vec<String>> {
        let absent = self.files.iter().filter_map(|path| absent(path));
        let absent: Vec<String> = absent.collect();
        if !absent.is_empty() {
            return Err(absent);
        }
        networks(&self.network).map_err(|cause| vec![cause])
    }
}

/// Reads networks; their speed is not asked for.
fn networks(paths: &[PathBuf]) -> std::result::Result<Option<Here>, String> {
    if paths.is_empty() {
        return Ok(None);
    }
    let judges = paths.iter().map(|path| Judge::new(&load(path, None)?));
    Here::new(judges.collect::<std::result::Result<_, _>>()?).map(Some)
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

/// Listener of a replay.
type Listens = Ear<Pipeline<NoRespond>>;

/// Reader of what captures hold.
enum Source {
    Packets(Box<Player<Listens>>),
    /// Flow records in datagrams.
    Records(Box<FlowReader<Listens>>),
}

impl Source {
    fn player(&mut self) -> &mut Player<Listens> {
        match self {
            Self::Packets(player) => player,
            Self::Records(reader) => reader.input.player(),
        }
    }

    fn take_all<'a>(&mut self, frames: impl IntoIterator<Item = Frame<'a>>) -> io::Result<()> {
        match self {
            Self::Packets(player) => player.take_all(frames),
            Self::Records(reader) => frames.into_iter().try_for_each(|frame| reader.take(&frame)),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Packets(player) => player.finish(),
            Self::Records(reader) => reader.input.finish(),
        }
    }

    /// Says what was read of flow records, and what could not be.
    fn tell(&self) {
        let Self::Records(reader) = self else { return };
        let input = &reader.input;
        let counts = input.counts();
        let n_datagrams = input.count(Counter::Messages);
        info!(
            n_datagrams,
            n_records = counts.n_records,
            n_packets = input.count(Counter::Packets),
            n_sampled = counts.n_sampled,
            n_repeated = counts.n_repeated,
            "flow records were read"
        );
        let told = [Counter::Messages, Counter::Records, Counter::Packets];
        let others = Counter::ALL.iter().filter(|one| !told.contains(one));
        for counter in others {
            let n = input.count(*counter);
            if n > 0 {
                warn!(n, "{}", counter.help());
            }
        }
        for (n, what) in [
            (
                counts.n_late,
                "records came late and are judged later by as much; --flow-delay waits longer",
            ),
            (counts.n_stale, "records came too late to be judged"),
            (
                counts.n_absurd,
                "records told of more than a line carries, and were cut",
            ),
            (counts.n_shed, "records found no room"),
            (
                input.n_refused(),
                "datagrams of more exporters than are followed",
            ),
        ] {
            if n > 0 {
                warn!(n, "{what}");
            }
        }
        if n_datagrams == 0 {
            warn!("the captures hold no flow records to that port");
        }
    }
}

/// Player and printer.
struct Replaying {
    source: Source,
    sensor: Arc<Sensor>,
    started: Instant,
    /// Set once a capture could be read.
    has_read: bool,
}

impl Replaying {
    fn new(source: Source, sensor: Arc<Sensor>) -> Self {
        Self {
            sensor,
            source,
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
                    self.source.take_all(frames)?;
                    for set_back in self.source.player().take_set_backs() {
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
        self.source.finish()?;
        self.source.tell();
        let player = self.source.player();
        player.listener.come_back()?.finish_tables()?;
        let seconds = self.started.elapsed().as_secs_f64();
        let summary = summary(player, &self.sensor, seconds)?;
        player.listener.come_back()?.put_out(summary.into())?;
        // The tables of millions of flows are the system's to free: the process ends.
        std::mem::forget(self.source);
        Ok(())
    }
}

fn summary(
    player: &mut Player<Listens>,
    sensor: &Arc<Sensor>,
    seconds: f64,
) -> io::Result<Summary> {
    let pipeline = player.listener.come_back()?;
    let (n_flows, incidents) = (pipeline.n_flows_ended(), pipeline.incidents().clone());
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
    let has_packets = played.n_packets > 0;
    let at = |ns: u64| has_packets.then_some(Timestamp(ns));
    Ok(Summary {
        head: sensor.head(at(played.last_ns).unwrap_or_else(Timestamp::now).0),
        packets: played.n_packets,
        bytes: played.n_bytes,
        flows: n_flows,
        malformed: counts(Outcome::is_malformed),
        not_ip: counts(Outcome::is_not_ip),
        incidents: incidents
            .iter()
            .map(|(family, n)| ((*family).into(), *n))
            .collect(),
        shed: shed.into(),
        wall_time_s: seconds,
        start: at(played.first_ns),
        end: at(played.last_ns),
        packets_back_in_time: Some(played.n_backward),
        ..Summary::default()
    })
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
