//! Profiles: raw counters, scores of each model and the family that a forest names, from the vectors of
//! entities that were found. They add to what detectors found and decide nothing.

use std::sync::{Arc, OnceLock};

use super::Detector;
use super::family::Family;
use super::finding::{Entity, Finding};
use super::scoring::{Score, Surprises};
use crate::address::{Seeded, Table};
use crate::config::SECOND_NS;
use crate::features::{Column, Subject, TableUse, Vector};
use crate::models::{Forest, ForestError, Inputs, MAX_CLASSES, N_INPUTS, Shares, greatest_from};

/// The class of what is no attack: the first.
pub const BENIGN: &str = "benign";

/// A family with the share of the trees that name it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Naming {
    pub family: Family,
    pub probability: f32,
    /// [`Namer::id`] of who named it.
    pub model: u64,
}

/// Names families by a forest that was trained on labelled captures.
#[derive(Clone, Debug, PartialEq)]
pub struct Namer {
    forest: Forest,
    /// Family of each class; none for the benign one.
    families: Vec<Option<Family>>,
    id: u64,
}

/// Trained on labelled captures: `docs/models/naming.md`.
const SHIPPED: &[u8] = include_bytes!("../models/naming.forest");

impl Namer {
    /// # Errors
    /// When the bytes are no forest of this sensor's schema and families.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ForestError> {
        let forest = Forest::from_bytes(bytes)?;
        let family = |class: &String| match class.as_str() {
            BENIGN => Ok(None),
            label => {
                let mut all = Family::ALL.into_iter();
                let found = all.find(|family| family.label() == label);
                found
                    .map(Some)
                    .ok_or_else(|| ForestError::Class(label.to_owned()))
            }
        };
        if forest.classes().first().is_none_or(|class| class != BENIGN) {
            return Err(ForestError::Limits("another first class than \"benign\""));
        }
        let families: Result<Vec<_>, _> = forest.classes().iter().map(family).collect();
        Ok(Self {
            families: families?,
            id: forest.id(),
            forest,
        })
    }

    /// The one that comes with the sensor.
    ///
    /// # Errors
    /// When it was not trained anew after the schema changed.
    pub fn shipped() -> Result<Arc<Self>, ForestError> {
        static ONCE: OnceLock<Result<Arc<Namer>, ForestError>> = OnceLock::new();
        let read = || Self::from_bytes(SHIPPED).map(Arc::new);
        ONCE.get_or_init(read).clone()
    }

    pub const fn id(&self) -> u64 {
        self.id
    }

    pub const fn forest(&self) -> &Forest {
        &self.forest
    }

    /// The family that most trees vote for, if they are enough; else nothing: a wrong name is worse
    /// than none.
    fn name(&self, shares: &Shares) -> Option<Naming> {
        let (class, probability) = greatest_from(shares, 1);
        let least = self.forest.thresholds().get(class)?;
        let family = (*self.families.get(class)?)?;
        (probability >= *least).then_some(Naming {
            family,
            probability,
            model: self.id,
        })
    }
}

/// Converts a vector to the inputs of a forest.
pub fn inputs(vector: &Vector) -> Inputs {
    let mut inputs = [0.0; N_INPUTS];
    for (to, from) in inputs.iter_mut().zip(&vector.values) {
        *to = *from;
    }
    inputs[N_INPUTS - 1] = vector.subject.kind() as f32;
    inputs
}

/// Raw counters of what an entity did in the windows in which it was found. Vectors carry
/// logarithms in single precision: above half a million the last digits are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub n_windows: u64,
    pub packets_out: u64,
    pub packets_in: u64,
    pub bytes_out: u64,
    pub bytes_in: u64,
    pub flows: u64,
    pub syn: u64,
    pub failed: u64,
}

impl Counters {
    pub const fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("windows", self.n_windows),
            ("packets_out", self.packets_out),
            ("packets_in", self.packets_in),
            ("bytes_out", self.bytes_out),
            ("bytes_in", self.bytes_in),
            ("flows", self.flows),
            ("syn", self.syn),
            ("failed", self.failed),
        ]
    }

    fn add(&mut self, vector: &Vector) {
        let counted = |column: Column| {
            let value = vector.values.get(column as usize).copied().unwrap_or(0.0);
            f64::from(value).exp_m1().round() as u64
        };
        self.n_windows += 1;
        for (sum, column) in [
            (&mut self.packets_out, Column::OutPackets),
            (&mut self.packets_in, Column::InPackets),
            (&mut self.bytes_out, Column::OutBytes),
            (&mut self.bytes_in, Column::InBytes),
            (&mut self.flows, Column::Flows),
            (&mut self.syn, Column::Syn),
            (&mut self.failed, Column::Failed),
        ] {
            *sum = sum.saturating_add(counted(column));
        }
    }
}

