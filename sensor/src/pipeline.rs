//! Wires the stages: what was captured goes into the engine, what comes out is carried out and
//! printed. Time comes with the input.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use sensor_engine::{
    CheckpointError, Config, Decision, Engine, FlowSummary, Input, Judgement, Output,
    SequenceKinds, State, Stats, from_ip,
};
use sensor_record::answer::Outcomes;
use sensor_record::{Finding, Flow, Incident, Loss, Mode, Outcome, Record, Response, Rule, Sensor};

use tracing::warn;

use crate::config::OutputSettings;
use crate::export::Exports;
use crate::networks::{Judging, Noted};
use crate::print::Sink;
use crate::tables::Tables;
use sensor_capture::drive::Listener;
use sensor_respond::{Respond, Settled};

/// Records that are put out besides incidents and decisions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Show {
    pub flows: bool,
    pub findings: bool,
}

impl Show {
    pub const fn of(settings: &OutputSettings) -> Self {
        Self {
            flows: settings.flows,
            findings: settings.findings,
        }
    }
}

/// Outputs that memory is kept for from tick to tick: 1 MB.
const MAX_KEPT: usize = 4_096;

/// Responses that an incident tells of.
const MAX_RESPONSES: usize = 100;

/// Decisions that were carried out, in their order.
type Decided = VecDeque<sensor_record::Decision>;

/// Takes flows without waiting.
pub type FlowTap = Box<dyn FnMut(&FlowSummary) + Send>;

/// Networks over sequences, where there are any.
#[derive(Default)]
struct Networks {
    judging: Option<Box<dyn Judging + Send>>,
    /// Kinds that others want, and those that are made.
    others: SequenceKinds,
    made: SequenceKinds,
    /// Outputs that were looked through for sequences.
    n_seen: usize,
    judged: Vec<Judgement>,
}

/// Engine, response and output.
pub struct Pipeline<R> {
    engine: Engine,
    pub respond: R,
    show: Show,
    sink: Box<dyn Sink + Send>,
    /// Sensor of the records.
    sensor: Arc<Sensor>,
    outputs: Vec<Output>,
    n_incidents: BTreeMap<&'static str, u64>,
    n_opened: BTreeMap<(&'static str, &'static str), u64>,
    outcomes: Outcomes,
    /// Decisions on the sources of open incidents, by incident.
    responses: BTreeMap<String, Vec<Response>>,
    /// Files of windows and scores.
    tables: Tables,
    /// Collectors of flow records.
    exports: Exports,
    /// Takes every flow that ends.
    flow_tap: Option<FlowTap>,
    networks: Networks,
    /// It was said that one side of connections alone is seen.
    has_warned: bool,
}

impl<R: Respond> Pipeline<R> {
    pub fn new(
        mut config: Config,
        respond: R,
        show: Show,
        sensor: Arc<Sensor>,
        sink: Box<dyn Sink + Send>,
    ) -> Self {
        config.omit_flows = !show.flows;
        let networks = Networks {
            others: config.emit_sequences,
            made: config.emit_sequences,
            ..Networks::default()
        };
        let engine = Engine::new(config);
        Self {
            engine,
            respond,
            show,
            sink,
            sensor,
            outputs: Vec::new(),
            n_incidents: BTreeMap::new(),
            n_opened: BTreeMap::new(),
            outcomes: Outcomes::default(),
            responses: BTreeMap::new(),
            tables: Tables::default(),
            exports: Exports::default(),
            flow_tap: None,
            networks,
            has_warned: false,
        }
    }

    /// Writes windows and scores to files as well.
    pub fn write_to(&mut self, tables: Tables) {
        self.tables = tables;
    }

    /// Exports flows to collectors as well, from the next [`Self::configure`] on.
    pub fn export_to(&mut self, exports: Exports) {
        self.exports = exports;
    }

    pub const fn exports(&mut self) -> &mut Exports {
        &mut self.exports
    }

    /// Hands every flow that ends to `tap` as well, from the next [`Self::configure`] on.
    pub fn tap_flows(&mut self, tap: FlowTap) {
        self.flow_tap = Some(tap);
    }

    /// Has networks judge sequences as well.
    pub fn judge_with(&mut self, judging: Box<dyn Judging + Send>) {
        self.networks.judging = Some(judging);
        self.make_sequences();
    }

    /// Has the engine make the sequences that are wanted now.
    fn make_sequences(&mut self) {
        let networks = &mut self.networks;
        let wanted = networks.judging.as_ref().map(|judging| judging.kinds());
        let wanted = networks.others.union(wanted.unwrap_or_default());
        if wanted != networks.made {
            networks.made = wanted;
            self.engine.make_sequences(wanted);
        }
    }

