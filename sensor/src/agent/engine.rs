//! The engine's thread: looks at the kernel's maps, feeds the engine, carries out what it says.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use sensor_common::arrival::Way;
use sensor_common::counters::Event;
use sensor_common::event::Sample;
use sensor_engine::{Input, OPINION_NS};
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{error, info};

use super::notify::Notify;
use super::printer::Lines;
use super::probation::Watch;
use super::queue::{Closed, Drain};
use super::search::{Found, Search};
use super::snapshot::{About, Snapshot, Ticks, Verdicts};
use super::{Ask, GivenOpinion, GivenOrder, Reload, Reply, orders};
use crate::checkpoint::Checkpoint;
use crate::conditions;
use crate::config::Settings;
use crate::output::{self, timestamp};
use crate::pipeline::{Pipeline, Show};
use crate::print::{Format, Sink as _};
use crate::respond::{KernelRespond, Mode};
use sensor_capture::drive::{Drive, Listener, Past, Tables as _};
use sensor_capture::kernel::{Attachment, Kernel};

/// Everything that the thread owns.
pub struct EngineThread {
    pub kernel: Kernel,
    pub pipeline: Pipeline<KernelRespond>,
    pub settings: Settings,
    pub sink: Lines,
    pub about: Arc<About>,
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    pub stop: Arc<AtomicBool>,
    /// Where what is learned is kept.
    pub checkpoint: Option<Checkpoint>,
    pub notify: Notify,
}

