//! Output of the flow stage: updates for the features, summaries for the shell.

use std::net::IpAddr;

use sensor_common::flow::{FlowRecord, Tunnel, hash_ends, is_reversed};
use sensor_common::packet::{Packet, Realm, tunnel};
use sensor_common::{Address, mix};

use super::community::{Tuple, community_id};
use super::totals::{Delta, Totals};
use crate::address::to_ip;
use crate::icmp_error::IcmpError;
use crate::note::Note;

/// Reason of an export; values of IPFIX flowEndReason (RFC 5102 5.11.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    IdleTimeout,
    ActiveTimeout,
    EndOfFlow,
    ForcedEnd,
    LackOfResources,
}

impl EndReason {
    pub const fn label(self) -> &'static str {
        match self {
            Self::IdleTimeout => "idle timeout",
            Self::ActiveTimeout => "active timeout",
            Self::EndOfFlow => "end of flow detected",
            Self::ForcedEnd => "forced end",
            Self::LackOfResources => "lack of resources",
        }
    }
    pub const fn ipfix(self) -> u8 {
        match self {
            Self::IdleTimeout => 1,
            Self::ActiveTimeout => 2,
            Self::EndOfFlow => 3,
            Self::ForcedEnd => 4,
            Self::LackOfResources => 5,
        }
    }
}

/// Progress of an attempt to talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Too early to tell, or half open.
    Pending,
    Established,
    /// Answered by RST.
    Refused,
    /// No answer in time.
    Unanswered,
}

impl Progress {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Established => "established",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
        }
    }
    pub const fn has_failed(self) -> bool {
        matches!(self, Self::Refused | Self::Unanswered)
    }
}

/// Change of a flow since the last look.
#[derive(Clone, Debug)]
pub struct FlowUpdate {
    /// The initiator, and the one it talks to.
    pub source: Address,
    pub destination: Address,
    pub source_port: u16,
    pub destination_port: u16,
    pub protocol: u8,
    /// The flow came in a tunnel that anybody may write into: its own addresses prove nothing, and the
    /// ends here are those of the tunnel.
    pub is_claimed: bool,
    pub has_fragments: bool,
    /// Packets from the initiator, and back.
    pub forward: Delta,
    pub backward: Delta,
    /// Packets since the flow began.
    pub n_forward: u64,
    pub n_backward: u64,
    /// Packets from the initiator since the flow began, by control bit, in the order of
    /// [`Delta::n_flags`].
    pub n_flags: [u64; 5],
    /// The initiator was seen to ask: a SYN without ACK, or a first packet of another protocol.
    pub is_attempt: bool,
    /// Nobody answers, for that is how it works: groups, broadcasts, reports, media.
    pub is_one_way: bool,
    /// TCP: with this update the initiator said for the first time that it sends no more (FIN), established.
    pub begins_to_close: bool,
    /// TCP: the initiator sent segments with ACK and neither began nor reset the connection.
    pub is_stray: bool,
    /// First look.
    pub is_new: bool,
    pub progress: Progress,
    /// `progress` became this with this update.
    pub has_progressed: bool,
    /// TCP: both sides closed, or one reset the connection, with this update.
    pub has_closed: bool,
    pub first_ns: u64,
    pub last_ns: u64,
}

/// A flow, exported. Source is the initiator.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowSummary {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub source_port: u16,
    pub destination_port: u16,
    pub protocol: u8,
    /// Index of the interface of its first packet; 0: not known, as in a replay.
    pub ifindex: u32,
    /// VLANs, 0 for none; of a flow tagged on one side alone, those of that side.
    pub realm: Realm,
    /// Of a flow within a tunnel.
    pub tunnel: Option<TunnelSummary>,
    pub forward: Totals,
    pub backward: Totals,
    pub first_ns: u64,
    pub last_ns: u64,
    pub end_reason: EndReason,
    pub has_fragments: bool,
    /// It came about, whatever the part that is exported here shows.
    pub was_established: bool,
    /// TCP: established, and the initiator said that it sends no more ([`FlowUpdate::begins_to_close`] told so).
    pub was_closing: bool,
    /// Notes from packet samples, e.g. `dns.question.name`.
    pub notes: Vec<Note>,
}

/// Tunnel that a flow came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelSummary {
    /// Outer addresses of what the flow's source and destination sent.
    pub source: IpAddr,
    pub destination: IpAddr,
    /// VXLAN or Geneve network identifier, GRE key; 0 without.
    pub id: u32,
    /// [`tunnel::label`].
    pub kind: &'static str,
    /// It is one of the configured tunnels; else anybody may have made the flow's addresses up.
    pub is_configured: bool,
}

impl FlowSummary {
    /// Computed when asked: hashing every flow would cost more than following it.
    pub fn community_id(&self) -> String {
        community_id(&Tuple {
            source: self.source,
            destination: self.destination,
            source_port: self.source_port,
            destination_port: self.destination_port,
            protocol: self.protocol,
        })
    }
}

