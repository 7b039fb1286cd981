//! The running sensor. The engine has a thread of its own; whoever reads its output or asks it
//! something sits at the other end of a bounded queue and can't hold it up.
//!
//! ```text
//! kernel maps ── engine thread ──(records)── printer thread ── standard output
//!                     │   ▲
//!            snapshot ▼   │ (asks)
//!                 shell: signals, clients
//! ```

mod engine;
mod metrics;
mod notify;
mod orders;
mod printer;
mod probation;
pub mod queue;
mod recent;
mod reload;
mod screen;
mod search;
mod snapshot;
mod socket;
mod talkers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow};
use sensor_record::{Feedback, Said, Sensor};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::checkpoint::Checkpoint;
use crate::config::{Settings, Sources};
use crate::pipeline::{Pipeline, Show};
use crate::respond::{KernelRespond, Origin};
use engine::EngineThread;
use notify::Notify;
use printer::Lines;
use queue::Policy;
use recent::Recent;
use screen::Screen;
use search::Found;
use sensor_capture::kernel::{Attachment, Kernel};
use snapshot::About;
use socket::Answers;

pub use orders::{BlockAdd, BlockDel, BlockList, MAX_TARGETS, Order, OrderScope};
pub use reload::Reload;
pub use screen::LogTail;
pub use search::{FlowOrder, FlowQuery};
pub use snapshot::Snapshot;
pub use socket::protocol;
pub use talkers::{TopOrder, TopQuery};

/// Records on their way to standard output: some ten seconds of a busy minute, 8 MB at most.
const N_LINES: usize = 16_384;
/// Questions and orders for the engine: each is done within a tick.
const N_ASKS: usize = 64;

/// What the agent is started with: everything is loaded and attached.
pub struct Setup {
    /// Who this is.
    pub sensor: Arc<Sensor>,
    pub settings: Settings,
    /// Read again on SIGHUP.
    pub sources: Sources,
    pub kernel: Kernel,
    pub attachments: Vec<Attachment>,
    pub respond: KernelRespond,
    pub view: View,
    pub set_filter: SetFilter,
}

/// Changes which log lines are written.
pub type SetFilter = Box<dyn Fn(&str) + Send>;

/// What standard output is used for.
pub enum View {
    /// Lines, as configured.
    Lines,
    /// The live view; log lines are in the tail.
    Screen(LogTail),
}

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<T>;

/// An order with who gave it and who waits for the outcome.
#[derive(Debug)]
pub struct GivenOrder {
    pub order: Order,
    pub by: Origin,
    pub reply: Reply<Result<protocol::Answer, String>>,
}

/// Feedback on an incident, with who gave it.
#[derive(Debug)]
pub struct GivenFeedback {
    pub incident_id: String,
    pub entity: sensor_engine::Entity,
    pub said: Said,
    pub by: Origin,
    pub reply: Reply<Feedback>,
}

/// Orders to the engine thread, carried out between two ticks.
#[derive(Debug)]
pub enum Ask {
    /// Wakes the thread, which then sees that it should end.
    Stop,
    /// Live flows are wanted.
    Flows {
        query: FlowQuery,
        reply: Reply<Found>,
    },
    /// A person wants something done.
    Order(Box<GivenOrder>),
    /// A person says what an incident was.
    Feedback(Box<GivenFeedback>),
    /// A configuration was read again.
    Reload(Box<Reload>),
}

/// Runs until SIGINT or SIGTERM, or until a part fails.
///
/// # Errors
/// What made a part fail.
pub fn run(mut setup: Setup) -> Result<()> {
    let tables = setup.kernel.table_reader()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (lines, lines_out) = queue::bounded("lines", N_LINES, Policy::DropNewest);
    let (asks, asks_in) = queue::bounded("asks", N_ASKS, Policy::Refuse);
    let recent = Recent::default();
    let stop = Arc::new(AtomicBool::new(false));

    let settings = setup.settings;
    let (formats, target) = watch::channel(settings.output.format);
    let target = matches!(setup.view, View::Lines).then_some(target);
    let (printer, printer_over) = spawn("printer", move || {
        printer::print(&lines_out, target.as_ref())
    })?;
    let about = Arc::new(About {
        sensor: Arc::clone(&setup.sensor),
        started_ns: setup.kernel.now_ns(),
        attachments: setup.attachments,
        queues: vec![lines.gauge().clone(), asks.gauge().clone()],
    });
    let guard = setup.respond.guard_state();
    let first = Snapshot::before_the_first(&about, &settings, guard)?;
    let (snapshots, latest) = watch::channel(first);
    let sink = Lines::new(lines, recent.clone());
    let show = Show::of(&settings.output);
    let config = settings.engine.clone();
    let to_printer = Box::new(sink.clone());
    let mut pipeline = Pipeline::new(config, setup.respond, show, setup.sensor, to_printer);
    let checkpoint = Checkpoint::in_folder(&settings.respond.state_folder);
    if let Some(checkpoint) = &checkpoint {
        checkpoint.load(|bytes| pipeline.restore(bytes));
    }
    let engine = EngineThread {
        checkpoint,
        kernel: setup.kernel,
        pipeline,
        about,
        settings: settings.clone(),
        sink,
        snapshots,
        stop: Arc::clone(&stop),
        notify: Notify::of_process(),
    };
    let answers = Answers::new(asks.clone(), latest, recent, tables);
    let (engine, engine_over) = spawn("engine", move || engine.run(&asks_in))?;

    let ended = runtime.block_on(async {
        let _socket = socket::open(&settings.socket, &answers);
        let metrics = metrics::open(&settings.metrics, &answers).await;
        let live = reload::Live {
            metrics,
            answers: answers.clone(),
            formats,
            set_filter: setup.set_filter,
        };
        let screen = match setup.view {
            View::Lines => None,
            View::Screen(log) => Some(Screen::open(log)?),
        };
        tokio::select! {
            ended = keep_shown(screen, &answers) => ended,
            ended = until_over(engine_over, printer_over) => ended,
            never = reload::on_hangup(settings, &setup.sources, &asks, live) => never,
        }
    });
    // Answers under way have nobody to ask any more.
    runtime.shutdown_background();
    stop.store(true, Ordering::Relaxed);
    // A full queue wakes the thread as well.
    let _woken = asks.send(Ask::Stop);
    join(engine).and(join(printer)).and(ended)
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

/// Shows the screen until somebody quits; without one, waits for ever.
async fn keep_shown(screen: Option<Screen>, answers: &Answers) -> Result<()> {
    match screen {
        Some(screen) => screen.show(answers).await,
        None => std::future::pending().await,
    }
}

/// Waits for a signal, or for a part that ended of itself.
async fn until_over(
    engine_over: oneshot::Receiver<()>,
    printer_over: oneshot::Receiver<()>,
) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = engine_over => {}
        _ = printer_over => {}
    }
    Ok(())
}
