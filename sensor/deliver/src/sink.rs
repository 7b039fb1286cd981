//! The contract of a sink.

use std::path::Path;

use crate::answer::Answer;
use crate::envelope::Envelope;

/// A far side.
///
/// Nothing is kept in memory that has to survive: records come from the spool, and come again until they
/// are accepted or refused.
pub trait Sink: Send {
    /// Records that one call takes; no two of them are about the same incident.
    fn most(&self) -> usize {
        1
    }

    /// Sends records and gives an answer for each. What has no answer comes again.
    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer>;

    /// Names the folder of its spool, for what it has to know after a restart. Called once, before anything
    /// is sent; not in a test of the sink.
    ///
    /// # Errors
    /// When what is there can't be read.
    fn keep_in(&mut self, _folder: &Path) -> Result<(), String> {
        Ok(())
    }

    /// Opens files anew, after they were rotated.
    fn reopen(&mut self) {}
}
