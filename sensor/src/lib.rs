//! The effects around the engine: capture, response, output, command line.

pub mod agent;
pub mod capture;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod eval;
pub mod explain;
pub mod naming;
pub mod output;
pub mod pipeline;
pub mod player;
pub mod print;
pub mod respond;
pub mod train;
