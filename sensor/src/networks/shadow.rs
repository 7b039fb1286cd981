//! A candidate beside the network in force: what would have differed, by sources and hours. Alarms of one source
//! within an hour count once, as incidents do. An alarm is confirmed where a detector found the same source or a
//! person called it an attack, and wrong where a person called it benign.

use std::collections::{BTreeMap, VecDeque};

use sensor_common::Address;
use sensor_engine::{Judgement, SECOND_NS, to_ip};
use sensor_record::Timestamp;
use serde::{Deserialize, Serialize};

/// Nanoseconds of an hour.
const HOUR_NS: u64 = 3_600 * SECOND_NS;
/// Hours of a day.
const DAY_HOURS: u64 = 24;
/// Sources and hours that are not closed, 100 bytes each.
const MAX_OPEN: usize = 4_096;
/// Days that are kept.
const MAX_DAYS: usize = 31;
/// Sources and hours that are told of, in which the two differed.
const MAX_DIFFERING: usize = 64;
/// Sequences that both judged before a candidate can be called better.
const LEAST_JUDGED: u64 = 1_000;

/// Alarms of one network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub alarms: u64,
    /// Those that a detector or a person confirms.
    pub confirmed: u64,
    /// Those that a person called benign.
    pub wrong: u64,
}

impl Tally {
    const fn add(&mut self, other: Self) {
        self.alarms = self.alarms.saturating_add(other.alarms);
        self.confirmed = self.confirmed.saturating_add(other.confirmed);
        self.wrong = self.wrong.saturating_add(other.wrong);
    }

    /// Alarms that nothing confirms: at worst all of them are false.
    pub const fn unconfirmed(self) -> u64 {
        self.alarms.saturating_sub(self.confirmed)
    }
}

/// Alarms of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// Days since 1970.
    pub day: u64,
    pub judged: u64,
    pub active: Tally,
    pub candidate: Tally,
}

/// A source in an hour in which one of the two alarmed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Differing {
    pub at: Timestamp,
    pub source: std::net::IpAddr,
    pub active: f32,
    pub candidate: f32,
    pub by_candidate: bool,
    pub confirmed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Open {
    /// Alarms of both, and their highest scores.
    alarmed: [bool; 2],
    scores: [f32; 2],
    is_found: bool,
    /// Word of a person.
    is_attack: Option<bool>,
}

/// Side that judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Active = 0,
    Candidate = 1,
}

impl Side {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Candidate => "candidate",
        }
    }
}

/// The comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shadow {
    /// SHA-256 of both; an empty one is of none.
    pub active: String,
    pub candidate: String,
    /// Time of the first sequence and of the last that both judged.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub days: Vec<Day>,
    pub differing: VecDeque<Differing>,
    /// Sources and hours that found no room.
    pub shed: u64,
    open: Vec<((u64, Address), Open)>,
    #[serde(skip)]
    index: BTreeMap<(u64, Address), Open>,
}

impl Shadow {
    pub fn of(active: &str, candidate: &str) -> Self {
        Self {
            active: active.to_owned(),
            candidate: candidate.to_owned(),
            ..Self::default()
        }
    }

    /// True for the comparison of these two.
    pub fn is_of(&self, active: &str, candidate: &str) -> bool {
        self.active == active && self.candidate == candidate
    }

    /// Brings what was read from a file into its place.
    #[must_use]
    pub fn restored(mut self) -> Self {
        self.index = std::mem::take(&mut self.open)
            .into_iter()
            .take(MAX_OPEN)
            .collect();
        self.days.truncate(MAX_DAYS);
        self.differing.truncate(MAX_DIFFERING);
        self
    }

    /// As it is kept in a file.
    #[must_use]
    pub fn kept(&self) -> Self {
        let open = self.index.iter().map(|(key, open)| (*key, *open));
        Self {
            open: open.collect(),
            ..self.clone()
        }
    }

    fn open(&mut self, hour: u64, source: Address) -> Option<&mut Open> {
        let key = (hour, source);
        if self.index.len() >= MAX_OPEN && !self.index.contains_key(&key) {
            self.shed = self.shed.saturating_add(1);
            return None;
        }
        Some(self.index.entry(key).or_default())
    }

