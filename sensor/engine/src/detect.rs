//! Detect stage: looks, updates and vectors in, findings out.

mod attribution;
mod content;
mod control;
mod exfiltration;
mod family;
mod finding;
mod flood;
mod grade;
mod inputs;
mod lateral;
mod learned;
mod networks;
mod profile;
mod registry;
mod scan;
mod scan_rows;
mod scan_walk;
mod scoring;
mod shape;
mod volume;
mod weigh;
mod windows;

pub(crate) use self::attribution::Attribution;
pub use self::family::{Family, MaxResponse, Severity, families_markdown};
pub use self::finding::{Entity, Evidence, Finding, MAX_SCORE, strength};
pub use self::grade::Grades;
pub(crate) use self::learned::{AGREES, DISAGREES, LEARNED_NOTE};
pub use self::networks::Judgement;
pub(crate) use self::profile::Profiles;
pub use self::profile::{BENIGN, Counters, Namer, Naming, Profile, inputs};
pub use self::registry::Detector;
pub(crate) use self::registry::{Detect, Detectors, Learned, Reads};
pub(crate) use self::scoring::{DRIFT_NOTE, Scoring};
pub use self::scoring::{FEEDBACK_NS, Feedback, Score, Scorer, Surprises};
pub(crate) use self::weigh::weigh;
