//! How far a finding can be relied on: what was lost on the way to the detector, and whether it knows
//! the network yet.

use crate::config::SECOND_NS;
use crate::detect::{DRIFT_NOTE, Detector, Finding, Reads};
use crate::losses::Loss;

/// Confidence in an incident, with what lowered it.
#[derive(Clone, Debug, PartialEq)]
pub struct Confidence {
    /// 0 to 1.
    pub value: f64,
    pub lowered_by: Vec<Lowered>,
}

impl Confidence {
    pub(super) const FULL: Self = Self {
        value: 1.0,
        lowered_by: Vec::new(),
    };

    /// Lowers it where the finding says that scores are calibrated anew.
    pub(super) fn of_drift(mut self, finding: &Finding) -> Self {
        if finding.notes.iter().any(|note| note.name == DRIFT_NOTE) {
            self.value *= IN_DRIFT;
            self.lowered_by.push(Lowered::Drift);
        }
        self
    }

    /// The lower of both, with the reasons of either.
    pub(super) fn join(&mut self, other: Self) {
        self.value = self.value.min(other.value);
        for reason in other.lowered_by {
            if !self.lowered_by.contains(&reason) {
                self.lowered_by.push(reason);
            }
        }
    }
}

/// One reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lowered {
    /// A stage shed something within the minute before.
    Loss(Loss),
    /// Limits are priors still, the network's own normal is hardly known.
    WarmUp,
    /// The traffic changed lately, and the models' scores are calibrated anew.
    Drift,
}

impl Lowered {
    pub fn label(&self) -> String {
        match self {
            Self::Loss(loss) => format!("{}/{}", loss.stage(), loss.reason()),
            Self::WarmUp => "warm_up".to_owned(),
            Self::Drift => "drift".to_owned(),
        }
    }
}

/// What a loss that the detector feels leaves of the confidence, and what a cold start does.
const AFTER_LOSS: f64 = 0.7;
const IN_WARM_UP: f64 = 0.9;
const IN_DRIFT: f64 = 0.7;
/// A loss matters for so long.
const LOSS_NS: u64 = 60 * SECOND_NS;
/// Event time after which limits have met the network.
const WARM_UP_NS: u64 = 600 * SECOND_NS;

/// What happened lately that lowers confidence.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// When each reason last occurred: one entry for each that there is.
    losses: Vec<(Loss, u64)>,
    began_ns: Option<u64>,
    is_restored: bool,
}

impl Doubts {
    pub(super) fn note_time(&mut self, at_ns: u64) {
        self.began_ns.get_or_insert(at_ns);
    }

    pub(super) fn note_restored(&mut self) {
        self.is_restored = true;
    }

    pub(super) fn note_loss(&mut self, at_ns: u64, loss: Loss) {
        let mut known = self.losses.iter_mut();
        match known.find(|(known, _)| *known == loss) {
            Some((_, last_ns)) => *last_ns = at_ns,
            None => self.losses.push((loss, at_ns)),
        }
    }

    pub(super) fn of(&self, at_ns: u64, detector: Detector) -> Confidence {
        let mut confidence = Confidence::FULL;
        for (loss, last_ns) in &self.losses {
            if at_ns.saturating_sub(*last_ns) < LOSS_NS && is_felt(detector, *loss) {
                confidence.value *= AFTER_LOSS;
                confidence.lowered_by.push(Lowered::Loss(*loss));
            }
        }
        let age_ns = at_ns.saturating_sub(self.began_ns.unwrap_or(at_ns));
        if !self.is_restored && age_ns < WARM_UP_NS {
            confidence.value *= IN_WARM_UP;
            confidence.lowered_by.push(Lowered::WarmUp);
        }
        confidence
    }
}

/// True where the detector works with what was lost: its input, or its own tables.
fn is_felt(detector: Detector, loss: Loss) -> bool {
    let reads = detector.reads();
    match loss {
        Loss::SamplesOverBudget | Loss::EventRing => reads == Reads::Samples,
        Loss::HostRows | Loss::Hosts => reads == Reads::Rows,
        // Vectors are made of flows.
        Loss::Flows => matches!(reads, Reads::Flows | Reads::Vectors),
        Loss::Subjects | Loss::Vectors | Loss::Baselines => reads == Reads::Vectors,
        Loss::HostTables | Loss::ScanWindows | Loss::ContentTables | Loss::Habits => {
            detector.loss() == loss
        }
        // Further incidents and profiles that found no room say nothing about this one.
        Loss::Profiles | Loss::Incidents => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_on_the_way_is_said_and_forgotten() {
        let at_ns = 10_000 * SECOND_NS;
        let mut doubts = Doubts::default();
        doubts.note_time(0);
        assert_eq!(doubts.of(at_ns, Detector::Scan), Confidence::FULL);
        doubts.note_loss(at_ns, Loss::Flows);
        doubts.note_loss(at_ns, Loss::Flows);
        let lowered = doubts.of(at_ns, Detector::Scan);
        assert_eq!(lowered.value, AFTER_LOSS);
        assert_eq!(lowered.lowered_by.len(), 1);
        assert_eq!(lowered.lowered_by[0].label(), "flow/table_full");
        // A flood is seen in the host rows.
        assert_eq!(doubts.of(at_ns, Detector::HostRates), Confidence::FULL);
        let later = at_ns + LOSS_NS;
        assert_eq!(doubts.of(later, Detector::Scan), Confidence::FULL);
    }

    #[test]
    fn a_cold_start_is_said_and_a_restored_one_is_none() {
        let mut doubts = Doubts::default();
        doubts.note_time(5);
        let cold = doubts.of(6, Detector::Models);
        assert_eq!(cold.lowered_by, [Lowered::WarmUp]);
        assert!(cold.value < 1.0);
        doubts.note_restored();
        assert_eq!(doubts.of(6, Detector::Models), Confidence::FULL);
    }
}
