//! The stages wired together: the only place that knows more than one of them.

use std::slice::from_ref;

use sensor_common::event::Sample;
use sensor_common::flow::Flow;
use sensor_common::host::HostRow;

use crate::address::from_ip;
use crate::checkpoint::{CheckpointError, decode, encode};
use crate::config::Config;
use crate::decide::{DecideStage, Decision, Incident, Verdict};
use crate::detect::{
    Blame, ContentDetectors, Detector, Entity, ExfiltrationDetector, Finding, FloodDetector,
    LateralDetector, LearnedFloods, LearnedScoring, LearnedUploads, LearnedVolumes, LearnedWays,
    Opinion, Profiles, RowScanDetector, ScanDetector, Score, Scoring, ShapeDetectors,
    VolumeDetector,
};
use crate::features::{
    EarlyLooks, HostLook, HostTracks, LearnedSubjects, Rank, Subjects, TableUse, Vector, Vouchers,
};
use crate::flow::{FlowEvent, FlowStage, FlowSummary, FlowUpdate};
use crate::l7::facts::FlowFacts;
use crate::places::BATCH;

/// What the engine is fed.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A record read from the kernel cache while it is alive: cumulative since its slot began.
    FlowLive(&'a Flow),
    /// The final record of a slot life: evicted or rolled over.
    FlowSent(&'a Flow),
    /// Many records of either kind: the same as one after the other, for less.
    FlowsLive(&'a [Flow]),
    FlowsSent(&'a [Flow]),
    /// A record of before this engine's time, as [`Self::FlowLive`], or, if final, as
    /// [`Self::FlowSent`]: it goes on from here, and says nothing about now. Somebody looked at it
    /// until `looked_ns`, and exported what had ended by then.
    FlowPast {
        flow: &'a Flow,
        is_final: bool,
        looked_ns: u64,
    },
    /// Host rows of before this engine's time: what [`Self::Hosts`] counts on from.
    HostsPast {
        local: &'a [HostRow],
        remote: &'a [HostRow],
    },
    /// An event: a packet sample, a block hit, a flow that began.
    Sample(&'a Sample<'a>),
    /// The host rows that changed since the last such look, each with its place: cumulative, any
    /// number per address.
    Hosts {
        local: &'a [HostRow],
        remote: &'a [HostRow],
    },
    /// Packets whose host row was taken by a busier host since the last such input.
    HostDropped {
        packets: u64,
    },
    /// Samples and events since the last such input that were above the budget of their kind, and
    /// that found their ring full.
    SamplesShed {
        over_budget: u64,
        ring_full: u64,
    },
    /// A person's word on an incident's entity.
    Opinion {
        entity: Entity,
        opinion: Opinion,
    },
    /// After one pass over the cache, every second of event time.
    FlowTick,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    FlowEnd(FlowSummary),
    Finding(Finding),
    Incident(Incident),
    Decision(Decision),
    /// With [`Config::emit_scores`]: what the models say of each subject and window.
    Score(Box<Score>),
    /// With [`Config::emit_vectors`]: each feature vector.
    Vector(Box<Vector>),
    /// What a stage shed since the last such output; at most once a second each.
    Loss {
        stage: &'static str,
        reason: &'static str,
        count: u64,
    },
}

/// Counts for metrics and the summary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub n_flows: u64,
    pub n_flows_ended: u64,
    pub n_findings: u64,
    pub n_incidents_open: u64,
    pub n_incidents: u64,
    pub n_decisions: u64,
    pub n_samples: u64,
    pub n_samples_over_budget: u64,
    pub n_samples_ring_full: u64,
    pub n_flows_shed: u64,
    pub n_hosts_shed: u64,
    pub n_subjects_shed: u64,
    pub n_vectors_skipped: u64,
    /// Vectors scored, and those that nothing was learned from.
    pub n_vectors: u64,
    pub n_vectors_withheld: u64,
    /// Changes of the models' input distribution that were noticed.
    pub n_drifts: u64,
    /// Kinds of subjects whose scores are being calibrated anew after such a change, now.
    pub n_adapting: u64,
    /// Looks at flows out of turn.
    pub n_early_looks: u64,
    pub n_baselines_shed: u64,
    pub n_scan_windows_shed: u64,
    pub n_content_shed: u64,
    pub n_profiles_shed: u64,
    /// Pairs and hosts whose uploads and logins were to be remembered.
    pub n_habits_shed: u64,
    pub n_incidents_shed: u64,
    pub n_host_packets_dropped: u64,
    /// Memory that the flow table holds, by capacity, and that of the host rows and addresses.
    pub n_flow_bytes: u64,
    pub n_host_bytes: u64,
    /// That of the scan windows, without the sets in them.
    pub n_scan_bytes: u64,
}

impl Stats {
    /// What each stage had no room for: stage, reason and count.
    pub const fn shed(&self) -> [(&'static str, &'static str, u64); 13] {
        [
            ("flow", "table_full", self.n_flows_shed),
            ("features", "hosts_full", self.n_hosts_shed),
            ("features", "baselines_full", self.n_baselines_shed),
            ("features", "subjects_full", self.n_subjects_shed),
            ("features", "vectors_over_limit", self.n_vectors_skipped),
            ("detect", "scan_windows_full", self.n_scan_windows_shed),
            ("detect", "content_tables_full", self.n_content_shed),
            ("detect", "profiles_full", self.n_profiles_shed),
            ("detect", "habits_full", self.n_habits_shed),
            ("decide", "incidents_full", self.n_incidents_shed),
            ("capture", "host_rows_full", self.n_host_packets_dropped),
            ("capture", "samples_over_budget", self.n_samples_over_budget),
            ("capture", "event_ring_full", self.n_samples_ring_full),
        ]
    }
}

/// What a checkpoint holds, by stage.
type Learned = (
    LearnedScoring,
    LearnedSubjects,
    LearnedFloods,
    LearnedVolumes,
    LearnedUploads,
    LearnedWays,
);

/// The engine.
#[derive(Debug)]
pub struct Engine {
    flows: FlowStage,
    local: HostTracks,
    remote: HostTracks,
    early: EarlyLooks,
    vouchers: Vouchers,
    subjects: Subjects,
    emit_vectors: bool,
    omit_flows: bool,
    floods: FloodDetector,
    scans: ScanDetector,
    row_scans: RowScanDetector,
    shapes: ShapeDetectors,
    content: ContentDetectors,
    exfiltration: ExfiltrationDetector,
    lateral: LateralDetector,
    facts: FlowFacts,
    volumes: VolumeDetector,
    scoring: Scoring,
    emit_scores: bool,
    omit_detectors: bool,
    profiles: Profiles,
    decide: DecideStage,
    /// On their way from the flow stage; kept for their memory.
    updates: Vec<FlowUpdate>,
    /// Of the last look at host rows; kept for their memory.
    looks: Looks,
    stats: Stats,
    /// What was last reported as lost.
    reported: Stats,
}

impl Engine {
    pub fn new(config: Config) -> Self {
        let seed = config.hash_seed;
        Self {
            flows: FlowStage::new(&config.flow, seed),
            local: HostTracks::new(config.flood.max_local, seed),
            remote: HostTracks::new(config.flood.max_remote, seed),
            early: EarlyLooks::new(config.flood.max_local, config.flow.unanswered_ns, seed),
            vouchers: Vouchers::new(config.flood.max_local, seed),
            subjects: Subjects::new(&config.vectors, seed),
            emit_vectors: config.emit_vectors,
            omit_flows: config.omit_flows,
            floods: FloodDetector::new(&config.flood, seed),
            scans: ScanDetector::new(&config.scan, seed),
            row_scans: RowScanDetector::new(&config.scan, seed),
            shapes: ShapeDetectors::new(&config.shape, &config.scan.auth_ports, seed),
            content: ContentDetectors::new(&config.content, seed),
            exfiltration: ExfiltrationDetector::new(&config.exfiltration, seed),
            lateral: LateralDetector::new(&config.lateral, seed),
            facts: FlowFacts::new(config.content.max_flows, seed),
            volumes: VolumeDetector::new(&config.volume, config.flood.max_local, seed),
            scoring: Scoring::new(&config.scoring, seed),
            emit_scores: config.emit_scores,
            omit_detectors: config.omit_detectors,
            profiles: Profiles::new(config.naming.namer(), seed),
            decide: DecideStage::new(&config.decide, seed),
            updates: Vec::with_capacity(BATCH),
            looks: Looks::default(),
            stats: Stats::default(),
            reported: Stats::default(),
        }
    }

    /// What was learned: models, calibration, subjects' pasts. Windows that run are not in it.
    pub fn save(&self) -> Vec<u8> {
        encode(&(
            self.scoring.learned(),
            self.subjects.learned(),
            self.floods.learned(),
            self.volumes.learned(),
            self.exfiltration.learned(),
            self.lateral.learned(),
        ))
    }

    /// Goes on with what another run learned; to be called before the first input.
    ///
    /// # Errors
    /// When the bytes can't be used; the engine is as it was.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        let (scoring, subjects, floods, volumes, uploads, ways): Learned = decode(bytes)?;
        self.scoring.restore(scoring)?;
        self.subjects.restore(subjects);
        self.decide.note_restored();
        self.floods.restore(floods);
        self.volumes.restore(volumes);
        self.exfiltration.restore(uploads);
        self.lateral.restore(ways);
        Ok(())
    }

    /// Works by other thresholds from now on, with all that was learned. What `x-restart` marks in
    /// the configuration's schema, and the seed, stay as they were.
    pub fn configure(&mut self, config: &Config) {
        self.omit_flows = config.omit_flows;
        self.flows.configure(&config.flow);
        self.early.configure(config.flow.unanswered_ns);
        self.floods.configure(&config.flood);
        self.scans.configure(&config.scan);
        self.row_scans.configure(&config.scan);
        self.shapes
            .configure(&config.shape, &config.scan.auth_ports);
        self.content.configure(&config.content);
        self.exfiltration.configure(&config.exfiltration);
        self.lateral.configure(&config.lateral);
        self.volumes.configure(&config.volume);
        self.scoring.configure(&config.scoring);
        self.decide.configure(&config.decide);
    }

    /// Takes one input at event time `at_ns` and appends what follows from it.
    pub fn handle(&mut self, at_ns: u64, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::FlowLive(flow) => self.take_flows(at_ns, from_ref(flow), false, out),
            Input::FlowSent(flow) => self.take_flows(at_ns, from_ref(flow), true, out),
            Input::FlowsLive(flows) => self.take_flows(at_ns, flows, false, out),
            Input::FlowsSent(flows) => self.take_flows(at_ns, flows, true, out),
            Input::FlowPast {
                flow,
                is_final,
                looked_ns,
            } => self.flows.take_past(at_ns, flow, is_final, looked_ns),
            Input::HostsPast { local, remote } => self.take_past_hosts(at_ns, local, remote),
            Input::Sample(sample) => self.take_sample(sample),
            Input::Hosts { local, remote } => self.take_hosts(at_ns, local, remote, out),
            Input::SamplesShed {
                over_budget,
                ring_full,
            } => {
                let stats = &mut self.stats;
                stats.n_samples_over_budget =
                    stats.n_samples_over_budget.saturating_add(over_budget);
                stats.n_samples_ring_full = stats.n_samples_ring_full.saturating_add(ring_full);
            }
            Input::HostDropped { packets } => {
                let n = &mut self.stats.n_host_packets_dropped;
                *n = n.saturating_add(packets);
            }
            Input::Opinion { entity, opinion } => {
                self.scoring.take_opinion(at_ns, &entity, opinion);
            }
            Input::FlowTick => self.tick(at_ns, out),
        }
    }

    /// Ends what is open: flows by force, incidents.
    pub fn finish(&mut self, at_ns: u64, out: &mut Vec<Output>) {
        self.tick(at_ns, out);
        self.close_window(at_ns, out);
        let (stats, omit_flows) = (&mut self.stats, self.omit_flows);
        self.flows.finish(&mut |event| {
            if let FlowEvent::End(summary) = event {
                stats.n_flows_ended = stats.n_flows_ended.saturating_add(1);
                if !omit_flows {
                    let mut summary = summary.clone();
                    summary.notes = self.facts.of(&summary);
                    out.push(Output::FlowEnd(summary));
                }
            }
        });
        let mut verdicts = Vec::new();
        self.decide.finish(&mut verdicts);
        self.hand_out(verdicts, out);
    }

    /// True where the host rows speak for a look at the flows now, be it their turn or not.
    pub const fn wants_flows(&self) -> bool {
        self.early.is_wanted()
    }

    /// Places of the flow table: those of live flows, and some that are empty.
    pub fn n_flow_places(&self) -> usize {
        self.flows.n_places()
    }

    /// The live flows at `n` places of the flow table from `start` on, as if they ended now. A flow
    /// stays at its place.
    pub fn flows(&self, start: usize, n: usize) -> impl Iterator<Item = FlowSummary> {
        self.flows.page(start, n)
    }

    /// How full each table is.
    pub fn tables(&self) -> Vec<TableUse> {
        let [n_entries, capacity] = self.flows.n_entries();
        let flows = TableUse {
            table: "flows",
            n_entries,
            capacity,
            n_shed: self.flows.n_shed,
        };
        let mut all = vec![
            flows,
            self.local.usage("local_hosts"),
            self.remote.usage("remote_hosts"),
            self.vouchers.usage(),
            self.floods.usage(),
            self.volumes.usage(),
            self.row_scans.usage(),
            self.decide.usage(),
        ];
        self.subjects.tables(&mut all);
        self.scans.tables(&mut all);
        self.shapes.tables(&mut all);
        self.content.tables(&mut all);
        self.facts.tables(&mut all);
        self.scoring.tables(&mut all);
        all
    }

    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        stats.n_flows = self.flows.len() as u64;
        stats.n_incidents_open = self.decide.n_open() as u64;
        stats.n_flows_shed = self.flows.n_shed;
        stats.n_flow_bytes = self.flows.n_bytes() as u64;
        stats.n_host_bytes = (self.local.n_bytes() + self.remote.n_bytes()) as u64;
        stats.n_scan_bytes = self.scans.n_bytes() as u64;
        stats.n_hosts_shed = self.local.n_shed().saturating_add(self.remote.n_shed());
        stats.n_subjects_shed = self.subjects.n_shed();
        stats.n_vectors_skipped = self.subjects.n_skipped();
        stats.n_vectors = self.scoring.n_vectors;
        stats.n_vectors_withheld = self.scoring.n_withheld;
        stats.n_early_looks = self.early.n_looks;
        stats.n_adapting = self.scoring.n_adapting();
        stats.n_drifts = self.scoring.n_drifts();
        stats.n_baselines_shed = self.scoring.n_shed();
        stats.n_scan_windows_shed = self.scans.n_shed().saturating_add(self.shapes.n_shed());
        stats.n_habits_shed = self
            .exfiltration
            .n_shed()
            .saturating_add(self.lateral.n_shed());
        stats.n_content_shed = self.content.n_shed().saturating_add(self.facts.n_shed());
        stats.n_profiles_shed = self.profiles.n_shed;
        stats.n_incidents_shed = self.decide.n_shed;
        stats
    }

    fn take_sample(&mut self, sample: &Sample<'_>) {
        let n = &mut self.stats.n_samples;
        *n = n.saturating_add(1);
        self.content.take(sample);
        if !self.omit_flows {
            self.facts.take(sample);
        }
    }

    fn take_flows(&mut self, at_ns: u64, flows: &[Flow], is_final: bool, out: &mut Vec<Output>) {
        let (stage, mut rest) = self.flow_stages();
        for batch in flows.chunks(BATCH) {
            stage.fetch(batch);
            for flow in batch {
                stage.take(at_ns, flow, is_final, &mut |event| {
                    rest.take(at_ns, event, out);
                });
            }
            rest.pass_on(at_ns);
        }
    }

    /// The flow stage and what its events go through.
    fn flow_stages(&mut self) -> (&mut FlowStage, Downstream<'_>) {
        let rest = Downstream {
            updates: &mut self.updates,
            vouchers: &mut self.vouchers,
            subjects: &mut self.subjects,
            scans: &mut self.scans,
            shapes: &mut self.shapes,
            content: &mut self.content,
            exfiltration: &mut self.exfiltration,
            lateral: &mut self.lateral,
            facts: &mut self.facts,
            stats: &mut self.stats,
            omit_flows: self.omit_flows,
        };
        (&mut self.flows, rest)
    }

    fn tick(&mut self, at_ns: u64, out: &mut Vec<Output>) {
        let (stage, mut rest) = self.flow_stages();
        stage.tick(at_ns, &mut |event| rest.take(at_ns, event, out));
        rest.pass_on(at_ns);
        self.vouchers.tick(at_ns);
        self.early.look();
        let mut findings = Vec::new();
        self.scans.tick(at_ns, &mut findings);
        self.shapes.tick(at_ns, &mut findings);
        self.content.tick(at_ns, &mut findings);
        self.exfiltration.tick(at_ns, &mut findings);
        self.lateral.tick(at_ns, &mut findings);
        self.conclude(at_ns, findings, out);
        if self.subjects.is_due(at_ns) {
            self.close_window(at_ns, out);
        }
        let mut verdicts = Vec::new();
        self.decide.tick(at_ns, &mut verdicts);
        self.hand_out(verdicts, out);
        self.report_losses(at_ns, out);
    }

    /// Ends the window of the subjects.
    fn close_window(&mut self, at_ns: u64, out: &mut Vec<Output>) {
        let (emit_vectors, emit_scores) = (self.emit_vectors, self.emit_scores);
        let (scoring, profiles) = (&mut self.scoring, &mut self.profiles);
        let (mut findings, mut known) = (Vec::new(), Vec::new());
        self.subjects.close(at_ns, &mut |vector, rank| {
            let n_before = findings.len();
            let score = match rank {
                Rank::Busy => scoring.take(at_ns, vector, &mut findings),
                Rank::Crowd => scoring.take_crowd(at_ns, vector),
            };
            profiles.take(at_ns, vector, &score, findings.get(n_before), &mut known);
            if emit_scores {
                out.push(Output::Score(Box::new(score)));
            }
            if emit_vectors && rank == Rank::Busy {
                out.push(Output::Vector(Box::new(vector.clone())));
            }
        });
        profiles.close(at_ns);
        scoring.close(at_ns, &mut |score| {
            if emit_scores {
                out.push(Output::Score(Box::new(score)));
            }
        });
        self.decide.take_profiles(known);
        self.conclude(at_ns, findings, out);
    }

    fn take_hosts(
        &mut self,
        at_ns: u64,
        local: &[HostRow],
        remote: &[HostRow],
        out: &mut Vec<Output>,
    ) {
        let Looks { locals, remotes } = &mut self.looks;
        self.local.look(at_ns, local, locals);
        self.remote.look(at_ns, remote, remotes);
        for look in locals.iter().filter(|look| look.from.packets > 0) {
            self.decide.note_local(at_ns, look.address);
        }
        let blame = Blame { remotes };
        let mut findings = Vec::new();
        for look in &mut *locals {
            // Where the sensor sees one way only (a capture replayed as ingress), what a host sends
            // lies in the remote row of its address: both rows together are the host.
            if let Some((toward, from)) = self.remote.now(&look.address) {
                look.toward.add(toward);
                look.from.add(from);
            }
            let vouched = self.vouchers.of(&look.address);
            self.floods
                .look(at_ns, look, &vouched, &blame, &mut findings);
            self.volumes.look(at_ns, look, &mut findings);
        }
        self.row_scans.look(at_ns, remotes, &mut findings);
        self.early.take(at_ns, locals, remotes);
        self.conclude(at_ns, findings, out);
    }

    fn take_past_hosts(&mut self, at_ns: u64, local: &[HostRow], remote: &[HostRow]) {
        let Looks { locals, remotes } = &mut self.looks;
        self.local.look(at_ns, local, locals);
        self.remote.look(at_ns, remote, remotes);
        for look in locals {
            self.floods.begin_from(at_ns, look);
        }
    }

    fn conclude(&mut self, at_ns: u64, findings: Vec<Finding>, out: &mut Vec<Output>) {
        for finding in findings {
            if self.omit_detectors && finding.detector != Detector::Models {
                continue;
            }
            self.scoring.note(&finding);
            self.profiles.note(at_ns, &finding);
            let mut verdicts = Vec::new();
            self.decide.take(at_ns, &finding, &mut verdicts);
            self.stats.n_findings = self.stats.n_findings.saturating_add(1);
            out.push(Output::Finding(finding));
            self.hand_out(verdicts, out);
        }
    }

    fn hand_out(&mut self, verdicts: Vec<Verdict>, out: &mut Vec<Output>) {
        for verdict in verdicts {
            match verdict {
                Verdict::Incident(incident) => {
                    let is_new = incident.state == crate::decide::State::Opened;
                    let n = &mut self.stats.n_incidents;
                    *n = n.saturating_add(u64::from(is_new));
                    out.push(Output::Incident(*incident));
                }
                Verdict::Decision(decision) => {
                    self.stats.n_decisions = self.stats.n_decisions.saturating_add(1);
                    out.push(Output::Decision(decision));
                }
            }
        }
    }

    fn report_losses(&mut self, at_ns: u64, out: &mut Vec<Output>) {
        let now = self.stats();
        let before = std::mem::replace(&mut self.reported, now.clone());
        for (now, before) in now.shed().into_iter().zip(before.shed()) {
            let (stage, reason, count) = now;
            let count = count.saturating_sub(before.2);
            if count > 0 {
                self.decide.note_loss(at_ns, stage, reason);
                out.push(Output::Loss {
                    stage,
                    reason,
                    count,
                });
            }
        }
    }
}

