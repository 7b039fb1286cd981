//! Decisions carried out, or put before a person.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use sensor_engine::{Action, Decision, Incident, Rollback, SECOND_NS};
use sensor_record::{About, AuditAction, Grounds, Outcome, Rule};
use tracing::{error, info, warn};

use super::KernelRespond;
use crate::audit;
use crate::entry::{BlockError, Measure, Origin, Request};
use crate::proposals::Proposal;
use crate::radius::{Bound, RadiusState};
use crate::{Mode, Respond, Settled};
use sensor_capture::kernel::monotonic_ns;

impl KernelRespond {
    /// Outcome of a request to block.
    pub(super) fn outcome(&self, done: &Result<(), BlockError>) -> Outcome {
        match (done, self.mode()) {
            (Ok(()), Mode::Enforce) => Outcome::Applied,
            (Ok(()), Mode::Monitor) => Outcome::Monitored,
            (Err(BlockError::Protected { reason, .. }), _) => Outcome::Refused {
                rule: Rule::Guard,
                reason: Cow::Borrowed(reason.label()),
            },
            (Err(BlockError::GuardUnknown { missing, .. }), _) => Outcome::Refused {
                rule: Rule::GuardUnknown,
                reason: Cow::Owned(format!("the guard is incomplete ({missing})")),
            },
            (Err(cause), _) => Outcome::Failed {
                rule: if cause.is_full() {
                    Rule::Full
                } else {
                    Rule::Error
                },
                cause: cause.to_string(),
            },
        }
    }

    fn request(&self, decision: &Decision) -> Request {
        let packets_per_s = self.options.rate_limit_packets_per_s;
        Request {
            target: decision.target,
            scope: decision.scope,
            measure: match decision.action {
                Action::Drop => Measure::Drop,
                Action::Quarantine => Measure::Quarantine,
                Action::Challenge => Measure::Challenge { packets_per_s },
                Action::RateLimit => Measure::RateLimit { packets_per_s },
            },
            ttl: Duration::from_secs(decision.ttl_s.into()),
            origin: Origin::Incident {
                incident_id: decision.incident_id.clone(),
                decision_id: decision.id.clone(),
            },
            reason: Arc::from(decision.reason.as_str()),
            is_proven: decision.is_proven,
            grounds: Some(Grounds::from(&decision.grounds)),
        }
    }

    /// Puts a decision before a person.
    fn propose(&mut self, decision: &Decision) -> Outcome {
        let request = self.request(decision);
        if let Err(cause) = self.check(&request.target) {
            let outcome = self.outcome(&Err(cause));
            self.note(AuditAction::Refuse, audit::asked(&request, outcome.clone()));
            return outcome;
        }
        let ttl_s = self.options.proposal_ttl_s;
        match self.proposals.put(decision, monotonic_ns(), ttl_s) {
            Ok(gone) => {
                if let Some(gone) = gone {
                    self.settle(gone, lapsed("too many wait: it gave way to another"));
                }
                let (target, id) = (decision.target, &decision.id);
                info!(%target, id, "proposed: `sensor incidents approve` carries it out");
                let about = audit::asked(&request, Outcome::Proposed);
                self.note(AuditAction::Propose, about);
                Outcome::Proposed
            }
            Err(_refused) => Outcome::Refused {
                rule: Rule::Rejected,
                reason: Cow::Borrowed("a person refused the same a while ago"),
            },
        }
    }

    /// Lets a decision pass that is within the blast radius.
    fn within_radius(&mut self, decision: &Decision) -> Result<(), Outcome> {
        let (now_ns, name) = (monotonic_ns(), (decision.target, decision.scope));
        let until_ns = u64::from(decision.ttl_s).saturating_mul(SECOND_NS);
        let times = (now_ns, now_ns.saturating_add(until_ns));
        let blocks = &self.blocks;
        self.radius
            .keep(|target, scope| blocks.origin_of(target, scope).is_some());
        let bounds = self.options.bounds;
        let let_pass = self
            .radius
            .may(&bounds, name, times, decision.good.as_ref());
        let_pass.map_err(|bound| {
            let outcome = Outcome::Refused {
                rule: Rule::BlastRadius,
                reason: Cow::Borrowed(bound.words()),
            };
            let request = self.request(decision);
            self.note(AuditAction::Refuse, audit::asked(&request, outcome.clone()));
            outcome
        })
    }

    /// State of the bounds on what is set without a person's word.
    pub fn radius(&self) -> RadiusState {
        self.radius.state()
    }

    /// Beginnings (with the bound) and ends of times in which a bound was met, since the last call.
    pub fn take_radius_news(&mut self) -> Vec<Option<Bound>> {
        self.radius.take_news()
    }

    /// Decisions that wait for a person, the oldest first.
    pub fn proposals(&self) -> &[Proposal] {
        self.proposals.waiting()
    }

