//! Shields of the host's addresses: armed and ended by orders, and by their time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use sensor_capture::kernel::monotonic_ns;
use sensor_capture::netlink;
use sensor_common::packet::protocol;
use sensor_engine::{Entity, Family, Incident, Scope, State, to_ip};
use sensor_record::{About, AuditAction, Network, Origin, Outcome, Rule};
use tracing::{error, info, warn};

use super::KernelRespond;
use crate::shield::{ListedShield, STRANGERS_PER_S, ShieldError, ShieldRequest};
use crate::{Mode, Respond as _};

impl KernelRespond {
    /// Shields an address of this host, or a service there, or renews the shield.
    ///
    /// # Errors
    /// See [`ShieldError`].
    pub fn shield(&mut self, request: &ShieldRequest) -> Result<ListedShield, ShieldError> {
        self.follow_host();
        let is_enforced = self.is_enforced();
        let armed = self.check_local(request.address).and_then(|()| {
            let now_ns = monotonic_ns();
            self.shields.arm(request, now_ns, is_enforced)
        });
        self.open_gate();
        let outcome = match &armed {
            Ok(_) if is_enforced => Outcome::Applied,
            Ok(_) => Outcome::Monitored,
            Err(cause) => Outcome::Failed {
                rule: Rule::Error,
                cause: cause.to_string(),
            },
        };
        let (address, scope) = (request.address, request.scope);
        match &armed {
            Ok(_) => info!(%address, port = scope.local_port, "shield armed"),
            Err(cause) => warn!(%address, %cause, "shield not armed"),
        }
        let about = About {
            ttl_s: Some(request.ttl.as_secs()),
            outcome: Some(outcome),
            ..about(address, scope, &request.origin, &request.reason)
        };
        self.note(AuditAction::Shield, about);
        armed
    }

    /// Ends the shields of an address: one scope of it, or, without, all.
    ///
    /// # Errors
    /// [`ShieldError::NotArmed`].
    pub fn unshield(
        &mut self,
        address: IpAddr,
        scope: Option<Scope>,
        by: &Origin,
    ) -> Result<Vec<ListedShield>, ShieldError> {
        let ended = self.shields.end(|listed| {
            listed.address == address && scope.is_none_or(|scope| scope == listed.scope)
        });
        if ended.is_empty() {
            return Err(ShieldError::NotArmed { address });
        }
        self.note_shields_ended(&ended, by, "asked for");
        Ok(ended)
    }

    /// Shields the services that a flood of SYNs in made-up names goes to, as far as the stack of this host
    /// carries them: what a NAT passes on to somebody else can't be shielded here.
    pub(super) fn defend_victim(&mut self, incident: &Incident) {
        let is_flood = incident.found_as == Family::SynFlood && incident.is_spoofed;
        let Entity::Victim(victim) = incident.entity else {
            return;
        };
        let may_shield = self.options.auto_shield && incident.may_shield;
        if !may_shield || !is_flood || incident.state == State::Closed {
            return;
        }
        let address = to_ip(&victim);
        if self.check_local(address).is_err() {
            return;
        }
        for port in incident.ports.iter().take(MAX_SERVICES) {
            let scope = Scope {
                protocol: protocol::TCP,
                local_port: *port,
            };
            if !self.is_shielded(address, scope) && carries(Some(address), *port) {
                let request = ShieldRequest {
                    address,
                    scope,
                    strangers_per_s: STRANGERS_PER_S,
                    ttl: AUTO_TTL,
                    origin: Origin::Incident {
                        incident_id: incident.id.clone(),
                        decision_id: String::new(),
                    },
                    reason: Arc::from(incident.family.label()),
                };
                // An error is in the log and the audit log.
                let _refused = self.shield(&request);
            }
        }
    }

    /// True where a shield covers the service, for half the time yet that one is armed for.
    fn is_shielded(&self, address: IpAddr, scope: Scope) -> bool {
        let until_ns = monotonic_ns().saturating_add(AUTO_TTL.as_nanos() as u64 / 2);
        self.shields.list().any(|listed| {
            let is_of = |wanted: u16, own: u16| own == 0 || own == wanted;
            listed.address == address
                && is_of(scope.protocol.into(), listed.scope.protocol.into())
                && is_of(scope.local_port, listed.scope.local_port)
                && listed.expires_ns > until_ns
        })
    }

    /// The shields, ordered by address.
    pub fn shields(&self) -> impl Iterator<Item = ListedShield> + '_ {
        self.shields.list()
    }

    /// Ends the shields that the kernel no longer honours, and those of addresses that went.
    pub(super) fn tick_shields(&mut self) {
        let now_ns = monotonic_ns();
        let over = self.shields.end(|listed| listed.expires_ns <= now_ns);
        self.note_shields_ended(&over, &Origin::Sensor, "time to live is over");
        if let Some(networks) = self.watch.networks() {
            let is_gone = |address| !networks.host.own.contains(&IpNet::from(address));
            let gone = self.shields.end(|listed| is_gone(listed.address));
            self.note_shields_ended(&gone, &Origin::Sensor, "the host has no such address now");
        }
        self.tick_reflex();
        let is_asked = self.blocks.has_challenges();
        if let Err(cause) = self.shields.fit_stack(self.is_enforced(), is_asked) {
            error!(cause, "shields: net.ipv4.tcp_syncookies can't be set");
        }
    }

    pub(super) fn note_shields_ended(&mut self, ended: &[ListedShield], by: &Origin, why: &str) {
        if ended.is_empty() {
            return;
        }
        self.open_gate();
        for listed in ended {
            info!(address = %listed.address, held = listed.held, why, "shield ended");
            let about = About {
                ended_by: Some(by.clone()),
                packets: Some(listed.held.saturating_add(listed.answered)),
                ..about(listed.address, listed.scope, &listed.origin, why)
            };
            self.note(AuditAction::Unshield, about);
        }
    }

    /// True where the kernel program does what the lists and the shields say.
    pub(super) fn is_enforced(&self) -> bool {
        let may_enforce = self.missing.is_none() || self.was_enforcing;
        self.mode() == Mode::Enforce && may_enforce
    }

    fn check_local(&self, address: IpAddr) -> Result<(), ShieldError> {
        let networks = self.watch.networks().ok_or(ShieldError::HostUnknown)?;
        if networks.host.own.contains(&IpNet::from(address)) {
            Ok(())
        } else {
            Err(ShieldError::NotLocal { address })
        }
    }
}

/// Services of one incident that are shielded.
const MAX_SERVICES: usize = 4;
/// Time for which a shield is armed by an incident; it is renewed while the flood goes on.
const AUTO_TTL: Duration = Duration::from_secs(300);

/// True where the stack of this host has, or just had, a connection of the service, at that address or any.
pub(super) fn carries(address: Option<IpAddr>, port: u16) -> bool {
    match netlink::connections(netlink::Protocol::Tcp, netlink::State::Begun, [port, 0]) {
        Ok(found) => found
            .iter()
            .any(|one| address.is_none_or(|address| one.local.ip() == address)),
        Err(cause) => {
            warn!(cause = format!("{cause:#}"), "no service is shielded");
            false
        }
    }
}

fn about(address: IpAddr, scope: Scope, origin: &Origin, reason: &str) -> About {
    About {
        target: Some(Network(IpNet::from(address))),
        protocol: Some(scope.protocol),
        local_port: Some(scope.local_port),
        origin: Some(origin.clone()),
        reason: Some(reason.to_owned()),
        ..About::default()
    }
}
