//! The naming model's file.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use sensor_engine::{MAX_MODEL_BYTES, Namer};

/// Reads a model.
///
/// # Errors
/// What is wrong with the file, and the remedy.
pub fn read(path: &Path) -> Result<Arc<Namer>, String> {
    let named = |cause: &dyn std::fmt::Display| format!("{}: {cause}", path.display());
    let size = fs::metadata(path).map_err(|cause| named(&cause))?.len();
    if size > MAX_MODEL_BYTES {
        let message = format!("{size} bytes, no naming model has more than 8 MiB");
        return Err(named(&message));
    }
    let bytes = fs::read(path).map_err(|cause| named(&cause))?;
    let namer = Namer::from_bytes(&bytes).map_err(|cause| named(&cause))?;
    Ok(Arc::new(namer))
}