impl EngineThread {
    /// Works until told to stop, then says what was seen.
    pub fn run(self, asks: &Drain<Ask>) -> Result<()> {
        self.announce("start")?;
        let mut looks = Looks::new(self)?;
        looks.take_past();
        looks.thread.tell_ready();
        let mut searches = VecDeque::new();
        let mut next = Instant::now();
        while !looks.thread.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now >= next {
                looks.tick()?;
                // After a stall the looks go on at their pace, they are not made up for.
                next = (next + looks.thread.host_tick()).max(Instant::now());
                continue;
            }
            // With a search under way nothing is waited for.
            let patience = if searches.is_empty() {
                next - now
            } else {
                Duration::ZERO
            };
            match asks.receive(patience) {
                Ok(Some(Ask::Flows { query, reply })) => {
                    searches.push_back((Search::new(query), reply));
                }
                Ok(Some(ask)) => looks.thread.carry_out(ask)?,
                Ok(None) => looks.thread.go_on_with(&mut searches),
                Err(Closed) => break,
            }
        }
        looks.finish()
    }

    /// One slice more of the oldest search.
    fn go_on_with(&self, searches: &mut VecDeque<(Search, Reply<Found>)>) {
        let Some((search, _)) = searches.front_mut() else {
            return;
        };
        if search.go_on(self.pipeline.engine())
            && let Some((search, reply)) = searches.pop_front()
        {
            // Whoever asked may have gone.
            let _gone = reply.send(search.finish());
        }
    }

    /// Keeps what was learned. Encoding takes the thread some milliseconds, the disk takes another
    /// thread.
    fn keep(&self, wait: Wait) {
        let Some(checkpoint) = self.checkpoint.clone() else {
            return;
        };
        let bytes = self.pipeline.engine().save();
        let write = move || {
            if let Err(cause) = checkpoint.store(&bytes) {
                error!("{cause:#}");
            }
        };
        match wait {
            Wait::No => drop(thread::spawn(write)),
            Wait::Yes => write(),
        }
    }

    fn host_tick(&self) -> Duration {
        Duration::from_millis(self.settings.tick.hosts_ms)
    }

    fn carry_out(&mut self, ask: Ask) -> Result<()> {
        match ask {
            // Searches are begun where they are received.
            Ask::Stop | Ask::Flows { .. } => Ok(()),
            Ask::Order(given) => {
                let GivenOrder { order, by, reply } = *given;
                // Whoever asked may have gone.
                let _gone = reply.send(orders::carry_out(&mut self.pipeline.respond, order, &by));
                Ok(())
            }
            Ask::Opinion(given) => {
                self.take_opinion(*given);
                Ok(())
            }
            Ask::Reload(reload) => self.reload(&reload),
        }
    }

    fn tell_ready(&self) {
        let names = self
            .about
            .attachments
            .iter()
            .map(|at| at.interface.as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        let mode = self.settings.respond.mode.label();
        self.notify.ready(&format!("{mode} mode on {names}"));
    }

    fn take_opinion(&mut self, given: GivenOpinion) {
        let GivenOpinion {
            incident_id,
            entity,
            opinion,
            by,
            reply,
        } = given;
        let at_ns = self.kernel.now_ns();
        self.pipeline
            .feed(at_ns, Input::Opinion { entity, opinion });
        let said = json!({
            "incident.id": incident_id,
            "entity": sensor_engine::to_ip(&entity.address()),
            "entity.kind": entity.label(),
            "opinion": opinion.label(),
            "until": timestamp(at_ns.saturating_add(OPINION_NS)),
            "by": by,
        });
        self.pipeline.respond.note_opinion(said.clone());
        // Whoever asked may have gone.
        let _gone = reply.send(said);
    }

    fn reload(&mut self, reload: &Reload) -> Result<()> {
        self.notify.reloading();
        if let Some(settings) = &reload.settings {
            let show = Show::of(&settings.output);
            self.pipeline.configure(&settings.engine, show);
            let allow = settings.respond.allow.iter().map(|network| network.0);
            self.pipeline
                .respond
                .configure(settings.respond.mode, allow.collect());
            self.settings = settings.clone();
        }
        if self.settings.output.format == Format::Json {
            let mut line = self.about("reload");
            line["config.applied"] = json!(reload.applied);
            line["config.needs_restart"] = json!(reload.need_restart);
            line["config.errors"] = json!(reload.errors);
            self.sink.take(line)?;
        }
        self.tell_ready();
        Ok(())
    }

    /// The `sensor` object.
    fn about(&self, action: &str) -> Value {
        let attach: Vec<Value> = self.about.attachments.iter().map(attachment).collect();
        json!({
            "kind": "sensor", "@timestamp": timestamp(self.kernel.now_ns()),
            "event.action": action, "sensor.version": env!("CARGO_PKG_VERSION"),
            "config.hash": format!("{:016x}", self.settings.hash()),
            "schema.hash": format!("{:016x}", sensor_engine::schema_hash()),
            "mode": self.settings.respond.mode.label(), "attach": attach,
            "adopted": {"lists": self.kernel.adopted.lists, "counts": self.kernel.adopted.counts},
        })
    }

    /// Says on standard error and in JSON how the sensor is attached.
    fn announce(&self, action: &str) -> Result<()> {
        for at in &self.about.attachments {
            let (mode, reason) = (at.mode.label(), at.reason.as_str());
            info!(
                interface = at.interface,
                xdp = mode,
                reason,
                egress = at.egress.label(),
                taken_over = at.is_taken_over,
                "{action}"
            );
        }
        if self.settings.output.format == Format::Json {
            let line = self.about(action);
            self.sink.clone().take(line)?;
        }
        Ok(())
    }

    fn summary(&self) -> Value {
        let (ingress, egress) = (
            self.kernel.total(Way::Ingress),
            self.kernel.total(Way::Egress),
        );
        let count = |event: &Event| {
            let n = self.kernel.event(*event).packets;
            (event.label().to_owned(), json!(n))
        };
        let events: serde_json::Map<_, _> = Event::ALL.iter().map(count).collect();
        json!({
            "kind": "summary", "@timestamp": timestamp(self.kernel.now_ns()),
            "packets": ingress.packets + egress.packets,
            "bytes": ingress.bytes + egress.bytes,
            "ingress": {"packets": ingress.packets, "bytes": ingress.bytes},
            "egress": {"packets": egress.packets, "bytes": egress.bytes},
            "flows": self.pipeline.n_flows_ended(),
            "incidents": self.pipeline.incidents(),
            "events": events,
            "unstable_reads": self.kernel.n_unstable,
            "lines_shed": self.sink.n_shed(),
        })
    }
}