    /// Has networks judge what the engine handed out, and tells the engine what they said by now.
    fn judge(&mut self, at_ns: u64) {
        self.make_sequences();
        let networks = &mut self.networks;
        let Some(judging) = &mut networks.judging else {
            return;
        };
        for item in self.outputs.iter().skip(networks.n_seen) {
            match item {
                Output::Sequence(sequence) => judging.take(sequence),
                Output::Finding(finding) if !finding.detector.is_model() => {
                    for source in &finding.sources {
                        judging.note(Noted::Found {
                            at_ns,
                            address: from_ip(*source),
                        });
                    }
                }
                _ => {}
            }
        }
        let n_unjudged = judging.judged(&mut networks.judged);
        if n_unjudged > 0 {
            let input = Input::Unjudged(n_unjudged);
            self.engine.handle(at_ns, input, &mut self.outputs);
        }
        for judgement in self.networks.judged.drain(..) {
            let input = Input::Judged(&judgement);
            self.engine.handle(at_ns, input, &mut self.outputs);
        }
        self.networks.n_seen = self.outputs.len();
    }

    /// Ends the files of windows and scores.
    ///
    /// # Errors
    /// Those of the files.
    pub fn finish_tables(&mut self) -> io::Result<()> {
        self.tables.finish()
    }

    /// Works by other thresholds from now on, and puts out other things.
    pub fn configure(&mut self, config: &Config, show: Show) {
        let mut config = config.clone();
        let is_wanted = self.exports.wants_flows() || self.flow_tap.is_some();
        config.omit_flows = !show.flows && !is_wanted;
        self.engine.configure(&config);
        self.show = show;
    }

    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// Goes on with what another run learned.
    ///
    /// # Errors
    /// When the bytes can't be used.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.engine.restore(bytes)
    }

    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Decisions so far, by what became of them.
    pub const fn outcomes(&self) -> Outcomes {
        self.outcomes
    }

    /// Incidents opened so far, by family.
    pub const fn incidents(&self) -> &BTreeMap<&'static str, u64> {
        &self.n_incidents
    }

    /// Incidents opened so far, by family and by their severity then.
    pub const fn opened(&self) -> &BTreeMap<(&'static str, &'static str), u64> {
        &self.n_opened
    }

    /// Puts out what the engine doesn't know of.
    ///
    /// # Errors
    /// As [`Sink::take`].
    pub fn put_out(&mut self, record: Record) -> io::Result<()> {
        self.sink.take(record)?;
        self.sink.flush()
    }

    /// Flow records exported so far.
    pub fn n_flows_ended(&self) -> u64 {
        self.engine.stats().n_flows_ended
    }

    /// Says once that an asymmetric mirror is one.
    fn warn_of_one_side(&mut self) {
        if !self.has_warned && self.engine.n_one_sided() > 0 {
            self.has_warned = true;
            warn!(
                "only one side of TCP connections is seen: missing answers are taken for no \
                 evidence; mirror both directions to the sensor"
            );
        }
    }

    /// Carries a decision out, and remembers the outcome for its incident.
    fn carry_out(&mut self, at_ns: u64, decision: &Decision) -> sensor_record::Decision {
        let outcome = self.respond.carry_out(decision);
        self.outcomes.count(&outcome);
        let input = match &outcome {
            Outcome::Applied => Some(Input::InForce { decision }),
            // A person's word holds for longer.
            Outcome::Refused {
                rule: Rule::Rejected,
                ..
            } => None,
            Outcome::Refused { .. } | Outcome::Failed { .. } => Some(Input::Refused { decision }),
            _ => None,
        };
        if let Some(input) = input {
            self.engine.handle(at_ns, input, &mut self.outputs);
        }
        let record = self.decided(at_ns, decision, outcome);
        let responses = self.responses.entry(record.incident_id.clone());
        note_response(responses.or_default(), &record);
        record
    }

    /// The record of a decision with its outcome.
    fn decided(
        &self,
        at_ns: u64,
        decision: &Decision,
        outcome: Outcome,
    ) -> sensor_record::Decision {
        let mode = match outcome {
            Outcome::Proposed => Mode::Proposed,
            _ => self.respond.mode().into(),
        };
        let head = self.sensor.head(at_ns);
        sensor_record::Decision::new(head, decision, mode, outcome)
    }

    /// Puts out what became of decisions of before.
    fn tell_settled(&mut self, at_ns: u64) -> io::Result<()> {
        let settled = self.respond.settled();
        if settled.is_empty() {
            return Ok(());
        }
        for Settled { decision, outcome } in settled {
            let record = self.decided(at_ns, &decision, outcome);
            // An incident that is closed is told of by the decision alone.
            if let Some(responses) = self.responses.get_mut(&record.incident_id) {
                note_response(responses, &record);
            }
            self.sink.take(record.into())?;
        }
        self.sink.flush()
    }

    /// The record of an incident, with what was decided on its sources.
    fn incident(&mut self, at_ns: u64, incident: &sensor_engine::Incident) -> Incident {
        if incident.state == State::Opened {
            let family = incident.family.label();
            *self.n_incidents.entry(family).or_default() += 1;
            let opened = (family, incident.severity.label());
            *self.n_opened.entry(opened).or_default() += 1;
        }
        let mut record = Incident::new(self.sensor.head(at_ns), incident);
        let made = match incident.state {
            State::Opened | State::Updated => self.responses.get(&incident.id).cloned(),
            State::Closed => self.responses.remove(&incident.id),
        };
        record.response.splice(0..0, made.unwrap_or_default());
        record.response.truncate(MAX_RESPONSES);
        record
    }

    fn record(&mut self, at_ns: u64, item: &Output, decided: &mut Decided) -> Option<Record> {
        let head = || self.sensor.head(at_ns);
        match item {
            Output::FlowEnd(flow) => {
                self.exports.take_flow(flow);
                let is_shown = self.show.flows;
                is_shown.then(|| Flow::ended(head(), flow).into())
            }
            Output::Finding(finding) => {
                let is_shown = self.show.findings;
                is_shown.then(|| Finding::new(head(), finding).into())
            }
            Output::Incident(incident) => Some(self.incident(at_ns, incident).into()),
            Output::Decision(_) => decided.pop_front().map(Record::from),
            Output::Score(_)
            | Output::Vector(_)
            | Output::Window(..)
            | Output::Sequence(_)
            | Output::Rollback(_) => None,
            Output::Loss {
                stage,
                reason,
                count,
            } => Some(Loss::new(head(), stage, reason, *count).into()),
        }
    }
}

