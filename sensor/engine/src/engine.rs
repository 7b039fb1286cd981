//! Wiring of the stages: the only file that knows more than one of them.

use std::slice::from_ref;
use std::sync::Arc;

use ipnet::IpNet;
use sensor_common::event::{Kind, Sample};
use sensor_common::flow::Flow;
use sensor_common::host::HostRow;

use crate::address::from_ip;
use crate::checkpoint::{CheckpointError, Reader, Writer};
use crate::config::Config;
use crate::decide::{
    DecideEvent, DecideStage, Decision, Exception, ExceptionUse, Exceptions, Incident, Rollback,
    Statement,
};
use crate::detect::{
    Attribution, DISAGREES, Detector, Detectors, Entity, Feedback, Finding, Grades, Judgement,
    LEARNED_NOTE, Learned, Profiles, Score, Scoring, weigh,
};
use crate::features::{
    AnsweredTraffic, EarlyLooks, HostLook, HostTracks, Ledger, PairVector, Preview, Rank, Sequence,
    SequenceKinds, Sequences, ServiceLoad, Services, Subjects, TableUse, Vector,
};
use crate::flow::{FlowEvent, FlowStage, FlowSummary, FlowUpdate};
use crate::l7::facts::FlowFacts;
use crate::losses::{Loss, Losses};
use crate::note::Note;
use crate::site::{HostNetworks, Site};
use crate::slot_index::BATCH;
use crate::stats::Stats;

