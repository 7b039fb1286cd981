//! Counters of what exporters sent.

macro_rules! counters {
    ($($variant:ident = $label:literal: $help:literal,)+) => {
        /// A counter of decoding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter { $(#[doc = $help] $variant,)+ }

        impl Counter {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Word used in metrics and status.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// Meaning, for the docs.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }
        }
    };
}

counters! {
    Messages = "messages": "messages that were read",
    Records = "records": "flow records taken from them",
    Packets = "packets": "sampled packets taken from them (sFlow)",
    Malformed = "malformed": "messages that end too early or contradict themselves; what came before the fault was taken",
    OtherVersion = "other_version": "messages of a protocol that is not read",
    Gaps = "gaps": "records, messages or datagrams, as the protocol counts them, that never came",
    Restarts = "restarts": "sequence numbers that ran back: the exporter began anew, or messages changed places",
    OtherSequence = "other_sequence": "domains whose sequence numbers count otherwise than their protocol says: messages, records, or records up to the message's own end (softflowd's IPFIX); they are followed as they count, and that is no loss",
    UnknownTemplate = "unknown_template": "sets of records whose template has not come",
    BadTemplate = "bad_template": "templates of no bytes, or with too many fields",
    TemplatesFull = "templates_full": "templates that found no room",
    DomainsFull = "domains_full": "messages of more observation domains than are followed",
    Empty = "empty": "records without addresses or packets",
    NotFlows = "not_flows": "sFlow samples of another kind than packets' headers",
}

/// Counts by [`Counter`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Counter::ALL.len()]);

impl Counts {
    pub fn get(&self, counter: Counter) -> u64 {
        self.0.get(counter as usize).copied().unwrap_or(0)
    }

    /// Adds the counts of another.
    pub fn add_all(&mut self, others: &Self) {
        for (count, other) in self.0.iter_mut().zip(others.0) {
            *count = count.saturating_add(other);
        }
    }

    pub(super) fn add(&mut self, counter: Counter, n: u64) {
        if let Some(count) = self.0.get_mut(counter as usize) {
            *count = count.saturating_add(n);
        }
    }
}
