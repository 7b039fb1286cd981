//! Flows of one second, as many as may be kept.

use std::collections::BinaryHeap;

use crate::flow::Flow;

/// Flows of a second: at most so many, and of those that nobody answered half as many. Those of the lowest
/// ranks stay.
#[derive(Default)]
pub struct Second {
    flows: Vec<Flow>,
    /// Ranks with places, the highest first: of flows that were answered, and of those that were not.
    ranks: [BinaryHeap<(u64, usize)>; 2],
}

impl Second {
    /// Takes a flow; false where one had to be left out, this or another.
    pub fn take(&mut self, flow: Flow, limit: u32) -> bool {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_poor = !flow.is_answered();
        let n_flows = self.flows.len();
        let ranks = &mut self.ranks[usize::from(is_poor)];
        let rank = flow.rank();
        if n_flows < limit && !(is_poor && ranks.len() >= limit.div_ceil(2)) {
            ranks.push((rank, n_flows));
            self.flows.push(flow);
            return true;
        }
        if let Some(mut highest) = ranks.peek_mut()
            && rank < highest.0
            && let Some(place) = self.flows.get_mut(highest.1)
        {
            *place = flow;
            highest.0 = rank;
        }
        false
    }

    /// Gives the flows away and begins anew.
    pub fn end(&mut self) -> Vec<Flow> {
        self.ranks.iter_mut().for_each(BinaryHeap::clear);
        std::mem::take(&mut self.flows)
    }
}
