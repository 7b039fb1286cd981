//! Confidence in findings: lowered by losses on the way to the detector, by a cold start and by drift.
/// 0 to 1.
/// Value from 0 to 1.
use crate::config::SECOND_NS;
use crate::detect::{AGREES, DISAGREES, DRIFT_NOTE, Detector, Finding, LEARNED_NOTE, Reads};
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

    /// Lowers it where the learned model takes what was found for ordinary.
    pub(super) fn of_learned(mut self, finding: &Finding) -> Self {
        if says(finding, DISAGREES) {
            self.value *= IF_ORDINARY;
            self.lowered_by.push(Lowered::Learned);
        }
        self
    }

    /// Lowers it where flows are those of exported records, and again where some were sampled.
    pub(super) fn of_records(mut self, from_records: bool, is_sampled: bool) -> Self {
        for (holds, factor, by) in [
            (from_records, OF_RECORDS, Lowered::Records),
            (is_sampled, IF_SAMPLED, Lowered::Sampled),
        ] {
            if holds {
                self.value *= factor;
                self.lowered_by.push(by);
            }
        }
        self
    }

    /// Gives back half of what it was lowered by where the learned model finds the same; its own doubt is
    /// gone.
    pub(super) fn confirm(&mut self, finding: &Finding) {
        if !says(finding, AGREES) || self.value >= 1.0 {
            return;
        }
        if self.lowered_by.contains(&Lowered::Learned) {
            self.lowered_by.retain(|reason| *reason != Lowered::Learned);
            self.value /= IF_ORDINARY;
        }
        self.value = self
            .value
            .max(1.0 - (1.0 - self.value) * IF_CONFIRMED)
            .min(1.0);
    }

    /// Takes the lower of both values and the reasons of either.
    pub(super) fn join(&mut self, other: Self) {
        self.value = self.value.min(other.value);
        for reason in other.lowered_by {
            if !self.lowered_by.contains(&reason) {
                self.lowered_by.push(reason);
            }
        }
    }
}

/// Reason that lowers confidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lowered {
    /// A stage shed something within the minute before.
    Loss(Loss),
    /// Limits are priors still, the network's own normal is hardly known.
    WarmUp,
    /// The learned model takes it for ordinary.
    Learned,
    /// The traffic changed lately, and the models' scores are calibrated anew.
    Drift,
    /// Flows are those of exported records.
    Records,
    /// Packets were sampled before they became records.
    Sampled,
}

impl Lowered {
    pub fn label(&self) -> String {
        match self {
            Self::Loss(loss) => format!("{}/{}", loss.stage(), loss.reason()),
            Self::WarmUp => "warm_up".to_owned(),
            Self::Learned => "learned".to_owned(),
            Self::Drift => "drift".to_owned(),
            Self::Records => "flow_records".to_owned(),
            Self::Sampled => "sampled".to_owned(),
        }
    }
}

/// Factors of a loss that affects the detector, of a cold start, and of drift.
const AFTER_LOSS: f64 = 0.7;
const IN_WARM_UP: f64 = 0.9;
const IN_DRIFT: f64 = 0.7;
/// Factor of flow records: as after a loss, for single packets are lost in all of them.
const OF_RECORDS: f64 = 0.7;
/// Factor of sampling: most packets are lost.
const IF_SAMPLED: f64 = 0.7;
/// Time for which a sampled record counts: exporters change seldom how they sample.
const SAMPLED_NS: u64 = 3_600 * SECOND_NS;
/// Factor where the learned model disagrees, and what is left of the doubt where it agrees.
const IF_ORDINARY: f64 = 0.8;
const IF_CONFIRMED: f64 = 0.5;
/// Time for which a loss counts.
const LOSS_NS: u64 = 60 * SECOND_NS;
/// Event time after which limits have met the network.
const WARM_UP_NS: u64 = 600 * SECOND_NS;

/// Recent events that lower confidence.
#[derive(Debug, Default)]
pub(super) struct Reliability {
    /// Time at which each loss last occurred.
    losses: Vec<(Loss, u64)>,
    began_ns: Option<u64>,
    is_restored: bool,
    /// Time of the last flow record of sampled packets.
    sampled_ns: Option<u64>,
}

impl Reliability {
    pub(super) fn note_time(&mut self, at_ns: u64) {
        self.began_ns.get_or_insert(at_ns);
    }

    pub(super) fn note_restored(&mut self) {
        self.is_restored = true;
    }

    pub(super) const fn note_sampled(&mut self, at_ns: u64) {
        self.sampled_ns = Some(at_ns);
    }

