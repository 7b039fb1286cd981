use crate::config::BehaviourConfig;
use crate::detect::BehaviourDetector;
use crate::features::SourceVector;
use crate::tests::{T0, ip};

fn vector(source: u16, value: f64) -> SourceVector {
    SourceVector {
        source: ip(source),
        first_ns: T0,
        last_ns: T0,
        values: [value; 12],
    }
}

#[test]
fn a_stranger_is_found_after_warm_up_even_among_equals() {
    for spread in [0.0, 0.01] {
        let mut detector = BehaviourDetector::new(&BehaviourConfig::default());
        let mut findings = Vec::new();
        for i in 0..20u64 {
            let at_ns = T0 + i * 10_000_000_000;
            let vectors: Vec<SourceVector> = (0..100u16)
                .map(|source| vector(source, 1.0 + f64::from(source % 7) * spread))
                .collect();
            detector.take(at_ns, &vectors, &mut findings);
        }
        assert_eq!(findings, []);
        detector.take(T0 + 300_000_000_000, &[vector(999, 9.0)], &mut findings);
        assert_eq!(findings.len(), 1);
    }
}
