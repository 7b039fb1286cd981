//! A table for a terminal or a document.

use sensor_record::text;

/// Heading, header and rows of text.
#[derive(Clone, Debug)]
pub struct Table {
    title: &'static str,
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: &'static str, header: &[&'static str]) -> Self {
        Self {
            title,
            header: header.to_vec(),
            rows: Vec::new(),
        }
    }

    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub const fn title(&self) -> &'static str {
        self.title
    }

    /// Writes the table for a terminal, its title above it.
    pub fn text(&self) -> String {
        let mut columns = text::Table::new(&self.header);
        for row in &self.rows {
            columns.row(row.clone());
        }
        let lines = columns.lines();
        let lines: Vec<String> = lines.iter().map(|line| format!("  {line}\n")).collect();
        format!("{}\n{}", self.title, lines.concat())
    }

    /// Writes the table as Markdown, with its title.
    pub fn markdown(&self) -> String {
        format!("### {}\n\n{}", self.title, self.rows_markdown())
    }

    /// Writes the table as HTML, without its title.
    pub fn html(&self) -> String {
        let are_numbers: Vec<bool> = (0..self.header.len())
            .map(|i| {
                let cells = self.rows.iter().filter_map(|row| row.get(i));
                text::are_numbers(cells.map(String::as_str))
            })
            .collect();
        let row = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
            let cells: Vec<String> = cells
                .zip(&are_numbers)
                .map(|(cell, is_number)| {
                    let class = if *is_number { " class=n" } else { "" };
                    format!("<{tag}{class}>{}</{tag}>", escape(cell))
                })
                .collect();
            format!("<tr>{}</tr>\n", cells.concat())
        };
        let rows: Vec<String> = self
            .rows
            .iter()
            .map(|cells| row("td", &mut cells.iter().map(String::as_str)))
            .collect();
        format!(
            "<div class=scroll><table><thead>{}</thead><tbody>\n{}</tbody></table></div>\n",
            row("th", &mut self.header.iter().copied()),
            rows.concat()
        )
    }

    pub fn rows_markdown(&self) -> String {
        let mut text = format!("| {} |\n", self.header.join(" | "));
        text.push_str(&format!("|{}\n", "---|".repeat(self.header.len())));
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            text.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
        text
    }
}

/// Text as HTML and SVG take it.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_escaped_and_numbers_are_marked() {
        let mut table = Table::new("T", &["what", "n"]);
        table.push(vec!["<a & \"b\">".to_owned(), "1.5".to_owned()]);
        let html = table.html();
        assert!(
            html.contains("<td>&lt;a &amp; &quot;b&quot;&gt;</td><td class=n>1.5</td>"),
            "{html}"
        );
    }
}
