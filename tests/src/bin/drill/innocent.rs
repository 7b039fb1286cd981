//! Those who do nothing wrong: a client with a session that goes on and 20 new connections a second, and the server's
//! own questions to its resolver.

use std::path::{Path, PathBuf};

use anyhow::Result;
use sensor_tests::{Background, Network};

use crate::cases::{Case, Family, STRANGERS};

/// Writes a line for each answer in the session (`s`), each attempt to begin a connection (`c`, with
/// how it came out) and the end of the session (`x`), each with its time. It moves 64 kB each 25 ms.
const CLIENT: &str = "import itertools, socket, threading, time
log = open('LOG', 'w', buffering=1)
def say(*words):
    log.write(' '.join(map(str, words)) + '\\n')
def session():
    try:
        there = socket.create_connection(('SERVER', PORT), timeout=10)
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
addresses = itertools.cycle([ADDRESSES])
while True:
    try:
        there = socket.create_connection(('SERVER', PORT), timeout=1, source_address=(next(addresses), 0))
        there.sendall(b'line')
        is_good = there.recv(100) == b'line'
        there.close()
    except OSError:
        is_good = False
    say('c', time.time(), int(is_good))
    time.sleep(0.05)
";

/// Answers each question with itself.
const RESOLVER: &str = "import socket
there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
there.bind(('0.0.0.0', 53))
while True:
    asked, who = there.recvfrom(2048)
    there.sendto(asked, who)
";

/// Writes a line for each question (`c`, with how it came out), 20 a second, each from another port.
const ASKER: &str = "import os, socket, time
log = open('LOG', 'w', buffering=1)
while True:
    question = os.urandom(2) + bytes([1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 97, 0, 0, 1, 0, 1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.settimeout(1)
        there.connect(('RESOLVER', 53))
        try:
            there.send(question)
            is_good = there.recv(2048) == question
        except OSError:
            is_good = False
    log.write(f'c {time.time()} {int(is_good)}\\n')
    time.sleep(0.05)
";

/// Running programs that do nothing wrong.
pub struct Innocent {
    log: PathBuf,
    asker_log: PathBuf,
    _programs: Vec<Background>,
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
    /// Questions of the server to its resolver.
    pub questions: [Figures; 3],
}

impl Innocent {
    pub fn start(network: &Network, folder: &Path, family: Family, case: &Case) -> Result<Self> {
        let (log, asker_log) = (folder.join("client.log"), folder.join("asker.log"));
        let write = |name: &str, text: &str| -> Result<String> {
            let path = folder.join(name);
            std::fs::write(&path, text)?;
            Ok(format!("python3 {}", path.display()))
        };
        let addresses = addresses(network, family, case)?;
        let client = CLIENT
            .replace("ADDRESSES", &addresses)
            .replace("LOG", &log.display().to_string())
            .replace("SERVER", &family.address(1, 1))
            .replace("PORT", &case.port.to_string());
        let mut programs = vec![network.start("client", &write("client.py", &client)?)?];
        if case.asks {
            let asker = ASKER
                .replace("LOG", &asker_log.display().to_string())
                .replace("RESOLVER", &Family::V4.address(1, 2));
            programs.push(network.start("client", &write("resolver.py", RESOLVER)?)?);
            programs.push(network.start("server", &write("asker.py", &asker)?)?);
        }
        Ok(Self {
            log,
            asker_log,
            _programs: programs,
        })
    }

    /// Lines so far.
    pub fn n_lines(&self) -> usize {
        std::fs::read_to_string(&self.log).map_or(0, |text| text.lines().count())
    }

    /// Counts its log; the times are when something began and ended to be done to the server, and
    /// when that was watched last, in seconds of unix time.
    pub fn account(&self, begin_s: f64, end_s: f64, last_s: f64) -> Account {
        let count = |log: &Path| {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            account(&text, begin_s, end_s, last_s)
        };
        let asked = count(&self.asker_log);
        Account {
            questions: [asked.before, asked.during, asked.after],
            ..count(&self.log)
        }
    }
}

/// Addresses that the client's connections begin from, as a list of Python.
fn addresses(network: &Network, family: Family, case: &Case) -> Result<String> {
    if !case.has_strangers {
        return Ok("''".to_owned());
    }
    let mut all = Vec::new();
    for n in 0..STRANGERS {
        let address = family.address(1, 10 + n);
        let more = match family {
            Family::V4 => format!("{address}/24 dev eth0"),
            Family::V6 => format!("{address}/64 dev eth0 nodad"),
        };
        network.run("client", &format!("ip addr add {more}"))?;
        all.push(format!("'{address}'"));
    }
    Ok(all.join(", "))
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
