//! The whole sensor on real traffic between network namespaces, and by replay.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

// Every `#[test]` of this crate is the harness'.
#[macro_use]
extern crate sensor_tests_macros;

mod agent;
mod alerts;
mod attach;
mod bad_input;
mod block_parity;
mod blocks;
mod calls;
mod challenges;
mod cli;
mod clocks;
mod concurrent;
mod confinement;
mod content;
mod day;
mod deploy;
mod direction;
mod drive;
mod evaluation;
mod events;
mod evidence;
mod explain;
mod extcap;
mod feeds;
mod floods;
mod flow_records;
mod flows;
mod followed;
mod fragments;
mod full_disk;
mod guard;
mod guard_facts;
mod harm;
mod headers;
mod http;
mod innocents;
mod interfaces;
mod live;
mod logins;
mod long;
mod look_alikes;
mod metrics;
mod models;
mod monitoring;
mod naming;
mod neighbours;
mod networks;
mod oracles;
mod outputs;
mod page;
mod parity;
mod pins;
mod policy;
mod range;
mod records;
mod replay;
mod reports;
mod router;
mod screen;
mod shapes;
mod shields;
mod sinks;
mod site;
mod socket;
mod state;
mod store;
mod strays;
mod tables;
mod verifier;

fn main() -> std::process::ExitCode {
    sensor_tests::harness::main()
}
