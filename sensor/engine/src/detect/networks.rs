//! Networks over sequences: what they say is an input of the engine, and becomes a finding where it reaches the
//! network's own threshold.

use std::sync::Arc;

use sensor_common::Address;

use super::Detect;
use super::Detector;
use super::family::Family;
use super::finding::{Entity, Evidence, Finding};
use crate::address::to_ip;
use crate::config::{Config, SECOND_NS};
use crate::features::SequenceKind;
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::note::Note;

/// Subjects whose latest findings are remembered, 64 bytes each.
const MAX_REPORTED: usize = 8_192;
/// Time between two findings about the same.
const REPEAT_NS: u64 = 60 * SECOND_NS;
/// Least and greatest share of ordinary sequences that a network may be wrong on: of fewer no file of figures
/// can tell, and one that is wrong more often than that is no evidence.
const WRONG: (f64, f64) = (1e-5, 0.1);

/// Answer of a network to a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub kind: SequenceKind,
    pub source: Address,
    pub host: Option<Address>,
    /// Time of the sequence's first and last step.
    pub first_ns: u64,
    pub last_ns: u64,
    /// 0 to 1.
    pub score: f32,
    /// Score from which it is worth a finding.
    pub threshold: f32,
    /// Share of ordinary sequences kept out of training that reach the threshold.
    pub false_share: f64,
    /// Name of the network: kind and beginning of its hash.
    pub network: Arc<str>,
}

/// Time of the latest finding.
#[derive(Clone, Copy, Debug, Default)]
struct Reported(u64);

impl Priority for Reported {
    fn priority(&self) -> u64 {
        self.0
    }
}

type Key = (SequenceKind, Address, Option<Address>);

#[derive(Debug)]
pub(crate) struct NetworksDetector {
    reported: Bounded<Key, Reported>,
}

impl Detect for NetworksDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        Self {
            reported: Bounded::new("networks_reported", MAX_REPORTED, config.hash_seed),
        }
    }

    fn configure(&mut self, _config: &Config) {}

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.reported.usage());
    }
}

impl NetworksDetector {
    /// A finding where the score reaches the threshold, once a minute about the same; none of whom a detector
    /// found (`is_known`).
    pub(crate) fn take(
        &mut self,
        at_ns: u64,
        judgement: &Judgement,
        is_known: bool,
    ) -> Option<Finding> {
        let Judgement {
            score, threshold, ..
        } = *judgement;
        // What is no number is no finding.
        if is_known || score.is_nan() || score < threshold {
            return None;
        }
        let key = (judgement.kind, judgement.source, judgement.host);
        let reported = self.reported.get_or_insert_with(key, Reported::default);
        if reported.0 != 0 && at_ns.saturating_sub(reported.0) < REPEAT_NS {
            return None;
        }
        reported.0 = at_ns;
        Some(finding(judgement))
    }
}

fn finding(judgement: &Judgement) -> Finding {
    let share = judgement.false_share;
    let share = if share.is_finite() { share } else { WRONG.1 };
    let p_value = share.clamp(WRONG.0, WRONG.1);
    let destinations: Vec<std::net::IpAddr> = judgement.host.iter().map(to_ip).collect();
    Finding {
        window_ns: judgement.last_ns.saturating_sub(judgement.first_ns),
        first_ns: judgement.first_ns,
        score: -p_value.log10(),
        p_value,
        features: vec![Evidence {
            name: "network_score",
            observed: f64::from(judgement.score),
            expected: f64::from(judgement.threshold),
            share: 1.0,
        }],
        notes: vec![Note {
            name: "sensor.network",
            value: judgement.network.to_string(),
        }],
        sources: vec![to_ip(&judgement.source)],
        n_sources: 1,
        n_destinations: destinations.len() as u64,
        destinations,
        ..Finding::new(
            Detector::Networks,
            Family::BehaviourAnomaly,
            Entity::Source(judgement.source),
            judgement.last_ns,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement(score: f32) -> Judgement {
        Judgement {
            kind: SequenceKind::Contacts,
            source: [0, 0, 0, 1],
            host: Some([0, 0, 0, 2]),
            first_ns: SECOND_NS,
            last_ns: 90 * SECOND_NS,
            score,
            threshold: 0.75,
            false_share: 1e-3,
            network: "contacts:0a1b2c3d".into(),
        }
    }

    #[test]
    fn a_score_that_reaches_the_threshold_is_a_finding_once_a_minute() {
        let mut networks = NetworksDetector::new(&Config::default());
        let at_ns = 100 * SECOND_NS;
        assert_eq!(networks.take(at_ns, &judgement(0.74), false), None);
        assert_eq!(networks.take(at_ns, &judgement(f32::NAN), false), None);
        let found = networks.take(at_ns, &judgement(0.75), false);
        let found = found.expect("a finding");
        assert!((found.score - 3.0).abs() < 1e-9 && found.grades == super::super::Grades::SHAPE);
        assert_eq!(networks.take(at_ns + 1, &judgement(0.9), false), None);
        let later = at_ns + REPEAT_NS;
        assert!(networks.take(later, &judgement(0.9), false).is_some());
    }

    #[test]
    fn nothing_is_added_to_what_a_detector_found() {
        let mut networks = NetworksDetector::new(&Config::default());
        assert_eq!(networks.take(SECOND_NS, &judgement(1.0), true), None);
    }

    #[test]
    fn no_manifest_makes_a_finding_strong() {
        let mut sure = judgement(1.0);
        for false_share in [0.0, -1.0, f64::NAN, 5.0] {
            sure.false_share = false_share;
            let score = finding(&sure).score;
            assert!((1.0..=5.0).contains(&score), "{score}");
        }
    }
}
