//! The features by name: one table gives columns, units, documentation and the hash that models are
//! tied to.

use sensor_common::mix;

/// Span that a column is measured over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// The busiest second of the window.
    Second,
    /// The window of 10 s.
    Window,
    /// Damped, with this time constant, s.
    Damped(u32),
    /// Life of the subject, since it was first seen.
    Life,
}

impl Span {
    /// Words for people.
    pub fn label(self) -> String {
        match self {
            Self::Second => "1 s peak".to_owned(),
            Self::Window => "10 s".to_owned(),
            Self::Damped(seconds) => format!("{seconds} s damped"),
            Self::Life => "life".to_owned(),
        }
    }
}

/// One column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Feature {
    pub name: &'static str,
    pub unit: &'static str,
    /// IPFIX information element (IANA) that it is derived from; 0 where there is none.
    pub ipfix: u16,
    pub span: Span,
    /// Level and spread to expect before anything was seen.
    pub prior: (f32, f32),
    pub help: &'static str,
}

/// Increases when a column changes its meaning.
pub const SCHEMA_VERSION: u32 = 2;

macro_rules! schema {
    ($($column:ident $name:literal, $unit:literal, $ipfix:literal, $span:expr, $prior:expr, $help:literal;)*) => {
        /// Positions in a vector.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Column { $($column),* }

        /// Columns of a vector, of whatever subject.
        pub const FEATURES: [Feature; N_FEATURES] = [$(Feature {
            name: $name,
            unit: $unit,
            ipfix: $ipfix,
            span: $span,
            prior: $prior,
            help: $help,
        }),*];
    };
}

/// Columns of a vector; a multiple of eight, so that loops over it need no rest.
pub const N_FEATURES: usize = 56;
/// Time constants of the damped statistics, s.
pub const DAMPED_S: [u32; 3] = [10, 60, 600];
/// The first damped column, and columns per time constant.
pub const DAMPED_AT: usize = Column::Weight10 as usize;
pub const N_DAMPED: usize = 7;

const WINDOW: Span = Span::Window;
const D10: Span = Span::Damped(DAMPED_S[0]);
const D60: Span = Span::Damped(DAMPED_S[1]);
const D600: Span = Span::Damped(DAMPED_S[2]);

