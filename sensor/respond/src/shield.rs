//! Shields of local addresses: what is armed, in the kernel's table and here.

mod cookies;
mod reflex;

use std::collections::BTreeMap;
use std::fmt;
use std::mem::{offset_of, size_of};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sensor_capture::kernel::{SharedArray, ShieldMaps};
use sensor_common::packet::protocol;
use sensor_common::shield::{self, Shield, ShieldBucket, WHOLE_SLOT, measure};
use sensor_engine::{Scope, from_ip};
use sensor_record::{Origin, ShieldMeasure};

use cookies::Cookies;
use reflex::Reflexes;

/// Longest life of a shield: it is for a flood, not for ever.
pub const MAX_SHIELD_TTL: Duration = Duration::from_secs(7 * 86_400);

/// Rate that strangers share where none is given: what a busy resolver or game server is asked by new
/// clients, and a thousandth of what a port of 1 Gbit/s floods with.
pub const STRANGERS_PER_S: u32 = 1_000;

/// A shield that somebody asks for.
#[derive(Clone, Debug)]
pub struct ShieldRequest {
    pub address: IpAddr,
    /// A service or a protocol of the address, or all of it.
    pub scope: Scope,
    /// Packets a second, and at once, that strangers share.
    pub strangers_per_s: u32,
    pub ttl: Duration,
    pub origin: Origin,
    pub reason: Arc<str>,
}

/// A shield that is armed.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedShield {
    pub address: IpAddr,
    pub scope: Scope,
    pub measures: Vec<ShieldMeasure>,
    pub strangers_per_s: u32,
    /// Kernel monotonic time.
    pub expires_ns: u64,
    /// SYNs that were answered by a cookie, and acknowledgements of those.
    pub answered: u64,
    pub completed: u64,
    /// Packets that were dropped, or, when monitoring, would have been held.
    pub held: u64,
    pub origin: Arc<Origin>,
    pub reason: Arc<str>,
}

/// Why a shield was not armed, or not taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShieldError {
    /// The host has no such address: what it passes on is judged by the sockets of others.
    NotLocal {
        address: IpAddr,
    },
    /// The addresses of the host were never read.
    HostUnknown,
    /// The kernel refused the program.
    NoProgram {
        cause: String,
    },
    /// The stack can't be told to accept cookies.
    NoCookies {
        cause: String,
    },
    /// A port without a protocol, or with one that has none.
    BadScope,
    /// No room among the shields of addresses like this one.
    Full {
        address: IpAddr,
    },
    BadTtl {
        ttl: Duration,
    },
    BadRate {
        packets_per_s: u32,
    },
    /// No such shield.
    NotArmed {
        address: IpAddr,
    },
}

impl std::error::Error for ShieldError {}

impl fmt::Display for ShieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLocal { address } => write!(
                f,
                "{address} is no address of this host: only those can be shielded"
            ),
            Self::HostUnknown => {
                write!(f, "the addresses of this host are not known yet: try again")
            }
            Self::NoProgram { cause } => write!(
                f,
                "the kernel refused the program of the shields, which needs Linux 5.18 or later: {cause}"
            ),
            Self::NoCookies { cause } => write!(
                f,
                "net.ipv4.tcp_syncookies can't be set to 2, without which the stack accepts no cookie: \
                 {cause}"
            ),
            Self::BadScope => write!(f, "a port needs --protocol tcp or udp"),
            Self::Full { address } => write!(
                f,
                "{address}: no room for another shield beside those that are armed; end one, or shield the \
                 whole address"
            ),
            Self::BadTtl { ttl } => write!(
                f,
                "{} s is no time for a shield; give 1 s to {} days",
                ttl.as_secs(),
                MAX_SHIELD_TTL.as_secs() / 86_400
            ),
            Self::BadRate { packets_per_s } => write!(
                f,
                "{packets_per_s} packets/s is no rate; give 1 to 1000000000"
            ),
            Self::NotArmed { address } => write!(f, "no such shield of {address} is armed"),
        }
    }
}

