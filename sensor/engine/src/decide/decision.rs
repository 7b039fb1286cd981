//! Decisions: the action against each source of a finding.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use sensor_common::packet::protocol;
use sensor_common::{Address, mix};

use super::action::{Action, LIMIT_PACKETS_PER_S, Scope};
use super::aggregate::Aggregates;
use super::explain::reason;
use super::incident::Incident;
use super::local::{LocalBy, Locals};
use super::policy::{Asked, PolicyRow, row_for};
use super::proof::{Grounds, Need, Proof};
use super::repeat::Repeaters;
use super::room::UNPROVEN_SHARE;
use super::withheld::{NotDecided, Withheld};
use crate::address::{from_ip, to_ip};
use crate::config::{Config, DecideConfig, SECOND_NS};
use crate::detect::{Detector, Entity, Family, Finding, MaxResponse, Severity};
use crate::features::bounded::{Bounded, Priority};
use crate::features::ledger::ServiceKey;
use crate::features::{Good, Ledger, TableUse};
use crate::site::HostNetworks;

#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub id: String,
    pub incident_id: String,
    pub action: Action,
    /// An address, or the network of 64 bits whose addresses take turns.
    pub target: IpNet,
    pub scope: Scope,
    pub ttl_s: u32,
    pub reason: String,
    /// The address is proven real: nobody can have made it up.
    pub is_proven: bool,
    /// A person has to approve.
    pub needs_approval: bool,
    pub grounds: Grounds,
    /// Share in what good peers are and carry, where the source is one.
    pub good: Option<Good>,
}

