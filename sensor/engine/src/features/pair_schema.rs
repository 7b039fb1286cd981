//! Columns of the windows of a pair and of a source, by name: one table gives names, units, documentation and
//! the hash that the learned model is tied to.

use std::fmt::Write as _;

use sensor_common::mix;

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairFeature {
    pub name: &'static str,
    pub unit: &'static str,
    pub help: &'static str,
}

/// Increases when a column changes its meaning.
pub const PAIR_SCHEMA_VERSION: u32 = 1;

/// Value of a column that has nothing to say: no flow ended, no other peer, a source without a host.
pub const ABSENT: f32 = -1.0;

macro_rules! columns {
    ($($column:ident $name:literal, $unit:literal, $help:literal;)*) => {
        /// Positions in a window's vector.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum PairColumn { $($column),* }

        /// Columns of a window.
        pub const PAIR_FEATURES: [PairFeature; [$(PairColumn::$column),*].len()] = [$(PairFeature {
            name: $name,
            unit: $unit,
            help: $help,
        }),*];
    };
}

/// Number of columns.
pub const N_PAIR_FEATURES: usize = PAIR_FEATURES.len();

columns! {
    IsSource "is_source", "1", "1 for the window of a source, 0 for that of a pair";
    Flows "flows", "ln", "flows begun";
    SentPackets "sent_packets", "ln", "packets of the initiator";
    GotPackets "got_packets", "ln", "packets of the responder";
    UsedShare "used_share", "1", "attempts that became a connection, of those settled";
    RefusedShare "refused_share", "1", "attempts refused, of those settled";
    UnansweredShare "unanswered_share", "1", "attempts unanswered, of those settled";
    OnePacketShare "one_packet_share", "1", "flows of one packet of the initiator, of those begun";
    YoungShare "young_share", "1", "flows that lasted less than 2 s, of those ended";
    ResetShare "reset_share", "1", "RSTs of all packets";
    SynPerFlow "syn_per_flow", "ln", "SYNs of the initiator for each TCP flow begun";
    PortsPerFlow "ports_per_flow", "1", "distinct ports of the responder for each flow begun";
    Ports "ports", "ln", "distinct ports of the responder";
    SentSizeDeviation "sent_size_deviation", "1", "deviation of the bytes sent by flow, over their mean";
    GotSizeDeviation "got_size_deviation", "1", "deviation of the bytes received by flow, over their mean";
    DurationDeviation "duration_deviation", "1", "deviation of the flows' durations, over their mean";
    DurationMean "duration_mean", "ln ms", "mean duration of flows that ended";
    StartGapDeviation "start_gap_deviation", "1", "deviation of the times between flows begun, over their mean";
    StartGapMean "start_gap_mean", "ln ms", "mean time between flows begun";
    SentBytesPerPacket "sent_bytes_per_packet", "ln B", "mean length of frames sent";
    GotBytesPerPacket "got_bytes_per_packet", "ln B", "mean length of frames received";
    SentByteShare "sent_byte_share", "1", "bytes sent of all bytes";
    SentPacketShare "sent_packet_share", "1", "packets sent of all packets";
    SentLengthDeviation "sent_length_deviation", "1", "deviation of the lengths of frames sent, over their mean";
    GotLengthDeviation "got_length_deviation", "1", "deviation of the lengths of frames received, over their mean";
    SentSmallShare "sent_small_share", "1", "frames of the first bin of lengths, of those sent";
    GotLargeShare "got_large_share", "1", "frames of the last bin of lengths, of those received";
    PacketsPerFlow "packets_per_flow", "ln", "packets both ways for each flow begun";
    SentBytesPerFlow "sent_bytes_per_flow", "ln B", "bytes sent for each flow begun";
    GotBytesPerFlow "got_bytes_per_flow", "ln B", "bytes received for each flow begun";
    SentPushShare "sent_push_share", "1", "PSHs of the packets sent";
    GotPushShare "got_push_share", "1", "PSHs of the packets received";
    PacketGapMean "packet_gap_mean", "ln us", "mean time between packets of a flow that the initiator sent";
    PacketGapDeviation "packet_gap_deviation", "1", "its deviation over its mean";
    ActiveShare "active_share", "1", "panes of 10 s with packets, of those since the first";
    SentPaneDeviation "sent_pane_deviation", "1", "deviation of the bytes sent by pane, over their mean";
    GotPaneDeviation "got_pane_deviation", "1", "deviation of the bytes received by pane, over their mean";
    UdpShare "udp_share", "1", "packets of UDP of all packets";
    IcmpShare "icmp_share", "1", "packets of ICMP of all packets";
    ShareOfSource "share_of_source", "1", "flows of the pair, of those that the source began";
    ElsewhereRefused "elsewhere_refused_share", "1", "attempts of the source elsewhere that were refused, of those settled";
    ElsewhereUnanswered "elsewhere_unanswered_share", "1", "attempts of the source elsewhere without an answer, of those settled";
    ElsewhereBytesPerFlow "elsewhere_bytes_per_flow", "ln B", "bytes both ways of the source's flows elsewhere";
    SourcePeers "source_peers", "ln", "distinct hosts that the source asked";
    SourcePeersPerFlow "source_peers_per_flow", "1", "distinct hosts for each flow that the source began";
    SourcePortsPerFlow "source_ports_per_flow", "1", "distinct ports for each flow that the source began";
    SourceServes "source_serves", "1", "flows that the source was asked for, of all that it was in";
    ShareOfHost "share_of_host", "1", "flows of the pair, of those that the host was asked for";
    OthersRefused "others_refused_share", "1", "attempts of others at the host that were refused, of those settled";
    OthersUnanswered "others_unanswered_share", "1", "attempts of others at the host without an answer, of those settled";
    HostSources "host_sources", "ln", "distinct sources that asked the host";
    HostAsks "host_asks", "1", "flows that the host began, of all that it was in";
    SentAgainstOthers "sent_against_others", "ln", "bytes sent by flow, over those of the host's other sources";
    GotAgainstOthers "got_against_others", "ln", "bytes received by flow, over those of the host's other sources";
}

