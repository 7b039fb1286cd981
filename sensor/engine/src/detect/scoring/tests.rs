use super::*;
use crate::features::Column;
use crate::models::Rng;
use crate::tests::{T0, ip};

const N_SOURCES: u16 = 40;

/// Vector of what a source usually does.
fn usual(rng: &mut Rng, source: u16, at_ns: u64) -> Vector {
    let mut values = [0.0; N_FEATURES];
    for (value, feature) in values.iter_mut().zip(&FEATURES) {
        *value = feature.prior.0 + 0.3 * feature.prior.1 * (2.0 * rng.unit() - 1.0);
    }
    Vector {
        subject: Subject::Source(ip(source)),
        first_ns: at_ns,
        last_ns: at_ns,
        n_packets: 10,
        values,
    }
}

fn odd(rng: &mut Rng, source: u16, at_ns: u64) -> Vector {
    let mut vector = usual(rng, source, at_ns);
    for column in [Column::Peers, Column::Flows, Column::Failed, Column::Syn] {
        vector.values[column as usize] = 6.0;
    }
    vector
}

struct Run {
    scoring: Scoring,
    rng: Rng,
    at_ns: u64,
    findings: Vec<Finding>,
}

impl Run {
    fn new(config: &ScoringConfig) -> Self {
        Self {
            scoring: Scoring::new(config, 1),
            rng: Rng::new(8),
            at_ns: T0,
            findings: Vec::new(),
        }
    }

    /// One window; the scores of the odd source.
    fn window(&mut self, n_odd: u16) -> Vec<Score> {
        self.at_ns += WINDOW_NS;
        for source in 0..N_SOURCES {
            let vector = usual(&mut self.rng, source, self.at_ns);
            self.scoring.take(self.at_ns, &vector, &mut self.findings);
        }
        let scores = (0..n_odd)
            .map(|i| {
                let vector = odd(&mut self.rng, 1_000 + i, self.at_ns);
                self.scoring.take(self.at_ns, &vector, &mut self.findings)
            })
            .collect();
        self.scoring.close(self.at_ns, &mut |_| {});
        scores
    }
}

#[test]
fn usual_vectors_make_no_alarm_and_lasting_odd_ones_do() {
    let mut run = Run::new(&ScoringConfig::default());
    for _ in 0..100 {
        run.window(0);
    }
    assert_eq!(run.findings, []);
    let scores: Vec<Score> = (0..20).flat_map(|_| run.window(1)).collect();
    assert!(scores.iter().all(|score| score.fused > 2.0), "{scores:?}");
    assert_eq!(run.findings.len(), 1);
    let finding = &run.findings[0];
    assert_eq!(finding.entity, Entity::Source(ip(1_000)));
    let names: Vec<&str> = finding.features.iter().map(|f| f.name).collect();
    assert!(
        names
            .iter()
            .any(|n| ["failed", "syn", "flows", "peers"].contains(n)),
        "{names:?}"
    );
}

#[test]
fn models_that_become_ready_raise_no_scores() {
    let mut run = Run::new(&ScoringConfig::default());
    let mut n_odd = 0;
    for window in 0..100 {
        run.at_ns += WINDOW_NS;
        for source in 0..N_SOURCES {
            // Nobody comes twice: at first all that is known of them is that they are new.
            let vector = usual(&mut run.rng, window * N_SOURCES + source, run.at_ns);
            let score = run.scoring.take(run.at_ns, &vector, &mut run.findings);
            n_odd += u32::from(score.ensemble >= 4.0);
        }
        run.scoring.close(run.at_ns, &mut |_| {});
    }
    // One in ten thousand is said to be; there are 4,000.
    assert!(n_odd <= 4, "{n_odd}");
}

#[test]
fn odd_vectors_are_not_learned_from() {
    let mut run = Run::new(&ScoringConfig::default());
    for _ in 0..100 {
        run.window(0);
    }
    let first = run.window(1)[0].fused;
    for _ in 0..100 {
        run.window(1);
    }
    let last = run.window(1)[0].fused;
    assert!(last > 0.7 * first, "{first} {last}");
    assert!(run.scoring.n_withheld >= 100);
}

#[test]
fn a_crowd_of_subjects_is_learned_as_one_event() {
    let mut run = Run::new(&ScoringConfig::default());
    for _ in 0..100 {
        run.window(0);
    }
    let first = run.window(500)[0].fused;
    for _ in 0..5 {
        run.window(500);
    }
    let last = run.window(500)[499].fused;
    assert!(last > 0.7 * first, "{first} {last}");
}

#[test]
fn odd_behaviour_that_lasts_is_learned_at_last() {
    let config = ScoringConfig {
        readmit_windows: 30,
        ..ScoringConfig::default()
    };
    let mut run = Run::new(&config);
    for _ in 0..100 {
        run.window(0);
    }
    let first = run.window(1)[0].fused;
    for _ in 0..300 {
        run.window(1);
    }
    let last = run.window(1)[0].fused;
    assert!(last < 0.7 * first, "{first} {last}");
}