/// Input of the engine.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A record read from the kernel cache while it is alive: cumulative since its slot began.
    FlowLive(&'a Flow),
    /// The final record of a slot life: evicted or rolled over.
    FlowSent(&'a Flow),
    /// Records of either kind: the same as one after the other, for less.
    FlowsLive(&'a [Flow]),
    FlowsSent(&'a [Flow]),
    /// Record of a time before this engine, as [`Self::FlowLive`], or, if final, as [`Self::FlowSent`]: it is
    /// counted on from and gives no update. It was read until `looked_ns`, and what had ended by then was
    /// exported.
    FlowPast {
        flow: &'a Flow,
        is_final: bool,
        looked_ns: u64,
    },
    /// Host rows of a time before this engine: [`Self::Hosts`] counts on from them.
    HostsPast {
        local: &'a [HostRow],
        remote: &'a [HostRow],
    },
    /// An event: a packet sample, a block hit, a flow that began.
    Sample(&'a Sample<'a>),
    /// Host rows that changed since the last such look, each with its place: cumulative, any number per
    /// address.
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
    /// Feedback of a person on an incident's entity.
    Feedback {
        entity: Entity,
        feedback: Feedback,
    },
    /// Addresses and networks of the host, at the start and when they change; `None` as long as they
    /// can't be read. Without this input, those of the configuration are local, and without any,
    /// whoever was seen leaving.
    HostNetworks(Option<&'a HostNetworks>),
    /// Statement of another system about an address: context, and a condition of the policy. It opens no incident.
    Statement(&'a Statement),
    /// An incident that a person muted: findings of its kind are counted and not made into incidents, until
    /// the exception's end.
    Mute {
        incident: &'a str,
        exception: &'a Exception,
    },
    /// End of that.
    Unmute {
        incident: &'a str,
    },
    /// Blocks that a person ended: the next finding on a source within is acted on at once.
    Released {
        network: IpNet,
    },
    /// A decision that holds packets back from now on: what becomes of its source's good traffic is watched.
    InForce {
        decision: &'a Decision,
    },
    /// A decision that is not carried out: a guard refused it, or it failed.
    Refused {
        decision: &'a Decision,
    },
    /// Answer of a network to a sequence that was handed out.
    Judged(&'a Judgement),
    /// Sequences that no network had time for since the last such input.
    Unjudged(u64),
    /// Flow records of sampled packets are among the flows.
    RecordsSampled,
    /// End of one pass over the cache, every second of event time.
    FlowTick,
}

/// Output of the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    FlowEnd(FlowSummary),
    Finding(Finding),
    Incident(Incident),
    Decision(Box<Decision>),
    /// A decision that is to be taken back.
    Rollback(Box<Rollback>),
    /// Scores of each subject and window, with [`Config::emit_scores`].
    Score(Box<Score>),
    /// Feature vector, with [`Config::emit_vectors`].
    Vector(Box<Vector>),
    /// Window of a pair or a source, with [`Config::emit_vectors`], and the sum that the learned model gives it.
    Window(Box<PairVector>, f32),
    /// Steps of a pair, a flow or a host, with [`Config::emit_sequences`].
    Sequence(Box<Sequence>),
    /// Loss of a stage since the last such output, at most once a second each.
    Loss {
        stage: &'static str,
        reason: &'static str,
        count: u64,
    },
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    flows: FlowStage,
    local: HostTracks,
    remote: HostTracks,
    early: EarlyLooks,
    answered: AnsweredTraffic,
    ledger: Ledger,
    services: Services,
    subjects: Subjects,
    sequences: Option<Box<Sequences>>,
    hash_seed: u64,
    /// Losses of sequences that are not made any more.
    n_sequences_lost: u64,
    emit_vectors: bool,
    omit_flows: bool,
    detectors: Detectors,
    facts: FlowFacts,
    scoring: Scoring,
    emit_scores: bool,
    omit_detectors: bool,
    /// Flows are those of exported records, which prove nothing: whoever sends them may be wrong or lie.
    from_records: bool,
    profiles: Profiles,
    exceptions: Exceptions,
    decide: DecideStage,
    /// Grounds of who is inside: networks of the configuration, and the host's where it is known.
    configured: Vec<IpNet>,
    host: Option<HostNetworks>,
    /// Updates on their way from the flow stage; kept for their memory.
    updates: Vec<FlowUpdate>,
    claimed: Vec<FlowUpdate>,
    /// Hosts of the last look at host rows; kept for their memory.
    looks: Looks,
    stats: Stats,
    /// Losses of the last report.
    reported: Losses,
}

impl Engine {
    pub fn new(config: Config) -> Self {
        let seed = config.hash_seed;
        Self {
            flows: FlowStage::new(&config.flow, seed),
            local: HostTracks::new("local_hosts", config.flood.max_local, seed),
            remote: HostTracks::new("remote_hosts", config.flood.max_remote, seed),
            early: EarlyLooks::new(config.flood.max_local, config.flow.unanswered_ns, seed),
            answered: AnsweredTraffic::new(config.flood.max_local, seed),
            ledger: Ledger::new(seed),
            services: Services::new(seed),
            subjects: Subjects::new(&config.vectors, seed),
            sequences: sequences(config.emit_sequences, seed),
            hash_seed: seed,
            n_sequences_lost: 0,
            emit_vectors: config.emit_vectors,
            omit_flows: config.omit_flows,
            detectors: Detectors::new(&config),
            facts: FlowFacts::new(config.content.max_flows, seed),
            scoring: Scoring::new(&config.scoring, seed),
            emit_scores: config.emit_scores,
            omit_detectors: config.omit_detectors,
            from_records: config.from_records,
            profiles: Profiles::new(config.naming.namer(), seed),
            exceptions: Exceptions::new(&config.exceptions),
            decide: DecideStage::new(&config),
            configured: config.local_networks,
            host: None,
            updates: Vec::with_capacity(BATCH),
            claimed: Vec::new(),
            looks: Looks::default(),
            stats: Stats::default(),
            reported: Losses::default(),
        }
    }

    /// Writes what was learned: models, calibration, subjects' pasts. Windows that run are not in it.
    pub fn save(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.add("scoring", &self.scoring.learned());
        writer.add("subjects", &self.subjects.learned());
        self.detectors.save(&mut writer);
        writer.finish()
    }

    /// Goes on with what another run learned; to be called before the first input.
    ///
    /// # Errors
    /// When the bytes can't be used; the engine is as it was.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        let mut reader = Reader::new(bytes)?;
        let scoring = reader.part("scoring")?;
        let subjects = reader.part("subjects")?;
        let detectors = Learned::read(&mut reader)?;
        if let Some(scoring) = scoring {
            self.scoring.restore(scoring)?;
        }
        if let Some(subjects) = subjects {
            self.subjects.restore(subjects);
        }
        self.detectors.restore(detectors);
        self.decide.note_restored();
        Ok(())
    }

    /// Takes new thresholds and keeps all that was learned. What `x-restart` marks in
    /// the configuration's schema, and the seed, stay as they were.
    pub fn configure(&mut self, config: &Config) {
        self.omit_flows = config.omit_flows;
        self.flows.configure(&config.flow);
        self.early.configure(config.flow.unanswered_ns);
        self.detectors.configure(config);
        self.scoring.configure(&config.scoring);
        self.exceptions.configure(&config.exceptions);
        self.decide.configure(config);
        self.configured.clone_from(&config.local_networks);
        self.set_site();
    }

    /// Makes sequences of these kinds from now on, and of no others; what is in the making is begun anew.
    pub fn make_sequences(&mut self, kinds: SequenceKinds) {
        let lost = self.sequences.as_ref().map_or(0, |s| s.n_shed());
        self.n_sequences_lost = self.n_sequences_lost.saturating_add(lost);
        self.sequences = sequences(kinds, self.hash_seed);
    }

    /// Tells the detectors who is inside.
    fn set_site(&mut self) {
        let site = Site::of(&self.configured, self.host.as_ref());
        self.detectors.set_site(&Arc::new(site));
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
                let losses = &mut self.stats.losses;
                losses.add(Loss::SamplesOverBudget, over_budget);
                losses.add(Loss::EventRing, ring_full);
            }
            Input::HostDropped { packets } => {
                self.stats.losses.add(Loss::HostRows, packets);
            }
            Input::Feedback { entity, feedback } => {
                self.scoring.take_feedback(at_ns, &entity, feedback);
            }
            Input::HostNetworks(host) => {
                self.decide.set_host(host);
                self.host = host.cloned();
                self.set_site();
            }
            Input::Mute {
                incident,
                exception,
            } => self.exceptions.mute(incident, exception),
            Input::Statement(statement) => self.decide.take_statement(at_ns, statement),
            Input::Unmute { incident } => self.exceptions.unmute(incident),
            Input::Released { network } => self.decide.release(&network),
            Input::InForce { decision } => self.decide.watch(at_ns, decision, &self.ledger),
            Input::Refused { decision } => self.decide.refuse(at_ns, decision),
            Input::Judged(judgement) => {
                let finding = self.detectors.take_judgement(at_ns, judgement);
                self.conclude(at_ns, finding.into_iter().collect(), out);
            }
            Input::Unjudged(n) => self.stats.losses.add(Loss::Networks, n),
            Input::RecordsSampled => self.decide.note_sampled(at_ns),
            Input::FlowTick => self.tick(at_ns, out),
        }
    }

    /// Ends what is open: flows by force, incidents.
    pub fn finish(&mut self, at_ns: u64, out: &mut Vec<Output>) {
        self.end_input(at_ns, out);
        self.end(at_ns, out);
    }

    /// Ends the input, and hands out the sequences that run: who has networks tells what they say of them before
    /// [`Self::end`].
    pub fn end_input(&mut self, at_ns: u64, out: &mut Vec<Output>) {
        self.tick(at_ns, out);
        let mut findings = Vec::new();
        self.detectors.finish(at_ns, &mut findings);
        self.hand_out_windows(out);
        self.hand_out_sequences(at_ns, true, out);
        self.conclude(at_ns, findings, out);
    }

    /// Ends what is open, after [`Self::end_input`].
    pub fn end(&mut self, at_ns: u64, out: &mut Vec<Output>) {
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
        let mut events = Vec::new();
        self.decide.finish(&mut events);
        self.hand_out(events, out);
    }

    /// True where the host rows speak for a look at the flows now, be it their turn or not.
    pub const fn wants_flows(&self) -> bool {
        self.early.is_wanted()
    }

    /// Number of slots of the flow table: those of live flows, and some that are empty.
    pub fn n_flow_slots(&self) -> usize {
        self.flows.n_slots()
    }

    /// Live flows in `n` slots of the flow table from `start` on, as if they ended now. A flow keeps its
    /// slot.
    pub fn flows(&self, start: usize, n: usize) -> impl Iterator<Item = FlowSummary> {
        self.flows.page(start, n)
    }

    /// Tells what is known of the sources in a network, from the last hour.
    pub fn preview(&self, at_ns: u64, network: &IpNet) -> Preview {
        self.ledger.preview(at_ns, network)
    }

    /// Use of every bounded table.
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
            self.local.usage(),
            self.remote.usage(),
            self.answered.usage(),
            self.services.usage(),
            self.early.usage(),
            self.facts.usage(),
            self.profiles.usage(),
        ];
        self.ledger.tables(&mut all);
        self.flows.tables(&mut all);
        self.subjects.tables(&mut all);
        if let Some(sequences) = &self.sequences {
            sequences.tables(&mut all);
        }
        self.detectors.tables(&mut all);
        self.scoring.tables(&mut all);
        self.decide.tables(&mut all);
        all
    }

    /// Load of all traffic since the start, and of each service that is known.
    pub fn services(&self) -> Vec<ServiceLoad> {
        self.services.loads()
    }

    /// TCP connections of which one side alone was seen, where that is so of nearly all: the sensor is
    /// shown one direction, and takes missing answers for no evidence.
    pub const fn n_one_sided(&self) -> u64 {
        self.flows.n_one_sided()
    }

    /// Exceptions in force and expired ones, with their use.
    pub fn exceptions(&self) -> &[ExceptionUse] {
        self.exceptions.uses()
    }

    /// Counts for metrics and the summary.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        stats.n_flows = self.flows.len() as u64;
        stats.n_incidents_open = self.decide.n_open() as u64;
        stats.alarm_budget = self.decide.alarm_budget();
        stats.n_alarms_of_day = self.decide.n_alarms_of_day();
        stats.n_flow_bytes = self.flows.n_bytes() as u64;
        stats.n_host_bytes = (self.local.n_bytes() + self.remote.n_bytes()) as u64;
        stats.n_scan_bytes = self.detectors.n_scan_bytes() as u64;
        stats.n_vectors = self.scoring.n_vectors;
        stats.n_vectors_withheld = self.scoring.n_withheld;
        stats.n_early_looks = self.early.n_looks;
        stats.n_one_sided = self.n_one_sided();
        stats.n_adapting = self.scoring.n_adapting();
        stats.n_drifts = self.scoring.n_drifts();
        stats.losses = self.losses();
        stats
    }

    /// Counts what was shed so far: what inputs told, and what the stages' tables had no room for.
    fn losses(&self) -> Losses {
        let mut losses = self.stats.losses.clone();
        losses.add(Loss::Flows, self.flows.n_shed);
        losses.add(Loss::Hosts, self.local.n_shed());
        losses.add(Loss::Hosts, self.remote.n_shed());
        losses.add(Loss::Hosts, self.answered.usage().n_shed);
        losses.add(Loss::Hosts, self.early.usage().n_shed);
        losses.add(Loss::Outcomes, self.ledger.n_shed());
        losses.add(Loss::Subjects, self.subjects.n_shed());
        losses.add(Loss::Vectors, self.subjects.n_skipped());
        losses.add(Loss::Vectors, self.detectors.n_windows_skipped());
        let n_shed = self.sequences.as_ref().map_or(0, |s| s.n_shed());
        losses.add(Loss::Sequences, n_shed);
        losses.add(Loss::Sequences, self.n_sequences_lost);
        losses.add(Loss::Baselines, self.scoring.n_shed());
        losses.add(Loss::ContentTables, self.facts.usage().n_shed);
        losses.add(Loss::Profiles, self.profiles.n_shed);
        losses.add(Loss::Incidents, self.decide.n_shed);
        self.detectors.add_losses(&mut losses);
        losses
    }

    fn take_sample(&mut self, sample: &Sample<'_>) {
        let n = &mut self.stats.n_samples;
        *n = n.saturating_add(1);
        let packet = &sample.head.packet;
        if sample.head.kind == Kind::Proven as u8 {
            self.ledger.note_real(packet.source, sample.head.at_ns);
            return;
        }
        let is_answer = self.flows.take_sample(sample);
        // Whose addresses prove nothing is no evidence against them.
        if !packet.realm.is_untrusted() {
            self.detectors.take_sample(sample, is_answer);
            note_logins(&mut self.detectors, &mut self.ledger, sample.head.at_ns);
            if let Some(sequences) = &mut self.sequences {
                sequences.take_sample(sample, is_answer);
            }
        }
        if !self.omit_flows {
            self.facts.take(sample, is_answer);
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
            claimed: &mut self.claimed,
            answered: &mut self.answered,
            ledger: &mut self.ledger,
            services: &mut self.services,
            subjects: &mut self.subjects,
            sequences: self.sequences.as_deref_mut(),
            detectors: &mut self.detectors,
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
        self.answered.tick(at_ns);
        self.ledger.tick(at_ns);
        self.early.look();
        let mut findings = Vec::new();
        self.detectors.tick(at_ns, &mut findings);
        self.hand_out_windows(out);
        self.hand_out_sequences(at_ns, false, out);
        self.conclude(at_ns, findings, out);
        if self.subjects.is_due(at_ns) {
            self.close_window(at_ns, out);
        }
        let mut events = Vec::new();
        self.decide.tick(at_ns, &self.ledger, &mut events);
        self.hand_out(events, out);
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
            self.decide.note_seen(at_ns, look.address);
        }
        let attribution = Attribution { remotes };
        let mut findings = Vec::new();
        for look in &mut *locals {
            // Where the sensor sees one way only (a capture replayed as ingress), what a host sends
            // lies in the remote row of its address: both rows together are the host.
            if let Some((toward, from)) = self.remote.now(&look.address) {
                look.toward.add(toward);
                look.from.add(from);
            }
            let answered = self.answered.of(&look.address);
            self.detectors
                .take_local(at_ns, look, &answered, &attribution, &mut findings);
            if let Some(sequences) = &mut self.sequences {
                sequences.take_host(at_ns, look);
            }
        }
        self.detectors.take_remotes(at_ns, remotes, &mut findings);
        self.early.take(at_ns, locals, remotes);
        if self.detectors.wants_flows() {
            self.early.want();
        }
        self.conclude(at_ns, findings, out);
    }

    fn take_past_hosts(&mut self, at_ns: u64, local: &[HostRow], remote: &[HostRow]) {
        let Looks { locals, remotes } = &mut self.looks;
        self.local.look(at_ns, local, locals);
        self.remote.look(at_ns, remote, remotes);
        for look in locals {
            self.detectors.begin_from(at_ns, look);
        }
    }

    fn conclude(&mut self, at_ns: u64, findings: Vec<Finding>, out: &mut Vec<Output>) {
        self.decide.note(at_ns, &findings);
        for mut finding in findings {
            if self.omit_detectors && finding.detector != Detector::Models {
                continue;
            }
            if self.detectors.is_refuted(&finding) {
                continue;
            }
            weigh(&self.ledger, &mut finding);
            if self.from_records {
                finding.grades = Grades::SHAPE;
            }
            self.detectors.weigh(at_ns, &mut finding);
            // Nothing is learned from it in either case.
            self.scoring.note(&finding);
            self.stats.n_findings = self.stats.n_findings.saturating_add(1);
            if let Some(reason) = self.exceptions.take(at_ns, &finding) {
                finding.notes.push(Note {
                    name: "sensor.exception",
                    value: reason.to_owned(),
                });
                out.push(Output::Finding(finding));
                continue;
            }
            if !self.decide.trusts(at_ns, &finding) {
                finding.notes.push(Note {
                    name: "sensor.flow_records",
                    value: "sampled".to_owned(),
                });
                out.push(Output::Finding(finding));
                continue;
            }
            if self.detectors.doubts(at_ns, &finding) {
                finding.notes.push(Note {
                    name: LEARNED_NOTE,
                    value: DISAGREES.to_owned(),
                });
                out.push(Output::Finding(finding));
                continue;
            }
            self.profiles.note(at_ns, &finding);
            let mut events = Vec::new();
            self.decide.take(at_ns, &finding, &self.ledger, &mut events);
            out.push(Output::Finding(finding));
            self.hand_out(events, out);
        }
    }

    fn hand_out_windows(&mut self, out: &mut Vec<Output>) {
        let windows = self.detectors.windows();
        out.extend(windows.map(|(vector, sum)| Output::Window(Box::new(vector), sum)));
    }

    fn hand_out_sequences(&mut self, at_ns: u64, is_last: bool, out: &mut Vec<Output>) {
        if let Some(sequences) = &mut self.sequences {
            sequences.tick(at_ns, is_last);
            let ready = sequences.ready();
            out.extend(ready.map(|sequence| Output::Sequence(Box::new(sequence))));
        }
    }

    fn hand_out(&mut self, events: Vec<DecideEvent>, out: &mut Vec<Output>) {
        for event in events {
            match event {
                DecideEvent::Incident(incident) => {
                    let is_new = incident.state == crate::decide::State::Opened;
                    let n = &mut self.stats.n_incidents;
                    *n = n.saturating_add(u64::from(is_new));
                    out.push(Output::Incident(*incident));
                }
                DecideEvent::Decision(decision) => {
                    self.stats.n_decisions = self.stats.n_decisions.saturating_add(1);
                    out.push(Output::Decision(decision));
                }
                DecideEvent::Rollback(rollback) => out.push(Output::Rollback(rollback)),
            }
        }
    }

    fn report_losses(&mut self, at_ns: u64, out: &mut Vec<Output>) {
        let now = self.losses();
        for (loss, n) in now.iter() {
            let count = n.saturating_sub(self.reported.of(loss));
            if count > 0 {
                self.decide.note_loss(at_ns, loss);
                out.push(Output::Loss {
                    stage: loss.stage(),
                    reason: loss.reason(),
                    count,
                });
            }
        }
        self.reported = now;
    }
}

