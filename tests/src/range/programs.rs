//! Files that every scenario finds in its scratch folder: shell functions, and clients and servers
//! of ours where Debian has no program that does it. Those speak their protocols over real sockets.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Name and text of each.
const FILES: &[(&str, &str)] = &[
    ("prelude.sh", include_str!("programs/prelude.sh")),
    ("beacon.py", include_str!("programs/beacon.py")),
    ("image.py", include_str!("programs/image.py")),
    ("login_form.py", include_str!("programs/login_form.py")),
    ("long_poll.py", include_str!("programs/long_poll.py")),
    ("printer.py", include_str!("programs/printer.py")),
    ("rtp.py", include_str!("programs/rtp.py")),
    ("socket_users.py", include_str!("programs/socket_users.py")),
    ("torrent.py", include_str!("programs/torrent.py")),
];

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
