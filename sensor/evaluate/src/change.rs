//! Labelled captures, changed: the same attack at another pace, through a lossy mirror, or with its beginning
//! unseen. What is found in all of them does not hang on the rates and the moment that thresholds were chosen by.

use std::fmt;
use std::str::FromStr;

use sensor_capture::pcap::Frame;

use super::labels::{Label, Labels};

/// Greatest factor of a pace.
const MAX_TIMES: u64 = 100;

/// Change of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Times between frames are so many times as long.
    Slower(u64),
    /// They are this part.
    Faster(u64),
    /// So many of a hundred frames are missing, at random by their numbers.
    Lossy(u64),
    /// The capture begins when this percentage of the time from the first attack's start to the last one's end is
    /// over.
    Late(u64),
}

/// Change by a number.
type Numbered = fn(u64) -> Change;

/// Names of the changes, with the greatest number of each.
const NAMES: [(&str, Numbered, u64); 4] = [
    ("slower", Change::Slower, MAX_TIMES),
    ("faster", Change::Faster, MAX_TIMES),
    ("lossy", Change::Lossy, 99),
    ("late", Change::Late, 99),
];

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            format!(
                "\"{text}\" is no change: slower:N or faster:N (times, 1 to {MAX_TIMES}), lossy:N or late:N (percent, \
                 1 to 99)"
            )
        };
        let (name, number) = text.split_once(':').ok_or_else(expected)?;
        let (_, change, most) = NAMES
            .iter()
            .find(|(known, ..)| *known == name)
            .ok_or_else(expected)?;
        let number = number.parse().map_err(|_| expected())?;
        if !(1..=*most).contains(&number) {
            return Err(expected());
        }
        Ok(change(number))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slower(n) => write!(f, "slower:{n}"),
            Self::Faster(n) => write!(f, "faster:{n}"),
            Self::Lossy(n) => write!(f, "lossy:{n}"),
            Self::Late(n) => write!(f, "late:{n}"),
        }
    }
}

/// A change of one capture.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changed {
    change: Option<Change>,
    /// Time that stays what it is.
    origin_ns: u64,
    /// Frames before it are left out.
    begin_ns: u64,
}

impl Changed {
    /// Changes the labels of a capture whose first frame bears `first_ns`, and its frames as they come.
    pub fn new(change: Option<Change>, first_ns: u64, labels: &mut Labels) -> Self {
        let mut changed = Self {
            change,
            origin_ns: first_ns,
            begin_ns: 0,
        };
        if let Some(Change::Late(percent)) = change {
            changed.begin_ns = begin_ns(percent, labels);
        }
        labels.episodes.retain_mut(|episode| {
            let is_over = episode.end_ns < changed.begin_ns;
            episode.start_ns = changed.time(episode.start_ns.max(changed.begin_ns));
            episode.end_ns = changed.time(episode.end_ns);
            !is_over
        });
        changed
    }

    /// The frame as it is in the changed capture; none where it is not in it.
    pub fn frame<'a>(&self, frame: Frame<'a>) -> Option<Frame<'a>> {
        let is_lost = matches!(self.change, Some(Change::Lossy(percent)) if percentile(frame.number) < percent);
        if is_lost || frame.at_ns < self.begin_ns {
            return None;
        }
        Some(Frame {
            at_ns: self.time(frame.at_ns),
            ..frame
        })
    }

    fn time(&self, at_ns: u64) -> u64 {
        let (is_before, distance_ns) = (at_ns < self.origin_ns, at_ns.abs_diff(self.origin_ns));
        let distance_ns = match self.change {
            Some(Change::Slower(times)) => distance_ns.saturating_mul(times),
            Some(Change::Faster(times)) => distance_ns / times.max(1),
            _ => return at_ns,
        };
        if is_before {
            self.origin_ns.saturating_sub(distance_ns)
        } else {
            self.origin_ns.saturating_add(distance_ns)
        }
    }
}

/// Time at which a capture that comes late begins; 0 without an attack.
fn begin_ns(percent: u64, labels: &Labels) -> u64 {
    let attacks = || {
        labels
            .episodes
            .iter()
            .filter(|episode| episode.label == Label::Attack)
    };
    let first_ns = attacks().map(|episode| episode.start_ns).min();
    let last_ns = attacks().map(|episode| episode.end_ns).max();
    let (Some(first_ns), Some(last_ns)) = (first_ns, last_ns) else {
        return 0;
    };
    let part_ns = u128::from(last_ns - first_ns) * u128::from(percent) / 100;
    first_ns + part_ns as u64
}

