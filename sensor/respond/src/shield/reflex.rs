//! The reflex: shields that the kernel arms by itself, at a limit that is learnt here.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;
use std::net::IpAddr;

use sensor_common::packet::protocol;
use sensor_common::shield::{self, Shield, WINDOW_NS, measure};
use sensor_engine::{Scope, from_ip};

use super::{Place, Shields};

const SECOND_NS: u64 = 1_000_000_000;
/// Addresses that have one.
const MAX: usize = 64;
/// Least limit, SYNs in a window: the rate that strangers share where none is given.
const LEAST: u32 = 100;
/// Limit in multiples of the most that is usual.
const FACTOR: f64 = 10.0;
/// Part of the usual that is left after a second: half of it after an hour.
const KEPT: f64 = 0.999_807;
/// Time for which the kernel goes on without the agent.
const TTL_NS: u64 = 600 * SECOND_NS;
/// Time over which it is judged whether a flood is over.
const LOOK_NS: u64 = 5 * SECOND_NS;

/// Reflexes by address.
#[derive(Default)]
pub(super) struct Reflexes {
    ready: BTreeMap<IpAddr, Place>,
    /// Most SYNs in a window that are usual at an address.
    usual: BTreeMap<IpAddr, f64>,
    /// Shields that took over from a reflex.
    taken: BTreeMap<IpAddr, Taken>,
}

/// Counts of a shield when it was looked at last.
struct Taken {
    at_ns: u64,
    asked: u64,
    completed: u64,
}

impl Reflexes {
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.ready.values()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    fn limit(&self, address: &IpAddr) -> u32 {
        let usual = self.usual.get(address).copied().unwrap_or_default();
        (FACTOR * usual).clamp(f64::from(LEAST), f64::from(u32::MAX)) as u32
    }
}

impl Shields {
    /// Readies the reflex of these addresses, or adapts it to what is usual; all others have none. True where
    /// the gate is to be opened anew.
    pub fn ready(&mut self, addresses: &BTreeSet<IpAddr>, now_ns: u64) -> bool {
        let wanted: BTreeSet<IpAddr> = addresses
            .iter()
            .filter(|address| !self.holds_tcp(address) && self.maps.programs.is_ok())
            .take(MAX)
            .copied()
            .collect();
        self.reflexes
            .usual
            .retain(|address, _| addresses.contains(address));
        let over: Vec<IpAddr> = self.reflexes.ready.keys().copied().collect();
        let over: Vec<IpAddr> = over.into_iter().filter(|a| !wanted.contains(a)).collect();
        let mut has_changed = !over.is_empty();
        for address in over {
            self.unready(&address);
        }
        for address in wanted {
            match self.reflexes.ready.get(&address).copied() {
                Some(place) => self.learn(address, place, now_ns),
                None => has_changed |= self.ready_one(address, now_ns),
            }
        }
        has_changed
    }

    /// True where a shield covers all of TCP at an address.
    fn holds_tcp(&self, address: &IpAddr) -> bool {
        let all = [0, protocol::TCP].map(|protocol| Scope {
            protocol,
            local_port: 0,
        });
        let mut all = all.into_iter();
        all.any(|scope| self.armed.contains_key(&(*address, scope)))
    }

    fn unready(&mut self, address: &IpAddr) {
        if let Some(place) = self.reflexes.ready.remove(address) {
            self.write(place, Shield::default());
        }
    }

    fn ready_one(&mut self, address: IpAddr, now_ns: u64) -> bool {
        let shield = Shield {
            address: from_ip(address),
            expires_ns: now_ns.saturating_add(TTL_NS),
            protocol: protocol::TCP,
            measures: measure::COOKIES,
            limit: self.reflexes.limit(&address),
            ..Shield::default()
        };
        let Some(place) = self.free_place(&shield) else {
            return false;
        };
        self.write(place, shield);
        self.reflexes.ready.insert(address, place);
        true
    }