    /// Takes what one of the two said of a sequence.
    pub fn take(&mut self, side: Side, judgement: &Judgement) {
        let at_ns = judgement.last_ns;
        let hour = at_ns / HOUR_NS;
        self.since.get_or_insert(Timestamp(at_ns));
        let until = self.until.get_or_insert(Timestamp(at_ns));
        until.0 = until.0.max(at_ns);
        if side == Side::Candidate {
            let day = self.day(hour / DAY_HOURS);
            day.judged = day.judged.saturating_add(1);
        }
        let is_alarm = judgement.score >= judgement.threshold;
        let is_known = self.index.contains_key(&(hour, judgement.source));
        // Whom nobody alarmed on takes no room.
        if is_alarm || is_known {
            let Some(open) = self.open(hour, judgement.source) else {
                return;
            };
            let place = side as usize;
            open.alarmed[place] |= is_alarm;
            open.scores[place] = open.scores[place].max(judgement.score);
        }
        self.close(hour);
    }

    /// Takes that a detector found an address.
    pub fn note_found(&mut self, at_ns: u64, address: Address) {
        if let Some(open) = self.open(at_ns / HOUR_NS, address) {
            open.is_found = true;
        }
    }

    /// Takes a person's word on an address: of this hour and of the one before, which are open.
    pub fn note_said(&mut self, address: Address, is_attack: bool) {
        for ((_, source), open) in &mut self.index {
            if *source == address {
                open.is_attack = Some(is_attack);
            }
        }
    }

    fn day(&mut self, number: u64) -> &mut Day {
        let place = self.days.iter().rposition(|day| day.day == number);
        let place = place.unwrap_or_else(|| {
            if self.days.len() >= MAX_DAYS {
                self.days.remove(0);
            }
            self.days.push(Day {
                day: number,
                ..Day::default()
            });
            self.days.len() - 1
        });
        &mut self.days[place]
    }

    /// Sums up hours before the last one.
    fn close(&mut self, hour: u64) {
        while let Some(entry) = self.index.first_entry() {
            let ((own, source), open) = (*entry.key(), *entry.get());
            if own.saturating_add(1) >= hour {
                return;
            }
            entry.remove();
            self.sum_up(own, source, open);
        }
    }

    fn sum_up(&mut self, hour: u64, source: Address, open: Open) {
        let is_wrong = open.is_attack == Some(false);
        let is_confirmed = !is_wrong && (open.is_found || open.is_attack == Some(true));
        let tally = |has_alarmed: bool| Tally {
            alarms: u64::from(has_alarmed),
            confirmed: u64::from(has_alarmed && is_confirmed),
            wrong: u64::from(has_alarmed && is_wrong),
        };
        let [active, candidate] = open.alarmed;
        let day = self.day(hour / DAY_HOURS);
        day.active.add(tally(active));
        day.candidate.add(tally(candidate));
        if active == candidate {
            return;
        }
        if self.differing.len() >= MAX_DIFFERING {
            self.differing.pop_front();
        }
        self.differing.push_back(Differing {
            at: Timestamp(hour * HOUR_NS),
            source: to_ip(&source),
            active: open.scores[0],
            candidate: open.scores[1],
            by_candidate: candidate,
            confirmed: is_confirmed,
        });
    }

    /// Sums with the hours that are open, so that nothing is left out.
    #[must_use]
    pub fn as_of_now(&self) -> Self {
        let mut whole = self.clone();
        whole.close(u64::MAX);
        whole
    }

    /// Sums of all days: judged, the active one's, the candidate's.
    pub fn sums(&self) -> (u64, Tally, Tally) {
        let mut sums = (0u64, Tally::default(), Tally::default());
        for day in &self.days {
            sums.0 = sums.0.saturating_add(day.judged);
            sums.1.add(day.active);
            sums.2.add(day.candidate);
        }
        sums
    }

