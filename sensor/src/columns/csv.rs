//! CSV by RFC 4180, in UTF-8.

use std::io::{self, Write};

use sensor_record::Timestamp;

use super::{Cell, Column, Kind, unfit};

/// A file of comma-separated values.
pub struct Csv<W> {
    columns: &'static [Column],
    out: W,
    line: String,
}

impl<W: Write> Csv<W> {
    pub fn new(columns: &'static [Column], mut out: W) -> io::Result<Self> {
        let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
        out.write_all(names.join(",").as_bytes())?;
        out.write_all(b"\r\n")?;
        Ok(Self {
            columns,
            out,
            line: String::new(),
        })
    }

    pub fn row(&mut self, cells: &[Cell]) -> io::Result<()> {
        if cells.len() != self.columns.len() {
            return Err(unfit(self.columns, self.columns.len()));
        }
        self.line.clear();
        for (n, (column, cell)) in self.columns.iter().zip(cells).enumerate() {
            if n > 0 {
                self.line.push(',');
            }
            match (column.kind, cell) {
                (_, Cell::Empty) if column.is_optional => {}
                (Kind::Int, Cell::Int(value)) => self.line += &value.to_string(),
                (Kind::Number, Cell::Number(value)) => self.line += &value.to_string(),
                (Kind::Time, Cell::Time(ns)) => {
                    // Microseconds, as Parquet has them.
                    self.line += &Timestamp(ns - ns % 1_000).to_string().replace("000Z", "Z");
                }
                (Kind::Text, Cell::Text(text)) => quote(text, &mut self.line),
                _ => return Err(unfit(self.columns, n)),
            }
        }
        self.line += "\r\n";
        self.out.write_all(self.line.as_bytes())
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Quotes a text where it has to be.
fn quote(text: &str, line: &mut String) {
    if text.contains([',', '"', '\r', '\n']) {
        line.push('"');
        *line += &text.replace('"', "\"\"");
        line.push('"');
    } else {
        *line += text;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Form, Writer};
    use super::*;

    const COLUMNS: &[Column] = &[
        Column::new("at", Kind::Time),
        Column::new("what", Kind::Text),
        Column::optional("n", Kind::Int),
        Column::new("share", Kind::Number),
    ];

    #[test]
    fn texts_are_quoted_where_they_have_to_be() {
        let mut table = Writer::new(Form::Csv, COLUMNS, Vec::new()).unwrap();
        let at = Cell::Time(1_700_000_000_123_456_789);
        let row = |what: &str, n| [at.clone(), what.into(), n, Cell::Number(0.5)];
        table.row(&row("plain", Cell::Int(-7))).unwrap();
        table.row(&row("a \"b\", c", Cell::Empty)).unwrap();
        assert!(table.row(&row("", Cell::Number(1.0))).is_err());
        assert!(table.row(&[]).is_err());
        let text = String::from_utf8(table.finish().unwrap()).unwrap();
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(lines[0], "at,what,n,share");
        assert_eq!(lines[1], "2023-11-14T22:13:20.123456Z,plain,-7,0.5");
        assert_eq!(
            lines[2],
            "2023-11-14T22:13:20.123456Z,\"a \"\"b\"\", c\",,0.5"
        );
    }
}
