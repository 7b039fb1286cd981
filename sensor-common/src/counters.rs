//! Per-CPU counters, always on. One table gives the index in the map, the label in metrics and
//! output, and the help text.

macro_rules! table {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $label:literal: $help:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum $name { $(#[doc = $help] $variant,)+ }

        impl $name {
            /// Every variant, in the order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// Word used in metrics, logs and JSON.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
            /// One line of help, without a full stop.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }
        }
    };
}

table! {
    /// Result of parsing one packet. Three groups in this order: packets with IP addresses, which have
    /// a flow whatever else is wrong with them; frames that are not IP; frames that end or err before
    /// an address could be read. The first and the last of them begin with what is well formed.
    Outcome {
        Tcp = "tcp": "TCP segment",
        Udp = "udp": "UDP datagram",
        Icmp = "icmp": "ICMP or ICMPv6 message",
        Sctp = "sctp": "SCTP packet",
        Gre = "gre": "GRE packet",
        OtherProtocol = "other_protocol": "IP packet of another protocol",
        LaterFragment = "later_fragment": "fragment without a transport header",
        VlanTooDeep = "vlan_too_deep": "more than two VLAN tags",
        Ipv4BadHeaderLength = "ipv4_bad_header_length": "IPv4 header length below 20 bytes",
        Ipv4BadTotalLength = "ipv4_bad_total_length": "IPv4 total length below the header length",
        Ipv6ExtensionTruncated = "ipv6_extension_truncated": "packet ends within an IPv6 extension header",
        Ipv6TooManyExtensions = "ipv6_too_many_extensions": "more than six IPv6 extension headers",
        HeadersTooLong = "headers_too_long": "headers reach further into the frame than is followed",
        BadFragment = "bad_fragment": "fragment that no stack sends: the first too small, or of a wrong length, or a TCP header divided (RFC 791, 1858, 3128)",
        TcpTruncated = "tcp_truncated": "packet ends within a TCP header",
        TcpBadDataOffset = "tcp_bad_data_offset": "TCP data offset below 20 bytes",
        UdpTruncated = "udp_truncated": "packet ends within a UDP header",
        UdpBadLength = "udp_bad_length": "UDP length below 8 bytes",
        IcmpTruncated = "icmp_truncated": "packet ends within an ICMP header",
        SctpTruncated = "sctp_truncated": "packet ends within an SCTP header",
        Arp = "arp": "ARP packet",
        Pppoe = "pppoe": "PPPoE discovery, or a PPP protocol other than IP",
        Mpls = "mpls": "MPLS packet that carries no IP",
        Llc = "llc": "802.3 frame that carries no IP: spanning tree, IS-IS and others",
        VnTag = "vn_tag": "frame with a VN-Tag (802.1BR), which is not read",
        Dsa = "dsa": "frame with the tag of a switch chip (DSA, EDSA), which is not read",
        Macsec = "macsec": "MACsec frame (802.1AE), which is not read",
        ProviderBackbone = "provider_backbone": "frame within a frame (802.1ah), which is not read",
        NotIp = "not_ip": "frame of another EtherType",
        EthernetTruncated = "ethernet_truncated": "frame shorter than an Ethernet header",
        LinkTruncated = "link_truncated": "frame ends within a VLAN tag, an MPLS label, a PPPoE or an HSR header",
        LinkTooDeep = "link_too_deep": "more link headers than are followed",
        ArpTruncated = "arp_truncated": "frame ends within an ARP packet",
        Ipv4Truncated = "ipv4_truncated": "frame ends within an IPv4 header",
        Ipv4BadVersion = "ipv4_bad_version": "IPv4 EtherType, other version number",
        Ipv6Truncated = "ipv6_truncated": "frame ends within an IPv6 header",
        Ipv6BadVersion = "ipv6_bad_version": "IPv6 EtherType, other version number",
    }
}

impl Outcome {
    /// True where the packet could not be read to the end.
    #[inline(always)]
    pub const fn is_malformed(self) -> bool {
        let has_addresses = self as u32 >= Self::VlanTooDeep as u32 && Self::has_flow(self as u32);
        has_addresses || self as u32 >= Self::EthernetTruncated as u32
    }

    /// True where an outcome of this index has the addresses of an IP packet, and thus a flow.
    #[inline(always)]
    pub const fn has_flow(index: u32) -> bool {
        index < Self::Arp as u32
    }

    /// True for frames that carry, as far as is read, no IP packet.
    pub const fn is_not_ip(self) -> bool {
        self as u32 >= Self::Arp as u32 && !self.is_malformed()
    }
}

table! {
    /// Verdicts, and everything that was shed, by reason.
    Event {
        Dropped = "dropped": "packets dropped by a block entry",
        WouldDrop = "would_drop": "packets that a block entry would have dropped, were the sensor enforcing",
        RateLimited = "rate_limited": "packets above the rate of a block entry",
        Quarantined = "quarantined": "packets of new flows of a source in quarantine",
        Challenged = "challenged": "SYNs above the rate of a challenged source that were answered by a SYN cookie in the place of the stack",
        WouldChallenge = "would_challenge": "SYNs that would have been answered by a cookie, were the sensor enforcing",
        ChallengeMet = "challenge_met": "acknowledgements of such cookies, or of the stack's own, by challenged sources: they are real",
        ChallengeRetried = "challenge_retried": "SYNs of challenged sources that came again, and passed to the stack",
        Allowed = "allowed": "packets of allow-listed sources that a block entry or a shield would have met",
        FlowStarted = "flow_started": "flows admitted to the cache",
        FlowEvicted = "flow_evicted": "flows evicted to make room, or closed and followed by another of the same ports; their records are sent",
        FlowRollover = "flow_rollover": "records sent because a counter was nearly full",
        NotAdmittedRate = "not_admitted_rate": "packets of new flows above the admission rate",
        NotAdmittedRing = "not_admitted_ring": "packets of new flows that found the ring full",
        RolloverRingFull = "rollover_ring_full": "packets not added to a full record because the ring was full",
        HostNotAdmitted = "host_not_admitted": "packets whose host row was taken by a busier host",
        EventRingFull = "event_ring_full": "events and samples that found their ring full",
        SampleOverBudget = "sample_over_budget": "events and samples above the budget of their kind",
        Decapsulated = "decapsulated": "packets within a tunnel that were counted as packets of a flow of their own",
        NotDecapsulated = "not_decapsulated": "packets on the port or of the protocol of a tunnel that hold no tunnel or no IP packet: the outer flow alone counts",
        CountedElsewhere = "counted_elsewhere": "packets that were counted at another interface on their way, and not again",
        ShieldRoused = "shield_roused": "times that SYNs to an address passed the limit of the reflex",
        ShieldAnswered = "shield_answered": "SYNs of strangers to a shielded address that were answered by a SYN cookie in the place of the stack",
        ShieldCompleted = "shield_completed": "acknowledgements of such cookies, or of the stack's own: their sources are real",
        ShieldRetried = "shield_retried": "SYNs of strangers to a shielded address that came again, and passed to the stack",
        ShieldKnown = "shield_known": "SYNs to a shielded address that passed because their source is proven real",
        ShieldOutOfState = "shield_out_of_state": "TCP segments dropped because they belong to no connection of a shielded address",
        ShieldUnasked = "shield_unasked": "replies dropped because nobody at a shielded address asked for them",
        ShieldOverRate = "shield_over_rate": "packets of strangers to a shielded address dropped above the rate that they share",
        ShieldWouldHold = "shield_would_hold": "packets that a shield would have answered or dropped, were the sensor enforcing",
        ShieldUnread = "shield_unread": "TCP segments to a shielded address with a VLAN tag, IP options or extension headers, which pass as they are",
        ShieldNoCookie = "shield_no_cookie": "SYNs to a shielded address for which the stack gave no cookie, which pass as they are: nobody listens, or has room",
    }
}

/// First index of [`Event`] counters in the counter map: outcomes of ingress and egress come first.
pub const EVENT_BASE: u32 = 2 * Outcome::COUNT;
/// Entries of the counter map.
pub const N_COUNTERS: u32 = EVENT_BASE + Event::COUNT;

/// One counter, as it lies in the per-CPU map.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

// SAFETY: two u64, no padding.
unsafe impl crate::Pod for Count {}
