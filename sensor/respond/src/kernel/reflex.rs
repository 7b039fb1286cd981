//! The reflex at work: what the kernel armed by itself is taken over, and ended when the flood is.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sensor_capture::kernel::monotonic_ns;
use sensor_common::packet::protocol;
use sensor_engine::Scope;
use sensor_record::Origin;

use super::KernelRespond;
use crate::shield::{STRANGERS_PER_S, ShieldRequest};

/// Time for which a shield is armed that takes over from the reflex.
const TTL: Duration = Duration::from_secs(300);

/// TCP of an address.
const TCP: Scope = Scope {
    protocol: protocol::TCP,
    local_port: 0,
};

impl KernelRespond {
    /// Makes shields of what the kernel began to hold by itself, ends those whose flood is over, and readies
    /// the reflex of all other addresses of this host.
    pub(super) fn tick_reflex(&mut self) {
        let now_ns = monotonic_ns();
        for address in self.shields.take_roused() {
            let request = ShieldRequest {
                address,
                scope: TCP,
                strangers_per_s: STRANGERS_PER_S,
                ttl: TTL,
                origin: Origin::Sensor,
                reason: Arc::from("reflex"),
            };
            // An error is in the log and the audit log.
            if self.shield(&request).is_ok() {
                self.shields.watch_over(address, now_ns);
            }
        }
        for (address, why) in self.shields.calmed(now_ns) {
            let ended = self.shields.end(|listed| {
                listed.address == address && listed.scope == TCP && listed.origin.is_sensor()
            });
            self.note_shields_ended(&ended, &Origin::Sensor, why);
        }
        let networks = self.watch.networks().filter(|_| self.options.reflex);
        let own: BTreeSet<IpAddr> = networks.map_or_else(BTreeSet::new, |networks| {
            let all = networks.host.own.iter().map(|own| own.addr());
            all.filter(|address| !address.is_loopback()).collect()
        });
        if self.shields.ready(&own, now_ns) {
            self.open_gate();
        }
    }
}