/// Place of a shield in the kernel's table.
type Place = (usize, usize);

struct Armed {
    place: Place,
    origin: Arc<Origin>,
    reason: Arc<str>,
}

/// The shields that are armed.
pub struct Shields {
    maps: ShieldMaps,
    seed: u64,
    armed: BTreeMap<(IpAddr, Scope), Armed>,
    reflexes: Reflexes,
    cookies: Cookies,
}

impl Shields {
    /// None is armed. `kept` is the file that keeps the setting of the stack while it is changed; what a run
    /// before left changed is put back.
    pub fn new(maps: ShieldMaps, seed: u64, kept: Option<PathBuf>) -> Self {
        Self {
            maps,
            seed,
            armed: BTreeMap::new(),
            reflexes: Reflexes::default(),
            cookies: Cookies::new(kept),
        }
    }

    /// Bits of the buckets in use, for the gate.
    pub fn bits(&self) -> u64 {
        let places = self.armed.values().map(|armed| armed.place.0 as u32);
        places.fold(self.reflex_bits(), |bits, place| bits | shield::bit(place))
    }

    /// Arms a shield, or renews one.
    ///
    /// # Errors
    /// See [`ShieldError`]; that the address is local is for the caller to know.
    pub fn arm(
        &mut self,
        request: &ShieldRequest,
        now_ns: u64,
        is_enforced: bool,
    ) -> Result<ListedShield, ShieldError> {
        let mut wanted = entry_of(request, now_ns)?;
        if let Err(cause) = &self.maps.programs {
            let cause = cause.clone();
            return Err(ShieldError::NoProgram { cause });
        }
        let key = (request.address, request.scope);
        let place = self
            .armed
            .get(&key)
            .map(|armed| armed.place)
            .or_else(|| self.free_place(&wanted))
            .ok_or(ShieldError::Full {
                address: request.address,
            })?;
        if is_enforced && wanted.measures & measure::COOKIES != 0 {
            let set = self.cookies.set_always();
            set.map_err(|cause| ShieldError::NoCookies { cause })?;
        }
        if self.armed.contains_key(&key) {
            let before = self.shield(place);
            (wanted.answered, wanted.completed) = (before.answered, before.completed);
            wanted.held = before.held;
        }
        self.write(place, wanted);
        let armed = Armed {
            place,
            origin: Arc::new(request.origin.clone()),
            reason: Arc::clone(&request.reason),
        };
        let listed = self.listed(&key, &armed);
        self.armed.insert(key, armed);
        Ok(listed)
    }

    /// Takes the shields off for which `is_over` says so.
    pub fn end(&mut self, is_over: impl Fn(&ListedShield) -> bool) -> Vec<ListedShield> {
        let over: Vec<ListedShield> = self.list().filter(&is_over).collect();
        for listed in &over {
            if let Some(armed) = self.armed.remove(&(listed.address, listed.scope)) {
                self.put_expiry(armed.place, 0);
                self.write(armed.place, Shield::default());
            }
        }
        over
    }

    /// Lets the stack accept cookies from now on.
    ///
    /// # Errors
    /// Where there is no program that sends any, or the setting can't be changed: in words.
    pub fn accept_cookies(&mut self) -> Result<(), String> {
        self.maps.programs.as_ref().map_err(Clone::clone)?;
        self.cookies.set_always()
    }

    /// Lets the stack accept cookies always while a shield needs it, or sources are challenged, and as before
    /// else.
    ///
    /// # Errors
    /// The system's.
    pub fn fit_stack(&mut self, is_enforced: bool, is_asked: bool) -> Result<(), String> {
        let mut armed = self.armed.values();
        let needs_cookies =
            armed.any(|armed| self.shield(armed.place).measures & measure::COOKIES != 0);
        if is_enforced && (needs_cookies || is_asked || !self.reflexes.is_empty()) {
            self.cookies.set_always()
        } else {
            self.cookies.put_back()
        }
    }

