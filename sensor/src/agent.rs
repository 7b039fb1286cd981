//! The running sensor. The engine has a thread of its own; whoever reads its output or asks it
//! something sits at the other end of a bounded queue and can't hold it up.
//!
//! ```text
//! kernel maps ── engine thread ──(records)── printer threads ── standard output, a file
//!                     │   ▲
//!            snapshot ▼   │ (asks)
//!                 shell: signals, clients
//! ```

mod alert_input;
mod api;
mod crossing;
mod engine;
mod feeds;
mod flow_input;
mod flow_state;
mod http;
mod interfaces;
mod keeper;
mod kept;
mod lists;
mod local;
mod metrics;
mod mutes;
mod networks;
mod notify;
mod orders;
mod page;
mod printer;
mod priority;
mod recent;
mod reload;
mod samples;
mod screen;
mod search;
mod service;
mod shields;
mod signals;
mod snapshot;
mod socket;
mod talkers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use sensor_deliver::Deliveries;
use sensor_engine::Statement;
use sensor_record::{Feedback, Reason, Remark, Said, Sensor, Timestamp};
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tracing::warn;

use crate::checkpoint::Checkpoint;
use crate::config::{Settings, Sources};
use crate::confine::Confinement;
use crate::export::Exports;
use crate::pipeline::{FlowTap, Pipeline, Show};
use crate::print::Format;
use crate::queue::{self, Gauge, Policy, Sender};
use crate::ring::{self, RingEnd};
use crate::stream::{Health, LogLines};
use crate::tokens::TokenFile;
use alert_input::AlertInputs;
use api::{Answers, Pins};
use engine::EngineThread;
use feeds::Feeds;
use flow_state::FlowInputs;
use interfaces::Standing;
use keeper::{Keeper, StoreEnd};
use networks::NetworksEnd;
use notify::Notify;
use printer::{Lines, Printers, Target};
use recent::Recent;
use samples::Watched;
use screen::Screen;
use search::Found;
use sensor_capture::kernel::{Attachment, Kernel};
use sensor_respond::{KernelRespond, Origin};
use snapshot::About;

pub use api::{protocol, routes};
pub use interfaces::Choice;
pub use orders::{
    BlockAdd, BlockDel, BlockImport, BlockList, MAX_OF_FEED, MAX_TARGETS, Order, OrderScope,
    ShieldOff, ShieldOn,
};
pub use recent::IncidentQuery;
pub use reload::Reload;
pub use samples::SampleQuery;
pub use screen::LogTail;
pub use search::{FlowOrder, FlowQuery};
pub use signals::{Interrupted, Signals};
pub use snapshot::Snapshot;
pub use socket::{make_folder, readers_path};
pub use talkers::{TopOrder, TopQuery};

/// Questions and orders for the engine: each is done within a tick.
const N_ASKS: usize = 64;
/// For the outputs, once the engine has ended.
const LAST_WRITES: Duration = Duration::from_secs(1);
/// For the sinks after that: what is not delivered by then stays in their spools.
const LAST_DELIVERIES: Duration = Duration::from_secs(1);

/// Parts that the agent is started with: everything is loaded and attached.
pub struct Setup {
    /// Sensor that this is.
    pub sensor: Arc<Sensor>,
    pub settings: Settings,
    /// Read again on SIGHUP.
    pub sources: Sources,
    pub kernel: Kernel,
    pub attachments: Vec<Attachment>,
    pub choice: Choice,
    pub respond: KernelRespond,
    pub view: View,
    pub set_filter: SetFilter,
    pub signals: Signals,
    /// Standard error.
    pub log: LogLines,
    /// Rights that were given up.
    pub confinement: Confinement,
}

/// Changes which log lines are written.
pub type SetFilter = Box<dyn Fn(&str) + Send>;

/// Use of standard output.
pub enum View {
    /// Lines, as configured.
    Lines,
    /// The live view; log lines are in the tail.
    Screen(LogTail),
}