/// Stable hash of version, names and units.
pub fn pair_schema_hash() -> u64 {
    let mut hash = u64::from(PAIR_SCHEMA_VERSION);
    for feature in &PAIR_FEATURES {
        let words = [feature.name, feature.unit];
        for byte in words.iter().flat_map(|word| word.bytes().chain([0])) {
            hash = mix(hash, u64::from(byte), 0);
        }
    }
    hash
}

/// Writes `docs/pair_features.md`.
pub fn pair_schema_markdown() -> String {
    let mut text = format!(
        "# Windows of pairs and sources\n\n\
        Version {PAIR_SCHEMA_VERSION}, hash `{:016x}`. Made from the table of the engine \
        (`sensor/engine/src/features/pair_schema.rs`); a test keeps it current.\n\n\
        Every 10 s each pair of initiator and responder that had packets, and each source, gets a vector of \
        these columns over the last 60 s, of flows that still run as of those that ended. *Sent* is what the \
        initiator sent. Logarithms are `ln(1 + x)`; a column that has nothing to say is {ABSENT}. None is an \
        address, a port or the time since the sensor began. The window of a source sums up all of its pairs. \
        `sensor replay --vectors FILE` writes them as CSV; they are the input of the \
        [learned model](models/pair_windows.md).\n\n\
        | # | name | unit | meaning |\n|---:|---|---|---|\n",
        pair_schema_hash()
    );
    for (i, feature) in PAIR_FEATURES.iter().enumerate() {
        // Writing to a string can't fail.
        let _infallible = writeln!(
            text,
            "| {i} | `{}` | {} | {} |",
            feature.name, feature.unit, feature.help
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn columns_of_windows_have_names_of_their_own() {
        let names: BTreeSet<&str> = PAIR_FEATURES.iter().map(|feature| feature.name).collect();
        assert_eq!(names.len(), N_PAIR_FEATURES);
        assert_eq!(PAIR_FEATURES[PairColumn::Flows as usize].name, "flows");
    }

    /// `SENSOR_BLESS=1 cargo test -p sensor-engine documented` writes it anew.
    #[test]
    fn windows_of_pairs_are_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/pair_features.md");
        if std::env::var_os("SENSOR_BLESS").is_some() {
            std::fs::write(path, pair_schema_markdown()).expect("write docs/pair_features.md");
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == pair_schema_markdown(),
            "docs/pair_features.md is out of date: SENSOR_BLESS=1 cargo test -p sensor-engine documented"
        );
    }
}
