//! SIGHUP: the configuration is read again, what can be changed is changed, nothing is forgotten.

use std::sync::Arc;

use sensor_deliver::Deliveries;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::api::Answers;
use super::feeds::Feeds;
use super::{Ask, SetFilter, metrics};
use crate::config::{self, Settings, Sources, live_part};
use crate::print::Format;
use crate::queue::Sender;

/// Result of reading the configuration again.
#[derive(Clone, Debug, Default)]
pub struct Reload {
    /// Settings from now on; `None`: those of before.
    pub settings: Option<Settings>,
    /// Keys that changed.
    pub applied: Vec<String>,
    /// Keys that differ now but hold from the next start.
    pub need_restart: Vec<String>,
    pub errors: Vec<String>,
}

/// Parts that change outside of the engine's thread.
pub struct Live {
    pub metrics: Option<metrics::Server>,
    pub answers: Answers,
    /// Format of the printer.
    pub formats: watch::Sender<Format>,
    /// Counts the wishes to open output files anew.
    pub reopen: watch::Sender<u64>,
    pub sinks: Arc<Deliveries>,
    pub feeds: Arc<Feeds>,
    pub set_filter: SetFilter,
}

impl Live {
    async fn follow(&mut self, before: &Settings, now: &Settings) {
        if before.log.filter != now.log.filter {
            (self.set_filter)(&now.log.filter);
        }
        // Nobody listens while the live view is on.
        let _unheard = self.formats.send(now.output.format);
        metrics::reopen(&mut self.metrics, &now.metrics, &self.answers).await;
    }
}

/// Follows SIGHUP, over and over: files are opened anew, whatever the configuration is, so that they
/// can be rotated.
pub async fn on_hangup(
    mut hangup: Signal,
    mut running: Settings,
    sources: &Sources,
    asks: &Sender<Ask>,
    mut live: Live,
) {
    while hangup.recv().await.is_some() {
        live.reopen.send_modify(|n| *n += 1);
        live.sinks.reopen();
        live.feeds.refresh();
        let reload = read_again(&running, sources);
        let settings = reload.settings.clone();
        if asks.send(Ask::Reload(Box::new(reload))).is_err() {
            error!("reload: the engine is too busy; send SIGHUP again");
        } else if let Some(settings) = settings {
            live.follow(&running, &settings).await;
            running = settings;
        }
    }
}

fn read_again(running: &Settings, sources: &Sources) -> Reload {
    let new = match config::load(sources) {
        Ok(loaded) => {
            loaded.warn();
            loaded.settings
        }
        Err(faults) => {
            for fault in &faults.0 {
                error!("reload: {fault}");
            }
            error!("reload: the previous configuration stays in force");
            return Reload {
                errors: faults.0.iter().map(ToString::to_string).collect(),
                ..Reload::default()
            };
        }
    };
    let (settings, changes) = live_part(running, &new);
    for key in &changes.need_restart {
        warn!(key, "reload: changed settings that need a restart");
    }
    info!(applied = ?changes.applied, "reload: configuration read again");
    Reload {
        settings: Some(settings),
        applied: changes.applied,
        need_restart: changes.need_restart,
        errors: Vec::new(),
    }
}
