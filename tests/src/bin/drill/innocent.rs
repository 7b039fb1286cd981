//! The client that does nothing wrong: a session that goes on, and a new connection 20 times a second.

use std::path::{Path, PathBuf};

use anyhow::Result;
use sensor_tests::{Background, Network};

/// Writes a line for each answer in the session (`s`), each attempt to begin a connection (`c`, with
/// how it came out) and the end of the session (`x`), each with its time. It moves 64 kB each 25 ms.
const CLIENT: &str = "import socket, threading, time
log = open('LOG', 'w', buffering=1)
def say(*words):
    log.write(' '.join(map(str, words)) + '\\n')
def session():
    try:
        there = socket.create_connection(('SERVER', 7000), timeout=10)
        block = bytes(65536)
        while True:
            there.sendall(block)
            left = len(block)
            while left:
                heard = there.recv(left)
                if not heard:
                    raise OSError('closed')
                left -= len(heard)
            say('s', time.time())
            time.sleep(0.025)
    except OSError as why:
        say('x', time.time(), why)
threading.Thread(target=session, daemon=True).start()
while True:
    try:
        there = socket.create_connection(('SERVER', 7000), timeout=1)
        there.sendall(b'line')
        is_good = there.recv(100) == b'line'
        there.close()
    except OSError:
        is_good = False
    say('c', time.time(), int(is_good))
    time.sleep(0.05)
";

/// A running client.
pub struct Innocent {
    log: PathBuf,
    _program: Background,
}

/// Figures of a stretch of time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Attempts to begin a connection, and those that were answered.
    pub n_begun: u32,
    pub n_answered: u32,
    /// Blocks that the session moved, a second.
    pub blocks_per_s: f64,
}

/// Figures of a round: before, during and after what was done to the server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    pub before: Figures,
    pub during: Figures,
    pub after: Figures,
    /// Longest time without an answer in the session, s.
    pub longest_pause_s: f64,
    pub has_ended: bool,
}

impl Innocent {
    pub fn start(network: &Network, folder: &Path, server: &str) -> Result<Self> {
        let log = folder.join("client.log");
        let program = folder.join("client.py");
        let text = CLIENT
            .replace("LOG", &log.display().to_string())
            .replace("SERVER", server);
        std::fs::write(&program, text)?;
        let line = format!("python3 {}", program.display());
        Ok(Self {
            log,
            _program: network.start("client", &line)?,
        })
    }

    /// Lines so far.
    pub fn n_lines(&self) -> usize {
        std::fs::read_to_string(&self.log).map_or(0, |text| text.lines().count())
    }

    /// Counts its log; the times are when something began and ended to be done to the server, and
    /// when that was watched last, in seconds of unix time.
    pub fn account(&self, begin_s: f64, end_s: f64, last_s: f64) -> Account {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        account(&text, begin_s, end_s, last_s)
    }
}

fn account(text: &str, begin_s: f64, end_s: f64, last_s: f64) -> Account {
    let mut account = Account::default();
    let (mut first_s, mut answer_s) = (None, None::<f64>);
    let mut n_blocks = [0_u32; 3];
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let Some(at_s) = words.get(1).and_then(|word| word.parse::<f64>().ok()) else {
            continue;
        };
        let stretch = usize::from(at_s >= begin_s) + usize::from(at_s >= end_s);
        first_s.get_or_insert(at_s);
        match words.first() {
            Some(&"s") => {
                n_blocks[stretch] += 1;
                let pause_s = answer_s.map_or(0.0, |before| at_s - before);
                account.longest_pause_s = account.longest_pause_s.max(pause_s);
                answer_s = Some(at_s);
            }
            Some(&"x") => account.has_ended = true,
            _ => {
                let figures = [&mut account.before, &mut account.during, &mut account.after];
                let Some(figures) = figures.into_iter().nth(stretch) else {
                    continue;
                };
                figures.n_begun += 1;
                figures.n_answered += u32::from(words.get(2) == Some(&"1"));
            }
        }
    }
    let pause_s = answer_s.map_or(last_s - begin_s, |before| last_s - before);
    account.longest_pause_s = account.longest_pause_s.max(pause_s);
    let spans_s = [
        begin_s - first_s.unwrap_or(begin_s),
        end_s - begin_s,
        last_s - end_s,
    ];
    let figures = [&mut account.before, &mut account.during, &mut account.after];
    for ((figures, n), span_s) in figures.into_iter().zip(n_blocks).zip(spans_s) {
        figures.blocks_per_s = f64::from(n) / span_s.max(0.001);
    }
    account
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_counted_by_stretch() {
        let log = "s 1.0\nc 1.5 1\nc 2.5 1\nc 2.6 0\ns 2.9\ns 3.5\nc 3.6 1\n";
        let account = account(log, 2.0, 3.0, 4.0);
        assert_eq!((account.before.n_begun, account.before.n_answered), (1, 1));
        assert_eq!((account.during.n_begun, account.during.n_answered), (2, 1));
        assert_eq!((account.after.n_begun, account.after.n_answered), (1, 1));
        assert!((account.longest_pause_s - 1.9).abs() < 1e-9);
        assert!(!account.has_ended);
    }

    #[test]
    fn a_session_that_ends_or_falls_silent_is_seen() {
        assert!(account("s 1.0\nx 1.1 closed\n", 2.0, 3.0, 4.0).has_ended);
        let silent = account("s 1.0\n", 2.0, 3.0, 4.0);
        assert!((silent.longest_pause_s - 3.0).abs() < 1e-9);
    }
}
