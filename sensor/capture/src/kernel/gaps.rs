//! Events that never came. Each CPU numbers its events, those included that found the ring full.

/// The last number of each CPU, and how many between two were missing.
#[derive(Debug)]
pub struct Gaps {
    /// 0: none yet.
    last: Vec<u64>,
    n_missed: Vec<u64>,
}

impl Gaps {
    pub(super) fn new(n_cpus: usize) -> Self {
        Self {
            last: vec![0; n_cpus],
            n_missed: vec![0; n_cpus],
        }
    }

    /// Takes in the number of the next event of a CPU. What came before the first is not missed:
    /// another agent may have read it.
    pub(super) fn take(&mut self, cpu: u16, sequence: u64) {
        let cpu = usize::from(cpu);
        let (Some(last), Some(n_missed)) = (self.last.get_mut(cpu), self.n_missed.get_mut(cpu))
        else {
            return;
        };
        if *last != 0 {
            let between = sequence.saturating_sub(*last).saturating_sub(1);
            *n_missed = n_missed.saturating_add(between);
        }
        *last = sequence;
    }

    /// Missing so far, by CPU.
    pub fn n_missed(&self) -> &[u64] {
        &self.n_missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_between_two_is_counted_by_cpu() {
        let mut gaps = Gaps::new(2);
        for (cpu, sequence) in [(0, 70), (1, 1), (0, 71), (1, 5), (0, 72), (1, 6), (9, 1)] {
            gaps.take(cpu, sequence);
        }
        assert_eq!(gaps.n_missed(), [0, 3]);
    }
}