    pub(super) fn is_sampled(&self, at_ns: u64) -> bool {
        let last_ns = self.sampled_ns;
        last_ns.is_some_and(|last_ns| at_ns.saturating_sub(last_ns) < SAMPLED_NS)
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
            if at_ns.saturating_sub(*last_ns) < LOSS_NS && is_affected(detector, *loss) {
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
fn is_affected(detector: Detector, loss: Loss) -> bool {
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
        // What a network was not asked of.
        Loss::Sequences | Loss::Networks => reads == Reads::Sequences,
        // Further incidents and profiles that found no room say nothing about this one.
        Loss::Profiles | Loss::Incidents | Loss::Outcomes => false,
    }
}

fn says(finding: &Finding, word: &str) -> bool {
    let mut notes = finding.notes.iter();
    notes.any(|note| note.name == LEARNED_NOTE && note.value == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_lowers_confidence_for_a_minute() {
        let at_ns = 10_000 * SECOND_NS;
        let mut reliability = Reliability::default();
        reliability.note_time(0);
        assert_eq!(reliability.of(at_ns, Detector::Scan), Confidence::FULL);
        reliability.note_loss(at_ns, Loss::Flows);
        reliability.note_loss(at_ns, Loss::Flows);
        let lowered = reliability.of(at_ns, Detector::Scan);
        assert_eq!(lowered.value, AFTER_LOSS);
        assert_eq!(lowered.lowered_by.len(), 1);
        assert_eq!(lowered.lowered_by[0].label(), "flow/table_full");
        // A flood is seen in the host rows.
        assert_eq!(reliability.of(at_ns, Detector::HostRates), Confidence::FULL);
        let later = at_ns + LOSS_NS;
        assert_eq!(reliability.of(later, Detector::Scan), Confidence::FULL);
    }

    #[test]
    fn sequences_that_no_network_saw_lower_confidence_in_networks_alone() {
        let at_ns = 10_000 * SECOND_NS;
        for loss in [Loss::Networks, Loss::Sequences] {
            let mut reliability = Reliability::default();
            reliability.note_time(0);
            reliability.note_loss(at_ns, loss);
            let lowered = reliability.of(at_ns, Detector::Networks);
            assert_eq!(lowered.lowered_by, [Lowered::Loss(loss)]);
            assert_eq!(reliability.of(at_ns, Detector::Learned), Confidence::FULL);
        }
    }

    #[test]
    fn a_cold_start_lowers_confidence_and_a_restored_one_does_not() {
        let mut reliability = Reliability::default();
        reliability.note_time(5);
        let cold = reliability.of(6, Detector::Models);
        assert_eq!(cold.lowered_by, [Lowered::WarmUp]);
        assert!(cold.value < 1.0);
        reliability.note_restored();
        assert_eq!(reliability.of(6, Detector::Models), Confidence::FULL);
    }

    #[test]
    fn flow_records_lower_confidence_and_sampling_does_so_again() {
        let whole = Confidence::FULL.of_records(true, false);
        assert_eq!((whole.value, whole.lowered_by.len()), (OF_RECORDS, 1));
        let mut reliability = Reliability::default();
        assert!(!reliability.is_sampled(SECOND_NS));
        reliability.note_sampled(SECOND_NS);
        let sampled = Confidence::FULL.of_records(true, reliability.is_sampled(2 * SECOND_NS));
        assert!(sampled.value < whole.value);
        assert_eq!(sampled.lowered_by, [Lowered::Records, Lowered::Sampled]);
        assert!(!reliability.is_sampled(SECOND_NS + SAMPLED_NS));
    }

    #[test]
    fn the_learned_model_takes_confidence_and_gives_half_of_it_back() {
        let said = |word: &str| {
            let mut finding = crate::tests::finding_of_scan();
            finding.notes.push(crate::note::Note {
                name: LEARNED_NOTE,
                value: word.to_owned(),
            });
            finding
        };
        let doubted = Confidence::FULL.of_learned(&said(DISAGREES));
        assert_eq!(doubted.lowered_by, [Lowered::Learned]);
        assert_eq!(doubted.value, IF_ORDINARY);
        let mut confirmed = doubted.clone();
        confirmed.confirm(&said(DISAGREES));
        assert_eq!(confirmed, doubted);
        confirmed.confirm(&said(AGREES));
        assert_eq!(confirmed, Confidence::FULL);
        let mut after_loss = Confidence {
            value: AFTER_LOSS,
            lowered_by: vec![Lowered::Loss(Loss::Flows)],
        };
        after_loss.confirm(&said(AGREES));
        assert!(after_loss.value > AFTER_LOSS && after_loss.value < 1.0);
    }
}
