//! Follows the host's addresses, gateways and resolvers.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::guard::Guard;

/// Every so often it looks without being asked.
const PERIOD: Duration = Duration::from_secs(10);

/// A thread that reads the guard of the host, as that starts programs and waits for them.
pub struct GuardWatch {
    asks: Sender<()>,
    guards: Receiver<Guard>,
}

impl GuardWatch {
    /// Starts it. `first` is what is known already.
    ///
    /// # Errors
    /// Without a thread.
    pub fn start(first: Guard) -> Result<Self> {
        let (asks, asked) = channel();
        let (changed, guards) = channel();
        let work = move || {
            let mut known = first;
            loop {
                match asked.recv_timeout(PERIOD) {
                    Err(RecvTimeoutError::Disconnected) => return,
                    Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                }
                let guard = Guard::of_host();
                if guard != known {
                    known = guard.clone();
                    if changed.send(guard).is_err() {
                        return;
                    }
                }
            }
        };
        thread::Builder::new()
            .name("guard".to_owned())
            .spawn(work)
            .context("no thread for the guard")?;
        Ok(Self { asks, guards })
    }

    /// Asks for a look now.
    pub fn look(&self) {
        // Without the thread there is nothing to be told either.
        let _gone = self.asks.send(());
    }

    /// The latest guard, if it changed.
    pub fn changed(&self) -> Option<Guard> {
        self.guards.try_iter().last()
    }
}
