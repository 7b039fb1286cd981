//! The pure engine: flow, features, detect, decide, explain.
//!
//! It has no world: no clock, file, socket, environment or random seed of its own. It is told the
//! event time and handed an input, and appends outputs; equal inputs give equal outputs. Times are
//! unix nanoseconds of event time.
#![forbid(unsafe_code)]

mod address;
mod bounded;
mod bytes;
mod checkpoint;
mod config;
mod decide;
mod detect;
mod engine;
mod features;
mod flow;
mod icmp_error;
pub mod l7;
mod losses;
mod models;
mod note;
mod site;
mod slot_index;
mod stats;

#[cfg(test)]
mod tests;

pub use address::{Mac, from_ip, to_ip};
pub use checkpoint::CheckpointError;
pub use config::{
    ArpSpoofConfig, ArpSweepConfig, Config, ContentConfig, DecideConfig, DgaConfig,
    DnsTunnelConfig, ExfiltrationConfig, ExtensionsConfig, FieldbusConfig, FloodConfig, FlowConfig,
    FragmentsConfig, GuessesConfig, IcmpTunnelConfig, InjectionConfig, LateralConfig,
    LearnedConfig, MqttConfig, NamingConfig, NdSpoofConfig, Policy, RepliesConfig, SECOND_NS,
    ScanConfig, ScoringConfig, ShapeConfig, Size, Time, VectorConfig, VolumeConfig, canonical,
    parse_network, parse_size, parse_time, size_text, time_text,
};
pub use decide::{
    Action, Confidence, Decision, Escalation, Exception, ExceptionUse, Grounds, Incident,
    LIMIT_PACKETS_PER_S, LocalBy, Lowered, Need, NotDecided, PolicyRow, Preset, Proof, Rollback,
    Said, Scope, State, Statement, Whom, Withheld,
};
pub use detect::{
    BENIGN, Counters, Detector, Entity, Evidence, FEEDBACK_NS, Family, Feedback, Finding, Grades,
    Judgement, MAX_SCORE, MaxResponse, Namer, Naming, Score, Scorer, Severity, Surprises,
    families_markdown, inputs, strength,
};
pub use engine::{Engine, Input, Output};
pub use features::{
    ABSENT, Column, FEATURES, Feature, Good, MAX_COUNTED, N_FEATURES, N_PAIR_FEATURES,
    PAIR_FEATURES, PAIR_SCHEMA_VERSION, PairFeature, PairVector, Preview, PreviewedService,
    SCHEMA_VERSION, SEQUENCE_SCHEMA_VERSION, Sequence, SequenceColumn, SequenceKind, SequenceKinds,
    ServiceLoad, Span, Subject, TableUse, Vector, pair_schema_hash, pair_schema_markdown,
    schema_hash, schema_markdown, sequence_schema_markdown,
};
pub use flow::{
    Delta, EndReason, FlowSummary, FlowUpdate, Progress, Totals, TunnelSummary, Tuple, community_id,
};
pub use losses::{Loss, Losses};
pub use models::{
    About, BASELINE_COLUMNS, Boosted, BoostedAbout, BoostedError, BoostedRow, Boosting,
    Calibration, ClassMetrics, Clusters, Forest, ForestError, Growth, HalfSpaceTrees, Inputs,
    IsolationForest, KitNet, MAX_CLASSES, MAX_MODEL_BYTES, Mixture, Model, ModelKind, N_BASELINES,
    N_INPUTS, RobustCutForest, Row, Run, Scale, Scaled, Seasonal, Shares, Source, TAIL_FROM,
    TAIL_STEP, greatest_from,
};
pub use note::Note;
pub use site::HostNetworks;
pub use stats::Stats;
