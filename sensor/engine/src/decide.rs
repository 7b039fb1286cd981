//! Decide stage: findings in, incidents and decisions out.

mod action;
mod aggregate;
mod budget;
mod confidence;
mod crowd;
mod decision;
mod ended;
mod except;
mod explain;
mod incident;
mod local;
mod policy;
mod proof;
mod repeat;
mod room;
mod statement;
mod watchdog;
mod withheld;

pub use self::action::{Action, LIMIT_PACKETS_PER_S, Scope};
pub use self::confidence::{Confidence, Lowered};
pub use self::decision::Decision;
pub(crate) use self::except::Exceptions;
pub use self::except::{Exception, ExceptionUse};
pub use self::incident::{Incident, State};
pub use self::local::LocalBy;
pub use self::policy::{Escalation, PolicyRow, Preset, Whom};
pub use self::proof::{Grounds, Need, Proof};
pub use self::statement::{Said, Statement};
pub use self::watchdog::Rollback;
pub use self::withheld::{NotDecided, Withheld};

use sensor_common::{hash_address, mix};

use self::budget::Budget;
use self::confidence::Reliability;
use self::crowd::Crowds;
use self::decision::Decider;
use self::ended::Ended;
use self::explain::explain;
use self::incident::Case;
use self::room::Room;
use self::statement::Statements;
use self::watchdog::Watchdog;
use crate::address::{Seeded, Table, to_ip};
use crate::config::{Config, DecideConfig, SECOND_NS};
use crate::detect::{Detector, Entity, Family, Finding, Profile};
use crate::features::{Ledger, TableUse};
use crate::losses::Loss;
use crate::site::HostNetworks;

/// Output of the stage.
pub(crate) enum DecideEvent {
    Incident(Box<Incident>),
    Decision(Box<Decision>),
    Rollback(Box<Rollback>),
}

impl DecideEvent {
    /// Publishes an incident with its sentence.
    fn incident(mut incident: Incident) -> Self {
        incident.explanation = explain(&incident);
        Self::Incident(Box::new(incident))
    }
}

#[derive(Debug)]
pub(crate) struct DecideStage {
    config: DecideConfig,
    cases: Table<room::Key, Case>,
    room: Room,
    crowds: Crowds,
    statements: Statements,
    ended: Ended,
    budget: Budget,
    decider: Decider,
    watchdog: Watchdog,
    /// Flows are those of exported records.
    from_records: bool,
    reliability: Reliability,
    /// Profiles of the window that is over, until its findings are taken.
    profiles: Vec<Profile>,
    sequence: u64,
    forgot_ns: u64,
    pub n_shed: u64,
}

/// Interval between searches for expired entries.
const FORGET_NS: u64 = 10 * SECOND_NS;

impl DecideStage {
    pub(crate) fn new(config: &Config) -> Self {
        let decide = &config.decide;
        let hash_seed = config.hash_seed;
        Self {
            config: decide.clone(),
            from_records: config.from_records,
            cases: Table::with_hasher(Seeded(hash_seed)),
            room: Room::new(decide.max_incidents, hash_seed),
            crowds: Crowds::new(hash_seed),
            statements: Statements::new(hash_seed),
            ended: Ended::new(decide.max_incidents, hash_seed),
            budget: Budget::new(),
            decider: Decider::new(config),
            watchdog: Watchdog::default(),
            reliability: Reliability::default(),
            profiles: Vec::new(),
            sequence: 0,
            forgot_ns: 0,
            n_shed: 0,
        }
    }

    /// Takes new thresholds; tables keep their capacity.
    pub(crate) fn configure(&mut self, config: &Config) {
        self.config = config.decide.clone();
        self.from_records = config.from_records;
        self.decider.configure(config);
    }

