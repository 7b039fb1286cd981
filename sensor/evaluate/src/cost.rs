//! Cost of scoring a vector, on the vectors of a capture.

use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use sensor_engine::{Config, Engine, Input, Output, Scorer, Vector};
use serde_json::{Value, json};

use super::Subject;
use super::ablation::Components;
use super::table::Table;
use sensor_capture::drive::Listener;
use sensor_capture::pcap::CaptureReader;
use sensor_capture::player::{Conditions, Player};

/// Vectors that are measured with, at most.
const MOST_VECTORS: usize = 40_000;
/// Slower ones are counted as this, ns.
const MOST_NS: u64 = 1_000_000_000;

/// Speed of one core through a capture, reading it included.
#[derive(Clone, Debug)]
pub struct Speed {
    pub capture: String,
    pub packets_per_s: f64,
    pub flows_per_s: f64,
    /// Bytes that the engine holds of flows, hosts and scans at the end.
    pub n_table_bytes: u64,
}

impl Speed {
    /// A sentence.
    pub fn text(&self) -> String {
        format!(
            "One core goes through {} at {:.2} million packets/s and {:.0} thousand flows/s, reading \
             included; the engine's tables then hold {:.0} MB.",
            self.capture,
            self.packets_per_s / 1e6,
            self.flows_per_s / 1e3,
            self.n_table_bytes as f64 / 1e6
        )
    }

    pub fn json(&self) -> Value {
        json!({
            "capture": self.capture,
            "packets_per_s": self.packets_per_s,
            "flows_per_s": self.flows_per_s,
            "table_bytes": self.n_table_bytes,
        })
    }
}

/// Time and memory that scoring and learning a vector take.
#[derive(Clone, Debug)]
pub struct Cost {
    pub name: String,
    pub n_vectors: u64,
    pub p50_ns: u64,
    pub p99_ns: u64,
    /// Size in a checkpoint; none for all together.
    pub n_saved_bytes: Option<usize>,
}

impl Cost {
    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "vectors": self.n_vectors,
            "p50_ns": self.p50_ns,
            "p99_ns": self.p99_ns,
            "saved_bytes": self.n_saved_bytes,
        })
    }
}

/// Scores the vectors of a capture with all models, with none, and with each.
///
/// # Errors
/// When the capture can't be read.
pub fn measure(
    subject: &Subject,
    components: &Components,
    conditions: &Conditions,
) -> Result<(Speed, Vec<Cost>), String> {
    let (speed, vectors) = run(subject, conditions)?;
    let models = components.models();
    let mut sets = vec![
        ("all models".to_owned(), models.clone()),
        ("no model".to_owned(), Vec::new()),
    ];
    let alone = |model: &sensor_engine::ModelKind| (model.label().to_owned(), vec![*model]);
    sets.extend(models.iter().map(alone));
    let costs = sets.into_iter().map(|(name, models)| {
        let mut config = conditions.engine.scoring.clone();
        config.models = models;
        time(&name, &vectors, &config)
    });
    Ok((speed, costs.collect()))
}

fn time(name: &str, vectors: &[(u64, Vector)], config: &sensor_engine::ScoringConfig) -> Cost {
    let mut scorer = Scorer::new(config);
    // The bounds are right, and what lies beyond is counted at its end.
    let mut histogram = Histogram::<u64>::new_with_max(MOST_NS, 3).ok();
    let mut window_ns = 0;
    let n_warm_up = vectors.len() / 2;
    for (i, (at_ns, vector)) in vectors.iter().enumerate() {
        if *at_ns != window_ns {
            scorer.close(window_ns);
            window_ns = *at_ns;
        }
        let begin = Instant::now();
        std::hint::black_box(scorer.take(*at_ns, vector));
        let taken_ns = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(MOST_NS);
        if let Some(histogram) = histogram.as_mut().filter(|_| i >= n_warm_up) {
            histogram.saturating_record(taken_ns);
        }
    }
    let histogram = histogram.as_ref();
    let quantile = |q| histogram.map_or(0, |h| h.value_at_quantile(q));
    Cost {
        name: name.to_owned(),
        n_vectors: histogram.map_or(0, Histogram::len),
        p50_ns: quantile(0.5),
        p99_ns: quantile(0.99),
        n_saved_bytes: match config.models[..] {
            [model] => Some(scorer.n_saved_bytes(model)),
            _ => None,
        },
    }
}

pub fn table(costs: &[Cost]) -> Table {
    let mut table = Table::new(
        "Time to score and learn a vector",
        &["models", "p50 ns", "p99 ns", "saved kB"],
    );
    for cost in costs {
        let saved = cost.n_saved_bytes;
        table.push(vec![
            cost.name.clone(),
            cost.p50_ns.to_string(),
            cost.p99_ns.to_string(),
            saved.map_or("-".to_owned(), |n| format!("{:.0}", n as f64 / 1e3)),
        ]);
    }
    table
}

/// Keeps vectors.
struct Collector {
    engine: Engine,
    outputs: Vec<Output>,
    vectors: Vec<(u64, Vector)>,
}

impl Listener for Collector {
    fn feed(&mut self, at_ns: u64, input: Input<'_>) {
        self.engine.handle(at_ns, input, &mut self.outputs);
    }

    fn wants_flows(&self) -> bool {
        self.engine.wants_flows()
    }

    fn deliver(&mut self, at_ns: u64) -> io::Result<()> {
        for output in self.outputs.drain(..) {
            if let Output::Vector(vector) = output
                && self.vectors.len() < MOST_VECTORS
            {
                self.vectors.push((at_ns, *vector));
            }
        }
        Ok(())
    }

    fn finish(&mut self, at_ns: u64) {
        self.engine.finish(at_ns, &mut self.outputs);
    }
}

type Ran = (Speed, Vec<(u64, Vector)>);

fn run(subject: &Subject, conditions: &Conditions) -> Result<Ran, String> {
    let began = cpu_time();
    let named = |cause: &dyn std::fmt::Display| format!("{}: {cause}", subject.capture.display());
    let mut reader = CaptureReader::open(&subject.capture).map_err(|cause| named(&cause))?;
    let collector = Collector {
        engine: Engine::new(Config {
            emit_vectors: true,
            omit_flows: true,
            ..conditions.engine.clone()
        }),
        outputs: Vec::new(),
        vectors: Vec::new(),
    };
    let mut player = Player::new(collector, conditions);
    // What is bad about the capture was said when it was evaluated.
    while let Ok(frames) = reader.next_frames()
        && frames.len() > 0
    {
        player.take_all(frames).map_err(|cause| named(&cause))?;
    }
    player.finish().map_err(|cause| named(&cause))?;
    let taken_s = cpu_time().saturating_sub(began).as_secs_f64().max(1e-9);
    let stats = player.listener.engine.stats();
    let speed = Speed {
        capture: subject.id.clone(),
        packets_per_s: player.played().n_packets as f64 / taken_s,
        flows_per_s: stats.n_flows_ended as f64 / taken_s,
        n_table_bytes: stats.n_flow_bytes + stats.n_host_bytes + stats.n_scan_bytes,
    };
    Ok((speed, player.listener.vectors))
}

/// Processor time of this thread so far: other work on the machine doesn't count.
fn cpu_time() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes the time into a valid place that is ours.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    if result != 0 {
        return Duration::ZERO;
    }
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}
