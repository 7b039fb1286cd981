//! Counts of the whole engine.

use std::collections::BTreeMap;

use crate::detect::Family;
use crate::losses::Losses;

/// Counts for metrics and the summary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Flows that have not ended.
    pub n_flows: u64,
    pub n_flows_ended: u64,
    pub n_findings: u64,
    pub n_incidents_open: u64,
    pub n_incidents: u64,
    /// Incidents above low severity that were opened in the last 24 hours, by family.
    pub n_alarms_of_day: BTreeMap<Family, u64>,
    /// Budget of those, of all families.
    pub alarm_budget: u32,
    pub n_decisions: u64,
    pub n_samples: u64,
    /// Vectors scored, and those that nothing was learned from.
    pub n_vectors: u64,
    pub n_vectors_withheld: u64,
    /// Changes detected in the models' input distribution.
    pub n_drifts: u64,
    /// Kinds of subjects whose scores are being recalibrated after such a change, now.
    pub n_adapting: u64,
    /// Looks at flows out of turn.
    pub n_early_looks: u64,
    /// TCP connections of which one side alone was seen, where that is so of nearly all.
    pub n_one_sided: u64,
    /// Memory that the flow table holds, by capacity, and that of the host rows and addresses.
    pub n_flow_bytes: u64,
    pub n_host_bytes: u64,
    /// Memory of the scan windows, without the sets in them.
    pub n_scan_bytes: u64,
    /// Losses since the start.
    pub losses: Losses,
}