/// What addresses did since the last look.
#[derive(Debug, Default)]
struct Looks {
    locals: Vec<HostLook>,
    remotes: Vec<HostLook>,
}

/// What flow events go through.
struct Downstream<'a> {
    /// Not passed on yet, at most [`BATCH`].
    updates: &'a mut Vec<FlowUpdate>,
    vouchers: &'a mut Vouchers,
    subjects: &'a mut Subjects,
    scans: &'a mut ScanDetector,
    shapes: &'a mut ShapeDetectors,
    content: &'a mut ContentDetectors,
    exfiltration: &'a mut ExfiltrationDetector,
    lateral: &'a mut LateralDetector,
    facts: &'a mut FlowFacts,
    stats: &'a mut Stats,
    omit_flows: bool,
}

impl Downstream<'_> {
    fn take(&mut self, at_ns: u64, event: FlowEvent<'_>, out: &mut Vec<Output>) {
        match event {
            FlowEvent::Update(update) => {
                self.updates.push(update.clone());
                if self.updates.len() >= BATCH {
                    self.pass_on(at_ns);
                }
            }
            FlowEvent::End(summary) => {
                self.pass_on(at_ns);
                let (source, host) = (from_ip(summary.source), from_ip(summary.destination));
                self.shapes.take_end(summary, source, host);
                self.stats.n_flows_ended = self.stats.n_flows_ended.saturating_add(1);
                if !self.omit_flows {
                    let mut summary = summary.clone();
                    summary.notes = self.facts.of(&summary);
                    out.push(Output::FlowEnd(summary));
                }
            }
        }
    }

    /// Has each stage take all updates that wait: no stage of these looks at another.
    fn pass_on(&mut self, at_ns: u64) {
        if self.updates.is_empty() {
            return;
        }
        let updates = self.updates.as_slice();
        self.vouchers.take_all(updates);
        for update in updates {
            self.content.take_flow(at_ns, update);
            self.exfiltration.take(update);
            self.lateral.take(at_ns, update);
        }
        self.subjects.take_all(at_ns, updates);
        self.scans.take_all(at_ns, updates);
        self.shapes.take_all(updates);
        self.updates.clear();
    }
}
