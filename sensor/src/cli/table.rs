//! Aligned columns and short numbers for a person.

/// Rows under a heading; numbers to the right.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(heading: &[&str]) -> Self {
        let rows = vec![heading.iter().map(|word| (*word).to_owned()).collect()];
        Self { rows }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
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
                if *right {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    pub fn print(&self) {
        for line in self.lines() {
            println!("{line}");
        }
    }
}

/// True for what [`short`] gives, which has one point at most.
fn is_short(cell: &str) -> bool {
    let digits = cell.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ' || c == '/');
    digits.parse::<f64>().is_ok()
}

/// 1234567 as `1.23M`.
pub fn short(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 1e12 => (v / 1e12, "T"),
        v if v >= 1e9 => (v / 1e9, "G"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e4 => (v / 1e3, "k"),
        v => return format!("{v:.0}"),
    };
    match value {
        v if v >= 100.0 => format!("{v:.0}{unit}"),
        v if v >= 10.0 => format!("{v:.1}{unit}"),
        v => format!("{v:.2}{unit}"),
    }
}

/// Bytes a second as bits a second.
pub fn bits(bytes_per_s: f64) -> String {
    format!("{}bit/s", short(bytes_per_s * 8.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_right() {
        for (value, text) in [
            (0.0, "0"),
            (9_999.0, "9999"),
            (12_340.0, "12.3k"),
            (1_234_567.0, "1.23M"),
            (5e11, "500G"),
        ] {
            assert_eq!(short(value), text);
        }
    }

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
}
