//! Wires the stages: what was captured goes into the engine, what comes out is carried out and
//! printed. Time comes with the input.

use std::collections::BTreeMap;
use std::io;

use sensor_engine::{CheckpointError, Config, Engine, Input, Output, State, Stats};
use serde_json::Value;

use crate::config::OutputSettings;
use crate::output;
use crate::print::Sink;
use crate::respond::Respond;
use sensor_capture::drive::Listener;

/// What is put out besides incidents and decisions.
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

/// Engine, response and output.
pub struct Pipeline<R> {
    engine: Engine,
    pub respond: R,
    show: Show,
    sink: Box<dyn Sink + Send>,
    outputs: Vec<Output>,
    n_incidents: BTreeMap<&'static str, u64>,
    n_verdicts: [u64; 3],
}

impl<R: Respond> Pipeline<R> {
    pub fn new(mut config: Config, respond: R, show: Show, sink: Box<dyn Sink + Send>) -> Self {
        config.omit_flows = !show.flows;
        let engine = Engine::new(config);
        Self {
            engine,
            respond,
            show,
            sink,
            outputs: Vec::new(),
            n_incidents: BTreeMap::new(),
            n_verdicts: [0; 3],
        }
    }

    /// Works by other thresholds from now on, and puts out other things.
    pub fn configure(&mut self, config: &Config, show: Show) {
        let mut config = config.clone();
        config.omit_flows = !show.flows;
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

    /// Decisions carried out, refused by the guard, and failed.
    pub const fn verdicts(&self) -> [u64; 3] {
        self.n_verdicts
    }

    /// Incidents opened so far, by family.
    pub const fn incidents(&self) -> &BTreeMap<&'static str, u64> {
        &self.n_incidents
    }

    /// Flow records exported so far.
    pub fn n_flows_ended(&self) -> u64 {
        self.engine.stats().n_flows_ended
    }

    fn value(&mut self, at_ns: u64, item: &Output) -> Option<Value> {
        match item {
            Output::FlowEnd(flow) => self.show.flows.then(|| output::flow(at_ns, flow)),
            Output::Finding(finding) => self.show.findings.then(|| output::finding(at_ns, finding)),
            Output::Incident(incident) => {
                if incident.state == State::Opened {
                    *self.n_incidents.entry(incident.family.label()).or_default() += 1;
                }
                Some(output::incident(at_ns, incident))
            }
            Output::Decision(decision) => {
                let verdict = self.respond.carry_out(decision);
                let [n_allowed, n_refused, n_failed] = &mut self.n_verdicts;
                *match verdict.guard.split(':').next() {
                    Some("refused") => n_refused,
                    Some("failed") => n_failed,
                    _ => n_allowed,
                } += 1;
                Some(output::decision(at_ns, decision, &verdict))
            }
            Output::Score(_) | Output::Vector(_) => None,
            Output::Loss {
                stage,
                reason,
                count,
            } => Some(output::loss(at_ns, stage, reason, *count)),
        }
    }
}

impl<R: Respond> Listener for Pipeline<R> {
    /// Feeds the engine. Outputs wait for [`Self::deliver`].
    fn feed(&mut self, at_ns: u64, input: Input<'_>) {
        self.engine.handle(at_ns, input, &mut self.outputs);
    }

    fn wants_flows(&self) -> bool {
        self.engine.wants_flows()
    }

    /// Ends every flow and incident.
    fn finish(&mut self, at_ns: u64) {
        self.engine.finish(at_ns, &mut self.outputs);
    }

    /// Carries out and puts out what the engine said.
    fn deliver(&mut self, at_ns: u64) -> io::Result<()> {
        if self.outputs.is_empty() {
            return Ok(());
        }
        let mut outputs = std::mem::take(&mut self.outputs);
        for item in outputs.drain(..) {
            if let Some(value) = self.value(at_ns, &item) {
                self.sink.take(value)?;
            }
        }
        // The memory of a burst isn't kept.
        if outputs.capacity() <= MAX_KEPT {
            self.outputs = outputs;
        }
        self.sink.flush()
    }
}