#[cfg(test)]
impl Decision {
    /// A decision on somebody.
    pub(super) fn example(action: Action) -> Self {
        let proof = Proof {
            grades: crate::detect::Grades::SHAPE,
            of_incident: crate::detect::Grades::SHAPE,
            is_real: false,
            is_peer: false,
            by_connections: false,
            may_ask: false,
        };
        Self {
            id: "d000001-0000000000000001".to_owned(),
            incident_id: "000001-0000000000000001".to_owned(),
            action,
            target: IpNet::from(IpAddr::from([192, 0, 2, 1])),
            scope: Scope::default(),
            ttl_s: 300,
            reason: String::new(),
            is_proven: false,
            needs_approval: false,
            grounds: Grounds {
                row: None,
                proof,
                needs: Vec::new(),
            },
            good: None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Decider {
    config: DecideConfig,
    policy: Vec<PolicyRow>,
    repeaters: Repeaters,
    aggregates: Aggregates,
    /// Sources whose good traffic broke off after an action, and when.
    spared: Bounded<Address, Seen>,
    /// Sources that were acted on and where, those proven real apart from the others.
    proven: Bounded<(Address, Scope), Made>,
    unproven: Bounded<(Address, Scope), Made>,
    /// Victims of floods from addresses that somebody made up, by protocol, and when that was last seen.
    spoofed: Bounded<(Address, u8), Seen>,
    locals: Locals,
    sequence: u64,
    /// Flows are those of exported records.
    from_records: bool,
}

/// Action on a source, and its time.
#[derive(Clone, Copy, Debug)]
struct Made {
    at_ns: u64,
    action: Action,
    ttl_s: u32,
    /// A guard, or what else carries decisions out, refused it: nothing is in force.
    is_refused: bool,
}

impl Made {
    /// True for the share `1 / part` of its lifetime, and for a while where it was refused.
    fn holds(&self, at_ns: u64, part: u64) -> bool {
        let ttl_ns = u64::from(self.ttl_s).saturating_mul(SECOND_NS) / part;
        let holds_ns = if self.is_refused {
            ttl_ns.min(ASK_AGAIN_NS)
        } else {
            ttl_ns
        };
        at_ns.saturating_sub(self.at_ns) < holds_ns
    }
}

/// Time after which what was refused is asked for again: an allow-list is reloaded, a table gets room.
const ASK_AGAIN_NS: u64 = 30 * SECOND_NS;

impl Priority for Made {
    fn priority(&self) -> u64 {
        self.at_ns
    }
}

/// Action to be taken.
struct Taken {
    action: Action,
    target: IpNet,
    /// Source that the reason names.
    named: IpAddr,
    ttl_s: u32,
    needs_approval: bool,
    grounds: Grounds,
    good: Option<Good>,
}

/// Time of something.
#[derive(Clone, Copy, Debug)]
struct Seen(u64);

impl Priority for Seen {
    fn priority(&self) -> u64 {
        self.0
    }
}

/// Victims of floods from made-up addresses that are remembered, and for how long: such a flood is told
/// once a second while it goes on.
const MAX_SPOOFED: usize = 1_024;
const SPOOFED_NS: u64 = 2 * SECOND_NS;
/// Sources that are spared, and for how long.
const MAX_SPARED: usize = 1_024;
const SPARED_NS: u64 = 600 * SECOND_NS;

/// Decisions on the sources of a finding.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub decisions: Vec<Decision>,
    /// Sources that were not acted on, at most as many as the finding names.
    pub withheld: Vec<NotDecided>,
    /// Of a flood in made-up names: its victim may be shielded.
    pub may_shield: bool,
}

impl Decider {
    pub(super) fn new(all: &Config) -> Self {
        let (config, hash_seed) = (&all.decide, all.hash_seed);
        Self {
            config: config.clone(),
            policy: all.policy.0.clone(),
            repeaters: Repeaters::new(config.max_decisions / UNPROVEN_SHARE, hash_seed),
            aggregates: Aggregates::new(hash_seed),
            proven: Bounded::new("acted_on_sources", config.max_decisions, hash_seed),
            unproven: Bounded::new(
                "acted_on_unproven_sources",
                config.max_decisions / UNPROVEN_SHARE,
                hash_seed,
            ),
            spared: Bounded::new("spared_sources", MAX_SPARED, hash_seed),
            spoofed: Bounded::new("spoofed_victims", MAX_SPOOFED, hash_seed),
            locals: Locals::new(&all.local_networks, hash_seed),
            sequence: 0,
            from_records: all.from_records,
        }
    }

    /// Takes new thresholds, rows of the policy and local networks; tables keep their capacity.
    pub(super) fn configure(&mut self, config: &Config) {
        self.config = config.decide.clone();
        self.policy.clone_from(&config.policy.0);
        self.locals.configure(&config.local_networks);
    }

    /// Takes the addresses and networks of the host; `None` where they can't be read.
    pub(super) fn set_host(&mut self, host: Option<&HostNetworks>) {
        self.locals.set_host(host);
    }

    /// Remembers an address that packets left from.
    pub(super) fn note_seen(&mut self, at_ns: u64, address: Address) {
        self.locals.note_seen(at_ns, address);
    }

    pub(super) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.proven.usage());
        out.push(self.unproven.usage());
        out.push(self.spoofed.usage());
        out.push(self.repeaters.usage());
        self.aggregates.tables(out);
        out.push(self.spared.usage());
        out.push(self.locals.usage());
    }

    /// True where the address is known to be local.
    pub(super) fn is_local(&self, at_ns: u64, address: &Address) -> bool {
        let by = self.locals.of(at_ns, address);
        by.is_some_and(|by| by != LocalBy::Unknown)
    }

    /// Remembers the victim of a flood from addresses that somebody made up.
    pub(super) fn note_spoofed(&mut self, at_ns: u64, finding: &Finding) {
        if finding.is_spoofed
            && let Entity::Victim(victim) = finding.entity
        {
            let key = (victim, finding.protocol);
            self.spoofed.get_or_insert_with(key, || Seen(at_ns)).0 = at_ns;
        }
    }

    /// Spares a source whose good traffic broke off after an action.
    pub(super) fn spare(&mut self, at_ns: u64, decision: &Decision) {
        let source = from_ip(decision.target.addr());
        self.spared.get_or_insert_with(source, || Seen(at_ns)).0 = at_ns;
        self.release(&decision.target);
    }