/// Profile of an entity that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pub entity: Entity,
    pub found_as: Family,
    pub counters: Counters,
    /// `-log10 p` of each model in the oddest window, in the order of [`crate::ModelKind::ALL`], and
    /// that of all together.
    pub surprises: Surprises,
    pub ensemble: f32,
    pub naming: Option<Naming>,
}

#[derive(Debug)]
struct Running {
    profile: Profile,
    shares: Shares,
    found_ns: u64,
}

/// Entities that were found lately.
#[derive(Debug)]
pub(crate) struct Profiles {
    namer: Option<Arc<Namer>>,
    running: Table<(Entity, Family), Running>,
    /// Entities that were found in the running window, and their families.
    due: Table<Entity, Vec<Family>>,
    pub n_shed: u64,
}

/// Followed at once; further ones have no profile.
const MAX_RUNNING: usize = 1_024;
/// Time without a finding after which a profile begins anew, as the incident does by default.
const FORGET_NS: u64 = 30 * SECOND_NS;

impl Profiles {
    pub(crate) fn new(namer: Option<Arc<Namer>>, hash_seed: u64) -> Self {
        Self {
            namer,
            running: Table::with_hasher(Seeded(hash_seed)),
            due: Table::with_hasher(Seeded(hash_seed)),
            n_shed: 0,
        }
    }

    pub(crate) fn usage(&self) -> TableUse {
        TableUse {
            table: "profiles",
            n_entries: self.running.len() as u64,
            capacity: MAX_RUNNING as u64,
            n_shed: self.n_shed,
        }
    }

    /// Remembers whom a detector spoke of. What the models find comes with its vector.
    pub(crate) fn note(&mut self, at_ns: u64, finding: &Finding) {
        let key = (finding.entity, finding.family);
        if finding.detector == Detector::Models || !self.follow(at_ns, key) {
            return;
        }
        let families = self.due.entry(finding.entity).or_default();
        if !families.contains(&finding.family) {
            families.push(finding.family);
        }
    }

    /// Makes room for what was found; `false`: there is none.
    fn follow(&mut self, at_ns: u64, key: (Entity, Family)) -> bool {
        if self.running.len() >= MAX_RUNNING && !self.running.contains_key(&key) {
            self.n_shed = self.n_shed.saturating_add(1);
            return false;
        }
        let (entity, found_as) = key;
        let running = self.running.entry(key).or_insert_with(|| Running {
            profile: Profile {
                entity,
                found_as,
                counters: Counters::default(),
                surprises: Surprises::default(),
                ensemble: 0.0,
                naming: None,
            },
            shares: [0.0; MAX_CLASSES],
            found_ns: at_ns,
        });
        running.found_ns = at_ns;
        true
    }

    /// Takes the vector of a window: of one who was found in it, or in which the models found
    /// something themselves.
    pub(crate) fn take(
        &mut self,
        at_ns: u64,
        vector: &Vector,
        score: &Score,
        found: Option<&Finding>,
        out: &mut Vec<Profile>,
    ) {
        if let Some(finding) = found {
            let key = (finding.entity, finding.family);
            if self.follow(at_ns, key) {
                out.extend(self.add(key, vector, score));
            }
        }
        let entity = match vector.subject {
            Subject::Source(address) => Entity::Source(address),
            Subject::Host(address) => Entity::Victim(address),
            Subject::Pair(..) | Subject::Service(..) => return,
        };
        if self.due.is_empty() {
            return;
        }
        for family in self.due.swap_remove(&entity).unwrap_or_default() {
            out.extend(self.add((entity, family), vector, score));
        }
    }

    fn add(&mut self, key: (Entity, Family), vector: &Vector, score: &Score) -> Option<Profile> {
        let running = self.running.get_mut(&key)?;
        let profile = &mut running.profile;
        profile.counters.add(vector);
        if score.ensemble >= profile.ensemble {
            (profile.ensemble, profile.surprises) = (score.ensemble, score.models);
        }
        if let Some(namer) = &self.namer {
            let shares = namer.forest.shares(&inputs(vector));
            let n = profile.counters.n_windows as f32;
            for (mean, share) in running.shares.iter_mut().zip(shares) {
                *mean += (share - *mean) / n;
            }
            profile.naming = namer.name(&running.shares);
        }
        Some(profile.clone())
    }

