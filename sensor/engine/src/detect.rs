//! Detect stage: looks, updates and vectors in, findings out.

mod baseline;
mod blame;
mod content;
mod finding;
mod flood;
mod profile;
mod scan;
mod scan_rows;
mod scoring;
mod shape;
mod volume;
mod windows;

pub(crate) use self::blame::Blame;
pub(crate) use self::content::ContentDetectors;
pub use self::finding::{Detector, Entity, Evidence, Family, Finding};
pub(crate) use self::flood::FloodDetector;
pub(crate) use self::profile::Profiles;
pub use self::profile::{BENIGN, Counters, Namer, Naming, Profile, inputs};
pub(crate) use self::scan::ScanDetector;
pub(crate) use self::scan_rows::RowScanDetector;
pub(crate) use self::scoring::{Learned as LearnedScoring, Scoring};
pub use self::scoring::{OPINION_NS, Opinion, Score, Scorer, Surprises};
pub(crate) use self::shape::ShapeDetectors;
pub(crate) use self::volume::VolumeDetector;
