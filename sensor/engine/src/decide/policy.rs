//! Policy: the strongest action that may be taken, by what was found, against whom and at which service.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::action::Action;
use super::statement::Said;
use crate::detect::{Detector, Family, Finding, Grades, Severity};

/// Sources that a row is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Whom {
    #[default]
    Any,
    /// Hosts of the own networks.
    Local,
    /// All others.
    Remote,
    /// Hosts of a named group.
    Group { name: String, networks: Vec<IpNet> },
}

/// Growth of the lifetime of entries on a source that comes back: doubled each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// Longest lifetime, seconds.
    pub max_ttl_s: u32,
    /// Time without an offence, seconds, that takes one doubling back.
    pub decay_s: u32,
}

/// A row: its conditions, all of which have to hold, and what may be done. An empty list holds for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRow {
    pub name: Arc<str>,
    pub detectors: Vec<Detector>,
    pub families: Vec<Family>,
    /// Least severity of the incident.
    pub severity: Severity,
    /// Kinds of proof that the incident must rest on.
    pub evidence: Grades,
    /// Inputs of which one at least blames the source, too.
    pub said_by: Vec<Arc<str>>,
    pub whom: Whom,
    /// IP protocol of the service; 0 is any.
    pub protocol: u8,
    /// Ports of the service; a finding about several ports meets none.
    pub ports: Vec<u16>,
    /// Strongest action; none: it is only told.
    pub action: Option<Action>,
    /// Services may be shielded from floods in made-up names, which are nobody's.
    pub shields: bool,
    /// Lifetime of an entry, seconds; none: `engine.decide.ttl`.
    pub ttl_s: Option<u32>,
    pub escalation: Option<Escalation>,
    /// A person has to approve.
    pub needs_approval: bool,
}

impl PolicyRow {
    /// A row that holds for everything.
    pub fn any(name: &str, action: Option<Action>) -> Self {
        Self {
            name: Arc::from(name),
            detectors: Vec::new(),
            families: Vec::new(),
            severity: Severity::Low,
            evidence: Grades::NONE,
            said_by: Vec::new(),
            whom: Whom::Any,
            protocol: 0,
            ports: Vec::new(),
            action,
            shields: action.is_some(),
            ttl_s: None,
            escalation: None,
            needs_approval: false,
        }
    }

    fn holds(&self, asked: &Asked<'_>) -> bool {
        let finding = asked.finding;
        let is_of = |all_or: bool, named: bool| all_or || named;
        let is_at_port = match finding.ports.as_slice() {
            [port] => finding.n_ports <= 1 && self.ports.contains(port),
            _ => false,
        };
        is_of(
            self.detectors.is_empty(),
            self.detectors.contains(&finding.detector),
        ) && is_of(
            self.families.is_empty(),
            self.families.contains(&finding.family),
        ) && asked.severity >= self.severity
            && asked.grades.has(self.evidence)
            && is_of(self.said_by.is_empty(), self.is_said(asked))
            && is_of(self.protocol == 0, self.protocol == finding.protocol)
            && is_of(self.ports.is_empty(), is_at_port)
            && match &self.whom {
                Whom::Any => true,
                Whom::Local => asked.is_local,
                Whom::Remote => !asked.is_local,
                Whom::Group { networks, .. } => networks.iter().any(|n| n.contains(&asked.source)),
            }
    }

    /// True where one of the inputs blames the source.
    fn is_said(&self, asked: &Asked<'_>) -> bool {
        let mut about = asked.said.iter().map(|said| &said.statement);
        about.any(|one| one.about == asked.source && self.said_by.contains(&one.by))
    }
}

/// A source of a finding, to be looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub finding: &'a Finding,
    pub severity: Severity,
    /// Kinds of proof that the incident rests on.
    pub grades: Grades,
    /// Statements of other systems about the sources.
    pub said: &'a [Said],
    pub source: IpAddr,
    pub is_local: bool,
}

/// Finds the first row that holds.
pub(super) fn row_for<'a>(rows: &'a [PolicyRow], asked: &Asked<'_>) -> Option<&'a PolicyRow> {
    rows.iter().find(|row| row.holds(asked))
}

/// Rows that come with the sensor, after those of the site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// Nothing is done to anybody, nor is anything shielded.
    Observe,
    /// Strangers are limited, and stopped where the proof carries it; for an hour at most.
    #[default]
    Cautious,
    /// As cautious, for longer: for hosts that meet the whole internet.
    Edge,
}

const MINUTE_S: u32 = 60;
const HOUR_S: u32 = 60 * MINUTE_S;
const DAY_S: u32 = 24 * HOUR_S;

/// Ports of the web (IANA: http, https, http-alt, https-alt): many people may be behind one address there.
const WEB_PORTS: [u16; 4] = [80, 443, 8080, 8443];
const TCP: u8 = 6;