    fn is_spared(&self, at_ns: u64, source: &Address) -> bool {
        let seen = self.spared.get(source);
        seen.is_some_and(|seen| at_ns.saturating_sub(seen.0) < SPARED_NS)
    }

    /// True for what one source does to a victim that is flooded from made-up addresses: his may be one
    /// of them. What stands out of the whole by its share is seen by the rates of hosts.
    fn is_of_spoofed_flood(&self, at_ns: u64, finding: &Finding) -> bool {
        let Entity::Victim(victim) = finding.entity else {
            return false;
        };
        let seen = self.spoofed.get(&(victim, finding.protocol));
        finding.detector != Detector::HostRates
            && seen.is_some_and(|seen| at_ns.saturating_sub(seen.0) < SPOOFED_NS)
    }

    /// Decides on the sources that a finding names, each with a decision or the reason for none. The
    /// action is no stronger than the proof, nor than the row of the policy allows.
    pub(super) fn decide(
        &mut self,
        at_ns: u64,
        incident: &Incident,
        finding: &Finding,
        ledger: &Ledger,
    ) -> Decided {
        let mut decided = Decided::default();
        let held = self.withheld(incident, finding, ledger);
        let is_told = held == Some(Withheld::ReportOnly) && self.is_worth(incident, finding);
        if let Some(reason) = held.filter(|_| !is_told) {
            let grounds = (reason == Withheld::Spoofed).then(|| {
                let (may_shield, grounds) = self.shield(incident, finding);
                decided.may_shield = may_shield;
                grounds
            });
            decided.withheld.push(NotDecided {
                source: None,
                reason,
                grounds,
            });
            return decided;
        }
        if finding.is_collective() {
            match self.decide_network(at_ns, (incident, finding), ledger) {
                Ok(made) => decided.decisions.push(made),
                Err((reason, grounds)) => decided.withheld.push(NotDecided {
                    source: finding.network().map(|whole| IpAddr::V6(whole.network())),
                    reason,
                    grounds,
                }),
            }
            return decided;
        }
        for source in &finding.sources {
            match self.decide_source(at_ns, (incident, finding), *source, ledger) {
                Ok(made) => {
                    let whole = self.aggregate(at_ns, (incident, finding), &made, ledger);
                    decided.decisions.push(made);
                    decided.decisions.extend(whole);
                }
                Err((reason, grounds)) => decided.withheld.push(NotDecided {
                    source: Some(*source),
                    reason,
                    grounds: Some(grounds),
                }),
            }
        }
        // What is only told is no matter of single sources, but for hosts of ours.
        if held.is_some() && decided.decisions.is_empty() {
            decided.withheld = vec![NotDecided {
                source: None,
                reason: Withheld::ReportOnly,
                grounds: None,
            }];
        }
        decided
    }

    /// Decides on one source. A host of ours is never acted on without a person's word.
    fn decide_source(
        &mut self,
        at_ns: u64,
        (incident, finding): (&Incident, &Finding),
        source: IpAddr,
        ledger: &Ledger,
    ) -> Result<Decision, (Withheld, Grounds)> {
        let address = from_ip(source);
        let standing = (
            ledger.is_real(&address),
            ledger.is_peer(finding.first_ns, &address),
        );
        let proof = Proof::of(incident.grades, finding, standing);
        let local = self.locals.of(at_ns, &address);
        let row = self.row_of((incident, finding), source, local.is_some());
        let allowed = row.as_ref().and_then(|row| row.action);
        let grounds = Grounds {
            row: row.as_ref().map(|row| row.name.clone()),
            proof,
            needs: proof.needs(allowed),
        };
        let acted = match self.spares(at_ns, (source, finding), local.as_ref(), &proof, ledger) {
            Some(reason) => Err(reason),
            None => row.zip(allowed).ok_or(Withheld::Policy),
        };
        let acted = acted.and_then(|(row, most)| {
            // The person who approves stands for what a host of ours did; a stranger's proof is its own.
            let action = if local.is_some() {
                most
            } else {
                most.min(proof.strongest())
            };
            let asked = (service_of(finding), action);
            if self.aggregates.covers(at_ns, source, asked) {
                return Err(Withheld::InForce);
            }
            let place = (source, asked.0);
            let ttl_s = self.may_act(at_ns, place, &proof, (action, &row))?;
            Ok((row, action, ttl_s))
        });
        match acted {
            Ok((row, action, ttl_s)) => {
                let taken = Taken {
                    action,
                    target: source.into(),
                    named: source,
                    ttl_s,
                    needs_approval: row.needs_approval || local.is_some(),
                    grounds,
                    good: ledger.good(finding.first_ns, &address),
                };
                Ok(self.make(incident, finding, taken))
            }
            Err(reason) => Err((reason, grounds)),
        }
    }