schema! {
    OutPackets "out_packets", "ln", 86, WINDOW, (2.0, 1.5), "packets that the subject sent";
    InPackets "in_packets", "ln", 86, WINDOW, (2.0, 1.5), "packets that it received";
    OutBytes "out_bytes", "ln", 352, WINDOW, (7.0, 2.0), "bytes sent";
    InBytes "in_bytes", "ln", 352, WINDOW, (7.0, 2.0), "bytes received";
    Flows "flows", "ln", 3, WINDOW, (0.7, 0.8), "flows begun";
    Syn "syn", "ln", 218, WINDOW, (0.4, 0.7), "SYNs of the initiators";
    PeakPackets "peak_packets", "ln", 86, Span::Second, (2.0, 1.3), "packets both ways in the busiest second";
    ActiveSeconds "active_seconds", "s", 0, WINDOW, (3.0, 2.5), "seconds with packets";
    OutLengthMean "out_length_mean", "ln B", 0, WINDOW, (4.5, 1.5), "mean length of frames sent";
    OutLengthDeviation "out_length_deviation", "ln B", 0, WINDOW, (3.0, 2.0), "standard deviation of their length";
    InLengthMean "in_length_mean", "ln B", 0, WINDOW, (4.5, 1.5), "mean length of frames received";
    InLengthDeviation "in_length_deviation", "ln B", 0, WINDOW, (3.0, 2.0), "standard deviation of their length";
    LengthEntropy "length_entropy", "bit", 0, WINDOW, (1.0, 0.6), "entropy over the five length bins of the flow record";
    InterarrivalMean "interarrival_mean", "ln us", 0, WINDOW, (10.0, 3.0), "mean time between packets of a flow and direction";
    InterarrivalVariation "interarrival_variation", "ln", 0, WINDOW, (0.7, 0.5), "its standard deviation over its mean";
    StartGapMean "start_gap_mean", "ln ms", 0, D600, (8.0, 2.5), "mean time between beginnings of flows";
    StartGapVariation "start_gap_variation", "ln", 0, D600, (0.5, 0.4), "its standard deviation over its mean: near 0 for a timer";
    InRatio "in_ratio", "1", 0, WINDOW, (0.45, 0.2), "packets received of all packets";
    OutByteRatio "out_byte_ratio", "1", 0, WINDOW, (0.5, 0.25), "bytes sent of all bytes";
    FailedRatio "failed_ratio", "1", 0, WINDOW, (0.1, 0.3), "attempts refused or unanswered of those settled";
    Failed "failed", "ln", 0, WINDOW, (0.1, 0.4), "attempts refused or unanswered";
    SynUnanswered "syn_unanswered", "ln", 0, WINDOW, (0.05, 0.2), "SYNs over SYN-ACKs, as a logarithm of their ratio";
    ResetRatio "reset_ratio", "1", 220, WINDOW, (0.03, 0.1), "RSTs of all packets";
    PushRatio "push_ratio", "1", 221, WINDOW, (0.3, 0.25), "PSHs of all packets";
    FlowBytes "flow_bytes", "ln B", 0, WINDOW, (6.5, 2.0), "bytes both ways for each flow begun or running";
    UdpRatio "udp_ratio", "1", 0, WINDOW, (0.4, 0.45), "packets of UDP of all packets";
    IcmpRatio "icmp_ratio", "1", 0, WINDOW, (0.05, 0.2), "packets of ICMP of all packets";
    Peers "peers", "ln", 0, WINDOW, (0.8, 0.4), "distinct hosts at the other end of flows begun (fan-out, fan-in)";
    Ports "ports", "ln", 0, WINDOW, (0.8, 0.4), "distinct destination ports of flows begun; of a service, source ports";
    PortEntropy "port_entropy", "bit", 0, WINDOW, (0.3, 0.6), "entropy of those ports, hashed to 16 bins";
    PeerEntropy "peer_entropy", "bit", 0, WINDOW, (0.3, 0.6), "entropy of peers, hashed to 16 bins";
    PortRarity "port_rarity", "bit", 0, WINDOW, (3.0, 2.0), "mean surprise of the destination ports, by the flows seen so far";
    NewPairs "new_pairs", "ln", 0, WINDOW, (0.2, 0.4), "pairs of initiator and responder not known before";
    FlowsOpen "flows_seen", "ln", 163, WINDOW, (0.9, 0.8), "looks at flows with news: how many run at once";
    Age "age", "ln s", 0, Span::Life, (5.0, 2.5), "since the subject was first seen";
    Weight10 "weight_10s", "ln s", 0, D10, (1.0, 0.6), "seconds with packets, damped";
    Mean10 "out_mean_10s", "ln B/s", 0, D10, (6.0, 2.0), "bytes sent in such a second, mean of the logarithm";
    Deviation10 "out_deviation_10s", "ln B/s", 0, D10, (0.5, 0.6), "its standard deviation";
    Magnitude10 "magnitude_10s", "ln B/s", 0, D10, (8.5, 2.5), "root of the squared means of both directions";
    Radius10 "radius_10s", "ln B/s", 0, D10, (0.8, 0.8), "root of the summed variances of both directions";
    Covariance10 "covariance_10s", "ln2", 0, D10, (0.2, 0.6), "covariance of both directions";
    Correlation10 "correlation_10s", "1", 0, D10, (0.3, 0.5), "correlation of both directions";
    Weight60 "weight_60s", "ln s", 0, D60, (1.8, 1.0), "seconds with packets, damped";
    Mean60 "out_mean_60s", "ln B/s", 0, D60, (6.0, 2.0), "bytes sent in such a second, mean of the logarithm";
    Deviation60 "out_deviation_60s", "ln B/s", 0, D60, (0.5, 0.6), "its standard deviation";
    Magnitude60 "magnitude_60s", "ln B/s", 0, D60, (8.5, 2.5), "root of the squared means of both directions";
    Radius60 "radius_60s", "ln B/s", 0, D60, (0.8, 0.8), "root of the summed variances of both directions";
    Covariance60 "covariance_60s", "ln2", 0, D60, (0.2, 0.6), "covariance of both directions";
    Correlation60 "correlation_60s", "1", 0, D60, (0.3, 0.5), "correlation of both directions";
    Weight600 "weight_600s", "ln s", 0, D600, (2.5, 1.5), "seconds with packets, damped";
    Mean600 "out_mean_600s", "ln B/s", 0, D600, (6.0, 2.0), "bytes sent in such a second, mean of the logarithm";
    Deviation600 "out_deviation_600s", "ln B/s", 0, D600, (0.5, 0.6), "its standard deviation";
    Magnitude600 "magnitude_600s", "ln B/s", 0, D600, (8.5, 2.5), "root of the squared means of both directions";
    Radius600 "radius_600s", "ln B/s", 0, D600, (0.8, 0.8), "root of the summed variances of both directions";
    Covariance600 "covariance_600s", "ln2", 0, D600, (0.2, 0.6), "covariance of both directions";
    Correlation600 "correlation_600s", "1", 0, D600, (0.3, 0.5), "correlation of both directions";
}