impl Preset {
    /// Rows, in their order; the last one holds for everything.
    pub fn rows(self) -> Vec<PolicyRow> {
        let limit = Some(Action::RateLimit);
        let own = PolicyRow {
            whom: Whom::Local,
            ttl_s: Some(HOUR_S),
            needs_approval: true,
            ..PolicyRow::any("own_hosts", Some(Action::Quarantine))
        };
        let web = PolicyRow {
            families: vec![Family::BruteForce, Family::HttpFlood, Family::SlowHttp],
            protocol: TCP,
            ports: WEB_PORTS.to_vec(),
            ..PolicyRow::any("public_web", limit)
        };
        let by_proof = |ttl_s, max_ttl_s| PolicyRow {
            ttl_s,
            escalation: Some(Escalation {
                max_ttl_s,
                decay_s: DAY_S,
            }),
            ..PolicyRow::any("by_proof", Some(Action::Drop))
        };
        match self {
            Self::Observe => vec![PolicyRow::any("observe", None)],
            Self::Cautious => vec![own, web, by_proof(None, HOUR_S)],
            Self::Edge => vec![own, web, by_proof(Some(30 * MINUTE_S), DAY_S)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Entity;
    use crate::tests::{T0, ip};

    fn finding(family: Family, ports: &[u16]) -> Finding {
        Finding {
            protocol: TCP,
            ports: ports.to_vec(),
            n_ports: ports.len() as u64,
            ..Finding::new(Detector::Attempts, family, Entity::Source(ip(1)), T0)
        }
    }

    fn row_of(rows: &[PolicyRow], finding: &Finding, is_local: bool) -> Option<String> {
        let asked = Asked {
            finding,
            severity: Severity::Medium,
            grades: Grades::SHAPE,
            said: &[],
            source: crate::to_ip(&ip(1)),
            is_local,
        };
        row_for(rows, &asked).map(|row| row.name.to_string())
    }

    #[test]
    fn the_first_row_that_holds_wins() {
        let rows = Preset::Cautious.rows();
        let name = |family, ports: &[u16], is_local| {
            row_of(&rows, &finding(family, ports), is_local).unwrap()
        };
        assert_eq!(name(Family::BruteForce, &[22], true), "own_hosts");
        assert_eq!(name(Family::BruteForce, &[443], false), "public_web");
        assert_eq!(name(Family::BruteForce, &[22], false), "by_proof");
        assert_eq!(name(Family::BruteForce, &[443, 22], false), "by_proof");
        assert_eq!(name(Family::PortScan, &[80], false), "by_proof");
    }

    #[test]
    fn every_condition_of_a_row_has_to_hold() {
        let whole = PolicyRow {
            detectors: vec![Detector::Attempts],
            families: vec![Family::BruteForce],
            severity: Severity::Medium,
            evidence: Grades::SHAPE,
            whom: Whom::Group {
                name: "partners".to_owned(),
                networks: vec![IpNet::from(crate::to_ip(&ip(1)))],
            },
            protocol: TCP,
            ports: vec![22],
            ..PolicyRow::any("whole", None)
        };
        let found = finding(Family::BruteForce, &[22]);
        let holds = |change: &dyn Fn(&mut PolicyRow)| {
            let mut row = whole.clone();
            change(&mut row);
            row_of(&[row], &found, false).is_some()
        };
        assert!(holds(&|_| ()));
        assert!(!holds(&|row| row.detectors = vec![Detector::Scan]));
        assert!(!holds(&|row| row.families = vec![Family::PortScan]));
        assert!(!holds(&|row| row.severity = Severity::High));
        assert!(!holds(&|row| row.evidence = Grades::OUTCOME));
        assert!(!holds(&|row| row.protocol = 17));
        assert!(!holds(&|row| row.ports = vec![23]));
        assert!(!holds(&|row| row.whom = Whom::Local));
        assert!(holds(&|row| row.whom = Whom::Remote));
        assert!(!holds(&|row| row.whom = Whom::Group {
            name: "others".to_owned(),
            networks: vec![IpNet::from(crate::to_ip(&ip(2)))],
        }));
    }

    #[test]
    fn each_preset_has_a_row_for_everything() {
        for preset in [Preset::Observe, Preset::Cautious, Preset::Edge] {
            let rows = preset.rows();
            let stray = finding(Family::VolumeAnomaly, &[]);
            assert!(row_of(&rows, &stray, false).is_some(), "{preset:?}");
            let own = rows.iter().filter(|row| row.whom == Whom::Local);
            assert!(own.clone().all(|row| row.needs_approval));
            assert_eq!(own.count(), usize::from(preset != Preset::Observe));
        }
    }
}
