//! The file of the model of windows.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use sensor_engine::{Boosted, MAX_MODEL_BYTES};

/// Reads a model.
///
/// # Errors
/// What is wrong with the file, and the remedy.
pub fn read(path: &Path) -> Result<Arc<Boosted>, String> {
    let named = |cause: &dyn std::fmt::Display| format!("{}: {cause}", path.display());
    let size = fs::metadata(path).map_err(|cause| named(&cause))?.len();
    if size > MAX_MODEL_BYTES {
        let message = format!("{size} bytes, no model of windows has more than 8 MiB");
        return Err(named(&message));
    }
    let bytes = fs::read(path).map_err(|cause| named(&cause))?;
    let model = Boosted::from_bytes(&bytes).map_err(|cause| named(&cause))?;
    Ok(Arc::new(model))
}
