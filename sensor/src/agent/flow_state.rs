//! Inputs of flow records as those see them who answer for the agent: their states, and their end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use sensor_record::answer;

/// The inputs that are listened to.
#[derive(Debug, Default)]
pub struct FlowInputs {
    pub inputs: Vec<Running>,
}

/// An input with its thread.
#[derive(Debug)]
pub struct Running {
    pub name: String,
    pub state: Arc<Mutex<answer::FlowInput>>,
    pub stop: Arc<AtomicBool>,
    pub thread: Mutex<Option<JoinHandle<()>>>,
}

/// Locks a state, whatever became of its thread.
pub fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FlowInputs {
    /// State of each, by name.
    pub fn states(&self) -> BTreeMap<String, answer::FlowInput> {
        let state = |one: &Running| (one.name.clone(), lock(&one.state).clone());
        self.inputs.iter().map(state).collect()
    }

    /// Ends what is open, and waits for the threads.
    pub fn end(&self) {
        for one in &self.inputs {
            one.stop.store(true, Ordering::Relaxed);
        }
        for one in &self.inputs {
            let thread = lock(&one.thread).take();
            // A panic was told on standard error.
            let _ended = thread.map(JoinHandle::join);
        }
    }
}
