//! Choice of the records that a sink takes.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use sensor_record::{Incident, Record, State};

use crate::settings::{RecordKind, SinkSettings};

/// Open incidents that are remembered: as many as an agent can have, and more.
const MAX_FOLLOWED: usize = 16_384;

/// Filter of a sink.
#[derive(Debug)]
pub struct Filter {
    settings: SinkSettings,
    /// Incidents that were let through and are open: their end is wanted, too.
    followed: BTreeSet<String>,
    order: VecDeque<String>,
}

impl Filter {
    pub fn new(settings: &SinkSettings) -> Self {
        Self {
            settings: settings.clone(),
            followed: BTreeSet::new(),
            order: VecDeque::new(),
        }
    }

    /// True for a record that the sink is to have.
    pub fn wants(&mut self, record: &Record) -> bool {
        let has = |kind| self.settings.records.contains(&kind);
        match record {
            Record::Incident(incident) => has(RecordKind::Incident) && self.follow(incident),
            Record::Decision(decision) => {
                let target = decision.target.0;
                let networks = &self.settings.networks;
                let is_inside = networks
                    .iter()
                    .any(|network| network.0.contains(&target) || target.contains(&network.0));
                has(RecordKind::Decision) && (networks.is_empty() || is_inside)
            }
            Record::Sensor(_) => has(RecordKind::Sensor),
            _ => false,
        }
    }

    fn follow(&mut self, incident: &Incident) -> bool {
        let is_followed = self.followed.contains(&incident.id);
        let is_wanted = is_followed || self.fits(incident);
        if incident.state == State::Closed {
            self.forget(&incident.id);
        } else if is_wanted && !is_followed {
            self.remember(&incident.id);
        }
        is_wanted && self.settings.states.contains(&incident.state)
    }

    fn remember(&mut self, id: &str) {
        if self.order.len() >= MAX_FOLLOWED
            && let Some(oldest) = self.order.pop_front()
        {
            self.followed.remove(&oldest);
        }
        self.followed.insert(id.to_owned());
        self.order.push_back(id.to_owned());
    }

    fn forget(&mut self, id: &str) {
        if self.followed.remove(id) {
            self.order.retain(|known| known != id);
        }
    }

    fn fits(&self, incident: &Incident) -> bool {
        let settings = &self.settings;
        let families = &settings.families;
        let has_family = families.is_empty()
            || families
                .iter()
                .any(|family| *family == incident.family || family == incident.found_as());
        incident.severity >= settings.min_severity && has_family && self.is_inside(incident)
    }

    fn is_inside(&self, incident: &Incident) -> bool {
        let networks = &self.settings.networks;
        let is_in = |address: &IpAddr| networks.iter().any(|network| network.0.contains(address));
        networks.is_empty()
            || incident
                .sources
                .iter()
                .chain(&incident.destinations)
                .any(is_in)
    }
}

#[cfg(test)]
mod tests {
    use sensor_record::{Severity, example};

    use super::*;
    use crate::kinds::Kind;

    fn incident(id: &str, state: State, severity: Severity) -> Record {
        let mut incident = example::incident();
        incident.id = id.to_owned();
        (incident.state, incident.severity) = (state, severity);
        incident.into()
    }

    fn filter(change: impl FnOnce(&mut SinkSettings)) -> Filter {
        let mut settings = SinkSettings::new("soc", Kind::Stdout);
        change(&mut settings);
        Filter::new(&settings)
    }

    #[test]
    fn an_incident_that_was_let_through_is_followed_to_its_end() {
        let mut filter = filter(|settings| settings.min_severity = Severity::High);
        let mut wants = |id, state, severity| filter.wants(&incident(id, state, severity));
        assert!(!wants("a", State::Opened, Severity::Low));
        assert!(wants("a", State::Updated, Severity::High));
        assert!(wants("a", State::Closed, Severity::Medium));
        assert!(!wants("b", State::Closed, Severity::Medium));
        assert!(!wants("a", State::Updated, Severity::Medium));
    }

    #[test]
    fn states_families_and_networks_are_chosen() {
        let record = incident("a", State::Opened, Severity::High);
        let wants = |change: &dyn Fn(&mut SinkSettings)| filter(change).wants(&record);
        assert!(wants(&|_| {}));
        assert!(!wants(&|settings| settings.states = vec![State::Closed]));
        assert!(!wants(
            &|settings| settings.families = vec!["syn_flood".to_owned()]
        ));
        assert!(wants(
            &|settings| settings.families = vec!["port_scan".to_owned()]
        ));
        assert!(!wants(
            &|settings| settings.networks = vec!["203.0.113.0/24".parse().unwrap()]
        ));
        assert!(wants(
            &|settings| settings.networks = vec!["192.0.2.0/24".parse().unwrap()]
        ));
        assert!(!wants(
            &|settings| settings.records = vec![RecordKind::Sensor]
        ));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut filter = filter(|_| {});
        for n in 0..MAX_FOLLOWED + 10 {
            filter.wants(&incident(&n.to_string(), State::Opened, Severity::High));
        }
        assert_eq!(filter.order.len(), MAX_FOLLOWED);
        assert_eq!(filter.followed.len(), MAX_FOLLOWED);
    }

    #[test]
    fn flows_and_findings_are_nobodys() {
        let mut filter = filter(|settings| {
            settings.records = vec![
                RecordKind::Incident,
                RecordKind::Decision,
                RecordKind::Sensor,
            ];
        });
        let taken = example::records()
            .into_iter()
            .filter(|record| filter.wants(record));
        let kinds: Vec<_> = taken.map(|record| record.kind()).collect();
        assert_eq!(kinds, ["sensor", "incident", "decision"]);
    }
}
