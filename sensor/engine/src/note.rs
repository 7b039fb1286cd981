//! Text that goes along with flows and findings.

/// A value under its name in the Elastic Common Schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub name: &'static str,
    pub value: String,
}
