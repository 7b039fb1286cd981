//! Losses: the one list of what stages have no room for. It gives names, counts, metrics and what lowers
//! whose confidence.

/// One list: variant, stage, reason.
macro_rules! losses {
    ($($(#[$doc:meta])* $name:ident: $stage:literal, $reason:literal;)+) => {
        /// A kind of loss, by the stage that had no room and the reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Loss {
            $($(#[$doc])* $name,)+
        }

        impl Loss {
            /// Every kind, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Name of the stage, as in the output contract.
            pub const fn stage(self) -> &'static str {
                match self { $(Self::$name => $stage,)+ }
            }

            /// Reason, as in the output contract.
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$name => $reason,)+ }
            }
        }
    };
}

losses! {
    /// Flows that gave way to newer ones.
    Flows: "flow", "table_full";
    /// Addresses of host rows.
    Hosts: "features", "hosts_full";
    /// Services, sources and pairs whose outcomes were to be remembered.
    Outcomes: "features", "outcomes_full";
    /// Subjects whose own past the models forgot.
    Baselines: "features", "baselines_full";
    /// Subjects of feature vectors.
    Subjects: "features", "subjects_full";
    /// Pairs, flows and hosts whose sequences gave way to those of others.
    Sequences: "features", "sequences";
    /// Vectors beyond the most that a window scores.
    Vectors: "features", "vectors_over_limit";
    /// Hosts and sources that detectors follow by host rows.
    HostTables: "detect", "host_tables_full";
    /// Windows and pairs of the detectors that read flows.
    ScanWindows: "detect", "scan_windows_full";
    /// Tables of the detectors that read packet samples.
    ContentTables: "detect", "content_tables_full";
    /// Entities whose vectors are summed up for an incident.
    Profiles: "detect", "profiles_full";
    /// Pairs and hosts whose uploads and logins were to be remembered.
    Habits: "detect", "habits_full";
    /// Sequences that networks had no time for.
    Networks: "detect", "networks_busy";
    /// Incidents open at once.
    Incidents: "decide", "incidents_full";
    /// Packets whose host row was taken by a busier host.
    HostRows: "capture", "host_rows_full";
    /// Samples above the budget of their kind.
    SamplesOverBudget: "capture", "samples_over_budget";
    /// Samples and events that found their ring full.
    EventRing: "capture", "event_ring_full";
}

impl Loss {
    const N: usize = Self::ALL.len();
}

/// Counts of losses since the start, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses([u64; Loss::N]);

impl Losses {
    /// Count of one kind.
    pub fn of(&self, loss: Loss) -> u64 {
        self.0.get(loss as usize).copied().unwrap_or_default()
    }

    /// Every kind with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Loss, u64)> {
        Loss::ALL.iter().copied().zip(self.0)
    }

    pub(crate) fn add(&mut self, loss: Loss, n: u64) {
        if let Some(count) = self.0.get_mut(loss as usize) {
            *count = count.saturating_add(n);
        }
    }
}
