//! How far a finding can be relied on: what was lost on the way to the detector, and whether it knows
//! the network yet.

use crate::config::SECOND_NS;
use crate::detect::{DRIFT_NOTE, Detector, Finding};

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
    Loss {
        stage: &'static str,
        reason: &'static str,
    },
    /// Limits are priors still, the network's own normal is hardly known.
    WarmUp,
    /// The traffic changed lately, and the models' scores are calibrated anew.
    Drift,
}

impl Lowered {
    pub fn label(&self) -> String {
        match self {
            Self::Loss { stage, reason } => format!("{stage}/{reason}"),
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
    losses: Vec<(&'static str, &'static str, u64)>,
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

    pub(super) fn note_loss(&mut self, at_ns: u64, stage: &'static str, reason: &'static str) {
        let mut known = self.losses.iter_mut();
        match known.find(|loss| (loss.0, loss.1) == (stage, reason)) {
            Some(loss) => loss.2 = at_ns,
            None => self.losses.push((stage, reason, at_ns)),
        }
    }

    pub(super) fn of(&self, at_ns: u64, detector: Detector) -> Confidence {
        let mut confidence = Confidence::FULL;
        for (stage, reason, last_ns) in &self.losses {
            if at_ns.saturating_sub(*last_ns) < LOSS_NS && is_felt(detector, stage, reason) {
                confidence.value *= AFTER_LOSS;
                confidence.lowered_by.push(Lowered::Loss { stage, reason });
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

/// Does the detector work with what was lost?
fn is_felt(detector: Detector, stage: &str, reason: &str) -> bool {
    let is_of_samples = matches!(
        detector,
        Detector::ArpSpoof
            | Detector::ArpSweep
            | Detector::DnsTunnel
            | Detector::Dga
            | Detector::Replies
            | Detector::Mqtt
            | Detector::Fieldbus
            | Detector::IcmpTunnel
            | Detector::Injection
            | Detector::Extensions
    );
    let is_of_rows = matches!(
        detector,
        Detector::HostRates | Detector::ScanRows | Detector::Volume
    );
    match (stage, reason) {
        ("capture", "samples_over_budget" | "event_ring_full")
        | ("detect", "content_tables_full") => is_of_samples,
        ("capture", "host_rows_full") | ("features", "hosts_full") => is_of_rows,
        ("features", _) => detector == Detector::Models,
        ("flow", _) | ("detect", "scan_windows_full" | "habits_full") => {
            !is_of_samples && !is_of_rows
        }
        // Further incidents and profiles that found no room say nothing about this one.
        _ => false,
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
        doubts.note_loss(at_ns, "flow", "table_full");
        doubts.note_loss(at_ns, "flow", "table_full");
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