    /// The shields, ordered by address.
    pub fn list(&self) -> impl Iterator<Item = ListedShield> + '_ {
        self.armed
            .iter()
            .map(|(key, armed)| self.listed(key, armed))
    }

    fn listed(&self, (address, scope): &(IpAddr, Scope), armed: &Armed) -> ListedShield {
        let shield = self.shield(armed.place);
        ListedShield {
            address: *address,
            scope: *scope,
            measures: ShieldMeasure::of(shield.measures),
            strangers_per_s: 1_000_000_000u64
                .checked_div(shield.packet_cost_ns)
                .and_then(|rate| u32::try_from(rate).ok())
                .unwrap_or_default(),
            expires_ns: shield.expires_ns,
            answered: shield.answered,
            completed: shield.completed,
            held: shield.held,
            origin: Arc::clone(&armed.origin),
            reason: Arc::clone(&armed.reason),
        }
    }

    /// A place for a shield: the whole address comes last in its bucket, what is narrower in front.
    fn free_place(&self, wanted: &Shield) -> Option<Place> {
        let bucket = shield::place(&wanted.address, self.seed) as usize;
        let is_whole = wanted.port == 0 && wanted.protocol == 0;
        let is_free = |slot: &usize| {
            let armed = self.armed.values().map(|armed| &armed.place);
            let mut taken = armed.chain(self.reflexes.places());
            taken.all(|place| *place != (bucket, *slot))
        };
        let slots = if is_whole {
            WHOLE_SLOT..WHOLE_SLOT + 1
        } else {
            0..WHOLE_SLOT
        };
        // A service goes before its protocol.
        let slot = if wanted.port == 0 {
            slots.rev().find(is_free)
        } else {
            slots.into_iter().find(is_free)
        };
        slot.map(|slot| (bucket, slot))
    }

    fn shield(&self, (bucket, slot): Place) -> Shield {
        let shield = self.table().copy(bucket, slot * size_of::<Shield>());
        shield.unwrap_or_default()
    }

    const fn table(&self) -> &SharedArray<ShieldBucket> {
        &self.maps.table
    }

    /// Writes a shield; it holds from the last word on.
    fn write(&mut self, place: Place, shield: Shield) {
        let (bucket, slot) = place;
        self.put_expiry(place, 0);
        let silent = Shield {
            expires_ns: 0,
            ..shield
        };
        let at = slot * size_of::<Shield>();
        self.maps.table.put(bucket, at, silent);
        self.put_expiry(place, shield.expires_ns);
    }

    fn put_expiry(&mut self, (bucket, slot): Place, expires_ns: u64) {
        let at = slot * size_of::<Shield>() + offset_of!(Shield, expires_ns);
        self.maps.table.put(bucket, at, expires_ns);
    }
}

fn entry_of(request: &ShieldRequest, now_ns: u64) -> Result<Shield, ShieldError> {
    let (ttl, scope) = (request.ttl, request.scope);
    if ttl < Duration::from_secs(1) || ttl > MAX_SHIELD_TTL {
        return Err(ShieldError::BadTtl { ttl });
    }
    let has_ports = matches!(scope.protocol, protocol::TCP | protocol::UDP);
    if scope.local_port != 0 && !has_ports {
        return Err(ShieldError::BadScope);
    }
    let packets_per_s = request.strangers_per_s;
    let cost = 1_000_000_000u32.checked_div(packets_per_s);
    let cost = cost.filter(|cost| *cost > 0);
    let cost = u64::from(cost.ok_or(ShieldError::BadRate { packets_per_s })?);
    Ok(Shield {
        address: from_ip(request.address),
        expires_ns: now_ns.saturating_add(ttl.as_nanos() as u64),
        packet_cost_ns: cost,
        // As many at once as in a second, less the packet that is let through at no tokens.
        burst_ns: 1_000_000_000 - cost,
        port: scope.local_port,
        protocol: scope.protocol,
        measures: measures(scope.protocol),
        ..Shield::default()
    })
}

