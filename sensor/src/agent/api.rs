//! HTTP interface of the agent: one table of paths ([`routes`]), the same over the control sockets and
//! over TCP. The command line is a client of it like any other.

mod answers;
mod gate;
mod live;
pub mod openapi;
pub mod protocol;
#[cfg(test)]
mod reference;
pub mod routes;
mod serve;

pub use answers::{Answers, Pins};
pub use gate::Gate;
pub use serve::{Door, Role, hang_up, router, talk};
