//! Delivery of records to the systems that people watch.
//!
//! ```text
//! record → filter → spool on disk → sink: mapping, transport → accepted │ later │ refused
//!                       ▲                                          │        │       └ set aside
//!                       └──────────────(comes again)───────────────┼────────┘
//!                                                             counted, done
//! ```
//!
//! At least once, in order per incident, one thread and one spool per sink: one that is down costs its
//! spool and nothing else. Kinds of sinks are the rows of [`KINDS`], a file each; formats are those of
//! [`Format`].
#![forbid(unsafe_code)]

mod answer;
mod backoff;
mod check;
mod connection;
mod cut;
mod dead_letter;
mod deliveries;
mod envelope;
mod filter;
mod http;
mod kind;
mod kinds;
mod pace;
mod reach;
mod secret;
mod sender;
mod settings;
mod shapes;
mod sign;
mod sink;
mod spool;
mod state;
mod tls;
mod uuid;
mod wording;

#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use connection::{Connection, Far};
pub use deliveries::{Deliveries, test};
pub use http::{Http, Reply, Request, basic};
pub use kinds::{CROWDSEC_ORIGIN, KINDS, Kind, Row};
pub use secret::{Secret, Text};
pub use settings::{RecordKind, ShedChoice, SinkSettings};
pub use shapes::{Format, stix_bundle};
pub use sign::hmac_sha1;