impl View {
    /// Keeps a format where lines are shown.
    fn format_of_lines<T>(&self, format: T) -> Option<T> {
        matches!(self, Self::Lines).then_some(format)
    }
}

/// Channel that an answer goes to.
pub type Reply<T> = oneshot::Sender<T>;

/// An order with who gave it and who waits for the outcome.
#[derive(Debug)]
pub struct GivenOrder {
    pub order: Order,
    pub by: Origin,
    pub reply: Reply<Result<protocol::Answer, String>>,
}

/// Sources, with what is known of them, that an entry would hit.
#[derive(Clone, Debug)]
pub struct Previewed {
    pub known: sensor_engine::Preview,
    /// Refusal of the guard, if it would refuse.
    pub refusal: Option<String>,
}

/// Feedback on an incident, with who gave it.
#[derive(Debug)]
pub struct GivenFeedback {
    pub incident_id: String,
    pub entity: sensor_engine::Entity,
    pub said: Said,
    pub reason: Reason,
    pub by: Origin,
    pub reply: Reply<Feedback>,
}

/// An incident to mute until a time, or no longer, with who wants it.
#[derive(Debug)]
pub struct GivenMute {
    pub incident_id: String,
    /// None: it is muted no longer.
    pub exception: Option<sensor_engine::Exception>,
    pub by: Origin,
    pub reply: Reply<()>,
}

/// Orders to the engine thread, carried out between two ticks.
#[derive(Debug)]
pub enum Ask {
    /// Wakes the thread, which then sees that it should end.
    Stop,
    /// A look at what an entry would hit is wanted.
    Preview {
        network: ipnet::IpNet,
        reply: Reply<Previewed>,
    },
    /// Live flows are wanted.
    Flows {
        query: FlowQuery,
        reply: Reply<Found>,
    },
    /// The settings of the engine that are in force are wanted.
    Settings {
        reply: Reply<Box<sensor_engine::Config>>,
    },
    /// A person wants something done.
    Order(Box<GivenOrder>),
    /// A person says what an incident was.
    Feedback(Box<GivenFeedback>),
    /// A person remarks on an incident.
    Remark {
        remark: Box<Remark>,
        reply: Reply<Remark>,
    },
    /// A person does not want to hear of an incident's kind, or again.
    Mute(Box<GivenMute>),
    /// Other systems say something of addresses.
    Statements(Vec<Statement>),
    /// A network over sequences was put in force or removed.
    NetworkChange { what: String, by: Origin },
    /// A configuration was read again.
    Reload(Box<Reload>),
}

