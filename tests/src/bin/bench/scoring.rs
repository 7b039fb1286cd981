//! Cost of scoring: vectors a second on one core, of all models that are on by default and of each.

use std::time::Instant;

use anyhow::{Result, ensure};
use sensor_common::flow::{Direction, Flow, FlowRecord};
use sensor_common::v4_mapped;
use sensor_engine::{Config, Engine, Input, ModelKind, Output, Scorer, ScoringConfig, Vector};
use sensor_tests::frames::Dice;
use serde_json::{Value, json};

use crate::agent::cpu_s;

const SECOND_NS: u64 = 1_000_000_000;
const T0_NS: u64 = 1_700_000_000 * SECOND_NS;
const N_VECTORS: usize = 80_000;
/// Flows that begin each second: of 300 clients, to 40 servers. So few that windows are many: no more
/// is learned from one than windows usually bring.
const FLOWS_PER_S: u64 = 5;

/// Vectors scored and learned, after as many that only warmed up.
pub fn measure() -> Result<Value> {
    eprintln!("scoring");
    let vectors = vectors();
    ensure!(vectors.len() >= N_VECTORS, "too few vectors");
    let default = ScoringConfig::default();
    let mut results = serde_json::Map::new();
    results.insert("scoring_all".to_owned(), score(&vectors, &default.models)?);
    for model in default.models {
        let name = format!("scoring_{}", model.label());
        results.insert(name, score(&vectors, &[model])?);
    }
    Ok(Value::Object(results))
}

/// Vectors that an engine makes of clients that come and go.
fn vectors() -> Vec<(u64, Vector)> {
    let mut engine = Engine::new(Config {
        emit_vectors: true,
        omit_flows: true,
        ..Config::default()
    });
    let mut dice = Dice(1);
    let (mut vectors, mut out) = (Vec::new(), Vec::new());
    for second in 1.. {
        let at_ns = T0_NS + second * SECOND_NS;
        for _ in 0..FLOWS_PER_S {
            let flow = flow(&mut dice, at_ns);
            engine.handle(at_ns, Input::FlowLive(&flow), &mut out);
        }
        engine.handle(at_ns, Input::FlowTick, &mut out);
        for output in out.drain(..) {
            if let Output::Vector(vector) = output {
                vectors.push((at_ns, *vector));
            }
        }
        if vectors.len() >= N_VECTORS {
            break;
        }
    }
    vectors
}

fn flow(dice: &mut Dice, at_ns: u64) -> Flow {
    let (client, server) = (dice.below(300) as u32, dice.below(40) as u32);
    let mut side = |most: usize| {
        let packets = 3 + dice.below(most) as u16;
        let length = 60 + dice.below(1_400) as u16;
        Direction {
            first_ns: at_ns - SECOND_NS + dice.below(500_000_000) as u64,
            last_ns: at_ns - dice.below(400_000_000) as u64,
            packets,
            bytes: u32::from(packets) * u32::from(length),
            length_sumsq: u64::from(packets) * u64::from(length).pow(2),
            length_min: length,
            length_max: length,
            tcp_flags: 0x1a,
            n_flags: [1, 0, 0, packets / 3, packets - 1],
            ..Direction::EMPTY
        }
    };
    let directions = [side(20), side(40)];
    Flow {
        head: FlowRecord {
            a: v4_mapped((0x0a00_0000 | client).to_be()),
            b: v4_mapped((0xc0a8_0000 | server).to_be()),
            a_port: 1_024 + dice.below(60_000) as u16,
            b_port: [443, 80, 53, 22][server as usize % 4],
            protocol: 6,
            generation: 1,
            ..FlowRecord::default()
        },
        directions,
    }
}

fn score(vectors: &[(u64, Vector)], models: &[ModelKind]) -> Result<Value> {
    let config = ScoringConfig {
        models: models.to_vec(),
        ..ScoringConfig::default()
    };
    let (warm_up, measured) = vectors.split_at(vectors.len() / 2);
    let warm = || {
        let mut run = Run::new(&config);
        warm_up
            .iter()
            .for_each(|(at_ns, vector)| run.take(*at_ns, vector));
        run
    };
    let mut run = warm();
    let begun = cpu_s(libc::RUSAGE_SELF);
    measured
        .iter()
        .for_each(|(at_ns, vector)| run.take(*at_ns, vector));
    let per_s = measured.len() as f64 / (cpu_s(libc::RUSAGE_SELF) - begun);
    ensure!(
        run.n_scored > measured.len(),
        "the models had learned too little to score"
    );
    let mut run = warm();
    let mut times_ns: Vec<u128> = measured
        .iter()
        .map(|(at_ns, vector)| {
            let begun = Instant::now();
            run.take(*at_ns, vector);
            begun.elapsed().as_nanos()
        })
        .collect();
    times_ns.sort_unstable();
    let quantile = |part: usize| times_ns.get(times_ns.len() * part / 100).copied();
    let ns = |part| quantile(part).and_then(|ns| u64::try_from(ns).ok());
    Ok(json!({"vectors_per_cpu_s": per_s, "p50_ns": ns(50), "p99_ns": ns(99)}))
}

struct Run {
    scorer: Scorer,
    window_ns: u64,
    /// Vectors that a model had something to say of.
    n_scored: usize,
}

impl Run {
    fn new(config: &ScoringConfig) -> Self {
        Self {
            scorer: Scorer::new(config),
            window_ns: 0,
            n_scored: 0,
        }
    }

    fn take(&mut self, at_ns: u64, vector: &Vector) {
        if at_ns != self.window_ns {
            self.scorer.close(self.window_ns);
            self.window_ns = at_ns;
        }
        let score = self.scorer.take(at_ns, vector);
        self.n_scored += usize::from(score.models.iter().any(|surprise| *surprise > 0.0));
    }
}
