//! Aligned columns.

use crate::escape::escape;

/// Rows under a heading; numbers to the right. Cells are escaped.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(heading: &[&str]) -> Self {
        let rows = vec![heading.iter().map(|word| (*word).to_owned()).collect()];
        Self { rows }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        let safe = cells.iter().map(|cell| escape(cell).into_owned());
        self.rows.push(safe.collect());
    }

    /// Lines without their ends.
    pub fn lines(&self) -> Vec<String> {
        let n_columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let column = |i: usize| self.rows.iter().filter_map(move |row| row.get(i));
        let widths: Vec<usize> = (0..n_columns)
            .map(|i| {
                column(i)
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let is_number: Vec<bool> = (0..n_columns)
            .map(|i| {
                let mut cells = column(i).skip(1).peekable();
                cells.peek().is_some()
                    && cells.all(|cell| cell.starts_with(|c: char| c.is_ascii_digit()))
                    && !column(i)
                        .skip(1)
                        .any(|cell| cell.contains(['.', ':']) && !is_short(cell))
            })
            .collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&is_number);
            let padded = cells.map(|((cell, width), right)| {
                // Not by a format's width, which is bounded.
                let space = " ".repeat(width.saturating_sub(cell.chars().count()));
                if *right {
                    space + cell
                } else {
                    cell.clone() + &space
                }
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// True for what [`crate::unit::count`] gives, which has one point at most.
fn is_short(cell: &str) -> bool {
    let digits = cell.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ' || c == '/');
    digits.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["address", "packets"]);
        table.row(vec!["10.0.0.1".to_owned(), "7".to_owned()]);
        table.row(vec!["fe80::1".to_owned(), "12.3k".to_owned()]);
        let expected = [
            "address   packets",
            "10.0.0.1        7",
            "fe80::1     12.3k",
        ];
        assert_eq!(table.lines(), expected);
    }

    #[test]
    fn cells_may_be_longer_than_a_format_is_wide() {
        let mut table = Table::new(&["reason", "packets"]);
        table.row(vec!["x".repeat(100_000), "7".to_owned()]);
        table.row(vec!["short".to_owned(), "12".to_owned()]);
        let lines = table.lines();
        assert_eq!(lines[2].len(), 100_000 + 2 + 7);
    }

    #[test]
    fn cells_are_escaped() {
        let mut table = Table::new(&["reason"]);
        table.row(vec!["\x1b[2Jgone".to_owned()]);
        assert_eq!(table.lines(), ["reason", "\\u{1b}[2Jgone"]);
    }
}
