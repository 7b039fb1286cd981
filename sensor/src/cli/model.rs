//! `sensor model`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use sensor_record::json;
use serde::Serialize;

use super::out::say;
use crate::networks::{LEAST_PER_S, check};

/// Networks over sequences, trained outside of the sensor.
#[derive(Args)]
#[command(after_help = "Example: sensor model check contacts.onnx")]
pub struct Model {
    #[command(subcommand)]
    what: What,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Check that the sensor can evaluate a network: its manifest, layers, self-test and speed.
    #[command(
        after_help = "The manifest is the file beside it that ends in .json; both are written by \
        `python -m sensor_train`.\n\nExample: sensor model check contacts.onnx"
    )]
    Check {
        /// Network, as ONNX.
        file: PathBuf,
    },
}

/// A network that passed.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "model")]
struct Passed<'a> {
    file: String,
    sequences: &'a str,
    network: &'a str,
    sha256: &'a str,
    bytes: usize,
    threshold: f32,
    sequences_per_s: u64,
}

impl Model {
    pub fn execute(self) -> Result<ExitCode> {
        let What::Check { file } = &self.what;
        let found = check(file, LEAST_PER_S).map_err(|cause| anyhow!(cause))?;
        let passed = Passed {
            file: file.display().to_string(),
            sequences: found.kind.label(),
            network: &found.network,
            sha256: &found.sha256,
            bytes: found.n_bytes,
            threshold: found.threshold,
            sequences_per_s: found.per_s as u64,
        };
        if self.json {
            say!("{}", json::line(&passed))?;
        } else {
            say!(
                "{}: {} over {}, {} bytes, {} sequences/s by one thread",
                passed.file,
                passed.network,
                passed.sequences,
                passed.bytes,
                passed.sequences_per_s
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
