//! Configuration of the commands that run captures.

use std::path::PathBuf;

use clap::Args;
use sensor_capture::player::Conditions;

use super::sources::assignment;
use crate::conditions;
use crate::config::{self, Faults, Settings, Sources};

/// Stands for a configuration file without a key.
const EMPTY_FILE: &str = "/dev/null";

/// Configuration of the site that the captures are judged for.
#[derive(Args)]
pub(super) struct Site {
    /// Configuration of the site that the captures are judged for, read as `sensor run` reads it, environment
    /// included: its sections sensor, capture, tick and engine count. Default: built-in values, neither
    /// /etc/sensor nor the environment.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, e.g. engine.scan.failed_ports=30; overrides file and environment variables.
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

impl Site {
    /// Reads the configuration.
    ///
    /// # Errors
    /// All faults of it together.
    pub(super) fn conditions(&self) -> Result<Conditions, Faults> {
        Ok(conditions::of_replay(&self.settings()?))
    }

    /// As [`Self::conditions`], all of it.
    ///
    /// # Errors
    /// As [`Self::conditions`].
    pub(super) fn settings(&self) -> Result<Settings, Faults> {
        let base = match &self.config {
            Some(file) => Sources::of_process(Some(file.clone()), Vec::new()),
            None => Sources {
                file: Some(PathBuf::from(EMPTY_FILE)),
                ..Sources::default()
            },
        };
        let loaded = config::load(&Sources {
            assignments: self.set.clone(),
            ..base
        })?;
        loaded.warn();
        Ok(loaded.settings)
    }
}