    pub(crate) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(TableUse {
            table: "incidents",
            n_entries: self.cases.len() as u64,
            capacity: self.config.max_incidents as u64,
            n_shed: self.n_shed,
        });
        out.push(TableUse {
            table: "ended_incidents",
            n_entries: self.ended.len() as u64,
            capacity: self.ended.capacity() as u64,
            n_shed: self.ended.n_shed,
        });
        self.crowds.tables(out);
        self.statements.tables(out);
        self.decider.tables(out);
    }

    pub(crate) fn n_open(&self) -> usize {
        self.cases.len()
    }

    /// Incidents above low severity that a day may have, of all families.
    pub(crate) const fn alarm_budget(&self) -> u32 {
        self.config.alarms_per_day
    }

    /// Incidents above low severity that were opened in the last 24 hours, by family.
    pub(crate) fn n_alarms_of_day(&self) -> std::collections::BTreeMap<Family, u64> {
        self.budget.by_family()
    }

    /// Remembers an address that packets left from: on a host that does not forward it is local.
    pub(crate) fn note_seen(&mut self, at_ns: u64, address: sensor_common::Address) {
        self.decider.note_seen(at_ns, address);
    }

    /// Takes the addresses and networks of the host, which are never acted on; `None` where they can't
    /// be read: then nobody is.
    pub(crate) fn set_host(&mut self, host: Option<&HostNetworks>) {
        self.decider.set_host(host);
    }

    /// Forgets what was decided on sources within a network.
    pub(crate) fn release(&mut self, network: &ipnet::IpNet) {
        self.decider.release(network);
        self.watchdog
            .release(|source| network.contains(&to_ip(source)));
    }

    /// Takes a decision back that is not carried out.
    pub(crate) fn refuse(&mut self, at_ns: u64, decision: &Decision) {
        self.decider.refuse(at_ns, decision);
    }

    /// Watches over the good traffic of a source on which a decision is in force from now on.
    pub(crate) fn watch(&mut self, at_ns: u64, decision: &Decision, ledger: &Ledger) {
        self.decider.confirm(decision);
        let mut cases = self.cases.values().map(Case::incident);
        if let Some(incident) = cases.find(|one| one.id == decision.incident_id) {
            let attack = (incident.found_as, incident.start_ns);
            self.watchdog.watch(at_ns, decision, attack, ledger);
        }
    }

    /// Notes that learned state was restored: this is no cold start.
    pub(crate) fn note_restored(&mut self) {
        self.reliability.note_restored();
    }

    /// Remembers that a stage shed something: it lowers confidence.
    pub(crate) fn note_loss(&mut self, at_ns: u64, loss: Loss) {
        self.reliability.note_loss(at_ns, loss);
    }

    /// Takes what another system says of an address; open incidents of it show it.
    pub(crate) fn take_statement(&mut self, at_ns: u64, statement: &Statement) {
        if !self.statements.take(at_ns, statement) {
            return;
        }
        for case in self.cases.values_mut() {
            let sources = &case.incident().sources;
            if sources.contains(&statement.about) {
                let said = self.statements.about(at_ns, sources);
                case.hear(said);
            }
        }
    }

    /// Remembers that flow records of sampled packets came.
    pub(crate) fn note_sampled(&mut self, at_ns: u64) {
        self.reliability.note_sampled(at_ns);
    }

    /// False for what rests on single packets or on missing answers while packets are sampled: the
    /// answers may be among those that were not taken.
    pub(crate) fn trusts(&self, at_ns: u64, finding: &Finding) -> bool {
        finding.detector == Detector::Volume || !self.reliability.is_sampled(at_ns)
    }

    /// Adds what vectors say of those that were found, before the findings of the models in the
    /// same window.
    pub(crate) fn take_profiles(&mut self, profiles: Vec<Profile>) {
        for profile in &profiles {
            if let Some(case) = self.cases.get_mut(&(profile.found_as, profile.entity)) {
                case.add(profile);
            }
        }
        self.profiles = profiles;
    }

    /// Notes findings that belong together before any of them is taken: whose victim is flooded from
    /// addresses that somebody made up is known then, whatever their order.
    pub(crate) fn note(&mut self, at_ns: u64, findings: &[Finding]) {
        for finding in findings {
            self.decider.note_spoofed(at_ns, finding);
        }
    }

    /// Takes a finding; the ledger tells the standing of those that it blames.
    pub(crate) fn take(
        &mut self,
        at_ns: u64,
        finding: &Finding,
        ledger: &Ledger,
        out: &mut Vec<DecideEvent>,
    ) {
        let is_open = self.cases.contains_key(&(finding.family, finding.entity));
        let crowd = if is_open {
            None
        } else {
            self.crowds.join(at_ns, finding, ledger)
        };
        let finding = crowd.as_ref().unwrap_or(finding);
        let key = (finding.family, finding.entity);
        let is_of_others = |case: &Case| case.is_of_others(finding);
        if self.cases.get(&key).is_some_and(is_of_others) {
            self.end(&key, out);
        }
        let is_proven = self.is_proven(at_ns, finding, ledger);
        if !self.cases.contains_key(&key) {
            if let Some(other) = self.room.must_go(is_proven) {
                self.n_shed = self.n_shed.saturating_add(1);
                self.end(&other, out);
            }
            let case = match self.ended.take(at_ns, &key, finding) {
                Some(case) => case,
                None => self.open(key, finding),
            };
            self.cases.insert(key, case);
        }
        let Some(case) = self.cases.get_mut(&key) else {
            return;
        };
        let confidence = self
            .reliability
            .of(at_ns, finding.detector)
            .of_drift(finding)
            .of_learned(finding)
            .of_records(self.from_records, self.reliability.is_sampled(at_ns));
        case.take(at_ns, finding, confidence, self.config.n_listed);
        case.hear(self.statements.about(at_ns, &case.incident().sources));
        let is_spent = self.budget.n_spent() >= u64::from(self.config.alarms_per_day);
        if case.alarms(is_spent) {
            self.budget.note(at_ns, case.incident().family);
        }
        let severity = case.incident().severity;
        self.room.note(key, self.sequence, is_proven, severity);
        let decided = self.decider.decide(at_ns, case.incident(), finding, ledger);
        let made = decided.decisions.iter().map(|made| made.target.addr());
        case.note(made, &decided.withheld, self.config.n_listed);
        if finding.is_spoofed {
            case.shield(decided.may_shield);
        }
        if let Some(incident) = case.publish(at_ns, self.config.update_ns) {
            out.push(DecideEvent::incident(incident));
        }
        let decisions = decided.decisions.into_iter();
        out.extend(decisions.map(|made| DecideEvent::Decision(Box::new(made))));
    }

    /// True where the addresses are there: hosts of ours, or sources that are proven real.
    fn is_proven(&self, at_ns: u64, finding: &Finding, ledger: &Ledger) -> bool {
        match finding.entity {
            Entity::Victim(address) | Entity::Source(address) => {
                self.decider.is_local(at_ns, &address) || ledger.is_real(&address)
            }
            Entity::Station(_) => false,
        }
    }

    /// Closes an incident.
    fn end(&mut self, key: &room::Key, out: &mut Vec<DecideEvent>) {
        self.room.remove(key);
        if let Some(mut ended) = self.cases.swap_remove(key) {
            out.push(DecideEvent::incident(ended.close()));
            self.ended.keep(*key, ended);
        }
    }

    /// Opens an incident with the finding.
    fn open(&mut self, key: (Family, Entity), finding: &Finding) -> Case {
        self.sequence = self.sequence.wrapping_add(1);
        let id = incident_id(self.sequence, finding);
        let mut known = self.profiles.iter();
        let profile = known.find(|profile| (profile.found_as, profile.entity) == key);
        Case::new(id, finding, profile)
    }

    /// Closes what went quiet.
    pub(crate) fn tick(&mut self, at_ns: u64, ledger: &Ledger, out: &mut Vec<DecideEvent>) {
        for rollback in self.watchdog.tick(at_ns, ledger) {
            self.decider.spare(at_ns, &rollback.decision);
            out.push(DecideEvent::Rollback(Box::new(rollback)));
        }
        self.reliability.note_time(at_ns);
        self.budget.pass(at_ns);
        let config = &self.config;
        let mut quiet = Vec::new();
        for (key, case) in &mut self.cases {
            if case.is_quiet(at_ns, config.close_ns) {
                out.push(DecideEvent::incident(case.close()));
                quiet.push(*key);
            } else if let Some(incident) = case.publish(at_ns, config.update_ns) {
                out.push(DecideEvent::incident(incident));
            }
        }
        for key in quiet {
            self.room.remove(&key);
            if let Some(case) = self.cases.shift_remove(&key) {
                self.ended.keep(key, case);
            }
        }
        if at_ns.saturating_sub(self.forgot_ns) >= FORGET_NS {
            self.forgot_ns = at_ns;
            self.decider.forget(at_ns);
            self.ended.forget(at_ns);
            self.statements.forget(at_ns);
        }
    }

    pub(crate) fn finish(&mut self, out: &mut Vec<DecideEvent>) {
        for case in self.cases.values_mut() {
            out.push(DecideEvent::incident(case.close()));
        }
        self.cases.clear();
        self.room.clear();
    }
}

