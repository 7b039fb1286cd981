//! Aligned columns: the one layout of tables on a terminal.

use crate::escape::escape;

/// Space between columns.
const GAP: &str = "  ";
/// Least width that the last column is wrapped into; below it, lines are left as long as they are.
const MIN_WRAPPED: usize = 24;

/// Rows under a heading; columns of numbers to the right. Cells are escaped.
#[derive(Clone, Debug)]
pub struct Table {
    heading: Option<Vec<String>>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(heading: &[&str]) -> Self {
        let heading = heading.iter().map(|word| (*word).to_owned()).collect();
        Self {
            heading: Some(heading),
            rows: Vec::new(),
        }
    }

    /// Makes a table without a heading.
    pub const fn bare() -> Self {
        Self {
            heading: None,
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        let safe = cells.iter().map(|cell| escape(cell).into_owned());
        self.rows.push(safe.collect());
    }

    /// Lines without their ends: the heading, then one for each row.
    pub fn lines(&self) -> Vec<String> {
        self.lines_within(usize::MAX)
    }

    /// Lays out as [`Self::lines`] does, but where that is wider than `width` characters, wraps the
    /// last column if it is text. Where that is not enough, columns of text, the widest first, go to
    /// lines of their own below the rest of their row, as both ends of an IPv6 flow do at 80
    /// characters. Each row is then several lines in one string.
    pub fn lines_within(&self, width: usize) -> Vec<String> {
        let columns = self.columns();
        let mut below: Vec<usize> = Vec::new();
        let by_width = |i: &usize| columns.get(*i).map_or(0, |column| column.width);
        let mut texts: Vec<usize> = (0..columns.len())
            .filter(|i| columns.get(*i).is_some_and(|column| !column.is_number))
            .collect();
        texts.sort_by_key(by_width);
        loop {
            let beside = |i: &usize| !below.contains(i);
            let kept: Vec<usize> = (0..columns.len()).filter(beside).collect();
            let wrap = wrapping(&columns, &kept, width);
            let total = total(&columns, &kept);
            let widest = texts.pop().filter(|_| total > width && wrap.is_none());
            let Some(widest) = widest.filter(|_| kept.len() > 1) else {
                let wrap = wrap.filter(|_| total > width);
                return self.laid_out(&columns, &kept, &below, wrap);
            };
            below.push(widest);
            below.sort_unstable();
        }
    }

    fn columns(&self) -> Vec<Column> {
        let all = || self.heading.iter().chain(&self.rows);
        let n_columns = all().map(Vec::len).max().unwrap_or(0);
        let column = |i: usize| {
            let widths = all().filter_map(|row| row.get(i)).map(|cell| length(cell));
            let cells = self.rows.iter().filter_map(|row| row.get(i));
            Column {
                width: widths.max().unwrap_or(0),
                is_number: are_numbers(cells.map(String::as_str)),
            }
        };
        (0..n_columns).map(column).collect()
    }

    fn laid_out(
        &self,
        columns: &[Column],
        kept: &[usize],
        below: &[usize],
        wrap: Option<(usize, usize)>,
    ) -> Vec<String> {
        let picked = |row: &[String], which: &[usize]| -> Vec<String> {
            let cells = which.iter().map(|i| row.get(*i).cloned());
            cells.map(Option::unwrap_or_default).collect()
        };
        let kept_columns: Vec<Column> = kept
            .iter()
            .filter_map(|i| columns.get(*i))
            .copied()
            .collect();
        let all = self.heading.iter().chain(&self.rows);
        all.map(|row| {
            let mut text = line(&picked(row, kept), &kept_columns, wrap);
            for cell in picked(row, below) {
                text.push('\n');
                text.push_str(GAP);
                text.push_str(&cell);
            }
            text
        })
        .collect()
    }
}

/// A column: its widest cell, and whether it is of numbers.
#[derive(Clone, Copy, Debug)]
struct Column {
    width: usize,
    is_number: bool,
}

/// Width of some columns side by side.
fn total(columns: &[Column], kept: &[usize]) -> usize {
    let widths = kept.iter().filter_map(|i| columns.get(*i));
    let sum: usize = widths.map(|column| column.width + GAP.len()).sum();
    sum.saturating_sub(GAP.len())
}

/// Place where the last of some columns begins and how wide it may be, if it can be wrapped into `width`.
fn wrapping(columns: &[Column], kept: &[usize], width: usize) -> Option<(usize, usize)> {
    let (last, others) = kept.split_last()?;
    let before = match others {
        [] => 0,
        _ => total(columns, others) + GAP.len(),
    };
    let left = width.saturating_sub(before);
    let is_text = columns.get(*last).is_some_and(|column| !column.is_number);
    (is_text && left >= MIN_WRAPPED).then_some((before, left))
}

/// One row; `wrap` tells where the last column begins and how wide it may be.
fn line(row: &[String], columns: &[Column], wrap: Option<(usize, usize)>) -> String {
    let mut text = String::new();
    for (i, (cell, column)) in row.iter().zip(columns).enumerate() {
        if i > 0 {
            text.push_str(GAP);
        }
        let is_last = i + 1 == columns.len();
        if let Some((before, left)) = wrap.filter(|_| is_last) {
            let indent = format!("\n{}", " ".repeat(before));
            text.push_str(&wrapped(cell, left).join(&indent));
            continue;
        }
        // Not by a format's width, which is bounded.
        let space = " ".repeat(column.width.saturating_sub(length(cell)));
        let (left, right) = if column.is_number {
            (space.as_str(), cell.as_str())
        } else {
            (cell.as_str(), space.as_str())
        };
        text.push_str(left);
        text.push_str(right);
    }
    text.truncate(text.trim_end().len());
    text
}

fn length(cell: &str) -> usize {
    cell.chars().count()
}

/// Lines of whole words of at most `width` characters; a longer word is a line of its own.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    if length(text) <= width {
        return vec![text.to_owned()];
    }
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if length(line) + 1 + length(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// True for a column of numbers, with or without a unit; cells that stand for none may be among them.
pub fn are_numbers<'a>(cells: impl Iterator<Item = &'a str>) -> bool {
    let mut n_numbers = 0;
    for cell in cells {
        if is_number(cell) {
            n_numbers += 1;
        } else if !matches!(cell, "" | "-" | "missed") {
            return false;
        }
    }
    n_numbers > 0
}

