//! The effects around the engine: response, output, command line.

pub mod agent;
pub mod checkpoint;
pub mod cli;
pub mod columns;
mod conditions;
pub mod config;
mod confine;
mod evidence;
mod export;
pub mod identity;
pub mod naming;
pub mod networks;
pub mod pipeline;
pub mod print;
pub mod queue;
mod ring;
pub mod stream;
pub mod tables;
pub mod tokens;
pub mod windows;
