//! Flow records of other devices as input: for each a socket, a thread, and an engine of its own, since event
//! time runs behind and addresses are counted a second time. Nobody waits for it, and it decides nothing.

use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sensor_capture::flow_input::{FlowInput, udp_socket};
use sensor_capture::kernel::random;
use sensor_engine::{from_ip, to_ip};
use sensor_netflow::Counter;
use sensor_record::answer::{self, FlowExporter};
use sensor_record::{Sensor, Timestamp};
use sensor_respond::NoRespond;
use tracing::{info, warn};

use super::flow_state::{FlowInputs, Running, lock};
use super::keeper::StoreEnd;
use super::printer::Lines;
use crate::conditions;
use crate::config::{FlowInputSettings, Settings};
use crate::pipeline::{Pipeline, Show};

/// Time between two looks at the clock, and at whether to stop.
const TICK: Duration = Duration::from_millis(100);
/// Looks between two reports of the state.
const TICKS_PER_REPORT: u32 = 10;
/// Exporters that the state names.
const MAX_TOLD: usize = 64;
/// Largest datagram.
const MAX_DATAGRAM: usize = 65_536;

/// Listens at every input that is enabled.
pub fn start(
    settings: &Settings,
    sensor: &Arc<Sensor>,
    lines: &Lines,
    store: Option<&StoreEnd>,
) -> Arc<FlowInputs> {
    let engine = |input: &FlowInputSettings| {
        let conditions = conditions::of_records(settings, random()?);
        let show = Show::of(&settings.output);
        let (config, sink) = (conditions.engine.clone(), Box::new(lines.clone()));
        let sensor = Arc::clone(sensor);
        let mut pipeline = Pipeline::new(config, NoRespond, show, sensor, sink);
        if let Some(store) = store {
            pipeline.tap_flows(store.tap());
            pipeline.configure(&conditions.engine, show);
        }
        let delay_ns = u64::from(input.delay.0).saturating_mul(1_000_000_000);
        Ok(FlowInput::new(pipeline, &conditions, delay_ns))
    };
    let inputs = settings.capture.flow_input.iter();
    let enabled = inputs.filter(|input| input.enabled);
    let listening = enabled.map(|input| listen(input, || engine(input)));
    Arc::new(FlowInputs {
        inputs: listening.collect(),
    })
}

type Input = FlowInput<Pipeline<NoRespond>>;

/// Listens at an input; one that can't be opened says so in its state.
fn listen(settings: &FlowInputSettings, input: impl FnOnce() -> Result<Input>) -> Running {
    let state = Arc::new(Mutex::new(answer::FlowInput {
        listen: settings.listen.to_string(),
        ..answer::FlowInput::default()
    }));
    let stop = Arc::new(AtomicBool::new(false));
    let opened = udp_socket(settings.listen, TICK)
        .with_context(|| format!("{} can't be listened at", settings.listen))
        .and_then(|socket| {
            let listener = Listening {
                settings: settings.clone(),
                socket,
                input: input()?,
                state: Arc::clone(&state),
                stop: Arc::clone(&stop),
                n_foreign: 0,
            };
            let named = thread::Builder::new().name(format!("flows {}", settings.name));
            Ok(named.spawn(move || listener.run())?)
        });
    let thread = opened.inspect_err(|cause| {
        let cause = format!("{cause:#}");
        warn!(input = settings.name, "no flow records are taken: {cause}");
        lock(&state).error = Some(cause);
    });
    Running {
        name: settings.name.clone(),
        state,
        stop,
        thread: Mutex::new(thread.ok()),
    }
}

/// An input with the thread that listens.
struct Listening {
    settings: FlowInputSettings,
    socket: UdpSocket,
    input: Input,
    state: Arc<Mutex<answer::FlowInput>>,
    stop: Arc<AtomicBool>,
    n_foreign: u64,
}

impl Listening {
    fn run(mut self) {
        let (name, listen) = (&self.settings.name, self.settings.listen);
        info!(input = name, %listen, "flow records are taken");
        let ended = self.listen();
        let finished = ended.and_then(|()| self.input.finish());
        self.report();
        if let Err(cause) = finished {
            let cause = format!("{cause}");
            warn!(
                input = self.settings.name,
                "flow records are taken no longer: {cause}"
            );
            lock(&self.state).error = Some(cause);
        }
    }

    /// Takes datagrams until told to stop.
    fn listen(&mut self) -> io::Result<()> {
        let clock = Clock::new();
        let mut buffer = vec![0; MAX_DATAGRAM];
        let (mut next, mut n_ticks) = (Instant::now() + TICK, 0u32);
        while !self.stop.load(Ordering::Relaxed) {
            match self.socket.recv_from(&mut buffer) {
                Ok((n, from)) if self.settings.allows(from.ip()) => {
                    let datagram = buffer.get(..n).unwrap_or_default();
                    let from = from_ip(from.ip().to_canonical());
                    self.input.take(clock.now_ns(), &from, datagram)?;
                }
                Ok(_) => self.n_foreign = self.n_foreign.saturating_add(1),
                Err(cause) if is_patience(&cause) => {}
                // Another time out of memory, perhaps: to ask again at once would not help.
                Err(_) => thread::sleep(TICK),
            }
            if Instant::now() >= next {
                next = Instant::now() + TICK;
                self.input.pass(clock.now_ns())?;
                n_ticks = n_ticks.wrapping_add(1);
                if n_ticks.is_multiple_of(TICKS_PER_REPORT) {
                    self.report();
                }
            }
        }
        Ok(())
    }

    fn report(&mut self) {
        let input = &mut self.input;
        let (counts, stats) = (input.counts(), input.player().listener.stats());
        let decoded = Counter::ALL.iter();
        let decoded = decoded.map(|one| (one.label(), input.count(*one)));
        let others = [
            ("foreign", self.n_foreign),
            ("exporters_full", input.n_refused()),
            ("late", counts.n_late),
            ("stale", counts.n_stale),
            ("absurd", counts.n_absurd),
            ("shed", counts.n_shed),
            ("repeated", counts.n_repeated),
            ("sampled", counts.n_sampled),
        ];
        let counts = decoded.chain(others);
        let counts = counts.map(|(label, n)| (label.into(), n)).collect();
        let exporters: Vec<_> = input.exporters().collect();
        let told = exporters.iter().take(MAX_TOLD).map(|one| FlowExporter {
            ip: to_ip(&one.address),
            records: one.counts.get(Counter::Records),
            gaps: one.counts.get(Counter::Gaps),
            templates: one.n_templates as u64,
            last: Timestamp(one.last_ns),
        });
        let last = exporters.iter().map(|one| one.last_ns).max();
        let mut state = lock(&self.state);
        state.exporters = told.collect();
        state.exporters_count = exporters.len() as u64;
        state.counts = counts;
        state.waiting = input.n_pending() as u64;
        state.flows = stats.n_flows;
        state.incidents = stats.n_incidents;
        state.last = last.map(Timestamp);
    }
}

/// Unix time that never runs back: that of the start, and what has passed.
struct Clock {
    started: Instant,
    started_ns: u64,
}

impl Clock {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            started_ns: Timestamp::now().0,
        }
    }

    fn now_ns(&self) -> u64 {
        let passed_ns = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.started_ns.saturating_add(passed_ns)
    }
}

/// True where nothing came within a tick.
fn is_patience(cause: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(cause.kind(), Interrupted | TimedOut | WouldBlock)
}
