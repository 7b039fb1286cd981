//! Detect stage: looks, updates and vectors in, findings out.

mod blame;
mod content;
mod exfiltration;
mod finding;
mod flood;
mod lateral;
mod profile;
mod scan;
mod scan_rows;
mod scoring;
mod shape;
mod volume;
mod windows;

pub(crate) use self::blame::Blame;
pub(crate) use self::content::ContentDetectors;
pub(crate) use self::exfiltration::{ExfiltrationDetector, Learned as LearnedUploads};
pub use self::finding::{Detector, Entity, Evidence, Family, Finding};
pub(crate) use self::flood::{FloodDetector, Learned as LearnedFloods};
pub(crate) use self::lateral::{LateralDetector, Learned as LearnedWays};
pub(crate) use self::profile::Profiles;
pub use self::profile::{BENIGN, Counters, Namer, Naming, Profile, inputs};
pub(crate) use self::scan::ScanDetector;
pub(crate) use self::scan_rows::RowScanDetector;
pub(crate) use self::scoring::{DRIFT_NOTE, Learned as LearnedScoring, Scoring};
pub use self::scoring::{OPINION_NS, Opinion, Score, Scorer, Surprises};
pub(crate) use self::shape::ShapeDetectors;
pub(crate) use self::volume::{Learned as LearnedVolumes, VolumeDetector};