const _: () = assert!(DAMPED_AT + N_DAMPED * DAMPED_S.len() == N_FEATURES);

/// Stable hash of version, names, units and spans.
pub fn schema_hash() -> u64 {
    let mut hash = u64::from(SCHEMA_VERSION);
    for feature in &FEATURES {
        let span = feature.span.label();
        let words = [feature.name, feature.unit, &span];
        for byte in words.iter().flat_map(|word| word.bytes().chain([0])) {
            hash = mix(hash, u64::from(byte), 0);
        }
    }
    hash
}

/// `docs/features.md`.
pub fn schema_markdown() -> String {
    let mut text = format!(
        "# Features\n\n\
        Version {SCHEMA_VERSION}, hash `{:016x}`. Made from the schema table of the engine \
        (`sensor/engine/src/features/schema.rs`); a test keeps it current.\n\n\
        Every subject that had packets gets a vector of these columns at the end of each window of \
        10 s. Subjects are the **source** (initiator of flows), the **pair** (initiator and \
        responder), the **service** (responder's address, port and protocol) and the **host** \
        (responder). *Sent* is what the subject sent: the initiator's packets for a source and a \
        pair, the responder's for a service and a host. Logarithms are `ln(1 + x)`. Damped columns \
        are incremental statistics with exponential decay over the seconds that had packets \
        (AfterImage of Kitsune, Mirsky et al. 2018). Lengths reach the engine as five bins and two \
        moments of each flow and direction, so their spread is given by deviation and entropy.\n\n\
        | # | name | unit | measured over | IPFIX | prior | meaning |\n\
        |---:|---|---|---|---:|---|---|\n",
        schema_hash()
    );
    for (i, feature) in FEATURES.iter().enumerate() {
        let ipfix = match feature.ipfix {
            0 => String::new(),
            id => id.to_string(),
        };
        text.push_str(&format!(
            "| {i} | `{}` | {} | {} | {ipfix} | {} ± {} | {} |\n",
            feature.name,
            feature.unit,
            feature.span.label(),
            feature.prior.0,
            feature.prior.1,
            feature.help
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_priors_are_sound() {
        let mut names: Vec<&str> = FEATURES.iter().map(|feature| feature.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), N_FEATURES);
        assert!(FEATURES.iter().all(|feature| feature.prior.1 > 0.0));
        assert_eq!(FEATURES[Column::Age as usize].name, "age");
    }

    /// `SENSOR_BLESS=1 cargo test -p sensor-engine documented` writes it anew.
    #[test]
    fn schema_is_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/features.md");
        if std::env::var_os("SENSOR_BLESS").is_some() {
            std::fs::write(path, schema_markdown()).expect("write docs/features.md");
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == schema_markdown(),
            "docs/features.md is out of date: SENSOR_BLESS=1 cargo test -p sensor-engine documented"
        );
    }
}