#[test]
fn feedback_decides_what_is_learned() {
    let config = ScoringConfig {
        readmit_windows: 30,
        ..ScoringConfig::default()
    };
    let after = |feedback: Option<Feedback>, n_windows: u16| {
        let mut run = Run::new(&config);
        for _ in 0..100 {
            run.window(0);
        }
        let first = run.window(1)[0].fused;
        if let Some(feedback) = feedback {
            let entity = Entity::Source(ip(1_000));
            run.scoring.take_feedback(run.at_ns, &entity, feedback);
        }
        for _ in 0..n_windows {
            run.window(1);
        }
        run.window(1)[0].fused / first
    };
    // Benign: from the next window on. Attack: also after the time from which persistence counts.
    let (silent, benign) = (after(None, 25), after(Some(Feedback::Benign), 25));
    assert!(benign < 0.8 * silent, "{benign} {silent}");
    let (silent, attack) = (after(None, 300), after(Some(Feedback::Attack), 300));
    assert!(attack > 1.3 * silent, "{attack} {silent}");
}

#[test]
fn equal_vectors_give_equal_scores() {
    let once = || {
        let mut run = Run::new(&ScoringConfig::default());
        (0..60).flat_map(|_| run.window(1)).collect::<Vec<Score>>()
    };
    assert_eq!(once(), once());
}

#[test]
fn a_restored_engine_continues_as_if_it_had_not_stopped() {
    let config = ScoringConfig::default();
    let mut run = Run::new(&config);
    for _ in 0..60 {
        run.window(1);
    }
    let bytes = postcard::to_stdvec(&run.scoring.learned()).unwrap();
    let mut other = Run::new(&config);
    let learned = postcard::from_bytes(&bytes).expect("sound");
    other.scoring.restore(learned).expect("same models");
    (other.rng, other.at_ns, other.scoring.start_ns) = (run.rng.clone(), run.at_ns, run.at_ns);
    for _ in 0..30 {
        assert_eq!(run.window(1), other.window(1));
    }
    let mut fewer = Scoring::new(
        &ScoringConfig {
            models: vec![ModelKind::KitNet],
            ..config
        },
        1,
    );
    let learned = postcard::from_bytes(&bytes).expect("sound");
    assert_eq!(fewer.restore(learned), Err(CheckpointError::Models));
}

/// Prints what a vector costs: `cargo test --release cost_of_scoring_a_vector -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn cost_of_scoring_a_vector() {
    let mut run = Run::new(&ScoringConfig::default());
    let begin = std::time::Instant::now();
    let n_windows = 2_000;
    for _ in 0..n_windows {
        run.window(1);
    }
    let n = n_windows * u32::from(N_SOURCES + 1);
    println!(
        "{:.0} ns a vector",
        begin.elapsed().as_nanos() as f64 / f64::from(n)
    );
}

#[test]
fn feedback_outlasts_a_restart() {
    let config = ScoringConfig::default();
    let mut before = Scoring::new(&config, 1);
    let entity = Entity::Victim(ip(7));
    before.take_feedback(T0, &entity, Feedback::Attack);
    let bytes = postcard::to_stdvec(&before.learned()).unwrap();
    let mut after = Scoring::new(&config, 1);
    after
        .restore(postcard::from_bytes(&bytes).unwrap())
        .unwrap();
    assert_eq!(after.feedback, before.feedback);
    assert_eq!(
        after.feedback.of(T0, (ip(7), false)),
        Some(Feedback::Attack)
    );
}

#[test]
fn a_change_of_the_traffic_is_noticed_and_learned_soon() {
    let mut run = Run::new(&ScoringConfig::default());
    for _ in 0..250 {
        run.window(0);
    }
    assert_eq!((run.scoring.n_drifts(), run.scoring.n_adapting()), (0, 0));
    let moved = |run: &mut Run| {
        run.at_ns += WINDOW_NS;
        let mut sum = 0.0;
        for source in 0..N_SOURCES {
            let mut vector = usual(&mut run.rng, source, run.at_ns);
            for (value, feature) in vector.values.iter_mut().zip(&FEATURES) {
                *value += 0.8 * feature.prior.1;
            }
            let score = run.scoring.take(run.at_ns, &vector, &mut run.findings);
            sum += score.fused / f32::from(N_SOURCES);
        }
        run.scoring.close(run.at_ns, &mut |_| {});
        sum
    };
    let first = moved(&mut run);
    let (mut was_adapting, mut has_settled) = (false, false);
    let mut last = first;
    for _ in 0..500 {
        last = moved(&mut run);
        was_adapting |= run.scoring.n_adapting() > 0;
        has_settled |= was_adapting && run.scoring.n_adapting() == 0;
    }
    assert!(was_adapting && has_settled && run.scoring.n_drifts() > 0);
    assert!(last < 0.5 * first, "{first} {last}");
}
