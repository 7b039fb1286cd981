//! Check of the chain of an audit log over all its files.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use sensor_record::{AuditLine, json};

use super::{FIRST, MAX_LINE, N_KEPT, hash, kept};

/// Breaks that are named; further ones are counted.
const N_NAMED: usize = 20;

/// A place where the chain is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditBreak {
    pub file: PathBuf,
    /// Number of the line, from 1 on.
    pub line: u64,
    pub what: &'static str,
}

/// Result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files that there are, the oldest first.
    pub files: Vec<PathBuf>,
    pub n_lines: u64,
    /// Lines before the chain begins, of a version that had none.
    pub n_unchained: u64,
    /// The first line of all is there; else it went with the files that are no longer kept.
    pub is_from_the_first: bool,
    pub n_breaks: u64,
    /// The first of the breaks.
    pub breaks: Vec<AuditBreak>,
    /// Bytes of a last line that a crash cut.
    pub n_torn_bytes: u64,
    /// Hash of the last line: kept elsewhere, it shows whether all was written anew.
    pub last: Option<String>,
}

/// Checks the chain of a log, with the files of before beside it.
///
/// # Errors
/// The system's, with the path; also where there is no such log.
pub fn verify(path: &Path) -> io::Result<Verified> {
    let mut verified = Verified::default();
    let before = (1..=N_KEPT).rev().map(|n| kept(path, n));
    let before: Vec<PathBuf> = before.filter(|path| path.exists()).collect();
    for file in before.into_iter().chain([path.to_owned()]) {
        let named =
            |cause: io::Error| io::Error::new(cause.kind(), format!("{}: {cause}", file.display()));
        let is_last = file == path;
        verified.take(&file, is_last).map_err(named)?;
        verified.files.push(file);
    }
    Ok(verified)
}

impl Verified {
    fn take(&mut self, path: &Path, is_last: bool) -> io::Result<()> {
        let mut reader = BufReader::new(File::open(path)?);
        let (mut line, mut number) = (Vec::new(), 0);
        while (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
            number += 1;
            if line.pop_if(|last| *last == b'\n').is_some() {
                if let Some(what) = self.take_line(&line) {
                    self.note(path, number, what);
                }
            } else if is_last {
                self.n_torn_bytes = line.len() as u64;
            } else {
                self.note(path, number, "cut");
            }
            line.clear();
        }
        Ok(())
    }

    /// Takes a line; what is wrong with it.
    fn take_line(&mut self, line: &[u8]) -> Option<&'static str> {
        let before = self.last.replace(hash(line));
        let Ok(read) = json::read::<AuditLine>(line) else {
            return Some("no line of an audit log");
        };
        let Some(previous) = read.previous else {
            let has_begun = self.n_lines > 0;
            self.n_unchained += 1;
            return has_begun.then_some("has no hash of the line before");
        };
        let is_first = self.n_lines == 0;
        self.n_lines += 1;
        if is_first && self.n_unchained == 0 {
            self.is_from_the_first = previous == FIRST;
            return None;
        }
        (before.as_deref() != Some(previous.as_str())).then_some(
            "does not go with the line before: one of both was changed, or lines are gone",
        )
    }

    fn note(&mut self, path: &Path, line: u64, what: &'static str) {
        self.n_breaks += 1;
        if self.breaks.len() < N_NAMED {
            self.breaks.push(AuditBreak {
                file: path.to_owned(),
                line,
                what,
            });
        }
    }
}