/// Tunnel around a flow. Part of what tells flows apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Around {
    tunnel: Tunnel,
    is_configured: bool,
}

impl Around {
    fn of(record: &FlowRecord) -> Option<Self> {
        record.realm.is_tunnelled().then_some(Self {
            tunnel: record.tunnel,
            is_configured: !record.realm.is_untrusted(),
        })
    }

    /// The ends of the tunnel where its flows' own addresses prove nothing.
    pub(super) fn claimed_ends(&self, is_from_b: bool) -> Option<[Address; 2]> {
        let Tunnel { a, b, .. } = self.tunnel;
        let ends = turn(is_from_b, [a, b]);
        (!self.is_configured).then_some(ends)
    }

    pub(super) fn summary(&self, is_from_b: bool) -> TunnelSummary {
        let Tunnel { a, b, id, kind } = self.tunnel;
        let [source, destination] = turn(is_from_b, [a, b]);
        TunnelSummary {
            source: to_ip(&source),
            destination: to_ip(&destination),
            id,
            kind: tunnel::label(kind).unwrap_or("unknown"),
            is_configured: self.is_configured,
        }
    }
}

/// Endpoints as the flow record orders them, and the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowKey {
    pub a: Address,
    pub b: Address,
    pub a_port: u16,
    pub b_port: u16,
    pub protocol: u8,
    pub around: Option<Around>,
    pub tags: Tags,
}

/// VLANs of the first packet of a record. Two tags are two networks; but one direction of a flow may
/// bear a tag and the other none, and then its records differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tags {
    /// [`sensor_common::packet::Realm::vlans`].
    pub vlans: u32,
    /// The first packet came from `b`.
    pub is_from_b: bool,
}

impl Tags {
    /// True where records of these tags may be of one flow though their VLANs differ.
    pub(super) const fn complete(self, other: Self) -> bool {
        (self.vlans == 0 || other.vlans == 0) && self.is_from_b != other.is_from_b
    }
}

impl FlowKey {
    /// Key of no flow.
    pub(super) const NONE: Self = Self {
        a: [0; 4],
        b: [0; 4],
        a_port: 0,
        b_port: 0,
        protocol: 0,
        around: None,
        tags: Tags {
            vlans: 0,
            is_from_b: false,
        },
    };

    pub(super) fn of(record: &FlowRecord) -> Self {
        Self {
            a: record.a,
            b: record.b,
            a_port: record.a_port,
            b_port: record.b_port,
            protocol: record.protocol,
            around: Around::of(record),
            tags: Tags {
                vlans: record.realm.vlans(),
                is_from_b: record.initiator == 1,
            },
        }
    }

    /// Key of a packet's flow.
    pub(super) fn of_packet(packet: &Packet) -> Self {
        let source = (packet.source, packet.source_port);
        let destination = (packet.destination, packet.destination_port);
        Self::of_ends(source, destination, packet.protocol, packet.realm)
    }

    /// Key of the flow that an ICMP error quotes.
    pub(super) fn of_error(error: &IcmpError, realm: Realm) -> Self {
        Self::of_ends(error.source, error.destination, error.protocol, realm)
    }

    fn of_ends(
        source: (Address, u16),
        destination: (Address, u16),
        protocol: u8,
        realm: Realm,
    ) -> Self {
        let is_from_b = is_reversed((&source.0, source.1), (&destination.0, destination.1));
        let [a, b] = turn(is_from_b, [source, destination]);
        Self {
            a: a.0,
            b: b.0,
            a_port: a.1,
            b_port: b.1,
            protocol,
            around: None,
            tags: Tags {
                vlans: realm.vlans(),
                is_from_b,
            },
        }
    }

    /// True where the packet, one of the flow, is sent by `a`.
    pub(super) fn is_from_a(&self, packet: &Packet) -> bool {
        self.a == packet.source && self.a_port == packet.source_port
    }

    pub(super) fn hash(&self, seed: u64) -> u64 {
        let (a, b) = ((&self.a, self.a_port), (&self.b, self.b_port));
        let ends = hash_ends(a, b, self.protocol, seed);
        let Some(Around { tunnel, .. }) = &self.around else {
            return ends;
        };
        let outer = hash_ends((&tunnel.a, 0), (&tunnel.b, 0), tunnel.kind, seed);
        mix(ends, outer ^ u64::from(tunnel.id), seed)
    }

    /// Initiator and the one it talks to, each with its port.
    pub(super) const fn turned(&self, is_from_b: bool) -> [(Address, u16); 2] {
        if is_from_b {
            [(self.b, self.b_port), (self.a, self.a_port)]
        } else {
            [(self.a, self.a_port), (self.b, self.b_port)]
        }
    }
}

/// Turns what was counted so that the initiator's part comes first.
pub(super) fn turn<T>(is_from_b: bool, [a, b]: [T; 2]) -> [T; 2] {
    if is_from_b { [b, a] } else { [a, b] }
}
