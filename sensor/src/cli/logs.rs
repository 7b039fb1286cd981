//! Structured logs on standard error.

use std::io::IsTerminal as _;

use anyhow::Result;
use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, reload};

use crate::agent::{LogTail, SetFilter};
use crate::config::{LogFormat, LogSettings};
use crate::stream::LogLines;

/// Starts logging of commands that read no configuration.
pub fn start_plain() {
    let _unchanged = start(&LogSettings::default());
}

/// `SENSOR_LOG` wins over the configured filter. Gives the way to change that later.
fn start(settings: &LogSettings) -> SetFilter {
    let is_terminal = std::io::stderr().is_terminal();
    start_on(settings, std::io::stderr, is_terminal)
}

/// As [`start`], for the agent: whoever logs never waits for the reader.
pub fn start_queued(settings: &LogSettings, lines: LogLines) -> SetFilter {
    let is_terminal = std::io::stderr().is_terminal();
    start_on(settings, lines, is_terminal)
}

/// Starts logging beside the live view, which standard error would disturb.
pub fn start_in(settings: &LogSettings, tail: LogTail) -> SetFilter {
    start_on(settings, tail, false)
}

const VARIABLE: &str = "SENSOR_LOG";

fn start_on<W>(settings: &LogSettings, writer: W, is_colored: bool) -> SetFilter
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_from_env(VARIABLE)
        .or_else(|_| EnvFilter::try_new(&settings.filter))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    // A line that can't be written is not worth a panic, which telling of it on standard error is.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(filter);
    match settings.format {
        LogFormat::Text => registry.with(lines.with_ansi(is_colored)).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    Box::new(move |filter| changed(filter, |new| Ok(handle.reload(new)?)))
}

fn changed(filter: &str, reload: impl Fn(EnvFilter) -> Result<()>) {
    if std::env::var_os(VARIABLE).is_some() {
        warn!("log.filter: {VARIABLE} is set and overrides the configuration");
        return;
    }
    // Checked with the configuration.
    let new = EnvFilter::try_new(filter).map_err(anyhow::Error::from);
    if let Err(cause) = new.and_then(reload) {
        warn!(cause = format!("{cause:#}"), "log.filter unchanged");
    }
}
