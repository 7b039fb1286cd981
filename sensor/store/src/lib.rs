//! Store on disk of what happened: incidents, decisions and feedback in one SQLite file, flows in a file for
//! each stretch of time, so that what is too old goes by deleting a file. One thread writes ([`Writer`]),
//! anybody reads ([`Reader`]); neither knows of the engine.

mod address;
mod file;
mod files;
mod filter;
mod flow;
mod incidents;
mod rank;
mod rates;
mod reader;
mod report;
mod second;
mod segments;
mod writer;

#[cfg(test)]
mod tests;

pub use files::FileSet;
pub use filter::{Filter, MAX_FILTER_BYTES};
pub use flow::{Flow, StoredFlow};
pub use incidents::{MAX_REMARKS, Moment, Story};
pub use rank::{has_ports, rank, share};
pub use rates::{Rate, RateOf, RatePoint, RateRow, top};
pub use reader::{Found, Reader};
pub use report::{BySeverity, DecisionRow, FamilyRow, HostRow, MAX_REPORT_S, Report, StepRow};
pub use writer::{Bounds, Writer, WriterState};