/// The measures that make sense for a protocol.
const fn measures(of: u8) -> u8 {
    match of {
        0 => measure::ALL,
        protocol::TCP => measure::COOKIES | measure::STATE,
        protocol::UDP => measure::REPLIES | measure::RATE,
        _ => measure::RATE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn request(address: &str, protocol: u8, local_port: u16) -> ShieldRequest {
        ShieldRequest {
            address: address.parse().unwrap(),
            scope: Scope {
                protocol,
                local_port,
            },
            strangers_per_s: 1_000,
            ttl: Duration::from_secs(60),
            origin: Origin::Operator { uid: 0 },
            reason: Arc::from("test"),
        }
    }

    fn shields() -> Shields {
        Shields::new(ShieldMaps::unshared().unwrap(), 7, None)
    }

    #[test]
    fn a_shield_is_listed_renewed_and_ended() {
        let mut shields = shields();
        let one = request("192.0.2.1", protocol::TCP, 443);
        let listed = shields.arm(&one, SECOND, false).unwrap();
        assert_eq!(listed.expires_ns, 61 * SECOND);
        assert_eq!(
            listed.measures,
            [ShieldMeasure::Cookies, ShieldMeasure::State]
        );
        assert_eq!(listed.strangers_per_s, 1_000);
        let renewed = shields.arm(&one, 2 * SECOND, false).unwrap();
        assert_eq!(renewed.expires_ns, 62 * SECOND);
        assert_eq!(shields.list().count(), 1);
        assert_eq!(shields.bits().count_ones(), 1);
        assert!(shields.end(|listed| listed.expires_ns < SECOND).is_empty());
        assert_eq!(shields.end(|_| true).len(), 1);
        assert_eq!((shields.list().count(), shields.bits()), (0, 0));
        let places = 0..shield::BUCKETS as usize;
        let mut left = places.filter_map(|bucket| shields.table().copy::<ShieldBucket>(bucket, 0));
        assert!(left.all(|bucket| bucket == ShieldBucket::default()));
    }

    #[test]
    fn a_service_goes_before_its_protocol_and_the_whole_address_comes_last() {
        let mut shields = shields();
        let all = [(0, 0), (6, 0), (6, 443), (17, 0)];
        for (protocol, port) in all {
            let arm = shields.arm(&request("192.0.2.1", protocol, port), SECOND, false);
            assert_eq!(arm.is_ok(), (protocol, port) != (17, 53));
        }
        let slot = |protocol, local_port| {
            let scope = Scope {
                protocol,
                local_port,
            };
            let key = ("192.0.2.1".parse().unwrap(), scope);
            shields.armed[&key].place.1
        };
        assert!(slot(6, 443) < slot(6, 0) && slot(6, 0) < slot(0, 0));
        let more = request("192.0.2.1", 17, 53);
        let refused = shields.arm(&more, SECOND, false).unwrap_err();
        assert!(matches!(refused, ShieldError::Full { .. }), "{refused}");
    }

    #[test]
    fn nonsense_is_refused() {
        let mut shields = shields();
        let mut arm = |change: fn(&mut ShieldRequest)| {
            let mut wanted = request("2001:db8::1", 0, 0);
            change(&mut wanted);
            shields.arm(&wanted, SECOND, false).map(|_| ())
        };
        assert_eq!(arm(|_| ()), Ok(()));
        assert!(matches!(
            arm(|r| r.ttl = Duration::ZERO),
            Err(ShieldError::BadTtl { .. })
        ));
        assert!(matches!(
            arm(|r| r.strangers_per_s = 0),
            Err(ShieldError::BadRate { .. })
        ));
        assert_eq!(arm(|r| r.scope.local_port = 80), Err(ShieldError::BadScope));
        let mut without = Shields::new(
            ShieldMaps {
                programs: Err("too old".to_owned()),
                ..ShieldMaps::unshared().unwrap()
            },
            7,
            None,
        );
        let refused = without.arm(&request("192.0.2.1", 0, 0), SECOND, false);
        assert!(matches!(refused, Err(ShieldError::NoProgram { .. })));
    }
}
