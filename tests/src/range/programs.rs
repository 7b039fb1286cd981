//! Files that every scenario finds in its scratch folder: shell functions, and clients and servers
//! of ours where Debian has no program that does it. Those speak their protocols over real sockets.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Name and text of each.
const FILES: &[(&str, &str)] = &[("prelude.sh", include_str!("programs/prelude.sh"))];

/// Writes all of them into a folder.
///
/// # Errors
/// The system's.
pub fn write(folder: &Path) -> Result<()> {
    for (name, text) in FILES {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