    /// Reason why nothing is done to one source, be the policy what it may.
    fn spares(
        &self,
        at_ns: u64,
        (source, finding): (IpAddr, &Finding),
        local: Option<&LocalBy>,
        proof: &Proof,
        ledger: &Ledger,
    ) -> Option<Withheld> {
        let address = from_ip(source);
        let is_of_flood = !proof.is_real && self.is_of_spoofed_flood(at_ns, finding);
        if is_special(source) {
            Some(Withheld::SpecialAddress)
        } else if let Some(by) = local.filter(|by| !self.may_propose(by, source, proof)) {
            Some(Withheld::Local(*by))
        } else if local.is_none() && finding.family.max_response() == MaxResponse::None {
            Some(Withheld::ReportOnly)
        } else if is_of_flood {
            Some(Withheld::Spoofed)
        } else if is_use(finding, &address, ledger) {
            Some(Withheld::NotProven)
        } else if local.is_none()
            && let Some(reason) = not_a_search(finding, &address, ledger)
        {
            Some(reason)
        } else if proof.strongest() < Action::Quarantine && self.is_spared(at_ns, &address) {
            Some(Withheld::GoodTraffic)
        } else {
            None
        }
    }

    /// Decides on the network of a source that was just decided on, where most that are known of it offend, proven
    /// real and by proof, and none was served: the widest such, by the weakest of their actions.
    fn aggregate(
        &mut self,
        at_ns: u64,
        (incident, finding): (&Incident, &Finding),
        made: &Decision,
        ledger: &Ledger,
    ) -> Option<Decision> {
        let (source, scope) = (made.target.addr(), made.scope);
        let proof = &made.grounds.proof;
        if !proof.is_real || made.action < Action::Quarantine || made.needs_approval {
            return None;
        }
        let until_ns = at_ns.saturating_add(u64::from(made.ttl_s).saturating_mul(SECOND_NS));
        let networks = self.aggregates.note(at_ns, (source, scope), until_ns);
        let (target, action) = networks.into_iter().find_map(|network| {
            let of = (network, scope, finding);
            let action = self.action_on_all(at_ns, of, made.action, ledger)?;
            Some((network, action))
        })?;
        let row = self.row_of((incident, finding), target.addr(), false)?;
        let action = row
            .action
            .filter(|most| *most >= action)
            .and(Some(action))?;
        let was_asked = self.aggregates.was_asked(at_ns, &target, (scope, action));
        if row.needs_approval || was_asked {
            return None;
        }
        self.aggregates
            .ask(at_ns, target, (scope, action), until_ns);
        let taken = Taken {
            action,
            target,
            named: source,
            ttl_s: made.ttl_s,
            needs_approval: false,
            grounds: made.grounds.clone(),
            good: None,
        };
        Some(self.make(incident, finding, taken))
    }

