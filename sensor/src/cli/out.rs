//! Standard output and standard error of a command. A reader that went away ends the command quietly,
//! a full disk ends it with an error; neither is a panic, as with `println!`.

use std::fmt::Arguments;
use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use ratatui::crossterm::terminal::size;
use sensor_record::json;
use sensor_record::text::Table;
use serde::Serialize;

/// Writes to standard output.
///
/// # Errors
/// When nobody reads any more, or there is no room.
pub fn put(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("standard output")
}

/// Writes a line to standard output.
///
/// # Errors
/// As [`put`].
pub fn say_line(text: Arguments<'_>) -> Result<()> {
    put(&format!("{text}\n"))
}

/// Writes records to standard output, one JSON object per line.
///
/// # Errors
/// As [`put`].
pub fn print_lines<T: Serialize>(records: &[T]) -> Result<()> {
    for record in records {
        say_line(format_args!("{}", json::line(record)))?;
    }
    Ok(())
}

/// Writes the lines of a table to standard output, within the width of a terminal. In a file or a pipe
/// each row stays one line.
///
/// # Errors
/// As [`put`].
pub fn say_table(table: &Table) -> Result<()> {
    let lines = table.lines_within(width());
    put(&format!("{}\n", lines.join("\n")))
}

/// Width of the terminal that standard output is; as good as endless for anything else.
pub fn width() -> usize {
    if !io::stdout().is_terminal() {
        return usize::MAX;
    }
    size().map_or(80, |(columns, _)| usize::from(columns.max(1)))
}

/// Writes a line to standard error. Where that can't be written, there is nobody left to tell.
pub fn note_line(text: Arguments<'_>) {
    let mut line = text.to_string();
    line.push('\n');
    let _untold = io::stderr().write_all(line.as_bytes());
}

/// True if whoever read the output has enough: `sensor flows | head -1`.
pub fn is_closed(error: &anyhow::Error) -> bool {
    let of_pipe = |cause: &(dyn std::error::Error + 'static)| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(of_pipe)
}

/// A line on standard output; an error is the caller's.
macro_rules! say {
    ($($text:tt)*) => {
        crate::cli::out::say_line(format_args!($($text)*))
    };
}

/// A line on standard error.
macro_rules! note {
    ($($text:tt)*) => {
        crate::cli::out::note_line(format_args!($($text)*))
    };
}

pub(super) use {note, say};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_told_from_other_errors() {
        let error = |kind: io::ErrorKind| anyhow::Error::from(io::Error::from(kind)).context("out");
        assert!(is_closed(&error(io::ErrorKind::BrokenPipe)));
        assert!(!is_closed(&error(io::ErrorKind::StorageFull)));
        assert!(!is_closed(&anyhow::anyhow!("refused")));
    }
}
