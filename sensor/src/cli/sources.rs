//! Flags that say what the configuration is.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Override, Sources};

/// Configuration of a command.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigFlags {
    /// Configuration file to read instead of /etc/sensor/sensor.toml and /etc/sensor/conf.d.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Set one key, for example respond.mode=enforce; overrides files and environment variables.
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment, global = true)]
    set: Vec<(String, String)>,
}

impl ConfigFlags {
    /// Sources of the configuration, with the flags of the command itself above all.
    pub fn sources(&self, overrides: Vec<Override>) -> Sources {
        Sources {
            assignments: self.set.clone(),
            ..Sources::of_process(self.config.clone(), overrides)
        }
    }
}

pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write KEY=VALUE, as respond.mode=enforce".to_owned()),
    }
}
