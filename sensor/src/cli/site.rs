//! Configuration of the commands that run captures.

use std::path::PathBuf;

use clap::Args;
use sensor_capture::player::Conditions;

use super::sources::assignment;
use crate::conditions;
use crate::config::{self, Faults, Loaded, Settings, Sources};

/// Stands for a configuration file without a key.
const EMPTY_FILE: &str = "/dev/null";

/// Configuration of the site that the captures are judged for.
#[derive(Args)]
pub(super) struct Site {
    /// Configuration file of the site, read as by `sensor run`, environment variables included; its
    /// sections sensor, capture, tick and engine apply. Default: built-in values, without
    /// /etc/sensor and the environment.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, for example engine.scan.failed_ports=30; overrides the file and environment
    /// variables.
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

    /// Reads all settings, where [`Self::conditions`] gives those of a replay.
    ///
    /// # Errors
    /// As [`Self::conditions`].
    pub(super) fn settings(&self) -> Result<Settings, Faults> {
        Ok(self.loaded()?.settings)
    }

    /// Reads all settings with their origins.
    ///
    /// # Errors
    /// As [`Self::conditions`].
    pub(super) fn loaded(&self) -> Result<Loaded, Faults> {
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
        Ok(loaded)
    }

    /// Reads the settings of the sensor on this machine: those of /etc/sensor and of the environment, too.
    ///
    /// # Errors
    /// As [`Self::conditions`].
    pub(super) fn of_machine(&self) -> Result<Loaded, Faults> {
        config::load(&Sources {
            assignments: self.set.clone(),
            ..Sources::of_process(self.config.clone(), Vec::new())
        })
    }
}
