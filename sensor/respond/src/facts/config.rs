//! Files of other programs.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// Largest file that is read: nobody's configuration, but any file may lie there.
const MAX_BYTES: u64 = 1 << 20;

/// The text of a file; `None` where there is none.
///
/// # Errors
/// When it is there and can't be read, or is no file of text.
pub fn read(path: &Path) -> Result<Option<String>> {
    read_found(path).with_context(|| format!("{}: can't be read", path.display()))
}

fn read_found(path: &Path) -> Result<Option<String>> {
    // A pipe in the file's place would be waited for.
    let kind = match fs::metadata(path) {
        Ok(kind) => kind,
        Err(cause) if is_absent(&cause) => return Ok(None),
        Err(cause) => return Err(cause.into()),
    };
    ensure!(kind.is_file(), "not a file");
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(cause) if is_absent(&cause) => return Ok(None),
        Err(cause) => return Err(cause.into()),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn is_absent(cause: &std::io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Files of a folder with a suffix, in order; none where there is no folder.
///
/// # Errors
/// When the folder is there and can't be read.
pub fn files_in(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(cause) if is_absent(&cause) => return Ok(Vec::new()),
        Err(cause) => {
            let named = format!("{}: can't be read", folder.display());
            return Err(cause).context(named);
        }
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(suffix) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The words of each line that is no comment; the first in small letters.
pub fn lines(text: &str) -> impl Iterator<Item = (String, Vec<&str>)> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        if line.starts_with(['#', ';', '!', '%']) {
            return None;
        }
        let mut words = line.split_whitespace();
        let first = words.next()?.to_ascii_lowercase();
        Some((first, words.collect()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_file_is_none_and_an_unreadable_one_an_error() {
        let folder = std::env::temp_dir().join(format!("sensor-facts-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert!(read(&folder.join("absent")).unwrap().is_none());
        assert!(read(&folder.join("absent/below")).unwrap().is_none());
        let error = format!("{:#}", read(&folder).unwrap_err());
        assert!(error.ends_with("can't be read: not a file"), "{error}");
        fs::write(folder.join("b.conf"), "x").unwrap();
        fs::write(folder.join("a.conf"), "x").unwrap();
        fs::write(folder.join("c.txt"), "x").unwrap();
        let found = files_in(&folder, ".conf").unwrap();
        assert_eq!(found, [folder.join("a.conf"), folder.join("b.conf")]);
        assert!(files_in(&folder.join("absent"), "").unwrap().is_empty());
        assert!(files_in(&folder.join("a.conf/x"), "").unwrap().is_empty());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn comments_and_empty_lines_are_no_words() {
        let found: Vec<_> = lines("# a\n\n  Server 192.0.2.1 iburst\n; b").collect();
        assert_eq!(found, [("server".to_owned(), vec!["192.0.2.1", "iburst"])]);
    }
}