    /// The weakest action on the offenders of a network; `None` where they are not most of its known sources, one is
    /// good, or it may hold hosts of ours.
    fn action_on_all(
        &self,
        at_ns: u64,
        (network, scope, finding): (IpNet, Scope, &Finding),
        made: Action,
        ledger: &Ledger,
    ) -> Option<Action> {
        if self.locals.within(at_ns, &network).is_some() {
            return None;
        }
        let of_proof = |source: &Address| {
            let made = self.proven.get(&(*source, scope))?;
            let is_in_force = made.holds(at_ns, 1) && !made.is_refused;
            (is_in_force && made.action >= Action::Quarantine).then_some(made.action)
        };
        let of_scope = self.proven.iter().filter(|((_, of), _)| *of == scope);
        let offenders = of_scope.map(|((source, _), _)| source);
        let actions = offenders
            .filter(|source| network.contains(&to_ip(source)))
            .filter_map(of_proof);
        let (n, weakest) = actions.fold((0, made), |(n, weakest), one| (n + 1, weakest.min(one)));
        let is_offender = |source: &Address| of_proof(source).is_some();
        let (n_known, has_good) = ledger.neighbours(finding.first_ns, &network, is_offender);
        (!has_good && n_known < 2 * n).then_some(weakest)
    }

    /// True where the policy lets the victim of a flood in made-up names be shielded, with the row.
    fn shield(&self, incident: &Incident, finding: &Finding) -> (bool, Grounds) {
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let row = self.row_of((incident, finding), nobody, false);
        let may_shield = row.as_ref().is_some_and(|row| row.shields);
        let grounds = Grounds {
            row: row.map(|row| row.name),
            proof: Proof::of(incident.grades, finding, (false, false)),
            needs: if may_shield {
                Vec::new()
            } else {
                vec![Need::Policy]
            },
        };
        (may_shield, grounds)
    }

    fn row_of(
        &self,
        (incident, finding): (&Incident, &Finding),
        source: IpAddr,
        is_local: bool,
    ) -> Option<PolicyRow> {
        let asked = Asked {
            finding,
            severity: incident.severity,
            grades: incident.grades,
            said: &incident.said,
            source,
            is_local,
        };
        row_for(&self.policy, &asked).cloned()
    }

    /// True for a host of ours, but for this one itself, that is proven to be the source.
    fn may_propose(&self, by: &LocalBy, source: IpAddr, proof: &Proof) -> bool {
        matches!(by, LocalBy::Network(_)) && proof.is_real && !self.locals.is_own(source)
    }

    /// Reason for no decision on any source: no packet was seen, they are spoofed, the family is reported
    /// only, the service is down for everybody, or it is only worth a look.
    fn withheld(
        &self,
        incident: &Incident,
        finding: &Finding,
        ledger: &Ledger,
    ) -> Option<Withheld> {
        if self.from_records {
            Some(Withheld::FlowRecords)
        } else if finding.family == Family::ServiceDown || is_down(finding, ledger) {
            Some(Withheld::ServiceDown)
        } else if finding.family.max_response() == MaxResponse::None {
            Some(Withheld::ReportOnly)
        } else if finding.is_spoofed {
            Some(Withheld::Spoofed)
        } else if finding.sources.is_empty() {
            Some(Withheld::NoSource)
        } else if !self.is_worth(incident, finding) {
            Some(Withheld::NotProven)
        } else {
            None
        }
    }

    /// True for what names its sources and is more than worth a look.
    fn is_worth(&self, incident: &Incident, finding: &Finding) -> bool {
        let is_grave = finding.score >= self.config.min_score && incident.severity > Severity::Low;
        is_grave && !finding.is_spoofed
    }

