//! The outside contract: what the sensor puts out, answers and writes, as plain values.
//!
//! Stages and printers hand these values on; they become JSON in [`json`] and words in [`text`], and
//! nowhere else. Field names follow the Elastic Common Schema where it has one; `docs/records.md` is
//! written from the types.
#![forbid(unsafe_code)]

mod account;
pub mod answer;
mod audit;
mod bound;
mod decision;
mod entity;
mod escape;
mod event;
mod evidence;
pub mod example;
mod feedback;
mod finding;
mod flow;
mod grounds;
mod head;
mod health;
mod incident;
pub mod json;
mod judge;
mod lifecycle;
mod list;
mod loss;
mod mac;
mod network;
mod notes;
mod origin;
mod page;
mod record;
mod remark;
mod response;
mod rule;
mod sample;
mod shield;
mod statement;
mod summary;
mod technique;
pub mod text;
mod time;
mod transport;
pub mod unit;
mod wireshark;

#[cfg(test)]
mod tests;

pub use account::{Account, Accounts, Decided, LAST, MAX_DECISIONS, Missing, has_number};
pub use audit::{About, AuditAction, AuditLine};
pub use bound::{MAX_NAME_CHARS, MAX_REASON_CHARS, Name, Reason, TooLong};
pub use decision::{Action, Decision, Mode, Outcome, OutcomeWord};
pub use entity::{Entity, EntityKind, engine_entity, entity};
pub use escape::{escape, escape_lines, is_hidden};
pub use event::{Direction, Event, EventAction};
pub use evidence::Evidence;
pub use feedback::{Feedback, FeedbackGiven, Said};
pub use finding::{Finding, Window};
pub use flow::{Flow, Side};
pub use grounds::{Grounds, NeedWord, ProofWord};
pub use head::{Head, SCHEMA_VERSION, Sensor};
pub use health::{Health, HealthCheck};
pub use incident::{Incident, Lowered, Severity, State};
pub use judge::health;
pub use lifecycle::{Adopted, Attached, Local, Reloaded, SensorAction, SensorEvent};
pub use list::{Allowed, Block, Measure};
pub use loss::Loss;
pub use mac::Mac;
pub use network::{Network, Shown};
pub use notes::{NAMES, Notes};
pub use origin::Origin;
pub use page::reference;
pub use record::{BadLine, Record};
pub use remark::Remark;
pub use response::Response;
pub use rule::Rule;
pub use sample::sample_frame;
pub use sensor_engine::{Size, Time, canonical, parse_network, time_text};
pub use shield::{Shield, ShieldMeasure};
pub use statement::Statement;
pub use summary::{Counts, Summary, Volume, mostly_not_ip};
pub use technique::{TACTICS, tactic_name, technique_name};
pub use time::{Timestamp, Zone};
pub use transport::{protocol, transport};
