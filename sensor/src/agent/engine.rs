//! The engine's thread: looks at the kernel's maps, feeds the engine, carries out what it says.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use sensor_common::arrival::Way;
use sensor_common::counters::{Event, Outcome};
use sensor_common::event::{Kind, Sample};
use sensor_engine::{ExceptionUse, FEEDBACK_NS, Input};
use sensor_record::{
    Adopted, Attached, Counts, Event as PacketEvent, Feedback, FeedbackGiven, Head, Loss, Record,
    Reloaded, SensorAction, SensorEvent, Summary, Timestamp, Volume, entity, text,
};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::crossing::Crossing;
use super::interfaces::{Choice, Standing, Watch};
use super::local::LocalNetworks;
use super::notify::Notify;
use super::printer::Lines;
use super::priority;
use super::samples::Watched;
use super::search::{Found, Search};
use super::snapshot::{About, Snapshot, Ticks};
use super::{Ask, GivenFeedback, GivenMute, GivenOrder, Previewed, Reload, Reply, lists};
use crate::checkpoint::Checkpoint;
use crate::conditions;
use crate::config::Settings;
use crate::pipeline::{Pipeline, Show};
use crate::print::{Format, Sink as _};
use crate::queue::{Closed, Drain};
use crate::ring::RingEnd;
use crate::stream::LogLines;
use sensor_capture::drive::{Drive, Listener, Past, Tables as _};
use sensor_capture::kernel::{Attachment, Kernel};
use sensor_respond::{Bound, Followed, KernelRespond, Mode};

/// Everything that the thread owns.
pub struct EngineThread {
    pub kernel: Kernel,
    pub pipeline: Pipeline<KernelRespond>,
    pub settings: Settings,
    pub sink: Lines,
    pub about: Arc<About>,
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    pub stop: Arc<AtomicBool>,
    /// File that keeps what is learned.
    pub checkpoint: Option<Checkpoint>,
    pub notify: Notify,
    /// Packet samples for those who watch.
    pub watched: Watched,
    /// The ring of packets, where there is one.
    pub ring: Option<RingEnd>,
    pub choice: Choice,
    /// State of the interfaces.
    pub interfaces: Arc<[Standing]>,
    /// Standard error.
    pub log: LogLines,
}

