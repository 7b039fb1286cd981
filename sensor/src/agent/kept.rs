//! The store, as those who answer see it.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use sensor_record::answer::StoreState;
use sensor_store::Reader;

/// State of the store, shared with those who answer.
#[derive(Debug)]
pub struct Kept {
    pub reader: Reader,
    state: Mutex<StoreState>,
}

impl Kept {
    pub fn new(folder: &Path) -> Self {
        Self {
            reader: Reader::new(folder),
            state: Mutex::default(),
        }
    }

    pub fn set_state(&self, state: StoreState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub fn state(&self) -> StoreState {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }
}