/// Remembers the latest response to each source.
fn note_response(responses: &mut Vec<Response>, record: &sensor_record::Decision) {
    let response = Response::of(record);
    let is_known = |known: &&mut Response| known.target == response.target;
    if let Some(known) = responses.iter_mut().find(is_known) {
        *known = response;
    } else if responses.len() < MAX_RESPONSES {
        responses.push(response);
    }
}

impl<R: Respond> Listener for Pipeline<R> {
    /// Feeds the engine. Outputs wait for [`Self::deliver`].
    fn feed(&mut self, at_ns: u64, input: Input<'_>) {
        if let (Input::Feedback { entity, feedback }, Some(judging)) =
            (&input, &mut self.networks.judging)
        {
            judging.note(Noted::Said {
                address: entity.address(),
                is_attack: *feedback == sensor_engine::Feedback::Attack,
            });
        }
        self.engine.handle(at_ns, input, &mut self.outputs);
    }

    fn wants_flows(&self) -> bool {
        self.engine.wants_flows()
    }

    /// Ends every flow and incident.
    fn finish(&mut self, at_ns: u64) {
        self.engine.end_input(at_ns, &mut self.outputs);
        self.judge(at_ns);
        self.engine.end(at_ns, &mut self.outputs);
    }

    /// Carries out and puts out what the engine said.
    fn deliver(&mut self, at_ns: u64) -> io::Result<()> {
        self.warn_of_one_side();
        self.judge(at_ns);
        for item in &self.outputs {
            if let Output::Rollback(rollback) = item {
                self.respond.roll_back(rollback);
            }
        }
        self.tell_settled(at_ns)?;
        if self.outputs.is_empty() {
            return Ok(());
        }
        let mut outputs = std::mem::take(&mut self.outputs);
        self.networks.n_seen = 0;
        // First of all, so that incidents tell what became of their sources.
        let mut decided = Decided::new();
        for item in &outputs {
            match item {
                Output::Decision(decision) => decided.push_back(self.carry_out(at_ns, decision)),
                Output::Incident(incident) => self.respond.defend(incident),
                Output::FlowEnd(_)
                | Output::Finding(_)
                | Output::Rollback(_)
                | Output::Score(_)
                | Output::Vector(_)
                | Output::Window(..)
                | Output::Sequence(_)
                | Output::Loss { .. } => {}
            }
        }
        for item in outputs.drain(..) {
            self.tables.take(&item)?;
            if let (Some(tap), Output::FlowEnd(flow)) = (&mut self.flow_tap, &item) {
                tap(flow);
            }
            if let Some(record) = self.record(at_ns, &item, &mut decided) {
                self.sink.take(record)?;
            }
        }
        // The memory of a burst isn't kept.
        if outputs.capacity() <= MAX_KEPT {
            self.outputs = outputs;
        }
        self.sink.flush()
    }
}