fn attachment(at: &Attachment) -> Value {
    json!({"interface": at.interface, "mode": at.mode.label(),
           "reason": at.reason, "egress": at.egress.label(),
           "taken_over": at.is_taken_over})
}

/// Whether something is waited for.
enum Wait {
    Yes,
    No,
}

/// Time between two checkpoints.
const KEEP_EVERY: Duration = Duration::from_secs(600);

/// The thread at work, with what it remembers from look to look.
struct Looks {
    thread: EngineThread,
    watch: Watch,
    drive: Drive,
    /// Of this tick, to be put out.
    events: Vec<Value>,
    ticks: Ticks,
    n_lines_shed: u64,
    kept_at: Instant,
}

impl Looks {
    fn new(thread: EngineThread) -> Result<Self> {
        Ok(Self {
            watch: Watch::new(&thread.kernel, &thread.about.attachments),
            drive: Drive::new(conditions::pace(&thread.settings.tick)),
            thread,
            ticks: Ticks::new()?,
            events: Vec::new(),
            n_lines_shed: 0,
            kept_at: Instant::now(),
        })
    }

    /// What a run before left in the kernel's tables is where this one counts on from: as a look it
    /// would be read as the traffic of one moment.
    fn take_past(&mut self) {
        let EngineThread {
            kernel, pipeline, ..
        } = &mut self.thread;
        if !kernel.adopted.counts {
            return;
        }
        let at_ns = kernel.now_ns();
        let looked_ns = kernel.event_time(pipeline.respond.looked_before_ns());
        let Past { n_sent, n_live } = self.drive.adopt(kernel, pipeline, at_ns, looked_ns);
        info!(
            n_live,
            n_sent, "flows, hosts and counters of the run before go on"
        );
    }

    fn tick(&mut self) -> Result<()> {
        let start = Instant::now();
        let at_ns = self.thread.kernel.now_ns();
        let is_flow_tick = self.feed(at_ns);
        let EngineThread {
            kernel,
            pipeline,
            settings,
            sink,
            ..
        } = &mut self.thread;
        if is_flow_tick {
            pipeline.respond.tick();
        }
        pipeline.deliver(at_ns)?;
        for event in self.events.drain(..) {
            sink.take(event)?;
        }
        if is_flow_tick {
            let news = self.watch.look(kernel)?;
            if settings.output.format == Format::Json {
                for line in news {
                    sink.take(line)?;
                }
            }
        }
        let limit = self.thread.host_tick();
        self.ticks.record(start.elapsed(), is_flow_tick, limit);
        if is_flow_tick {
            self.thread.notify.alive();
            self.publish(at_ns)?;
        }
        if self.kept_at.elapsed() >= KEEP_EVERY {
            self.kept_at = Instant::now();
            self.thread.keep(Wait::No);
        }
        Ok(())
    }

    /// Feeds what the kernel counted; `true`: it was the turn of flows.
    fn feed(&mut self, at_ns: u64) -> bool {
        let EngineThread {
            kernel,
            pipeline,
            settings,
            about,
            ..
        } = &mut self.thread;
        self.drive.set_pace(conditions::pace(&settings.tick));
        let mut listener = Attentive {
            pipeline,
            watch: self.watch.is_open().then_some(&mut self.watch),
            events: settings.output.events.then_some(&mut self.events),
            about,
            mode: settings.respond.mode,
        };
        self.drive.tick(kernel, &mut listener, at_ns)
    }

