//! Tables for analysts, row by row: CSV (RFC 4180), or Apache Parquet. Columns hold one type each, of those that
//! pandas, DuckDB and Tableau agree on: signed integers, numbers, texts, and times in microseconds of UTC.

mod csv;
mod parquet;

use std::io::{self, Write};

use csv::Csv;
use parquet::Parquet;

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int,
    Number,
    Text,
    /// Unix time, µs.
    Time,
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    /// It may be empty.
    pub is_optional: bool,
}

impl Column {
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            is_optional: false,
        }
    }

    pub const fn optional(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            is_optional: true,
        }
    }
}

/// A value of a row, of its column's type.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Empty,
    Int(i64),
    Number(f64),
    Text(String),
    /// Unix time, ns.
    Time(u64),
}

impl From<u64> for Cell {
    fn from(n: u64) -> Self {
        Self::Int(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<u16> for Cell {
    fn from(n: u16) -> Self {
        Self::Int(n.into())
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// Form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Comma-separated values, with a header.
    Csv,
    /// Apache Parquet, compressed by zstd.
    Parquet,
}

/// A table that is being written.
pub enum Writer<W: Write> {
    Csv(Csv<W>),
    Parquet(Box<Parquet<W>>),
}

impl<W: Write> Writer<W> {
    /// Begins a table.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(form: Form, columns: &'static [Column], out: W) -> io::Result<Self> {
        Ok(match form {
            Form::Csv => Self::Csv(Csv::new(columns, out)?),
            Form::Parquet => Self::Parquet(Box::new(Parquet::new(columns, out)?)),
        })
    }

    /// Adds a row, a cell for each column.
    ///
    /// # Errors
    /// Those of `out`, and a cell that is none of its column.
    pub fn row(&mut self, cells: &[Cell]) -> io::Result<()> {
        match self {
            Self::Csv(csv) => csv.row(cells),
            Self::Parquet(parquet) => parquet.row(cells),
        }
    }

    /// Ends the table.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Csv(csv) => csv.finish(),
            Self::Parquet(parquet) => parquet.finish(),
        }
    }
}

/// Fault of a row that does not fit its columns.
fn unfit(columns: &[Column], at: usize) -> io::Error {
    let name = columns.get(at).map_or("row", |column| column.name);
    io::Error::other(format!("{name}: a value of another type than the column's"))
}