    /// Decides on a network whose addresses take turns: only with proof, where those that were named are
    /// real, most that are known of it take part, and none of it is a peer or may be a host of ours.
    fn decide_network(
        &mut self,
        at_ns: u64,
        (incident, finding): (&Incident, &Finding),
        ledger: &Ledger,
    ) -> Result<Decision, (Withheld, Option<Grounds>)> {
        let (Some(network), Some(named)) = (finding.network(), finding.sources.last()) else {
            return Err((Withheld::NotProven, None));
        };
        let (target, whole) = (IpNet::V6(network), IpAddr::V6(network.network()));
        let mut sources = finding.sources.iter();
        let are_real = sources.all(|source| ledger.is_real(&from_ip(*source)));
        let (n_known, has_peer) = ledger.within(finding.first_ns, &network);
        let has_others = has_peer || n_known > finding.n_sources.saturating_mul(2);
        let proof = Proof::of(incident.grades, finding, (are_real, has_others));
        let row = self.row_of((incident, finding), whole, false);
        let allowed = row.as_ref().and_then(|row| row.action);
        let grounds = Grounds {
            row: row.as_ref().map(|row| row.name.clone()),
            proof,
            needs: proof.needs(allowed),
        };
        let told = |reason| (reason, Some(grounds.clone()));
        if proof.strongest() < Action::Quarantine {
            return Err(told(Withheld::NotProven));
        }
        if let Some(by) = self.locals.within(at_ns, &target) {
            return Err(told(Withheld::Local(by)));
        }
        let (row, most) = row.zip(allowed).ok_or_else(|| told(Withheld::Policy))?;
        let action = most.min(proof.strongest());
        let place = (whole, service_of(finding));
        let ttl_s = self.may_act(at_ns, place, &proof, (action, &row));
        let ttl_s = ttl_s.map_err(told)?;
        let taken = Taken {
            action,
            target,
            named: *named,
            ttl_s,
            needs_approval: row.needs_approval,
            grounds,
            good: None,
        };
        Ok(self.make(incident, finding, taken))
    }

    /// Lets a source be acted on that is not yet there, or not as strongly: the lifetime of the entry, seconds.
    fn may_act(
        &mut self,
        at_ns: u64,
        (source, scope): (IpAddr, Scope),
        proof: &Proof,
        (action, row): (Action, &PolicyRow),
    ) -> Result<u32, Withheld> {
        let address = from_ip(source);
        for around in scope.around() {
            let place = (address, around);
            let before = [self.proven.get(&place), self.unproven.get(&place)];
            let mut before = before.into_iter().flatten();
            let made = before.find(|made| made.holds(at_ns, 2) && made.action >= action);
            if let Some(made) = made {
                return Err(if made.is_refused {
                    Withheld::Refused
                } else {
                    Withheld::InForce
                });
            }
        }
        let ttl_s = row.ttl_s.unwrap_or(self.config.ttl_s);
        // What may have been sent in somebody's name holds nobody for longer.
        let ttl_s = match &row.escalation {
            Some(by) if proof.is_real && action > Action::Challenge => {
                self.repeaters.ttl_s(at_ns, address, ttl_s, by)
            }
            _ => ttl_s,
        };
        let table = if proof.is_real {
            &mut self.proven
        } else {
            &mut self.unproven
        };
        let made = Made {
            at_ns,
            action,
            ttl_s,
            is_refused: false,
        };
        *table.get_or_insert_with((address, scope), || made) = made;
        Ok(ttl_s)
    }

    fn make(&mut self, incident: &Incident, finding: &Finding, taken: Taken) -> Decision {
        self.sequence = self.sequence.wrapping_add(1);
        let hash = mix(finding.first_ns, self.sequence, 1);
        let why = reason(finding, taken.named);
        Decision {
            id: format!("d{:06}-{hash:016x}", self.sequence),
            incident_id: incident.id.clone(),
            action: taken.action,
            target: taken.target,
            scope: service_of(finding),
            ttl_s: taken.ttl_s,
            reason: format!("{}: {why}", finding.family.label()),
            is_proven: taken.grounds.proof.is_real,
            needs_approval: taken.needs_approval,
            grounds: taken.grounds,
            good: taken.good,
        }
    }

    /// Notes that a decision is carried out.
    pub(super) fn confirm(&mut self, decision: &Decision) {
        self.aggregates.confirm(&decision.target, decision.scope);
    }

    /// Notes that a decision is not carried out: it is asked for again in a while, and no offence counts for it.
    pub(super) fn refuse(&mut self, at_ns: u64, decision: &Decision) {
        let (address, scope) = (from_ip(decision.target.addr()), decision.scope);
        for table in [&mut self.proven, &mut self.unproven] {
            let made = table.get_mut(&(address, scope));
            if let Some(made) = made.filter(|made| made.action == decision.action) {
                (made.at_ns, made.is_refused) = (at_ns, true);
            }
        }
        if decision.is_proven && decision.action > Action::Challenge {
            self.repeaters.take_back(&address);
        }
        self.aggregates.refuse(decision.target.addr(), scope);
    }

