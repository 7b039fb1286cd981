//! Signals, caught from the first moment on: one that comes while the sensor starts ends the start,
//! and what was done until then is undone.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

/// Time within which a signal that arrived is seen.
const LOOK: Duration = Duration::from_millis(1);

/// Signals of the process, with the runtime that hears them.
pub struct Signals {
    pub(super) runtime: Runtime,
    pub(super) end: End,
    pub(super) hangup: Signal,
}

/// SIGINT and SIGTERM.
pub struct End {
    interrupt: Signal,
    terminate: Signal,
    is_told: bool,
}

/// The start was ended by a signal.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ended by a signal while it started; what was done is undone")
    }
}

impl std::error::Error for Interrupted {}

impl End {
    /// Waits for one of them.
    pub(super) async fn told(&mut self) {
        if self.is_told {
            return;
        }
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        self.is_told = true;
    }
}

impl Signals {
    /// From now on no signal ends the process by itself.
    ///
    /// # Errors
    /// The system's.
    pub fn catch() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (end, hangup) = runtime
            .block_on(async {
                let end = End {
                    interrupt: signal(SignalKind::interrupt())?,
                    terminate: signal(SignalKind::terminate())?,
                    is_told: false,
                };
                std::io::Result::Ok((end, signal(SignalKind::hangup())?))
            })
            .context("signals can't be caught")?;
        Ok(Self {
            runtime,
            end,
            hangup,
        })
    }

    /// Between two steps of the start.
    ///
    /// # Errors
    /// When it is to end.
    pub fn check(&mut self) -> Result<(), Interrupted> {
        let Self { runtime, end, .. } = self;
        let told = runtime.block_on(async { timeout(LOOK, end.told()).await });
        told.map_or(Ok(()), |()| Err(Interrupted))
    }
}
