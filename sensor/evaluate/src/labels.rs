//! Label files: `ID.pkt.csv` says what each packet is, run-length coded, `ID.csv` lists the
//! episodes of attacks.

use std::fs;
use std::path::{Path, PathBuf};

/// Label of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    Benign,
    Attack,
    /// Odd or unknown, but not an attack: left out of scoring and counted apart.
    Ignore,
}

impl Label {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "0" => Some(Self::Benign),
            "1" => Some(Self::Attack),
            "2" => Some(Self::Ignore),
            _ => None,
        }
    }
}

/// Packets `first..=last`, numbered from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub first: u64,
    pub last: u64,
    pub label: Label,
    /// Index into [`Labels::attacks`]; the empty name for benign packets.
    pub attack: usize,
}

/// One labelled stretch of one attack, or of what is to be ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    pub start_ns: u64,
    pub end_ns: u64,
    pub label: Label,
    pub attack: usize,
}

/// The labels of one capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    pub attacks: Vec<String>,
    pub runs: Vec<Run>,
    pub episodes: Vec<Episode>,
    /// Bad rows, with file and row.
    pub problems: Vec<String>,
}

impl Labels {
    /// Reads both files of a capture.
    ///
    /// # Errors
    /// When either can't be read at all.
    pub fn read(packets: &Path, episodes: &Path) -> Result<Self, String> {
        let mut labels = Self::default();
        for (number, row) in rows(packets)? {
            match labels.run(&row) {
                Ok(run) => labels.runs.push(run),
                Err(why) => labels.reject(packets, number, &why),
            }
        }
        for (number, row) in rows(episodes)? {
            match labels.episode(&row) {
                Ok(episode) => labels.episodes.push(episode),
                Err(why) => labels.reject(episodes, number, &why),
            }
        }
        Ok(labels)
    }

    /// Both files of a capture in the first of the folders that has them.
    pub fn find(id: &str, folders: &[PathBuf]) -> Option<(PathBuf, PathBuf)> {
        folders
            .iter()
            .map(|folder| {
                (
                    folder.join(format!("{id}.pkt.csv")),
                    folder.join(format!("{id}.csv")),
                )
            })
            .find(|(packets, episodes)| packets.is_file() && episodes.is_file())
    }

    fn reject(&mut self, path: &Path, number: usize, why: &str) {
        self.problems
            .push(format!("{}: row {number}: {why}", path.display()));
    }

    fn name(&mut self, attack: &str) -> usize {
        if let Some(index) = self.attacks.iter().position(|known| known == attack) {
            return index;
        }
        self.attacks.push(attack.to_owned());
        self.attacks.len() - 1
    }

    fn run(&mut self, row: &[String]) -> Result<Run, String> {
        let [first, last, label, attack] = row else {
            return Err(format!(
                "{} columns, expected first_pkt,last_pkt,label,attack",
                row.len()
            ));
        };
        let number = |text: &str| {
            text.parse::<u64>()
                .map_err(|_| format!("\"{text}\" is not a packet number"))
        };
        let (first, last) = (number(first)?, number(last)?);
        let before = self.runs.last().map_or(0, |run| run.last);
        if first == 0 || last < first || first <= before {
            return Err(format!("packets {first} to {last} do not follow {before}"));
        }
        let label = Label::parse(label).ok_or_else(|| bad_label(label))?;
        let attack = self.name(attack);
        Ok(Run {
            first,
            last,
            label,
            attack,
        })
    }

    fn episode(&mut self, row: &[String]) -> Result<Episode, String> {
        let [start, end, _, _, _, _, label, attack, _] = row else {
            return Err(format!(
                "{} columns, expected start_s,end_s,src,dst,dport,proto,label,attack,packets",
                row.len()
            ));
        };
        let time = |text: &str| {
            seconds_to_ns(text).ok_or_else(|| format!("\"{text}\" is not a time in seconds"))
        };
        let (start_ns, end_ns) = (time(start)?, time(end)?);
        if end_ns < start_ns {
            return Err(format!("ends at {end}, before its start at {start}"));
        }
        let label = Label::parse(label).ok_or_else(|| bad_label(label))?;
        let attack = self.name(attack);
        Ok(Episode {
            start_ns,
            end_ns,
            label,
            attack,
        })
    }
}

fn bad_label(text: &str) -> String {
    format!("label \"{text}\", expected 0 (benign), 1 (attack) or 2 (ignore)")
}

/// Rows after the header, numbered as an editor does, quotes taken off.
fn rows(path: &Path) -> Result<Vec<(usize, Vec<String>)>, String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let rows = text.lines().enumerate().skip(1);
    Ok(rows
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| (index + 1, fields(line.trim_end())))
        .collect())
}

/// Splits at commas outside of quotes (RFC 4180).
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            _ => {
                if let Some(field) = fields.last_mut() {
                    field.push(c);
                }
            }
        }
    }
    fields
}

/// Decimal seconds to nanoseconds, without the rounding of a float.
fn seconds_to_ns(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction_ns: u64 = format!("{fraction:0<9}").parse().ok()?;
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(1_000_000_000)?.checked_add(fraction_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_rows_are_named_and_the_rest_is_read() {
        let folder = std::env::temp_dir().join(format!("sensor-labels-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (packets, episodes) = (folder.join("a.pkt.csv"), folder.join("a.csv"));
        let head = "first_pkt,last_pkt,label,attack\n";
        fs::write(
            &packets,
            format!("{head}1,5,0,\n6,x,1,scan\n6,9,7,scan\n8,9,1,scan\n"),
        )
        .unwrap();
        let head = "start_s,end_s,src,dst,dport,proto,label,attack,packets\n";
        fs::write(
            &episodes,
            format!(
                "{head}1.5,2.000000001,\"a, b\",c,1,tcp,1,scan,9\n3,2,a,b,1,tcp,1,scan,9\n1,2\n"
            ),
        )
        .unwrap();
        let labels = Labels::read(&packets, &episodes).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(labels.runs.len(), 2);
        assert_eq!(labels.episodes.len(), 1);
        assert_eq!(labels.episodes[0].end_ns, 2_000_000_001);
        assert_eq!(labels.problems.len(), 4);
        assert!(labels.problems[0].ends_with("a.pkt.csv: row 3: \"x\" is not a packet number"));
        assert!(labels.problems[2].contains("a.csv: row 3: ends at 2"));
    }
}