/// A number below 100 that looks random and is the same each time (splitmix64, Steele et al. 2014).
const fn percentile(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % 100
}

#[cfg(test)]
mod tests {
    use sensor_capture::pcap::LinkType;

    use super::*;
    use crate::labels::Episode;

    const S: u64 = 1_000_000_000;

    fn labels(episodes: &[(u64, u64, Label)]) -> Labels {
        let episodes = episodes.iter().map(|(start_s, end_s, label)| Episode {
            start_ns: start_s * S,
            end_ns: end_s * S,
            label: *label,
            attack: 0,
        });
        Labels {
            episodes: episodes.collect(),
            ..Labels::default()
        }
    }

    fn frame(number: u64, at_s: u64) -> Frame<'static> {
        Frame {
            at_ns: at_s * S,
            link: LinkType::Ethernet,
            data: &[0; 60],
            wire_len: 60,
            number,
        }
    }

    fn of(text: &str, labels: &mut Labels) -> Changed {
        Changed::new(Some(text.parse().unwrap()), 100 * S, labels)
    }

    #[test]
    fn a_change_is_read_and_a_wrong_one_named_with_the_right_ones() {
        for text in ["slower:3", "faster:100", "lossy:20", "late:40"] {
            assert_eq!(text.parse::<Change>().unwrap().to_string(), text);
        }
        for text in [
            "slower",
            "slower:0",
            "faster:101",
            "lossy:100",
            "late:x",
            "upside:1",
        ] {
            let told = text.parse::<Change>().unwrap_err();
            assert!(told.contains(text) && told.contains("slower:N"), "{told}");
        }
    }

    #[test]
    fn a_pace_moves_frames_and_labels_alike() {
        let mut slow = labels(&[(110, 130, Label::Attack)]);
        let changed = of("slower:3", &mut slow);
        assert_eq!(slow, labels(&[(130, 190, Label::Attack)]));
        assert_eq!(changed.frame(frame(1, 110)).unwrap().at_ns, 130 * S);
        // Out of order, before the first of the file.
        assert_eq!(changed.frame(frame(2, 99)).unwrap().at_ns, 97 * S);
        let mut fast = labels(&[(110, 130, Label::Attack)]);
        let changed = of("faster:10", &mut fast);
        assert_eq!(fast, labels(&[(101, 103, Label::Attack)]));
        assert_eq!(changed.frame(frame(1, 150)).unwrap().at_ns, 105 * S);
    }

    #[test]
    fn a_late_capture_begins_within_the_attacks_and_forgets_those_before() {
        let all = [
            (100, 120, Label::Attack),
            (150, 200, Label::Attack),
            (190, 300, Label::Ignore),
        ];
        let mut late = labels(&all);
        let changed = of("late:60", &mut late);
        let kept = [(160, 200, Label::Attack), (190, 300, Label::Ignore)];
        assert_eq!(late, labels(&kept));
        assert!(changed.frame(frame(1, 159)).is_none() && changed.frame(frame(2, 160)).is_some());
        let mut benign = labels(&[]);
        assert!(of("late:60", &mut benign).frame(frame(1, 1)).is_some());
    }

    #[test]
    fn a_lossy_mirror_loses_its_share_and_the_same_frames_each_time() {
        let mut none = labels(&[]);
        let changed = of("lossy:20", &mut none);
        let kept =
            |from: u64| (from..from + 10_000).filter(|n| changed.frame(frame(*n, 1)).is_some());
        let n = kept(1).count();
        assert!((7_800..8_200).contains(&n), "{n}");
        assert!(kept(1).eq(kept(1)));
    }

    #[test]
    fn without_a_change_all_is_as_it_was() {
        let mut same = labels(&[(110, 130, Label::Attack)]);
        let changed = Changed::new(None, 100 * S, &mut same);
        assert_eq!(same, labels(&[(110, 130, Label::Attack)]));
        assert_eq!(changed.frame(frame(7, 3)).unwrap().at_ns, 3 * S);
    }
}