    fn publish(&mut self, at_ns: u64) -> Result<()> {
        let thread = &mut self.thread;
        let n_shed = thread.sink.n_shed();
        if n_shed > self.n_lines_shed {
            let count = n_shed - self.n_lines_shed;
            thread
                .sink
                .take(output::loss(at_ns, "output", "queue_full", count))?;
            self.n_lines_shed = n_shed;
        }
        let before = Arc::clone(&thread.snapshots.borrow());
        let mut snapshot = Snapshot::empty(Arc::clone(&thread.about), self.ticks.clone());
        let pipeline = &thread.pipeline;
        snapshot.at_ns = at_ns;
        snapshot.mode = thread.settings.respond.mode;
        snapshot.config_hash = thread.settings.hash();
        snapshot.read_counters(&thread.kernel, &before);
        snapshot.engine = pipeline.stats();
        snapshot.tables = pipeline.engine().tables();
        snapshot.tables.extend(pipeline.respond.tables());
        snapshot.n_incidents = pipeline.incidents().clone();
        let [n_allowed, n_refused, n_failed] = pipeline.verdicts();
        snapshot.n_verdicts = Verdicts {
            n_allowed,
            n_refused,
            n_failed,
        };
        snapshot.n_blocks = pipeline.respond.n_entries();
        snapshot.n_audit_lost = pipeline.respond.n_audit_lost();
        thread.snapshots.send_replace(Arc::new(snapshot));
        Ok(())
    }

    /// Takes in what is left, ends what is open, says what was seen.
    fn finish(mut self) -> Result<()> {
        self.thread.notify.stopping();
        self.thread.sink.wait_from_now();
        let EngineThread {
            kernel,
            pipeline,
            settings,
            ..
        } = &mut self.thread;
        let at_ns = kernel.now_ns();
        self.drive.finish(kernel, pipeline, at_ns)?;
        pipeline.respond.save();
        let mut is_kept = false;
        if settings.respond.keep_on_stop
            && let Some(pins) = &mut kernel.pins
        {
            pins.keep();
            is_kept = true;
        }
        self.thread.keep(Wait::Yes);
        self.thread.announce("stop")?;
        let summary = self.thread.summary();
        if self.thread.settings.output.format == Format::Json {
            self.thread.sink.take(summary)?;
        } else {
            eprintln!("{summary:#}");
        }
        if !is_kept {
            self.watch.detach(&mut self.thread.kernel);
        }
        Ok(())
    }
}

/// The pipeline, and those who look at samples besides it.
struct Attentive<'a> {
    pipeline: &'a mut Pipeline<KernelRespond>,
    /// None: every attachment is known to work.
    watch: Option<&'a mut Watch>,
    /// Where events that are wanted wait to be put out.
    events: Option<&'a mut Vec<Value>>,
    about: &'a About,
    mode: Mode,
}

impl Attentive<'_> {
    fn see(&mut self, sample: &Sample<'_>) {
        if let Some(watch) = &mut self.watch {
            let way = [Way::Ingress, Way::Egress][usize::from(sample.head.way & 1)];
            watch.see(sample.head.ifindex, way);
        }
        if let Some(events) = &mut self.events {
            let interface = self.about.interface(sample.head.ifindex);
            events.extend(output::event(sample, interface, self.mode));
        }
    }
}

impl Listener for Attentive<'_> {
    fn feed(&mut self, at_ns: u64, input: Input<'_>) {
        if let Input::Sample(sample) = input {
            self.see(sample);
        }
        self.pipeline.feed(at_ns, input);
    }

    fn wants_flows(&self) -> bool {
        self.pipeline.wants_flows()
    }

    fn deliver(&mut self, at_ns: u64) -> io::Result<()> {
        self.pipeline.deliver(at_ns)
    }

    fn finish(&mut self, at_ns: u64) {
        self.pipeline.finish(at_ns);
    }
}
