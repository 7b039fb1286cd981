//! Exceptions: findings that a site knows to be legitimate. They are counted and not made into
//! incidents.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::detect::{Detector, Family, Finding};

/// Conditions that a finding has to meet, all of them; `None` is met by every finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    pub detector: Option<Detector>,
    pub family: Option<Family>,
    /// Network of all sources.
    pub source: Option<IpNet>,
    /// Network of all destinations that are listed.
    pub destination: Option<IpNet>,
    /// IP protocol of the service.
    pub protocol: Option<u8>,
    /// Port of the service.
    pub port: Option<u16>,
    /// First instant at which the exception no longer holds, unix ns.
    pub until_ns: Option<u64>,
    pub reason: String,
}

impl Exception {
    pub const fn is_expired(&self, at_ns: u64) -> bool {
        matches!(self.until_ns, Some(until_ns) if at_ns >= until_ns)
    }

    fn covers(&self, finding: &Finding) -> bool {
        let n_sources = usize::try_from(finding.n_sources).unwrap_or(usize::MAX);
        // Sources that are not listed may be others.
        let knows_sources = finding.sources.len() >= n_sources && !finding.is_spoofed;
        self.detector
            .is_none_or(|detector| detector == finding.detector)
            && self.family.is_none_or(|family| family == finding.family)
            && self
                .protocol
                .is_none_or(|protocol| protocol == finding.protocol)
            && self
                .port
                .is_none_or(|port| finding.ports == [port] && finding.n_ports <= 1)
            && self
                .source
                .is_none_or(|network| knows_sources && all_in(&network, &finding.sources))
            && self
                .destination
                .is_none_or(|network| all_in(&network, &finding.destinations))
    }
}

/// False for no addresses: what is unknown meets no condition.
fn all_in(network: &IpNet, addresses: &[IpAddr]) -> bool {
    !addresses.is_empty() && addresses.iter().all(|address| network.contains(address))
}

/// Use of an exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExceptionUse {
    pub exception: Exception,
    /// Incident that a person muted by it; none: it is of the configuration.
    pub incident: Option<String>,
    pub n_findings: u64,
    /// Event time of the last of them; 0: none yet.
    pub last_ns: u64,
}

/// Incidents that may be muted at a time.
const MAX_MUTED: usize = 1_000;

impl ExceptionUse {
    fn new(exception: &Exception, incident: Option<String>) -> Self {
        Self {
            exception: exception.clone(),
            incident,
            n_findings: 0,
            last_ns: 0,
        }
    }
}

/// The exceptions of a site, with their use.
#[derive(Debug, Default)]
pub(crate) struct Exceptions(Vec<ExceptionUse>);

impl Exceptions {
    pub(crate) fn new(exceptions: &[Exception]) -> Self {
        let mut new = Self::default();
        new.configure(exceptions);
        new
    }

    /// Takes another list; those that stay keep their counts, and muted incidents stay muted.
    pub(crate) fn configure(&mut self, exceptions: &[Exception]) {
        let mut known = std::mem::take(&mut self.0);
        for exception in exceptions {
            let is_same =
                |used: &ExceptionUse| used.incident.is_none() && used.exception == *exception;
            let at = known.iter().position(is_same);
            self.0.push(match at {
                Some(at) => known.swap_remove(at),
                None => ExceptionUse::new(exception, None),
            });
        }
        self.0
            .extend(known.into_iter().filter(|used| used.incident.is_some()));
    }

    /// Mutes what an incident is about. The oldest that was muted gives way where there are too many.
    pub(crate) fn mute(&mut self, incident: &str, exception: &Exception) {
        self.unmute(incident);
        let mut muted = self.0.iter().filter(|used| used.incident.is_some());
        if muted.clone().count() >= MAX_MUTED
            && let Some(oldest) = muted.next().and_then(|used| used.incident.clone())
        {
            self.unmute(&oldest);
        }
        let incident = Some(incident.to_owned());
        self.0.push(ExceptionUse::new(exception, incident));
    }

    /// Ends that an incident is muted.
    pub(crate) fn unmute(&mut self, incident: &str) {
        self.0
            .retain(|used| used.incident.as_deref() != Some(incident));
    }

    /// Counts a finding for the first exception that covers it; its reason.
    pub(crate) fn take(&mut self, at_ns: u64, finding: &Finding) -> Option<&str> {
        let used = self
            .0
            .iter_mut()
            .find(|used| !used.exception.is_expired(at_ns) && used.exception.covers(finding))?;
        used.n_findings = used.n_findings.saturating_add(1);
        used.last_ns = at_ns;
        Some(&used.exception.reason)
    }

    pub(crate) fn uses(&self) -> &[ExceptionUse] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::to_ip;
    use crate::config::SECOND_NS;
    use crate::detect::Entity;
    use crate::tests::{T0, ip};