    /// Takes in how many SYNs came, and sets the limit by it.
    fn learn(&mut self, address: IpAddr, place: Place, now_ns: u64) {
        let shield = self.shield(place);
        self.put(place, offset_of!(Shield, most), 0u32);
        let usual = self.reflexes.usual.entry(address).or_default();
        // What passes the limit is no usual.
        let most = if shield.most <= shield.limit {
            f64::from(shield.most)
        } else {
            0.0
        };
        *usual = most.max(*usual * KEPT);
        let limit = self.reflexes.limit(&address);
        self.put(place, offset_of!(Shield, limit), limit);
        self.put_expiry(place, now_ns.saturating_add(TTL_NS));
    }

    /// Takes out the reflexes that the kernel followed: what holds there now is for the caller to arm.
    pub fn take_roused(&mut self) -> Vec<IpAddr> {
        let is_roused = |place: &Place| self.shield(*place).roused_ns != 0;
        let ready = self.reflexes.ready.iter();
        let roused = ready.filter(|(_, place)| is_roused(place));
        let roused: Vec<IpAddr> = roused.map(|(address, _)| *address).collect();
        for address in &roused {
            self.unready(address);
        }
        roused
    }

    /// Watches over a shield that took over from a reflex.
    pub fn watch_over(&mut self, address: IpAddr, now_ns: u64) {
        let taken = Taken {
            at_ns: now_ns,
            asked: 0,
            completed: 0,
        };
        self.reflexes.taken.insert(address, taken);
    }

    /// Shields that took over from a reflex and have nothing left to hold, with the reason: few SYNs come, or
    /// those who send them are real, which is then what is usual.
    pub fn calmed(&mut self, now_ns: u64) -> Vec<(IpAddr, &'static str)> {
        let mut calmed = Vec::new();
        let listed: BTreeMap<IpAddr, (u64, u64)> = self
            .list()
            .filter(|listed| listed.scope.local_port == 0 && listed.origin.is_sensor())
            .map(|listed| {
                // Without enforcement what would have been answered counts as held.
                let asked = listed.answered.saturating_add(listed.held);
                (listed.address, (asked, listed.completed))
            })
            .collect();
        let reflexes = &mut self.reflexes;
        reflexes
            .taken
            .retain(|address, _| listed.contains_key(address));
        for (address, taken) in &mut reflexes.taken {
            let (Some(now), true) = (
                listed.get(address),
                now_ns.saturating_sub(taken.at_ns) >= LOOK_NS,
            ) else {
                continue;
            };
            let n_asked = now.0.saturating_sub(taken.asked);
            let n_completed = now.1.saturating_sub(taken.completed);
            let n_windows = (LOOK_NS / WINDOW_NS) as f64;
            let usual = reflexes.usual.entry(*address).or_default();
            let limit = (FACTOR * *usual).max(f64::from(LEAST));
            if (n_asked as f64) < limit * n_windows / FACTOR {
                calmed.push((*address, "the flood is over"));
            } else if n_completed.saturating_mul(2) >= n_asked {
                *usual = usual.max(n_asked as f64 / n_windows);
                calmed.push((*address, "those who connect are real"));
            }
            (taken.at_ns, taken.asked, taken.completed) = (now_ns, now.0, now.1);
        }
        calmed
    }

    /// Bits of the buckets with a reflex, for the gate.
    pub(super) fn reflex_bits(&self) -> u64 {
        let places = self.reflexes.places();
        places.fold(0, |bits, place| bits | shield::reflex_bit(place.0 as u32))
    }

