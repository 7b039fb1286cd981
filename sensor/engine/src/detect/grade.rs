//! Grades of evidence: kinds of proof that a finding rests on, and how grave they let it be.

use super::family::Severity;

/// Set of grades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grades(u8);

impl Grades {
    pub const NONE: Self = Self(0);
    /// Rates, counts, regularity: busy and honest programs may show them, too.
    pub const SHAPE: Self = Self(1);
    /// Results of attempts: refused, unanswered, failed logins.
    pub const OUTCOME: Self = Self(2);
    /// Bytes of a message: a reply code, a name, a program where a value belongs.
    pub const CONTENT: Self = Self(4);
    /// Every blamed source completed a handshake and went on, or answered: none is forged.
    pub const TWO_WAY: Self = Self(8);

    const LABELS: [(Self, &'static str); 4] = [
        (Self::SHAPE, "shape"),
        (Self::OUTCOME, "outcome"),
        (Self::CONTENT, "content"),
        (Self::TWO_WAY, "two_way"),
    ];

    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True where an outcome or a content was seen, which an honest client does not produce.
    pub const fn is_proof(self) -> bool {
        self.has(Self::OUTCOME) || self.has(Self::CONTENT)
    }

    /// Names, as `evidence.grades` lists them.
    pub fn labels(self) -> impl Iterator<Item = &'static str> {
        let held = Self::LABELS.into_iter();
        held.filter(move |(grade, _)| self.has(*grade))
            .map(|(_, label)| label)
    }

    /// The gravest severity that the proofs carry. Two kinds of proof carry any, one of outcome or
    /// content a medium one. Shape alone is worth a look, and more only where it is in excess of
    /// what any honest client does. Who is real is known by `two_way`; what it did is not.
    pub fn most_severe(self, is_excess: bool) -> Severity {
        let proofs = self.without(Self::TWO_WAY);
        if proofs.0.count_ones() > 1 {
            Severity::Critical
        } else if proofs.is_proof() || is_excess {
            Severity::Medium
        } else {
            Severity::Low
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_severity_wants_two_kinds_of_proof() {
        let (shape, outcome, content) = (Grades::SHAPE, Grades::OUTCOME, Grades::CONTENT);
        assert_eq!(shape.most_severe(false), Severity::Low);
        assert_eq!(shape.most_severe(true), Severity::Medium);
        assert_eq!(
            shape.with(Grades::TWO_WAY).most_severe(false),
            Severity::Low
        );
        assert_eq!(outcome.most_severe(false), Severity::Medium);
        assert_eq!(content.most_severe(false), Severity::Medium);
        assert_eq!(shape.with(outcome).most_severe(false), Severity::Critical);
        assert_eq!(content.with(outcome).most_severe(false), Severity::Critical);
    }

    #[test]
    fn labels_are_those_of_the_contract() {
        let all = Grades::SHAPE.with(Grades::CONTENT).with(Grades::TWO_WAY);
        let labels: Vec<&str> = all.labels().collect();
        assert_eq!(labels, ["shape", "content", "two_way"]);
    }
}