impl EngineThread {
    /// Works until told to stop, then says what was seen.
    pub fn run(self, asks: &Drain<Ask>) -> Result<()> {
        priority::raise();
        self.announce(SensorAction::Start)?;
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
    fn keep(&self) -> Option<JoinHandle<()>> {
        let checkpoint = self.checkpoint.clone()?;
        let bytes = self.pipeline.engine().save();
        Some(thread::spawn(move || {
            if let Err(cause) = checkpoint.store(&bytes) {
                error!("{cause:#}");
            }
        }))
    }

    fn attachments(&self) -> Vec<Attachment> {
        self.interfaces.iter().map(|one| one.at.clone()).collect()
    }

    fn host_tick(&self) -> Duration {
        Duration::from_millis(self.settings.tick.hosts_ms)
    }

    fn carry_out(&mut self, ask: Ask) -> Result<()> {
        match ask {
            // Searches are begun where they are received.
            Ask::Stop | Ask::Flows { .. } => Ok(()),
            Ask::Preview { network, reply } => {
                let at_ns = self.kernel.now_ns();
                let known = self.pipeline.engine().preview(at_ns, &network);
                let refusal = self.pipeline.respond.refusal(&network);
                // Whoever asked may have gone.
                let _gone = reply.send(Previewed { known, refusal });
                Ok(())
            }
            Ask::Order(given) => {
                let GivenOrder { order, by, reply } = *given;
                let at_ns = self.kernel.now_ns();
                let head = self.about.sensor.head(at_ns);
                let released = order.releases();
                let done = lists::carry_out(&mut self.pipeline.respond, order, &by, &head);
                if done.is_ok() {
                    for network in released {
                        self.pipeline.feed(at_ns, Input::Released { network });
                    }
                }
                // Whoever asked may have gone.
                let _gone = reply.send(done);
                Ok(())
            }
            Ask::Settings { reply } => {
                // Whoever asked may have gone.
                let _gone = reply.send(Box::new(self.settings.engine.clone()));
                Ok(())
            }
            Ask::Feedback(given) => self.take_feedback(*given),
            Ask::Statements(statements) => {
                let at_ns = self.kernel.now_ns();
                for statement in &statements {
                    self.pipeline.feed(at_ns, Input::Statement(statement));
                }
                Ok(())
            }
            Ask::Mute(given) => {
                self.mute(*given);
                Ok(())
            }
            Ask::Remark { remark, reply } => {
                self.pipeline.respond.note_remark(&remark);
                self.sink.take(Record::Remark(remark.clone()))?;
                // Whoever asked may have gone.
                let _gone = reply.send(*remark);
                Ok(())
            }
            Ask::NetworkChange { what, by } => {
                self.pipeline.respond.note_network(by, what);
                Ok(())
            }
            Ask::Reload(reload) => self.reload(&reload),
        }
    }

    /// Follows the wall clock, and tells where it was set.
    fn follow_clock(&mut self) -> Result<()> {
        let Some(step) = self.kernel.follow_clock() else {
            return Ok(());
        };
        let by_s = step.by_ns as f64 / 1e9;
        let mut reason = format!("the wall clock went by {by_s:+.3} s at once");
        if step.ahead_ns > 0 {
            let ahead_s = step.ahead_ns as f64 / 1e9;
            reason += &format!(
                "; event time is {ahead_s:.3} s ahead of it and goes slower until both agree"
            );
        }
        warn!("{reason}");
        self.pipeline.respond.note_clock_step();
        let head = self.about.sensor.head(self.kernel.now_ns());
        self.sink.take(Record::from(SensorEvent {
            reason: Some(reason),
            ..SensorEvent::new(head, SensorAction::ClockStep)
        }))?;
        Ok(())
    }

    fn tell_ready(&self) {
        let attached = self.interfaces.iter().filter(|one| one.is_attached());
        let names = attached.map(|one| one.at.interface.as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        let mode = self.settings.respond.mode.label();
        self.notify.ready(&format!("{mode} mode on {names}"));
    }

    fn mute(&mut self, given: GivenMute) {
        let GivenMute {
            incident_id,
            exception,
            by,
            reply,
        } = given;
        let at_ns = self.kernel.now_ns();
        let incident = incident_id.as_str();
        let input = match &exception {
            Some(exception) => Input::Mute {
                incident,
                exception,
            },
            None => Input::Unmute { incident },
        };
        self.pipeline.feed(at_ns, input);
        let reason = exception.as_ref().map_or("", |muted| &muted.reason);
        let reason = format!("{incident} {reason}").trim_end().to_owned();
        let is_muted = exception.is_some();
        self.pipeline.respond.note_mute(is_muted, by, reason);
        // Whoever asked may have gone.
        let _gone = reply.send(());
    }

    fn take_feedback(&mut self, given: GivenFeedback) -> Result<()> {
        let GivenFeedback {
            incident_id,
            entity: of,
            said,
            reason,
            by,
            reply,
        } = given;
        let at_ns = self.kernel.now_ns();
        let input = Input::Feedback {
            entity: of,
            feedback: said.into(),
        };
        self.pipeline.feed(at_ns, input);
        let (entity, entity_kind) = entity(&of);
        let feedback = Feedback {
            incident_id,
            entity,
            entity_kind,
            said,
            reason: reason.as_str().to_owned(),
            until: Timestamp(at_ns.saturating_add(FEEDBACK_NS)),
            by,
        };
        self.pipeline.respond.note_feedback(&feedback);
        self.sink.take(Record::from(FeedbackGiven {
            head: self.about.sensor.head(at_ns),
            feedback: feedback.clone(),
        }))?;
        // Whoever asked may have gone.
        let _gone = reply.send(feedback);
        Ok(())
    }

    fn reload(&mut self, reload: &Reload) -> Result<()> {
        self.notify.reloading();
        self.pipeline.respond.look_at_host();
        self.pipeline.respond.reopen_audit();
        if let Some(settings) = &reload.settings {
            let show = Show::of(&settings.output);
            self.pipeline.configure(&settings.engine, show);
            let of = &settings.respond;
            self.pipeline.respond.configure(Followed {
                mode: of.mode,
                allow: of.allow.iter().map(|network| network.0).collect(),
                groups: of.groups(),
                proposal_ttl_s: of.proposal_ttl.0,
                auto_shield: of.auto_shield,
                reflex: of.reflex,
                bounds: of.radius.bounds(),
                dead_after_s: of.dead_after_s(),
            });
            self.settings = settings.clone();
        }
        let reloaded = Reloaded {
            applied: Some(reload.applied.clone()),
            needs_restart: Some(reload.need_restart.clone()),
            errors: Some(reload.errors.clone()),
        };
        self.sink.take(Record::from(SensorEvent {
            reloaded,
            ..self.about(SensorAction::Reload)
        }))?;
        self.tell_ready();
        Ok(())
    }

    fn about(&self, action: SensorAction) -> SensorEvent {
        let attach = self.interfaces.iter().map(Attached::from);
        let head = self.about.sensor.head(self.kernel.now_ns());
        let models = self.settings.engine.scoring.models.iter();
        SensorEvent {
            config_hash: Some(format!("{:016x}", self.settings.hash())),
            schema_hash: Some(format!("{:016x}", sensor_engine::schema_hash())),
            models: Some(models.map(|model| model.label().into()).collect()),
            mode: Some(self.settings.respond.mode.into()),
            attach: Some(attach.collect()),
            adopted: Some(Adopted {
                lists: self.kernel.adopted.lists,
                counts: self.kernel.adopted.counts,
            }),
            ..SensorEvent::new(head, action)
        }
    }

    /// Says on standard error and as a record how the sensor is attached.
    fn announce(&self, action: SensorAction) -> Result<()> {
        let label = action.label();
        for Standing { at, .. } in self.interfaces.iter() {
            let (mode, reason) = (at.mode.label(), at.reason.as_str());
            info!(
                interface = at.interface,
                xdp = mode,
                reason,
                egress = at.egress.label(),
                taken_over = at.is_taken_over,
                "{label}"
            );
        }
        self.sink.clone().take(self.about(action).into())?;
        Ok(())
    }

    fn summary(&self) -> Summary {
        let volume = |way| {
            let total = self.kernel.total(way);
            let (packets, bytes) = (total.packets, total.bytes);
            Volume { packets, bytes }
        };
        let (ingress, egress) = (volume(Way::Ingress), volume(Way::Egress));
        let at_ns = self.kernel.now_ns();
        let started_ns = self.about.started_ns;
        let shed = [Event::NotAdmittedRate, Event::HostNotAdmitted];
        let incidents = self.pipeline.incidents().iter();
        Summary {
            head: self.about.sensor.head(at_ns),
            packets: ingress.packets + egress.packets,
            bytes: ingress.bytes + egress.bytes,
            flows: self.pipeline.n_flows_ended(),
            malformed: self.outcomes(Outcome::is_malformed),
            not_ip: self.outcomes(Outcome::is_not_ip),
            incidents: incidents
                .map(|(family, n)| ((*family).into(), *n))
                .collect(),
            shed: self.count(&shed),
            wall_time_s: at_ns.saturating_sub(started_ns) as f64 / 1e9,
            start: Some(Timestamp(started_ns)),
            end: Some(Timestamp(at_ns)),
            packets_back_in_time: None,
            ingress: Some(ingress),
            egress: Some(egress),
            events: Some(self.count(Event::ALL)),
            unstable_reads: Some(self.kernel.n_unstable),
            lines_shed: Some(self.sink.n_shed()),
        }
    }

    /// Packets of such outcomes, both ways; those that there were.
    fn outcomes(&self, is_wanted: fn(Outcome) -> bool) -> Counts {
        let wanted = Outcome::ALL.iter().filter(|outcome| is_wanted(**outcome));
        let count = |outcome: &Outcome| {
            let [ingress, egress] =
                [Way::Ingress, Way::Egress].map(|way| self.kernel.outcome(way, *outcome).packets);
            (outcome.label().into(), ingress.saturating_add(egress))
        };
        wanted.map(count).filter(|(_, n)| *n > 0).collect()
    }

    fn count(&self, events: &[Event]) -> Counts {
        let count = |event: &Event| (event.label().into(), self.kernel.event(*event).packets);
        events.iter().map(count).collect()
    }
}

/// Waits for the last checkpoint, but no longer than a stop may take: a disk may be busy for many
/// seconds. The file of before is replaced as a whole or not at all.
fn wait_for_disk(kept: Option<JoinHandle<()>>) {
    let deadline = Instant::now() + LAST_CHECKPOINT;
    let Some(kept) = kept else { return };
    while !kept.is_finished() {
        if Instant::now() >= deadline {
            warn!("the disk is busy: what was learned since the last checkpoint is not kept");
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Time that the last checkpoint may take.
const LAST_CHECKPOINT: Duration = Duration::from_secs(1);
/// Time between two checkpoints.
const KEEP_EVERY: Duration = Duration::from_secs(600);

/// The thread at work, with what it remembers from look to look.
struct Looks {
    thread: EngineThread,
    watch: Watch,
    drive: Drive,
    local: LocalNetworks,
    crossing: Crossing,
    /// Events of this tick, to be put out.
    events: Vec<Record>,
    ticks: Ticks,
    n_lines_shed: u64,
    kept_at: Instant,
}

impl Looks {
    fn new(thread: EngineThread) -> Result<Self> {
        Ok(Self {
            watch: Watch::new(
                &thread.kernel,
                &thread.about.sensor,
                &thread.attachments(),
                thread.choice.clone(),
            ),
            drive: Drive::new(conditions::pace(&thread.settings.tick)),
            thread,
            local: LocalNetworks::default(),
            crossing: Crossing::default(),
            ticks: Ticks::new()?,
            events: Vec::new(),
            n_lines_shed: 0,
            kept_at: Instant::now(),
        })
    }

    /// Takes what a run before left in the kernel's tables as the state to count on from: a look
    /// would read it as the traffic of one moment.
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
            n_sent, "flows, hosts and counters of the previous run are continued"
        );
    }

    fn tick(&mut self) -> Result<()> {
        let start = Instant::now();
        self.thread.follow_clock()?;
        let at_ns = self.thread.kernel.now_ns();
        self.follow_networks(at_ns)?;
        let EngineThread {
            kernel, interfaces, ..
        } = &mut self.thread;
        self.crossing.follow(kernel, interfaces);
        let is_flow_tick = self.feed(at_ns);
        let EngineThread {
            kernel,
            pipeline,
            sink,
            interfaces,
            about,
            ..
        } = &mut self.thread;
        pipeline.respond.follow_host();
        if is_flow_tick {
            pipeline.respond.tick();
        }
        pipeline.deliver(at_ns)?;
        for bound in pipeline.respond.take_radius_news() {
            sink.take(held(about.sensor.head(at_ns), bound).into())?;
        }
        for event in self.events.drain(..) {
            sink.take(event)?;
        }
        let news = self.watch.follow(kernel, is_flow_tick)?;
        if !news.is_empty() {
            *interfaces = self.watch.standings();
        }
        for one in news {
            sink.take(one)?;
        }
        let limit = self.thread.host_tick();
        self.ticks.record(start.elapsed(), is_flow_tick, limit);
        if is_flow_tick {
            self.thread.notify.alive();
            self.publish(at_ns)?;
        }
        if self.kept_at.elapsed() >= KEEP_EVERY {
            self.kept_at = Instant::now();
            drop(self.thread.keep());
        }
        Ok(())
    }

    /// Tells the engine who is local, before it decides on anybody.
    fn follow_networks(&mut self, at_ns: u64) -> Result<()> {
        let EngineThread {
            pipeline,
            settings,
            about,
            interfaces,
            sink,
            ..
        } = &mut self.thread;
        let networks = pipeline.respond.host_networks();
        let configured = &settings.engine.local_networks;
        if let Some(host) = self.local.follow(networks, interfaces, configured) {
            let own = host.as_ref().map(|host| &host.own);
            own.inspect(|own| pipeline.exports().set_own(own));
            pipeline.feed(at_ns, Input::HostNetworks(host.as_ref()));
            sink.take(self.local.record(&about.sensor, at_ns, host.as_ref()))?;
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
            interfaces,
            watched,
            ring,
            ..
        } = &mut self.thread;
        self.drive.set_pace(conditions::pace(&settings.tick));
        let mut listener = Attentive {
            pipeline,
            watch: self.watch.is_open().then_some(&mut self.watch),
            events: settings.output.events.then_some(&mut self.events),
            watched,
            ring: ring.as_mut(),
            about,
            interfaces,
            mode: settings.respond.mode,
        };
        self.drive.tick(kernel, &mut listener, at_ns)
    }

    fn publish(&mut self, at_ns: u64) -> Result<()> {
        let thread = &mut self.thread;
        let n_shed = thread.sink.n_shed();
        if n_shed > self.n_lines_shed {
            let count = n_shed - self.n_lines_shed;
            let head = thread.about.sensor.head(at_ns);
            let loss = Loss::new(head, "output", "queue_full", count);
            thread.sink.take(loss.into())?;
            self.n_lines_shed = n_shed;
        }
        let before = Arc::clone(&thread.snapshots.borrow());
        let mut snapshot = Snapshot::empty(Arc::clone(&thread.about), self.ticks.clone());
        let pipeline = &thread.pipeline;
        snapshot.at_ns = at_ns;
        snapshot.interfaces = Arc::clone(&thread.interfaces);
        snapshot.local.clone_from(&self.local.shown);
        snapshot.clock_ahead_ns = thread.kernel.clock_ahead_ns();
        snapshot.mode = thread.settings.respond.mode;
        snapshot.config_hash = thread.settings.hash();
        snapshot.read_counters(&thread.kernel, &before);
        snapshot.engine = pipeline.stats();
        snapshot.services = pipeline.engine().services();
        snapshot.tables = pipeline.engine().tables();
        snapshot.tables.extend(pipeline.respond.tables());
        snapshot.exceptions = pipeline.engine().exceptions().to_vec();
        warn_of_expiries(&snapshot.exceptions, before.at_ns, at_ns);
        snapshot.n_incidents = pipeline.incidents().clone();
        snapshot.n_opened = pipeline.opened().clone();
        snapshot.decided = pipeline.outcomes();
        snapshot.n_blocks = pipeline.respond.n_entries();
        snapshot.files = pipeline.respond.files();
        snapshot
            .files
            .extend(thread.checkpoint.as_ref().map(Checkpoint::state));
        snapshot.n_audit_lost = pipeline.respond.n_audit_lost();
        snapshot.guard = pipeline.respond.guard_state();
        snapshot.radius = pipeline.respond.radius();
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
            pipeline.respond.leave_in_force();
            is_kept = true;
        }
        let kept = self.thread.keep();
        self.thread.announce(SensorAction::Stop)?;
        let summary = self.thread.summary();
        if self.thread.settings.output.format == Format::Json {
            self.thread.sink.take(summary.into())?;
        } else {
            let lines = text::summary(&summary).join("\n") + "\n";
            self.thread.log.put(lines.as_bytes());
        }
        if !is_kept {
            self.watch.detach(&mut self.thread.kernel);
        }
        wait_for_disk(kept);
        Ok(())
    }
}

/// The record of a response that is held, or no longer.
fn held(head: Head, bound: Option<Bound>) -> SensorEvent {
    let Some(bound) = bound else {
        info!("decisions are carried out again");
        return SensorEvent::new(head, SensorAction::ResponseReleased);
    };
    let reason = bound.words();
    error!(reason, "decisions are held back: what is in force stays");
    SensorEvent {
        reason: Some(reason.to_owned()),
        ..SensorEvent::new(head, SensorAction::ResponseHeld)
    }
}

/// The pipeline, and those who look at samples besides it.
struct Attentive<'a> {
    pipeline: &'a mut Pipeline<KernelRespond>,
    /// None: every attachment is known to work.
    watch: Option<&'a mut Watch>,
    /// Events that wait to be put out, if they are wanted.
    events: Option<&'a mut Vec<Record>>,
    watched: &'a Watched,
    ring: Option<&'a mut RingEnd>,
    about: &'a About,
    interfaces: &'a [Standing],
    mode: Mode,
}

impl Attentive<'_> {
    fn see(&mut self, sample: &Sample<'_>) {
        if let Some(watch) = &mut self.watch {
            let way = [Way::Ingress, Way::Egress][usize::from(sample.head.way & 1)];
            watch.see(sample.head.ifindex, way);
        }
        let interface = || {
            let mut standings = self.interfaces.iter().map(|one| &one.at);
            let at = standings.find(|at| at.ifindex == sample.head.ifindex);
            at.map(|at| at.interface.as_str())
        };
        if self.watched.is_watched() {
            self.watched.see(sample, interface());
        }
        if let Some(ring) = &mut self.ring {
            ring.see(sample, interface());
        }
        if let Some(events) = &mut self.events {
            let head = self.about.sensor.head(sample.head.at_ns);
            let interface = interface();
            let event = PacketEvent::new(head, sample, interface, self.mode.into());
            events.extend(event.map(Record::from));
        }
        self.export(sample);
    }

    /// Exports a packet that was dropped: a hit in enforce mode, with a guard that lets it be.
    fn export(&mut self, sample: &Sample<'_>) {
        let head = sample.head;
        if head.kind == Kind::BlockHit as u8
            && self.mode == Mode::Enforce
            && self.pipeline.exports().wants_blocks()
            && self.pipeline.respond.guard_state().missing.is_none()
        {
            self.pipeline.exports().take_block(head);
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

/// Logs each exception that expired since the snapshot before.
fn warn_of_expiries(exceptions: &[ExceptionUse], before_ns: u64, now_ns: u64) {
    let expired = exceptions
        .iter()
        .map(|used| &used.exception)
        .filter(|one| one.is_expired(now_ns) && (before_ns == 0 || !one.is_expired(before_ns)));
    for exception in expired {
        warn!(
            reason = exception.reason,
            "an exception expired: its findings are made into incidents again"
        );
    }
}