    /// Ends the window, after its last vector.
    pub(crate) fn close(&mut self, at_ns: u64) {
        self.due.clear();
        self.running
            .retain(|_, running| at_ns.saturating_sub(running.found_ns) < FORGET_NS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::N_FEATURES;
    use crate::models::{Growth, Row};
    use crate::tests::{T0, ip};

    fn vector(subject: Subject, packets: f32) -> Vector {
        let mut values = [0.0; N_FEATURES];
        values[Column::OutPackets as usize] = packets.ln_1p();
        Vector {
            subject,
            first_ns: T0,
            last_ns: T0,
            n_packets: packets as u64,
            values,
        }
    }

    /// Many packets are a scan, few are benign.
    fn namer() -> Namer {
        let rows: Vec<Row> = (0..200)
            .map(|i| Row {
                inputs: inputs(&vector(Subject::Source(ip(1)), i as f32)),
                class: u8::from(i >= 100),
                capture: 0,
            })
            .collect();
        let classes = [BENIGN, "port_scan"].map(str::to_owned);
        Namer::from_bytes(&Forest::grow(&rows, &classes, &Growth::default()).to_bytes()).unwrap()
    }

    fn score(vector: &Vector, fused: f32) -> Score {
        Score {
            subject: vector.subject,
            start_ns: T0,
            end_ns: T0,
            n_packets: vector.n_packets,
            models: Surprises::default(),
            ensemble: fused,
            fused,
        }
    }

    fn found_as(family: Family, source: u16, detector: Detector) -> Finding {
        Finding::new(detector, family, Entity::Source(ip(source)), T0)
    }

    fn take(profiles: &mut Profiles, vector: &Vector, found: Option<&Finding>) -> Vec<Profile> {
        let mut out = Vec::new();
        profiles.take(T0, vector, &score(vector, 2.0), found, &mut out);
        out
    }

    #[test]
    fn only_entities_that_were_found_are_named() {
        let mut profiles = Profiles::new(Some(Arc::new(namer())), 0);
        let busy = vector(Subject::Source(ip(1)), 190.0);
        let calm = vector(Subject::Source(ip(1)), 3.0);
        assert_eq!(take(&mut profiles, &busy, None), []);
        let scan = found_as(Family::PortScan, 1, Detector::Scan);
        profiles.note(T0, &scan);
        let told = take(&mut profiles, &busy, None);
        let naming = told[0].naming.unwrap();
        assert_eq!((told.len(), naming.family), (1, Family::PortScan));
        assert!(naming.probability > 0.9, "{naming:?}");
        assert_eq!(told[0].counters.packets_out, 190);
        // Once a finding, and not for the next window.
        assert_eq!(take(&mut profiles, &busy, None), []);
        // What it is found as later begins anew; what goes on is averaged.
        profiles.note(T0, &found_as(Family::BruteForce, 1, Detector::Brute));
        profiles.note(T0, &scan);
        let told = take(&mut profiles, &calm, None);
        let of = |family| {
            told.iter()
                .find(|profile| profile.found_as == family)
                .unwrap()
        };
        assert_eq!(of(Family::BruteForce).counters.packets_out, 3);
        assert_eq!(of(Family::BruteForce).naming, None, "it looks benign");
        assert_eq!(of(Family::PortScan).counters.packets_out, 193);
        let naming = of(Family::PortScan).naming;
        assert!(
            naming.is_none_or(|naming| naming.probability < 0.6),
            "{naming:?}"
        );
    }

    #[test]
    fn findings_of_the_models_are_named_by_their_own_vector() {
        let mut profiles = Profiles::new(Some(Arc::new(namer())), 0);
        let odd = vector(Subject::Pair(ip(1), ip(2)), 195.0);
        let finding = found_as(Family::BehaviourAnomaly, 1, Detector::Models);
        let told = take(&mut profiles, &odd, Some(&finding));
        assert_eq!(
            told[0].naming.map(|naming| naming.family),
            Some(Family::PortScan)
        );
        assert_eq!(told[0].found_as, Family::BehaviourAnomaly);
    }

    #[test]
    fn profiles_are_bounded_and_forgotten() {
        let mut profiles = Profiles::new(None, 0);
        for i in 0..=MAX_RUNNING as u16 {
            profiles.note(T0, &found_as(Family::PortScan, i, Detector::Scan));
        }
        assert_eq!((profiles.running.len(), profiles.n_shed), (MAX_RUNNING, 1));
        profiles.close(T0 + FORGET_NS);
        assert_eq!((profiles.running.len(), profiles.due.len()), (0, 0));
    }

    #[test]
    fn an_unknown_class_is_refused() {
        let rows = [Row {
            inputs: [0.0; N_INPUTS],
            class: 0,
            capture: 0,
        }];
        let classes = [BENIGN, "witchcraft"].map(str::to_owned);
        let bytes = Forest::grow(&rows, &classes, &Growth::default()).to_bytes();
        let error = Namer::from_bytes(&bytes).unwrap_err().to_string();
        assert!(
            error.contains("witchcraft") && error.contains("sensor train"),
            "{error}"
        );
    }

    /// After a change of the schema: `sensor train` the shipped model anew.
    #[test]
    fn the_shipped_model_fits_this_sensor() {
        assert!(SHIPPED.len() < 1 << 20, "{} bytes", SHIPPED.len());
        let namer = Namer::shipped().unwrap();
        assert!(namer.forest().classes().len() > 2);
    }
}