    fn put<T: sensor_common::Pod>(&mut self, (bucket, slot): Place, offset: usize, value: T) {
        let at = slot * size_of::<Shield>() + offset;
        self.maps.table.put(bucket, at, value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use sensor_capture::kernel::ShieldMaps;
    use sensor_record::Origin;

    use super::super::ShieldRequest;
    use super::*;

    const NOW: u64 = 1_000 * SECOND_NS;

    struct Host {
        shields: Shields,
        address: IpAddr,
    }

    impl Host {
        fn new() -> Self {
            let mut shields = Shields::new(ShieldMaps::unshared().unwrap(), 7, None);
            let address: IpAddr = "192.0.2.1".parse().unwrap();
            assert!(shields.ready(&[address].into(), NOW));
            Self { shields, address }
        }

        fn place(&self) -> Place {
            self.shields.reflexes.ready[&self.address]
        }

        /// The kernel's part: so many SYNs in a window.
        fn gets(&mut self, n: u32) {
            let (place, limit) = (self.place(), self.shields.shield(self.place()).limit);
            self.shields.put(place, offset_of!(Shield, most), n);
            if n > limit {
                self.shields.put(place, offset_of!(Shield, roused_ns), NOW);
            }
        }

        fn limit_at(&mut self, seconds: u64) -> u32 {
            let own = [self.address].into();
            self.shields.ready(&own, NOW + seconds * SECOND_NS);
            self.shields.shield(self.place()).limit
        }

        /// Takes over, and looks whether it is over after so many answers.
        fn calmed_by(&mut self, answered: u64, completed: u64) -> Vec<&'static str> {
            assert_eq!(self.shields.take_roused(), [self.address]);
            let request = ShieldRequest {
                address: self.address,
                scope: Scope {
                    protocol: protocol::TCP,
                    local_port: 0,
                },
                strangers_per_s: 1_000,
                ttl: Duration::from_secs(60),
                origin: Origin::Sensor,
                reason: Arc::from("reflex"),
            };
            self.shields.arm(&request, NOW, false).unwrap();
            self.shields.watch_over(self.address, NOW);
            let place = self.shields.armed[&(self.address, request.scope)].place;
            self.shields
                .put(place, offset_of!(Shield, answered), answered);
            self.shields
                .put(place, offset_of!(Shield, completed), completed);
            assert!(self.shields.calmed(NOW + 1).is_empty());
            let calmed = self.shields.calmed(NOW + LOOK_NS);
            calmed.into_iter().map(|(_, why)| why).collect()
        }
    }

    #[test]
    fn the_limit_follows_the_usual_and_no_flood() {
        let mut host = Host::new();
        assert_eq!(host.limit_at(1), LEAST);
        host.gets(60);
        assert_eq!(host.limit_at(2), 600);
        host.gets(5_000);
        assert!((590..600).contains(&host.limit_at(3)));
        assert_eq!(host.shields.reflex_bits().count_ones(), 1);
        assert!(host.shields.ready(&BTreeSet::new(), NOW));
        assert_eq!(host.shields.reflex_bits(), 0);
    }

    #[test]
    fn a_shield_that_took_over_ends_when_the_flood_does() {
        let mut host = Host::new();
        host.gets(5_000);
        assert_eq!(host.calmed_by(100, 0), ["the flood is over"]);
        let mut host = Host::new();
        host.gets(5_000);
        assert!(host.calmed_by(100_000, 10).is_empty());
    }

    #[test]
    fn clients_that_are_many_and_real_become_the_usual() {
        let mut host = Host::new();
        host.gets(5_000);
        assert_eq!(
            host.calmed_by(50_000, 45_000),
            ["those who connect are real"]
        );
        host.shields.end(|_| true);
        let own = [host.address].into();
        assert!(host.shields.ready(&own, NOW));
        assert_eq!(host.shields.shield(host.place()).limit, 10_000);
    }

    #[test]
    fn an_address_whose_tcp_is_shielded_needs_no_reflex() {
        let mut host = Host::new();
        let request = ShieldRequest {
            address: host.address,
            scope: Scope::default(),
            strangers_per_s: 1_000,
            ttl: Duration::from_secs(60),
            origin: Origin::Operator { uid: 0 },
            reason: Arc::from("test"),
        };
        host.shields.arm(&request, NOW, false).unwrap();
        let own = [host.address].into();
        assert!(host.shields.ready(&own, NOW));
        assert!(host.shields.reflexes.is_empty());
        assert_eq!(host.shields.reflex_bits(), 0);
    }
}
