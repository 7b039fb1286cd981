use super::*;
use crate::config::LearnedConfig;
use crate::features::N_PAIR_FEATURES;
use crate::flow::{Delta, Progress};
use crate::models::{BoostedRow, Boosting, Rng};
use crate::tests::{T0, ip};

/// Trees that take refused attempts for attacks.
fn model() -> Arc<Boosted> {
    let place = PAIR_FEATURES.iter().position(|f| f.name == "refused_share");
    let place = place.expect("a column");
    let mut rng = Rng::new(1);
    let row = |_| {
        let mut values = [0.0; N_PAIR_FEATURES];
        values[place] = rng.unit();
        BoostedRow {
            values,
            is_attack: values[place] > 0.5,
            weight: 1.0,
        }
    };
    let rows: Vec<BoostedRow> = (0..400).map(row).collect();
    let mut model = Boosted::grow(&rows, &Boosting::default());
    model.scale.alarm = [2.0, 2.0];
    model.scale.tail = vec![0.0, 2.0];
    model.scale.ordinary = 0.0;
    model.scale.typical = vec![0.0; N_PAIR_FEATURES];
    Arc::new(model)
}

fn detector() -> LearnedDetector {
    let learned = LearnedConfig {
        model: Some(model()),
        ..LearnedConfig::default()
    };
    LearnedDetector::new(&Config {
        learned,
        ..Config::default()
    })
}

fn attempt(at_s: u64, progress: Progress) -> FlowUpdate {
    let packets = Delta {
        packets: 1,
        bytes: 60,
        ..Delta::default()
    };
    FlowUpdate {
        source: ip(1),
        destination: ip(2),
        source_port: 40_000,
        destination_port: 80,
        protocol: sensor_common::packet::protocol::TCP,
        is_claimed: false,
        has_fragments: false,
        forward: packets,
        backward: packets,
        n_forward: 1,
        n_backward: 1,
        is_attempt: true,
        is_one_way: false,
        begins_to_close: false,
        n_flags: [1, 0, 0, 0, 0],
        is_stray: false,
        is_new: true,
        progress,
        has_progressed: true,
        has_closed: false,
        first_ns: T0 + at_s * SECOND_NS,
        last_ns: T0 + at_s * SECOND_NS,
    }
}

/// A minute of attempts, one a second.
fn minute(
    detector: &mut LearnedDetector,
    progress: Progress,
    found: Option<&Finding>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for at_s in 1..=60 {
        let at_ns = T0 + at_s * SECOND_NS;
        detector.take_all(at_ns, &[attempt(at_s, progress)]);
        if let Some(found) = found {
            detector.weigh(at_ns, &mut found.clone());
        }
        detector.tick(at_ns, &mut findings);
    }
    findings
}

fn found() -> Finding {
    Finding {
        sources: vec![to_ip(&ip(1))],
        n_sources: 1,
        destinations: vec![to_ip(&ip(2))],
        n_destinations: 1,
        ..Finding::new(Detector::Scan, Family::PortScan, Entity::Source(ip(1)), T0)
    }
}

#[test]
fn a_run_of_windows_like_attacks_is_found_once_a_minute_and_ordinary_ones_are_not() {
    let findings = minute(&mut detector(), Progress::Refused, None);
    let about: Vec<usize> = findings.iter().map(|f| f.destinations.len()).collect();
    assert_eq!(about, [1, 0], "the pair and the source");
    let told = &findings[0];
    assert_eq!(told.family, Family::BehaviourAnomaly);
    assert!(!told.grades.is_proof());
    assert_eq!(told.features[0].name, "refused_share");
    assert_eq!(
        (told.features[0].observed, told.features[0].expected),
        (1.0, 0.0)
    );
    assert!(minute(&mut detector(), Progress::Established, None).is_empty());
}

#[test]
fn what_a_detector_found_is_not_found_again_but_spoken_of() {
    let mut detector = detector();
    assert!(minute(&mut detector, Progress::Refused, Some(&found())).is_empty());
    let mut finding = found();
    detector.weigh(T0 + 61 * SECOND_NS, &mut finding);
    assert_eq!(finding.notes[0].value, AGREES);
    // Nothing is said of long ago.
    let mut finding = found();
    detector.weigh(T0 + 90 * SECOND_NS, &mut finding);
    assert!(finding.notes.is_empty());
    let mut detector = self::detector();
    minute(&mut detector, Progress::Established, None);
    let mut finding = found();
    detector.weigh(T0 + 61 * SECOND_NS, &mut finding);
    assert_eq!(finding.notes[0].value, DISAGREES);
}

#[test]
fn what_the_streaming_models_find_odd_needs_a_window_that_is_not_plainly_ordinary() {
    let odd = |source| {
        Finding::new(
            Detector::Models,
            Family::BehaviourAnomaly,
            Entity::Source(ip(source)),
            T0,
        )
    };
    let at_ns = T0 + 61 * SECOND_NS;
    let mut detector = detector();
    minute(&mut detector, Progress::Refused, None);
    assert!(!detector.doubts(at_ns, &odd(1)));
    assert!(detector.doubts(at_ns, &odd(9)), "never seen");
    assert!(detector.doubts(at_ns + FRESH_NS, &odd(1)), "long ago");
    // The word of a detector that knows what it saw needs no other.
    assert!(!detector.doubts(at_ns, &found()));
    let mut detector = self::detector();
    minute(&mut detector, Progress::Established, None);
    assert!(detector.doubts(at_ns, &odd(1)));
    // Without a model there is nobody to ask.
    let config = Config {
        learned: LearnedConfig {
            enabled: false,
            ..LearnedConfig::default()
        },
        ..Config::default()
    };
    assert!(!LearnedDetector::new(&config).doubts(at_ns, &odd(1)));
}