/// True for what begins with a digit, but for addresses and times, which have more than one point or a
/// colon.
fn is_number(cell: &str) -> bool {
    let digits = cell.strip_prefix('-').unwrap_or(cell);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && !digits.contains(':')
        && (!digits.contains('.') || is_short(digits))
}

/// True for a number with one point at most and perhaps a unit.
fn is_short(cell: &str) -> bool {
    let is_unit = |c: char| c.is_ascii_alphabetic() || matches!(c, ' ' | '/' | '%');
    cell.trim_end_matches(is_unit).parse::<f64>().is_ok()
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

    #[test]
    fn a_wide_last_column_is_wrapped_below_itself() {
        let mut table = Table::new(&["n", "what"]);
        table.row(vec![
            "1".to_owned(),
            "one two three four five six".to_owned(),
        ]);
        table.row(vec!["12".to_owned(), "seven".to_owned()]);
        let expected = [
            " n  what",
            " 1  one two three four five\n    six",
            "12  seven",
        ];
        assert_eq!(table.lines_within(28), expected);
        // Wide enough.
        assert_eq!(table.lines_within(80), table.lines());
        // Too narrow to wrap.
        let expected = [
            " n\n  what",
            " 1\n  one two three four five six",
            "12\n  seven",
        ];
        assert_eq!(table.lines_within(20), expected);
    }

    #[test]
    fn both_ends_of_an_ipv6_flow_fit_a_terminal_of_80_columns() {
        let mut table = Table::new(&["protocol", "source", "destination", "packets", "since"]);
        let ends = [
            "[2001:db8:1111:2222:3333:4444:5555:6666]:51234",
            "[2001:db8::1]:443",
        ];
        table.row(vec![
            "tcp".to_owned(),
            ends[0].to_owned(),
            ends[1].to_owned(),
            "12.3k".to_owned(),
            "12:30:01".to_owned(),
        ]);
        let expected = [
            "protocol  destination        packets  since\n  source".to_owned(),
            format!("tcp       {}    12.3k  12:30:01\n  {}", ends[1], ends[0]),
        ];
        assert_eq!(table.lines_within(80), expected);
        for width in [80, 60, 40] {
            let lines = table.lines_within(width);
            let lines = lines.iter().flat_map(|row| row.lines());
            // No narrower than one end.
            let most = width.max(2 + ends[0].len());
            assert!(lines.clone().all(|line| line.len() <= most), "{width}");
        }
        assert_eq!(table.lines_within(200), table.lines());
    }

    #[test]
    fn numbers_are_told_from_addresses_and_times() {
        let numbers = ["7", "12.3k", "1.5 Mbit/s", "96.1 %", "-0.5", "", "missed"];
        assert!(are_numbers(numbers.into_iter()));
        for other in ["10.0.0.1", "2001:db8::1", "12:30:01", "any", "1.2.3"] {
            assert!(!are_numbers(["7", other].into_iter()), "{other}");
        }
        assert!(!are_numbers(["-", ""].into_iter()));
    }
}