    /// Says whether the candidate is better at equal false alarms, after at least `least_ns`: no more alarms that
    /// nothing confirms or a person called benign, no fewer that are confirmed, and one of the two strictly.
    ///
    /// # Errors
    /// Why it is not, in a sentence.
    pub fn verdict(&self, least_ns: u64) -> Result<(), String> {
        let (Some(since), Some(until)) = (self.since, self.until) else {
            return Err("it has judged nothing yet".to_owned());
        };
        if self.active.is_empty() {
            return Err("there is no network in force to compare it with".to_owned());
        }
        let lasted_ns = until.0.saturating_sub(since.0);
        if lasted_ns < least_ns {
            let [lasted, least] = [lasted_ns, least_ns].map(sensor_engine::time_text);
            return Err(format!(
                "it has been beside for {lasted}, where {least} are wanted"
            ));
        }
        let (judged, active, candidate) = self.as_of_now().sums();
        if judged < LEAST_JUDGED {
            return Err(format!(
                "it has judged {judged} sequences, where {LEAST_JUDGED} are wanted"
            ));
        }
        let false_alarms = |tally: Tally| (tally.unconfirmed(), tally.wrong);
        let ((new, new_wrong), (old, old_wrong)) = (false_alarms(candidate), false_alarms(active));
        if new > old || new_wrong > old_wrong {
            return Err(format!(
                "{new} of its alarms are not confirmed and {new_wrong} were called benign, of the one in force \
                 {old} and {old_wrong}"
            ));
        }
        if candidate.confirmed < active.confirmed {
            return Err(format!(
                "{} of its alarms are confirmed, of the one in force {}",
                candidate.confirmed, active.confirmed
            ));
        }
        if candidate.confirmed == active.confirmed && new == old {
            return Err("it does as well as the one in force, no better".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sensor_engine::SequenceKind;

    use super::*;

    const DAY_NS: u64 = DAY_HOURS * HOUR_NS;

    fn judgement(source: u32, at_ns: u64, score: f32) -> Judgement {
        Judgement {
            kind: SequenceKind::Contacts,
            source: [0, 0, 0, source],
            host: None,
            first_ns: at_ns,
            last_ns: at_ns,
            score,
            threshold: 0.5,
            false_share: 0.01,
            network: "contacts:0".into(),
        }
    }

    /// Eight days in which each network alarms on some sources once a day; source 1 is found by a detector.
    fn days(of_active: &[u32], of_candidate: &[u32]) -> Shadow {
        let mut shadow = Shadow::of("a", "c");
        for day in 0..8u64 {
            for n in 0..200u64 {
                let at_ns = (20_000 + day) * DAY_NS + n * SECOND_NS;
                let score =
                    |alarms: &[u32], source: u32| f32::from(u8::from(alarms.contains(&source)));
                let source = (n % 10) as u32;
                shadow.take(
                    Side::Active,
                    &judgement(source, at_ns, score(of_active, source)),
                );
                let own = judgement(source, at_ns, score(of_candidate, source));
                shadow.take(Side::Candidate, &own);
            }
            shadow.note_found((20_000 + day) * DAY_NS, [0, 0, 0, 1]);
        }
        shadow
    }

    #[test]
    fn alarms_of_one_source_within_an_hour_count_once() {
        let (judged, active, candidate) = days(&[1, 2], &[1]).as_of_now().sums();
        assert_eq!(judged, 1_600);
        assert_eq!(
            (active.alarms, active.confirmed, active.unconfirmed()),
            (16, 8, 8)
        );
        assert_eq!((candidate.alarms, candidate.confirmed), (8, 8));
    }

    #[test]
    fn a_candidate_is_better_at_equal_false_alarms_and_after_the_days_alone() {
        let week = 7 * DAY_NS;
        assert_eq!(days(&[2], &[1, 2]).verdict(week), Ok(()));
        assert_eq!(days(&[1, 2], &[1]).verdict(week), Ok(()));
        for (active, candidate, part) in [
            (&[1][..], &[1, 2][..], "not confirmed"),
            (&[1, 2][..], &[2][..], "of its alarms are confirmed"),
            (&[1][..], &[1][..], "no better"),
        ] {
            let said = days(active, candidate).verdict(week).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
        let said = days(&[2], &[1, 2]).verdict(9 * DAY_NS).unwrap_err();
        assert!(said.contains("where 9days are wanted"), "{said}");
        assert!(Shadow::of("a", "c").verdict(0).is_err());
    }

    #[test]
    fn what_a_person_calls_benign_speaks_against_who_alarmed() {
        let mut shadow = days(&[1], &[1, 3]);
        shadow.note_said([0, 0, 0, 3], false);
        let (_, _, candidate) = shadow.as_of_now().sums();
        assert!(candidate.wrong >= 1, "{candidate:?}");
        let mut said = days(&[2], &[3]);
        said.note_said([0, 0, 0, 3], true);
        assert!(said.as_of_now().sums().2.confirmed >= 1);
    }

    #[test]
    fn differences_are_told_and_bounded_and_kept_in_a_file() {
        let shadow = days(&[1, 2], &[1, 3]);
        let now = shadow.as_of_now();
        assert_eq!(now.differing.len(), 16);
        assert!(now.differing.iter().all(|one| !one.confirmed));
        let text = serde_json::to_string(&shadow.kept()).unwrap();
        let again: Shadow = serde_json::from_str(&text).unwrap();
        assert_eq!(
            again.restored(),
            Shadow {
                open: Vec::new(),
                ..shadow
            }
        );
        let mut crowd = Shadow::of("a", "c");
        for source in 0..2 * MAX_OPEN as u32 {
            crowd.take(Side::Candidate, &judgement(source, DAY_NS, 1.0));
        }
        assert_eq!(crowd.shed, MAX_OPEN as u64);
        assert_eq!(crowd.as_of_now().differing.len(), MAX_DIFFERING);
    }
}
