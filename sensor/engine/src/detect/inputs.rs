//! Inputs of detectors: each is a call with its type, so that the list of detectors costs a packet
//! nothing. Packet samples are in [`super::content`].

use std::sync::Arc;

use sensor_common::Address;

use super::Detector;
use super::attribution::Attribution;
use super::finding::Finding;
use super::networks::Judgement;
use super::registry::Detectors;
use crate::address::from_ip;
use crate::features::ledger::ServiceKey;
use crate::features::{Answered, HostLook, PairVector};
use crate::flow::{FlowSummary, FlowUpdate};
use crate::site::Site;

impl Detectors {
    /// Takes who is inside.
    pub(crate) fn set_site(&mut self, site: &Arc<Site>) {
        self.exfiltration.set_site(site);
        self.lateral.set_site(site);
        self.control.set_site(site);
    }

    /// Takes what happened to flows, in order.
    pub(crate) fn take_flows(&mut self, at_ns: u64, updates: &[FlowUpdate]) {
        for update in updates {
            self.fieldbus.take_flow(at_ns, update);
            self.exfiltration.take(update);
            self.lateral.take(at_ns, update);
            if update.has_closed {
                self.replies.take_close(update);
            }
        }
        self.scans.take_all(at_ns, updates);
        self.shapes.take_all(updates);
        self.control.take_all(updates);
        self.learned.take_all(at_ns, updates);
    }

    /// Takes what happened to flows within tunnels that anybody may write into. They are the doing of
    /// the tunnel's ends, and speak for a flood alone: all that a tunnel carries would else look like
    /// the habits of one pair of hosts.
    pub(crate) fn take_claimed_flows(&mut self, updates: &[FlowUpdate]) {
        self.shapes.take_all(updates);
    }

    /// Takes a flow that was exported.
    pub(crate) fn take_end(&mut self, flow: &FlowSummary) {
        match flow.tunnel.filter(|tunnel| !tunnel.is_configured) {
            Some(tunnel) => {
                let (source, host) = (from_ip(tunnel.source), from_ip(tunnel.destination));
                self.shapes.take_over(flow, source, host);
            }
            None => {
                let (source, host) = (from_ip(flow.source), from_ip(flow.destination));
                self.shapes.take_end(flow, source, host);
                self.learned.take_end(flow);
                self.replies.take_end(flow, source, host);
            }
        }
    }

    /// Takes the end of a flow that was exported before.
    pub(crate) fn take_over(&mut self, flow: &FlowSummary) {
        let outer = flow.tunnel.filter(|tunnel| !tunnel.is_configured);
        let (source, host) = outer.map_or((flow.source, flow.destination), |tunnel| {
            (tunnel.source, tunnel.destination)
        });
        self.shapes.take_over(flow, from_ip(source), from_ip(host));
    }

    /// Takes what one local host did since the last look, every 100 ms.
    pub(crate) fn take_local(
        &mut self,
        at_ns: u64,
        look: &HostLook,
        answered: &Answered,
        attribution: &Attribution<'_>,
        findings: &mut Vec<Finding>,
    ) {
        self.floods
            .look(at_ns, look, answered, attribution, findings);
        self.volumes.look(at_ns, look, findings);
    }

    /// Judges what runs, at the end of all input.
    pub(crate) fn finish(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        self.learned.finish(at_ns, findings);
    }

    /// Adds what the learned windows say of a finding.
    pub(crate) fn weigh(&mut self, at_ns: u64, finding: &mut Finding) {
        self.learned.weigh(at_ns, finding);
    }

    /// True where the learned windows speak against what the streaming models found.
    pub(crate) fn doubts(&self, at_ns: u64, finding: &Finding) -> bool {
        self.learned.doubts(at_ns, finding)
    }

    /// Windows beyond the most that are judged at one time.
    pub(crate) const fn n_windows_skipped(&self) -> u64 {
        self.learned.n_skipped()
    }

    /// Takes what a network says of a sequence. It is silent where a detector speaks.
    pub(crate) fn take_judgement(&mut self, at_ns: u64, judgement: &Judgement) -> Option<Finding> {
        let was_found = |address: &Address| self.learned.was_found(at_ns, address);
        let host = judgement.host.as_ref();
        let is_known = was_found(&judgement.source) || host.is_some_and(was_found);
        self.networks.take(at_ns, judgement, is_known)
    }

    /// Hands out windows judged since the last call, each with the sum of the learned model.
    pub(crate) fn windows(&mut self) -> impl Iterator<Item = (PairVector, f32)> + '_ {
        self.learned.emitted()
    }

    /// Takes what remote hosts did since the last look.
    pub(crate) fn take_remotes(
        &mut self,
        at_ns: u64,
        looks: &[HostLook],
        findings: &mut Vec<Finding>,
    ) {
        self.row_scans.look(at_ns, looks, findings);
    }

    /// Takes out what came of logins: clients, and whether they were accepted.
    pub(crate) fn login_outcomes(&mut self) -> impl Iterator<Item = (Address, bool)> + '_ {
        self.replies.outcomes()
    }

    /// True where samples since the last tick speak against somebody, which is told with the next look at flows.
    pub(crate) fn wants_flows(&self) -> bool {
        self.replies.has_news()
    }

    /// True where a finding of a shape is about logins that the service is known to accept.
    pub(crate) fn is_refuted(&self, finding: &Finding) -> bool {
        let ([source], [host], [port]) = (
            finding.sources.as_slice(),
            finding.destinations.as_slice(),
            finding.ports.as_slice(),
        ) else {
            return false;
        };
        let service = ServiceKey {
            host: from_ip(*host),
            port: *port,
            protocol: finding.protocol,
        };
        finding.detector == Detector::Brute && self.replies.is_accepted(from_ip(*source), service)
    }

    /// Memory of the scan windows by capacity, without the sets in them.
    pub(crate) fn n_scan_bytes(&self) -> usize {
        self.scans.n_bytes()
    }

    /// Takes what a host's rows hold as its past: only what they grow by says something.
    pub(crate) fn begin_from(&mut self, at_ns: u64, look: &HostLook) {
        self.floods.begin_from(at_ns, look);
    }
}