/// Runs until SIGINT or SIGTERM, or until a part fails.
///
/// # Errors
/// What made a part fail.
pub fn run(mut setup: Setup) -> Result<()> {
    let (tables, settings) = (setup.kernel.table_reader(), setup.settings);
    let (asks, asks_in) = queue::bounded("asks", N_ASKS, Policy::Refuse);
    let (recent, watched, stop) = (Recent::default(), Watched::default(), Arc::default());

    let (formats, format) = watch::channel(settings.output.format);
    let (reopen, reopened) = watch::channel(0);
    let sinks = Arc::new(deliveries(&settings));
    let out = (setup.view.format_of_lines(format), reopened);
    let (sink, printers, exports, store, ring) = open_outputs(&settings, out, &sinks, &recent)?;
    let feeds = Arc::new(Feeds::start(&settings.respond.feed, &asks));
    let flow_inputs = flow_input::start(&settings, &setup.sensor, &sink, store.as_ref());
    let networks = networks::start(&settings, &asks)?;
    let about = Arc::new(About {
        sensor: Arc::clone(&setup.sensor),
        started_ns: setup.kernel.now_ns(),
        queues: queues(&sink, &exports, &store, &ring, &networks, &asks),
        outputs: outputs(&sink, &exports, &setup.log),
        sinks: Arc::clone(&sinks),
        store: store.as_ref().map(StoreEnd::kept),
        ring: ring.as_ref().map(RingEnd::ring),
        feeds: Arc::clone(&feeds),
        alert_inputs: Arc::new(AlertInputs::start(&settings.capture.alert_input, &asks)),
        flow_inputs: Arc::clone(&flow_inputs),
        networks: networks.as_ref().map(NetworksEnd::states),
        confinement: setup.confinement,
    });
    let interfaces: Arc<[Standing]> = setup.attachments.iter().map(Standing::of).collect();
    let (snapshots, latest) = snapshots(&about, &settings, &setup.respond, &interfaces)?;
    let beside = Beside::new(exports, store, networks, &latest);
    let (pipeline, checkpoint) = pipeline(&settings, setup.respond, setup.sensor, &sink, beside);
    let engine = EngineThread {
        watched: watched.clone(),
        ring,
        checkpoint,
        kernel: setup.kernel,
        choice: setup.choice,
        interfaces,
        pipeline,
        about,
        settings: settings.clone(),
        sink,
        snapshots,
        stop: Arc::clone(&stop),
        notify: Notify::of_process(),
        log: setup.log,
    };
    let pins = Pins::of(&settings.respond);
    let answers = Answers::new(asks.clone(), latest, recent, tables, pins, watched);
    let (engine, engine_over) = spawn("engine", move || engine.run(&asks_in))?;

    setup.signals.runtime.block_on(async {
        let (_sockets, metrics) = open_doors(&settings, &answers).await;
        let live = reload::Live {
            metrics,
            answers: answers.clone(),
            formats,
            reopen,
            sinks: Arc::clone(&sinks),
            feeds: Arc::clone(&feeds),
            set_filter: setup.set_filter,
        };
        tokio::select! {
            () = keep_shown(setup.view, &answers) => {}
            () = setup.signals.end.told() => {}
            _ = engine_over => {}
            () = reload::on_hangup(setup.signals.hangup, settings, &setup.sources, &asks, live) => {}
        }
    });
    tell_to_stop(setup.signals.runtime, &stop, &asks, &flow_inputs);
    wind_up(engine, printers, &sinks)
}

/// A pipeline that goes on with what an earlier run learned.
fn pipeline(
    settings: &Settings,
    respond: KernelRespond,
    sensor: Arc<Sensor>,
    sink: &Lines,
    beside: Beside,
) -> (Pipeline<KernelRespond>, Option<Checkpoint>) {
    let show = Show::of(&settings.output);
    let config = settings.engine.clone();
    let mut pipeline = Pipeline::new(config, respond, show, sensor, Box::new(sink.clone()));
    pipeline.export_to(beside.exports);
    if let Some(tap) = beside.tap {
        pipeline.tap_flows(tap);
    }
    if let Some(networks) = beside.networks {
        pipeline.judge_with(Box::new(networks));
    }
    pipeline.configure(&settings.engine, show);
    let checkpoint = settings.respond.state_of_instance();
    let checkpoint = checkpoint.map(|folder| Checkpoint::in_folder(&folder));
    if let Some(checkpoint) = &checkpoint {
        checkpoint.load(|bytes| pipeline.restore(bytes));
    }
    (pipeline, checkpoint)
}

/// Sinks that the settings ask for. Their spools are in the folder of state.
fn deliveries(settings: &Settings) -> Deliveries {
    let folder = settings.respond.state_of_instance();
    folder.map_or_else(Deliveries::default, |folder| {
        Deliveries::start(&settings.sink, &folder.join("sinks"))
    })
}

/// Opens the store, where one is wanted. One that can't be opened is a warning: the sensor works without.
fn open_store(settings: &Settings) -> Option<(Keeper, StoreEnd)> {
    let folder = settings.respond.state_of_instance();
    let folder = folder.filter(|_| settings.store.enabled)?.join("store");
    keeper::open(&settings.store, &folder)
        .inspect_err(|cause| {
            let cause = format!("{cause:#}");
            warn!(
                cause,
                "nothing is stored: move the folder away, or set store.enabled = false"
            );
        })
        .ok()
}

