//! Facts of the host as the kernel tells them: links, addresses, routes, neighbours and TCP
//! connections, and what changes of them.
//!
//! Messages are framed and taken apart by `netlink-packet-core`; of each message only those
//! attributes are read that somebody needs. An attribute that is unknown here is skipped, so that a
//! newer kernel can't make a fact unreadable; one that is needed and malformed is an error.
//! Everything is a `Result`: an empty answer means that there is nothing, never that nothing could
//! be read.

mod address;
mod attributes;
mod changes;
mod connection;
mod features;
mod fields;
mod filter;
mod link;
mod neighbour;
mod route;
mod socket;

pub use address::{Address, addresses};
pub use changes::{Change, Changes, Woken, wait_for};
pub use connection::{Connection, Protocol, State, connections};
pub use features::{XdpFeatures, xdp_features};
pub use filter::{Filter, Hook, filters, remove_clsact};
pub use link::{Link, Xdp, XdpMode, link, link_by_index, links};
pub use neighbour::{Neighbour, neighbours};
pub use route::{Hop, NextHop, Route, RouteKind, default_link, link_towards, next_hops, routes};