    /// Carries out what waits, of an incident or by the identifier of a decision: each with its outcome.
    ///
    /// # Errors
    /// When nothing of that name waits.
    pub fn approve(&mut self, id: &str, by: &Origin) -> Result<Vec<Settled>, String> {
        let taken = self.take_proposals(id)?;
        let mut done = Vec::new();
        for Proposal { decision, .. } in taken {
            let about = self.about_proposal(&decision, by, None);
            self.note(AuditAction::Approve, about);
            let outcome = self.put_in_force(&decision);
            done.push(Settled { decision, outcome });
        }
        self.settled.extend(done.iter().cloned());
        Ok(done)
    }

    /// Refuses what waits; the same is not proposed again for as long as a proposal waits.
    ///
    /// # Errors
    /// When nothing of that name waits.
    pub fn reject(&mut self, id: &str, by: &Origin) -> Result<Vec<Settled>, String> {
        let taken = self.take_proposals(id)?;
        let until_ns = u64::from(self.options.proposal_ttl_s).saturating_mul(SECOND_NS);
        let until_ns = monotonic_ns().saturating_add(until_ns);
        let mut done = Vec::new();
        for proposal in taken {
            self.proposals.reject(&proposal, until_ns);
            let outcome = Outcome::Refused {
                rule: Rule::Rejected,
                reason: Cow::Owned(match by {
                    Origin::Operator { uid } => format!("by user {uid}"),
                    Origin::Token { token } => format!("by token {token}"),
                    _ => "by a person".to_owned(),
                }),
            };
            let about = self.about_proposal(&proposal.decision, by, Some(outcome.clone()));
            self.note(AuditAction::Reject, about);
            let decision = proposal.decision;
            done.push(Settled { decision, outcome });
        }
        self.settled.extend(done.iter().cloned());
        Ok(done)
    }

    fn take_proposals(&mut self, id: &str) -> Result<Vec<Proposal>, String> {
        let taken = self.proposals.take(id);
        if taken.is_empty() {
            return Err(format!(
                "nothing waits for {id}: `sensor incidents proposals` lists what does"
            ));
        }
        Ok(taken)
    }

    /// Takes out what waited for too long.
    pub(super) fn lapse_proposals(&mut self) {
        for Proposal { decision, .. } in self.proposals.lapse(monotonic_ns()) {
            self.settle(decision, lapsed("nobody approved it in time"));
        }
    }

    fn settle(&mut self, decision: Decision, outcome: Outcome) {
        let about = self.about_proposal(&decision, &Origin::Sensor, Some(outcome.clone()));
        self.note(AuditAction::Lapse, about);
        self.settled.push(Settled { decision, outcome });
    }

    fn about_proposal(&self, decision: &Decision, by: &Origin, outcome: Option<Outcome>) -> About {
        let request = self.request(decision);
        About {
            ended_by: Some(by.clone()),
            outcome,
            ..audit::asked(&request, Outcome::Proposed)
        }
    }
}

fn lapsed(why: &'static str) -> Outcome {
    Outcome::Refused {
        rule: Rule::Lapsed,
        reason: Cow::Borrowed(why),
    }
}

impl Respond for KernelRespond {
    fn defend(&mut self, incident: &Incident) {
        self.defend_victim(incident);
    }

    fn mode(&self) -> Mode {
        if self.is_stopped {
            Mode::Monitor
        } else {
            self.options.mode
        }
    }

    fn settled(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled)
    }

    fn carry_out(&mut self, decision: &Decision) -> Outcome {
        if decision.needs_approval {
            return self.propose(decision);
        }
        match self.within_radius(decision) {
            Ok(()) => self.put_in_force(decision),
            Err(outcome) => outcome,
        }
    }

    fn roll_back(&mut self, rollback: &Rollback) {
        let decision = rollback.decision.clone();
        let names = self.blocks.of_decision(&decision.id);
        let removed = names
            .iter()
            .filter_map(|(target, scope)| self.blocks.remove(target, *scope).ok());
        let removed: Vec<_> = removed.collect();
        if removed.is_empty() {
            return;
        }
        let (target, id, reason) = (decision.target, &decision.id, &rollback.reason);
        warn!(%target, id, reason, "rolled back: good traffic broke off");
        let why = format!("rolled back: {reason}");
        self.note_ended(AuditAction::RollBack, &removed, &Origin::Sensor, &why);
        let outcome = Outcome::Refused {
            rule: Rule::GoodTraffic,
            reason: Cow::Owned(why),
        };
        self.settled.push(Settled { decision, outcome });
    }
}

impl KernelRespond {
    fn put_in_force(&mut self, decision: &Decision) -> Outcome {
        let target = decision.target;
        let done = self.block(&self.request(decision));
        let (mode, id) = (self.options.mode.label(), &decision.id);
        match &done {
            Ok(()) => {
                let (ttl_s, reason) = (decision.ttl_s, &decision.reason);
                info!(%target, mode, ttl_s, reason, id, "block entry written");
            }
            Err(BlockError::Protected { reason, .. }) => {
                let why = reason.label();
                warn!(%target, why, id, "block refused");
            }
            Err(cause @ BlockError::GuardUnknown { .. }) => {
                warn!(%target, %cause, id, "block refused");
            }
            Err(cause) => error!(%target, %cause, "block entry not written"),
        }
        self.outcome(&done)
    }
}