fn sequences(kinds: SequenceKinds, hash_seed: u64) -> Option<Box<Sequences>> {
    (!kinds.is_empty()).then(|| Box::new(Sequences::new(kinds, hash_seed)))
}

/// Tells the ledger what came of logins.
fn note_logins(detectors: &mut Detectors, ledger: &mut Ledger, at_ns: u64) {
    for (client, is_accepted) in detectors.login_outcomes() {
        if !is_accepted {
            ledger.note_refused_login(client, at_ns);
        }
    }
}

/// Activity of addresses since the last look.
#[derive(Debug, Default)]
struct Looks {
    locals: Vec<HostLook>,
    remotes: Vec<HostLook>,
}

/// Stages that flow events go through.
struct Downstream<'a> {
    /// Updates that were not passed on yet, at most [`BATCH`].
    updates: &'a mut Vec<FlowUpdate>,
    /// As `updates`, of flows whose addresses are only claimed.
    claimed: &'a mut Vec<FlowUpdate>,
    answered: &'a mut AnsweredTraffic,
    ledger: &'a mut Ledger,
    services: &'a mut Services,
    subjects: &'a mut Subjects,
    sequences: Option<&'a mut Sequences>,
    detectors: &'a mut Detectors,
    facts: &'a mut FlowFacts,
    stats: &'a mut Stats,
    omit_flows: bool,
}