    /// Forgets what was decided on sources within a network: what a person ended is no longer in force.
    pub(super) fn release(&mut self, network: &IpNet) {
        for table in [&mut self.proven, &mut self.unproven] {
            table.retain(|(address, _), _| !network.contains(&to_ip(address)));
        }
        self.repeaters
            .retain(|address| !network.contains(&to_ip(address)));
        self.aggregates.release(network);
    }

    pub(super) fn forget(&mut self, at_ns: u64) {
        for table in [&mut self.proven, &mut self.unproven] {
            table.retain(|_, made| made.holds(at_ns, 1));
        }
        self.repeaters.forget(at_ns);
        self.aggregates.forget(at_ns);
        self.spared
            .retain(|_, seen| at_ns.saturating_sub(seen.0) < SPARED_NS);
        self.spoofed
            .retain(|_, seen| at_ns.saturating_sub(seen.0) < SPOOFED_NS);
        self.locals.forget(at_ns);
    }
}

/// True for addresses that are no host's.
fn is_special(source: IpAddr) -> bool {
    let is_broadcast = matches!(source, IpAddr::V4(v4) if v4.is_broadcast());
    is_broadcast || source.is_unspecified() || source.is_loopback() || source.is_multicast()
}

/// True where the service that a finding is about answers nobody: whoever tries it again and again does
/// what clients do. Datagrams far beyond what any client sends are a flood all the same; connections
/// are not, as the clients of a balancer or a pool try again at any rate.
fn is_down(finding: &Finding, ledger: &Ledger) -> bool {
    if finding.protocol != protocol::TCP && finding.is_excess() {
        return false;
    }
    let ([host], [port]) = (finding.destinations.as_slice(), finding.ports.as_slice()) else {
        return false;
    };
    ledger.is_down(&ServiceKey {
        host: from_ip(*host),
        port: *port,
        protocol: finding.protocol,
    })
}

/// True for connections that are only many, of somebody who is served: a balancer that opens one for each request looks
/// so, or a gateway of many people.
fn is_use(finding: &Finding, source: &Address, ledger: &Ledger) -> bool {
    if !finding.family.is_of_connections() || finding.grades.is_proof() {
        return false;
    }
    let is_used = match (finding.destinations.as_slice(), finding.ports.as_slice()) {
        ([host], [port]) => {
            let service = ServiceKey {
                host: from_ip(*host),
                port: *port,
                protocol: finding.protocol,
            };
            ledger.is_used(source, &service)
        }
        _ => ledger.is_served(source),
    };
    is_used || ledger.is_usual(finding.first_ns, source)
}

/// Reason why a search for hosts or ports leads to nothing: its source is served by enough of those that it asks, as a
/// monitor or an agent is some of whose hosts are gone; or it begins no more at once than a limit, which is the most
/// that a search leads to, would let pass. Of flows that were not admitted neither is known.
fn not_a_search(finding: &Finding, source: &Address, ledger: &Ledger) -> Option<Withheld> {
    let is_search = matches!(finding.family, Family::PortScan | Family::HostSweep);
    if !is_search || finding.detector == Detector::ScanRows {
        None
    } else if ledger.is_served(source) {
        Some(Withheld::NotProven)
    } else if ledger.most_per_s(source) <= LIMIT_PACKETS_PER_S {
        Some(Withheld::WithinLimit)
    } else {
        None
    }
}

/// The protocol of the abuse, and its port where it is of one.
fn service_of(finding: &Finding) -> Scope {
    let has_ports = matches!(finding.protocol, protocol::TCP | protocol::UDP);
    Scope {
        protocol: finding.protocol,
        local_port: match finding.ports.as_slice() {
            [port] if has_ports && finding.n_ports <= 1 => *port,
            _ => 0,
        },
    }
}

#[cfg(test)]
mod tests;
