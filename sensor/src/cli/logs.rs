//! Structured logs on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::agent::LogTail;
use crate::config::{LogFormat, LogSettings};

/// For commands that read no configuration.
pub fn start_plain() {
    start(&LogSettings::default());
}

/// `SENSOR_LOG` wins over the configured filter.
pub fn start(settings: &LogSettings) {
    let is_terminal = std::io::stderr().is_terminal();
    start_on(settings, std::io::stderr, is_terminal);
}

/// For the live view, which standard error would disturb.
pub fn start_in(settings: &LogSettings, tail: LogTail) {
    start_on(settings, tail, false);
}

fn start_on<W>(settings: &LogSettings, writer: W, is_colored: bool)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_from_env("SENSOR_LOG")
        .or_else(|_| EnvFilter::try_new(&settings.filter))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match settings.format {
        LogFormat::Text => lines.with_ansi(is_colored).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
