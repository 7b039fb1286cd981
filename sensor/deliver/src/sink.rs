//! The contract of a sink.

use crate::answer::Answer;
use crate::envelope::Envelope;

/// A far side.
///
/// Nothing is kept here that has to survive: records come from the spool, and come again until they are
/// accepted or refused.
pub trait Sink: Send {
    /// Records that one call takes; no two of them are about the same incident.
    fn most(&self) -> usize {
        1
    }

    /// Sends records and gives an answer for each. What has no answer comes again.
    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer>;

    /// Opens files anew, after they were rotated.
    fn reopen(&mut self) {}
}