impl Downstream<'_> {
    fn take(&mut self, at_ns: u64, event: FlowEvent<'_>, out: &mut Vec<Output>) {
        match event {
            FlowEvent::Update(update) => {
                let updates = if update.is_claimed {
                    &mut *self.claimed
                } else {
                    &mut *self.updates
                };
                updates.push(update.clone());
                if updates.len() >= BATCH {
                    self.pass_on(at_ns);
                }
            }
            FlowEvent::Over(summary) => {
                self.pass_on(at_ns);
                self.detectors.take_over(summary);
            }
            FlowEvent::End(summary) => {
                self.pass_on(at_ns);
                let (source, host) = (from_ip(summary.source), from_ip(summary.destination));
                self.ledger.take_end(summary, source, host);
                self.detectors.take_end(summary);
                note_logins(self.detectors, self.ledger, summary.last_ns);
                self.stats.n_flows_ended = self.stats.n_flows_ended.saturating_add(1);
                if !self.omit_flows {
                    let mut summary = summary.clone();
                    summary.notes = self.facts.of(&summary);
                    out.push(Output::FlowEnd(summary));
                }
            }
        }
    }

    /// Passes on all updates that wait: no stage of these looks at another.
    fn pass_on(&mut self, at_ns: u64) {
        if !self.claimed.is_empty() {
            self.detectors.take_claimed_flows(self.claimed);
            self.claimed.clear();
        }
        if self.updates.is_empty() {
            return;
        }
        let updates = self.updates.as_slice();
        self.answered.take_all(updates);
        self.ledger.take_all(updates);
        self.services.take_all(updates);
        self.subjects.take_all(at_ns, updates);
        self.detectors.take_flows(at_ns, updates);
        if let Some(sequences) = &mut self.sequences {
            sequences.take_flows(updates);
        }
        self.updates.clear();
    }
}