/// Outputs that the settings ask for.
fn targets(
    settings: &Settings,
    format: Option<watch::Receiver<Format>>,
    reopened: watch::Receiver<u64>,
    sinks: &Arc<Deliveries>,
    keeper: Option<Keeper>,
) -> Vec<Target> {
    let mut targets = vec![Target::Stdout(format)];
    let file = &settings.output.file;
    if !file.as_os_str().is_empty() {
        targets.push(Target::File(file.clone(), reopened));
    }
    let folder = settings.respond.state_of_instance();
    targets.extend(folder.map(|folder| Target::Incidents(folder.join("incidents.jsonl"))));
    targets.extend(keeper.map(|keeper| Target::Store(Box::new(keeper))));
    if !sinks.is_empty() {
        targets.push(Target::Sinks(Arc::clone(sinks)));
    }
    targets
}

/// Serves the sockets, the API over TCP and the metrics.
async fn open_doors(
    settings: &Settings,
    answers: &Answers,
) -> (socket::Sockets, Option<metrics::Server>) {
    let sockets = socket::open(&settings.socket, answers);
    let folder = settings.respond.state_of_instance();
    let tokens = folder.map(|folder| TokenFile::in_folder(&folder));
    http::open(&settings.http, tokens, answers).await;
    (sockets, metrics::open(&settings.metrics, answers).await)
}

/// Takers of flows and sequences besides the outputs.
struct Beside {
    exports: Exports,
    /// The store.
    tap: Option<FlowTap>,
    networks: Option<NetworksEnd>,
}

impl Beside {
    fn new(
        exports: Exports,
        store: Option<StoreEnd>,
        networks: Option<NetworksEnd>,
        latest: &watch::Receiver<Arc<Snapshot>>,
    ) -> Self {
        let tap = store.map(|store| store.follow(latest));
        Self {
            exports,
            tap,
            networks,
        }
    }
}

/// Everything that is put out goes through these.
type Outputs = (Lines, Printers, Exports, Option<StoreEnd>, Option<RingEnd>);

/// Opens outputs, store, exports and ring.
fn open_outputs(
    settings: &Settings,
    (format, reopened): (Option<watch::Receiver<Format>>, watch::Receiver<u64>),
    sinks: &Arc<Deliveries>,
    recent: &Recent,
) -> Result<Outputs> {
    let (keeper, store) = open_store(settings).unzip();
    let targets = targets(settings, format, reopened, sinks, keeper);
    let (sink, mut printers) = Lines::open(targets, recent.clone())?;
    let exports = start_exports(settings, &mut printers)?;
    let ring = start_ring(settings, &mut printers)?;
    Ok((sink, printers, exports, store, ring))
}

/// Opens the ring of packets, where one is wanted, with its thread. One that can't be opened is a warning.
fn start_ring(settings: &Settings, printers: &mut Printers) -> Result<Option<RingEnd>> {
    let folder = settings.respond.state_of_instance();
    let Some(folder) = folder.filter(|_| settings.ring.enabled) else {
        return Ok(None);
    };
    let opened = ring::open(&settings.ring, &folder.join("packets"));
    let opened = opened.inspect_err(|cause| {
        let cause = format!("{cause:#}");
        warn!(
            cause,
            "no packets are kept: see [ring] in the configuration"
        );
    });
    let Ok((keeper, end)) = opened else {
        return Ok(None);
    };
    printers.add(spawn("ring", move || keeper.run(|| Timestamp::now().0))?.0);
    Ok(Some(end))
}

