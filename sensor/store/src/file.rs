//! A SQLite file of ours: opened, brought to the newest schema, or set aside where it is damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tracing::warn;

/// Mark of our files in their head ("snsr").
const APPLICATION: i32 = 0x736e_7372;
/// Time that a writer and a reader wait for one another.
const BUSY: Duration = Duration::from_secs(2);
/// Damaged files that are kept beside.
const MAX_ASIDE: usize = 2;

/// Steps of a schema, the oldest first; a file's version is the number of those that it went.
pub type Steps = &'static [&'static str];

/// Opens a file to write, or makes it. A damaged one is set aside under another name, which is told.
///
/// # Errors
/// When it can't be made, or is of a newer version.
pub fn open(path: &Path, steps: Steps) -> Result<(Connection, Option<PathBuf>)> {
    match try_open(path, steps) {
        Ok(connection) => Ok((connection, None)),
        Err(cause) if is_damaged(&cause) => {
            let aside = set_aside(path)?;
            warn!(
                path = %path.display(), aside = %aside.display(), cause = format!("{cause:#}"),
                "a damaged file of the store is set aside, and begun anew"
            );
            Ok((try_open(path, steps)?, Some(aside)))
        }
        Err(cause) => Err(cause),
    }
}

fn try_open(path: &Path, steps: Steps) -> Result<Connection> {
    let open = || -> Result<Connection> {
        let is_new = !path.exists();
        let connection = Connection::open(path)?;
        if is_new {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            // Has to come before the first table.
            connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
            connection.pragma_update(None, "application_id", APPLICATION)?;
        }
        connection.busy_timeout(BUSY)?;
        // A crash of the process loses nothing that was committed; one of the machine the last seconds.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "journal_size_limit", 4 << 20)?;
        migrate(&connection, steps)?;
        Ok(connection)
    };
    open().with_context(|| path.display().to_string())
}

fn migrate(connection: &Connection, steps: Steps) -> Result<()> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    if application != APPLICATION {
        bail!("it is a file of another program; move it away");
    }
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > steps.len() {
        bail!(
            "it is of version {version}, this sensor knows {}: move it away",
            steps.len()
        );
    }
    for (n, step) in steps.iter().enumerate().skip(version) {
        connection.execute_batch(&format!(
            "BEGIN; {step}; PRAGMA user_version = {}; COMMIT",
            n + 1
        ))?;
    }
    Ok(())
}

/// Opens a file to read.
///
/// # Errors
/// When there is none.
pub fn open_to_read(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags);
    let connection = connection.with_context(|| path.display().to_string())?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

fn code(cause: &anyhow::Error) -> Option<ErrorCode> {
    cause.chain().find_map(|cause| {
        let cause = cause.downcast_ref::<rusqlite::Error>()?;
        cause.sqlite_error_code()
    })
}

/// True where the content of a file is what is wrong.
pub fn is_damaged(cause: &anyhow::Error) -> bool {
    matches!(
        code(cause),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// True where the disk, or what lies on it, is what is wrong, and not what was to be written.
pub fn is_of_disk(cause: &anyhow::Error) -> bool {
    let is_of_file = matches!(
        code(cause),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
        )
    );
    is_of_file || is_damaged(cause) || cause.downcast_ref::<std::io::Error>().is_some()
}

/// Gives a file another name, `.damaged-N`; only the latest are kept.
///
/// # Errors
/// The system's.
pub fn set_aside(path: &Path) -> Result<PathBuf> {
    let name = |n: usize| path.with_extension(format!("damaged-{n}"));
    for n in (1..MAX_ASIDE).rev() {
        let _absent = fs::rename(name(n), name(n + 1));
    }
    for side in ["-wal", "-shm"] {
        let _absent = fs::remove_file(beside(path, side));
    }
    fs::rename(path, name(1)).with_context(|| path.display().to_string())?;
    Ok(name(1))
}

/// A file that SQLite has beside its own.
pub fn beside(path: &Path, side: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(side);
    name.into()
}

/// Bytes on disk of a file, with those beside it.
pub fn bytes_on_disk(path: &Path) -> u64 {
    let all = ["", "-wal", "-shm"].map(|side| beside(path, side));
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |data| data.len());
    all.iter().map(size).sum()
}
