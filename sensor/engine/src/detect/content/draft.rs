//! Findings of the detectors that read packet samples: their common part.

use crate::detect::Detector;
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Evidence, Finding, p_value};

/// Evidence: name, observed, expected, share of the score.
pub(super) type Number = (&'static str, f64, f64, f64);

/// Times of the running window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub window_ns: u64,
    pub first_ns: u64,
    pub last_ns: u64,
}

/// A finding without names.
pub(super) fn draft(
    detector: Detector,
    family: Family,
    entity: Entity,
    span: Span,
    score: f64,
    numbers: &[Number],
) -> Finding {
    let one = |(name, observed, expected, share): &Number| Evidence {
        name,
        observed: *observed,
        expected: *expected,
        share: *share,
    };
    Finding {
        window_ns: span.window_ns,
        last_ns: span.last_ns,
        score,
        p_value: p_value(score),
        features: numbers.iter().map(one).collect(),
        ..Finding::new(detector, family, entity, span.first_ns)
    }
}