/// Queues to the outputs, to store and ring, and to the engine, for status and metrics.
fn queues(
    sink: &Lines,
    exports: &Exports,
    store: &Option<StoreEnd>,
    ring: &Option<RingEnd>,
    networks: &Option<NetworksEnd>,
    asks: &Sender<Ask>,
) -> Vec<Gauge> {
    let kept = store.iter().map(StoreEnd::gauge);
    let kept = kept.chain(ring.iter().map(RingEnd::gauge));
    let others = exports.gauges().into_iter().chain(kept);
    let networks = networks.iter().flat_map(NetworksEnd::gauges);
    let others = others.chain(networks).chain([asks.gauge().clone()]);
    sink.gauges().chain(others).collect()
}

/// States of the outputs, for status and metrics.
fn outputs(sink: &Lines, exports: &Exports, log: &LogLines) -> Vec<Arc<Health>> {
    let others = exports.healths().into_iter().chain([log.health()]);
    sink.healths().chain(others).collect()
}

/// Opens the exports that the settings ask for, a thread for each collector.
fn start_exports(settings: &Settings, printers: &mut Printers) -> Result<Exports> {
    let (exports, collectors) = Exports::open(&settings.export);
    for collector in collectors {
        let name = collector.name();
        let work = move || {
            collector.run(|| Timestamp::now().0);
            Ok(())
        };
        printers.add(spawn(&name, work)?.0);
    }
    Ok(exports)
}

/// Both ends of what holds the latest value.
type Latest<T> = (watch::Sender<T>, watch::Receiver<T>);

/// Channel of the snapshots, with one of before the first look in it.
fn snapshots(
    about: &Arc<About>,
    settings: &Settings,
    respond: &KernelRespond,
    interfaces: &Arc<[Standing]>,
) -> Result<Latest<Arc<Snapshot>>> {
    let guard = respond.guard_state();
    let first = Snapshot::before_the_first(about, settings, guard, interfaces)?;
    Ok(watch::channel(first))
}

/// Ends the shell, and tells the engine to stop.
fn tell_to_stop(runtime: Runtime, stop: &AtomicBool, asks: &Sender<Ask>, inputs: &FlowInputs) {
    // Answers under way have nobody to ask any more.
    runtime.shutdown_background();
    stop.store(true, Ordering::Relaxed);
    // A full queue wakes the thread as well.
    let _woken = asks.send(Ask::Stop);
    inputs.end();
}

/// Waits for the engine, and for the outputs, but for those not long.
fn wind_up(engine: JoinHandle<Result<()>>, printers: Printers, sinks: &Deliveries) -> Result<()> {
    let ended = join(engine).and(printers.finish(Instant::now() + LAST_WRITES));
    sinks.end(Instant::now() + LAST_DELIVERIES);
    ended
}

/// Runs `work` on a named thread; the receiver tells when it is over.
fn spawn<F>(name: &str, work: F) -> Result<(JoinHandle<Result<()>>, oneshot::Receiver<()>)>
where
    F: FnOnce() -> Result<()> + Send + 'static,
{
    let (over, is_over) = oneshot::channel::<()>();
    let body = move || {
        let result = work();
        drop(over);
        result
    };
    let handle = thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .with_context(|| format!("no thread for the {name}"))?;
    Ok((handle, is_over))
}

fn join(handle: JoinHandle<Result<()>>) -> Result<()> {
    let name = handle.thread().name().unwrap_or("unnamed").to_owned();
    match handle.join() {
        Ok(result) => result.with_context(|| format!("the {name} failed")),
        Err(_panic) => Err(anyhow!("the {name} panicked; see above")),
    }
}

/// Shows the screen until somebody quits; without one, waits for ever. A terminal that is gone costs
/// the view, not the sensor.
async fn keep_shown(view: View, answers: &Answers) {
    if let View::Screen(log) = view {
        let shown = match Screen::open(log) {
            Ok(screen) => screen.show(answers).await,
            Err(cause) => Err(cause),
        };
        match shown {
            Ok(()) => return,
            Err(cause) => warn!(
                cause = format!("{cause:#}"),
                "live view not available; the sensor keeps running: query it with `sensor status`, end it with SIGTERM"
            ),
        }
    }
    std::future::pending().await
}
