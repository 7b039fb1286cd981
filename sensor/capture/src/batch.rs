//! Records on their way to the engine, some at a time: what it knows of many it finds in little more
//! time than of one.

use sensor_common::flow::Flow;

/// Records handed on at once.
pub const N: usize = 64;

/// Records that wait.
#[derive(Default)]
pub struct Batch(Vec<Flow>);

impl Batch {
    /// Adds a record; hands all on where there are enough.
    pub fn push(&mut self, flow: &Flow, hand_on: impl FnOnce(&[Flow])) {
        self.0.push(*flow);
        if self.0.len() >= N {
            self.flush(hand_on);
        }
    }

    /// Hands on what waits.
    pub fn flush(&mut self, hand_on: impl FnOnce(&[Flow])) {
        if !self.0.is_empty() {
            hand_on(&self.0);
            self.0.clear();
        }
    }
}