/// Sequence number, then a hash of start and entity: unique over restarts, equal over replays.
fn incident_id(sequence: u64, finding: &Finding) -> String {
    let entity = hash_address(&finding.entity.address(), finding.family as u64);
    let hash = mix(finding.first_ns, entity, 0);
    format!("{sequence:06}-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{Counters, Naming, Severity, Surprises};
    use crate::tests::{T0, ip};

    fn found(detector: Detector, family: Family) -> Finding {
        Finding {
            score: 40.0,
            sources: vec![crate::address::to_ip(&ip(1))],
            n_sources: 1,
            ports: vec![22],
            n_ports: 1,
            protocol: 6,
            ..Finding::new(detector, family, Entity::Source(ip(1)), T0)
        }
    }

    fn named(found_as: Family) -> Profile {
        Profile {
            entity: Entity::Source(ip(1)),
            found_as,
            counters: Counters::default(),
            surprises: Surprises::default(),
            ensemble: 3.0,
            naming: Some(Naming {
                family: Family::BruteForce,
                probability: 0.9,
                model: 7,
            }),
        }
    }

    fn decided(finding: &Finding, profiles: Vec<Profile>) -> (Incident, usize) {
        let mut stage = DecideStage::new(&Config::default());
        let mut out = Vec::new();
        stage.take_profiles(profiles);
        let ledger = Ledger::of_attempts(ip(1), T0, [0, 200]);
        stage.take(T0, finding, &ledger, &mut out);
        let is_decision = |event: &&DecideEvent| matches!(event, DecideEvent::Decision(_));
        let n_decisions = out.iter().filter(is_decision).count();
        match out.into_iter().next() {
            Some(DecideEvent::Incident(incident)) => (*incident, n_decisions),
            _ => panic!("no incident"),
        }
    }

    #[test]
    fn the_naming_model_names_incidents_of_the_models_and_changes_nothing_else() {
        let finding = found(Detector::Models, Family::BehaviourAnomaly);
        let (plain, n_decisions) = decided(&finding, Vec::new());
        assert_eq!((plain.family, n_decisions), (Family::BehaviourAnomaly, 0));
        let (incident, n_decisions) = decided(&finding, vec![named(Family::BehaviourAnomaly)]);
        assert_eq!(incident.family, Family::BruteForce);
        assert_eq!(incident.found_as, Family::BehaviourAnomaly);
        assert_eq!(incident.technique, "T1110");
        assert!(
            incident
                .explanation
                .contains("looks like brute_force (90 % of the trees)")
        );
        // It names, it doesn't decide: no graver, nobody blocked.
        assert_eq!(incident.severity, plain.severity);
        assert_eq!(n_decisions, 0);
    }

    fn statement(by: &str) -> Statement {
        Statement {
            by: by.into(),
            product: "Vectra".to_owned(),
            what: "Brute-Force".to_owned(),
            about: to_ip(&ip(1)),
            against: None,
            weight: Some(80),
            certainty: Some(90),
            is_blocked: false,
            hold_ns: 3_600 * SECOND_NS,
        }
    }

    #[test]
    fn a_statement_is_shown_on_the_incident_of_its_address_and_opens_none() {
        let mut stage = DecideStage::new(&Config::default());
        let (mut out, ledger) = (Vec::new(), Ledger::new(0));
        stage.take_statement(T0, &statement("ndr"));
        stage.tick(T0, &ledger, &mut out);
        assert_eq!((out.len(), stage.n_open()), (0, 0));
        let finding = found(Detector::Scan, Family::PortScan);
        stage.take(T0, &finding, &ledger, &mut out);
        let Some(DecideEvent::Incident(incident)) = out.first() else {
            panic!("no incident");
        };
        assert_eq!(incident.said.len(), 1);
        // One that comes later is news of the open incident; that it comes again is none.
        out.clear();
        for _ in 0..3 {
            stage.take_statement(T0 + SECOND_NS, &statement("gate"));
        }
        for s in [3, 5] {
            stage.tick(T0 + s * SECOND_NS, &ledger, &mut out);
        }
        let told = out.iter().filter_map(|event| match event {
            DecideEvent::Incident(incident) => Some(incident.said.len()),
            _ => None,
        });
        assert_eq!(told.collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_row_that_asks_for_a_statement_holds_with_it_and_never_beyond_the_proof() {
        let finding = found(Detector::Scan, Family::PortScan);
        let decided = |by: Option<&str>| {
            let mut config = Config::default();
            let row = PolicyRow {
                said_by: vec!["ndr".into()],
                ..PolicyRow::any("confirmed", Some(Action::Drop))
            };
            config.policy.0 = vec![row, PolicyRow::any("rest", None)];
            let mut stage = DecideStage::new(&config);
            let mut out = Vec::new();
            if let Some(by) = by {
                stage.take_statement(T0, &statement(by));
            }
            let ledger = Ledger::of_attempts(ip(1), T0, [0, 200]);
            stage.take(T0, &finding, &ledger, &mut out);
            out.into_iter().find_map(|event| match event {
                DecideEvent::Decision(made) => Some(made.action),
                _ => None,
            })
        };
        assert_eq!(decided(None), None);
        assert_eq!(decided(Some("gate")), None);
        let (_, n_plain) = super::tests::decided(&finding, Vec::new());
        assert_eq!(n_plain, 1);
        // The row allows a drop; the proof carries less.
        assert_eq!(decided(Some("ndr")), Some(Action::Challenge));
    }

    #[test]
    fn the_family_of_a_detector_is_kept_beside_that_of_the_naming_model() {
        let finding = found(Detector::Scan, Family::PortScan);
        let (incident, n_decisions) = decided(&finding, vec![named(Family::PortScan)]);
        assert_eq!(incident.family, Family::PortScan);
        assert_eq!(
            incident.naming.map(|naming| naming.family),
            Some(Family::BruteForce)
        );
        assert_eq!((incident.severity, n_decisions), (Severity::Medium, 1));
        // Detectors that know what they saw but have no family for it keep their word, too.
        let finding = found(Detector::Dga, Family::BehaviourAnomaly);
        let (incident, _) = decided(&finding, vec![named(Family::BehaviourAnomaly)]);
        assert_eq!(incident.family, Family::BehaviourAnomaly);
    }
}