    #[test]
    fn an_incident_is_muted_until_its_end_or_until_a_person_ends_that() {
        let mut exceptions = Exceptions::default();
        let muted = Exception {
            family: Some(Family::HostSweep),
            source: Some(IpNet::from(to_ip(&ip(1)))),
            until_ns: Some(T0 + SECOND_NS),
            ..Exception::default()
        };
        exceptions.mute("1", &muted);
        exceptions.configure(&[]);
        assert!(exceptions.take(T0, &scan()).is_some());
        assert!(exceptions.take(T0 + SECOND_NS, &scan()).is_none());
        exceptions.unmute("1");
        assert!(exceptions.take(T0, &scan()).is_none());
        for n in 0..2 * MAX_MUTED {
            exceptions.mute(&n.to_string(), &muted);
        }
        assert_eq!(exceptions.uses().len(), MAX_MUTED);
    }

    /// A scan of two hosts' SSH ports by one source.
    fn scan() -> Finding {
        Finding {
            detector: Detector::Scan,
            family: Family::HostSweep,
            entity: Entity::Source(ip(1)),
            window_ns: SECOND_NS,
            first_ns: T0,
            last_ns: T0,
            score: 10.0,
            p_value: 1e-10,
            grades: Detector::Scan.grades(),
            features: Vec::new(),
            notes: Vec::new(),
            sources: vec![to_ip(&ip(1))],
            n_sources: 1,
            is_spoofed: false,
            destination_mac: None,
            destinations: vec![to_ip(&ip(2)), to_ip(&ip(3))],
            n_destinations: 2,
            ports: vec![22],
            n_ports: 1,
            protocol: 6,
        }
    }

    fn net(text: &str) -> Option<IpNet> {
        text.parse().ok()
    }

    fn exception(set: impl FnOnce(&mut Exception)) -> Exception {
        let mut exception = Exception::default();
        set(&mut exception);
        exception
    }

    #[test]
    fn every_condition_has_to_be_met() {
        let covers = |set: fn(&mut Exception)| exception(set).covers(&scan());
        assert!(covers(|e| e.family = Some(Family::HostSweep)));
        assert!(!covers(|e| e.family = Some(Family::PortScan)));
        assert!(covers(|e| e.detector = Some(Detector::Scan)));
        assert!(!covers(|e| e.detector = Some(Detector::Models)));
        assert!(covers(|e| e.source = net("10.0.0.1/32")));
        assert!(!covers(|e| e.source = net("10.0.0.2/32")));
        assert!(!covers(|e| e.source = net("2001:db8::/32")));
        assert!(covers(|e| e.destination = net("10.0.0.2/31")));
        assert!(!covers(|e| e.destination = net("10.0.0.2/32")));
        assert!(covers(|e| (e.protocol, e.port) = (Some(6), Some(22))));
        assert!(!covers(|e| (e.protocol, e.port) = (Some(17), Some(22))));
        assert!(!covers(
            |e| (e.source, e.port) = (net("10.0.0.1/32"), Some(23))
        ));
    }

    #[test]
    fn sources_that_are_not_known_to_be_inside_are_not_excepted() {
        let by_source = Exception {
            source: net("10.0.0.0/24"),
            ..Exception::default()
        };
        assert!(by_source.covers(&scan()));
        let spoofed = Finding {
            is_spoofed: true,
            ..scan()
        };
        let more = Finding {
            n_sources: 2,
            ..scan()
        };
        let mixed = Finding {
            sources: vec![to_ip(&ip(1)), to_ip(&ip(300))],
            n_sources: 2,
            ..scan()
        };
        let nameless = Finding {
            sources: Vec::new(),
            n_sources: 0,
            ..scan()
        };
        for finding in [spoofed, more, mixed, nameless] {
            assert!(!by_source.covers(&finding), "{finding:?}");
        }
    }

    #[test]
    fn an_exception_ends_in_event_time_and_keeps_its_count_over_a_reload() {
        let ends = Exception {
            until_ns: Some(T0 + 10),
            reason: "audit".to_owned(),
            ..Exception::default()
        };
        let other = Exception {
            family: Some(Family::Beacon),
            ..Exception::default()
        };
        let mut exceptions = Exceptions::new(std::slice::from_ref(&ends));
        assert_eq!(exceptions.take(T0 + 9, &scan()), Some("audit"));
        exceptions.configure(&[other, ends]);
        assert_eq!(exceptions.take(T0 + 10, &scan()), None);
        let counts: Vec<_> = exceptions
            .uses()
            .iter()
            .map(|used| used.n_findings)
            .collect();
        assert_eq!(counts, [0, 1]);
        assert_eq!(exceptions.uses()[1].last_ns, T0 + 9);
    }
}
