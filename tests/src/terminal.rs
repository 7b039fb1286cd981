//! A terminal's screen, from what a program wrote to it: as much of ECMA-48 as full-screen programs
//! need that place the cursor before they write.

/// Characters on a screen. What is written outside of it is remembered as such.
#[derive(Debug)]
pub struct Terminal {
    rows: Vec<Vec<char>>,
    /// Row and column of the cursor.
    cursor: (usize, usize),
    /// Number of characters that were written where there is no screen.
    pub n_outside: usize,
}

impl Terminal {
    pub fn new(width: usize, height: usize) -> Self {
        Self {
            rows: vec![vec![' '; width]; height],
            cursor: (0, 0),
            n_outside: 0,
        }
    }

    /// Lines of the screen.
    pub fn text(&self) -> String {
        let lines = self.rows.iter().map(|row| row.iter().collect::<String>());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Takes what a program wrote.
    pub fn feed(&mut self, written: &str) {
        let mut rest = written.chars();
        while let Some(c) = rest.next() {
            match c {
                '\u{1b}' => self.escape(&mut rest),
                '\n' => self.cursor.0 += 1,
                '\r' => self.cursor.1 = 0,
                c if c.is_control() => {}
                c => self.put(c),
            }
        }
    }

    fn put(&mut self, c: char) {
        let (row, column) = self.cursor;
        match self.rows.get_mut(row).and_then(|row| row.get_mut(column)) {
            Some(cell) => *cell = c,
            None => self.n_outside += 1,
        }
        self.cursor.1 += 1;
    }

    /// A sequence after its escape character: of those that begin with `[`, those are followed that
    /// move the cursor or clear.
    fn escape(&mut self, rest: &mut std::str::Chars<'_>) {
        if rest.next() != Some('[') {
            return;
        }
        let mut arguments = String::new();
        for c in rest {
            if ('@'..='~').contains(&c) {
                return self.control(c, &arguments);
            }
            arguments.push(c);
        }
    }

    fn control(&mut self, last: char, arguments: &str) {
        let mut numbers = arguments.split(';').map(|n| n.parse::<usize>().ok());
        let first = numbers.next().flatten();
        match last {
            'H' => {
                let row = first.unwrap_or(1);
                let column = numbers.next().flatten().unwrap_or(1);
                self.cursor = (row.saturating_sub(1), column.saturating_sub(1));
            }
            'J' => self.rows.iter_mut().for_each(|row| row.fill(' ')),
            'K' => {
                let (row, column) = self.cursor;
                let row = self.rows.get_mut(row);
                if let Some(cells) = row.and_then(|row| row.get_mut(column..)) {
                    cells.fill(' ');
                }
            }
            _ => {}
        }
    }

    /// Takes another size; the program is expected to draw all of it again.
    pub fn resize(&mut self, width: usize, height: usize) {
        self.rows = vec![vec![' '; width]; height];
    }
}
