//! Every capacity of the kernel side, with its memory arithmetic.

/// Slots of one flow bucket (the associativity of the cache).
pub const FLOW_WAYS: usize = 2;
/// Default buckets per CPU: 65,536 x 2 slots x 192 bytes = 24 MiB a CPU, and 2 x 40 bytes = 5 MiB for
/// the outer headers of flows within tunnels.
pub const FLOW_BUCKETS_PER_CPU: u32 = 1 << 16;
/// Rows of a CPU's table of local addresses: 4,096 x 320 bytes = 1.25 MiB a CPU.
pub const LOCAL_ROWS_PER_CPU: u32 = 1 << 12;
/// Rows of a CPU's table of heavy remote sources: 4,096 x 320 bytes = 1.25 MiB a CPU.
pub const REMOTE_ROWS_PER_CPU: u32 = 1 << 12;
/// Bytes of the ring that carries flow records: 16 MiB hold about 80,000 records.
pub const FLOW_RING_BYTES: u32 = 1 << 24;
/// Bytes of the ring that carries events and samples, for each CPU up to 16: 1 MiB holds what the
/// budgets of one CPU allow in 134 ms, if every sample is as long as can be.
pub const EVENT_RING_BYTES_PER_CPU: u32 = 1 << 20;
/// Buckets of each block table (exact sources, prefixes): 32,768 x 320 bytes = 10 MiB a table.
pub const BLOCK_BUCKETS: u32 = 1 << 15;
/// Entries that each block table takes: 92 % of its 131,072 slots, where two-choice buckets of four
/// can still be filled (Fotakis et al. 2005).
pub const BLOCK_ENTRIES: u32 = 120_000;
/// Sources with narrower scopes: 4,096 x 256 bytes = 1 MiB.
pub const SCOPE_SETS: u32 = 4_096;
pub const ALLOW_ENTRIES: u32 = 4_096;
/// Buckets of the table of flows that go both ways: 65,536 x 64 bytes = 4 MiB for all CPUs, room for
/// 393,216 proven flows and 131,072 others.
pub const KNOWN_BUCKETS: u32 = 1 << 16;
/// Buckets of the table of sources that are proven real: 16,384 x 64 bytes = 1 MiB for all CPUs, room for
/// 131,072 sources.
pub const PEER_BUCKETS: u32 = 1 << 14;
/// New flows that one CPU admits per second before it counts them as not admitted.
pub const ADMIT_PER_SECOND: u32 = 200_000;
/// Tunnels that may be configured; each packet within a tunnel is compared with all of them.
pub const MAX_TUNNEL_PEERS: u32 = 32;
/// IPv6 extension headers from which on a packet is called malformed (RFC 8200 sets no limit).
pub const MAX_IPV6_EXTENSIONS: usize = 6;
/// IPv6 extension headers followed.
pub const MAX_IPV6_EXTENSIONS_FOLLOWED: usize = 12;
/// VLAN tags (802.1ad nests two) from which on a packet is called malformed.
pub const MAX_VLAN_TAGS: u8 = 2;
/// Headers followed between the Ethernet and the network header: tags, labels and others.
pub const MAX_LINK_HEADERS: usize = 8;
/// Bytes of the smallest first fragment that is not called malformed. Links in use take
/// packets of 296 bytes or more (RFC 1191, table 7-1), of which a header of 20 leaves 276.
pub const MIN_FRAGMENT_BYTES: u32 = 256;
