//! Feature stage: flow updates and host rows in, rates and vectors out.

mod activity;
mod answered;
pub(crate) mod baseline;
pub(crate) mod clients;
mod damped;
pub(crate) mod decay;
mod early;
mod host;
pub(crate) mod ledger;
pub(crate) mod pair;
mod pair_schema;
mod pair_tally;
mod pair_windows;
mod schema;
mod sequence_schema;
mod sequences;
pub(crate) mod served;
mod services;
pub(crate) mod sketch;
pub(crate) mod speech;
pub(crate) mod stray;
mod subjects;
mod tries;
pub(crate) mod victim;

pub use self::answered::Answered;
pub(crate) use self::answered::AnsweredTraffic;
pub(crate) use self::early::EarlyLooks;
pub(crate) use self::host::HostTracks;
pub use self::host::{Counts, HostLook};
pub(crate) use self::ledger::Ledger;
pub use self::ledger::{Good, Preview, PreviewedService};
pub use self::pair_schema::{
    ABSENT, N_PAIR_FEATURES, PAIR_FEATURES, PAIR_SCHEMA_VERSION, PairFeature, pair_schema_hash,
    pair_schema_markdown,
};
pub use self::pair_windows::PairVector;
pub(crate) use self::pair_windows::PairWindows;
pub use self::schema::{
    Column, FEATURES, Feature, N_FEATURES, SCHEMA_VERSION, Span, schema_hash, schema_markdown,
};
pub use self::sequence_schema::{
    SEQUENCE_SCHEMA_VERSION, SequenceColumn, SequenceKind, SequenceKinds, sequence_schema_markdown,
};
pub use self::sequences::Sequence;
pub(crate) use self::sequences::Sequences;
pub use self::services::ServiceLoad;
pub(crate) use self::services::Services;
pub use self::sketch::MAX_COUNTED;
pub(crate) use self::subjects::{Rank, Subjects};
pub use self::subjects::{Subject, Vector, WINDOW_NS};
pub(crate) use crate::bounded;
pub use crate::bounded::TableUse;
