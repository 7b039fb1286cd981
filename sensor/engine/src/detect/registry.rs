//! The one list of detectors. A row gives a detector its name, its page in `docs/detectors/`, what it
//! reads and which loss it suffers from, and runs it: thresholds, ticks, tables and what is kept over
//! a restart follow from the list. What each is fed is typed, in [`super::inputs`].

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::content::{
    ArpSpoofDetector, ArpSweepDetector, DgaDetector, DnsTunnelDetector, ExtensionsDetector,
    FieldbusDetector, FragmentsDetector, GuessesDetector, IcmpTunnelDetector, InjectionDetector,
    MqttDetector, NdSpoofDetector, RepliesDetector,
};
use super::control::ControlDetector;
use super::exfiltration::ExfiltrationDetector;
use super::finding::Finding;
use super::flood::FloodDetector;
use super::grade::Grades;
use super::lateral::LateralDetector;
use super::learned::LearnedDetector;
use super::networks::NetworksDetector;
use super::scan::ScanDetector;
use super::scan_rows::RowScanDetector;
use super::shape::ShapeDetectors;
use super::volume::VolumeDetector;
use crate::checkpoint::{CheckpointError, Reader, Writer};
use crate::config::Config;
use crate::features::TableUse;
use crate::losses::{Loss, Losses};

/// Thresholds, bounded tables and findings: everything that detectors have in common.
pub(crate) trait Detect: Sized {
    /// State to keep over a restart; `()` for none.
    type Learned: Serialize + DeserializeOwned + Default;

    fn new(config: &Config) -> Self;

    /// Takes new thresholds; tables keep their capacity.
    fn configure(&mut self, config: &Config);

    /// Appends how full each table is.
    fn tables(&self, out: &mut Vec<TableUse>);

    /// Appends what was found since the last call, every second of event time.
    fn tick(&mut self, _at_ns: u64, _findings: &mut Vec<Finding>) {}

    /// Copies the state to keep.
    fn learned(&self) -> Self::Learned {
        Self::Learned::default()
    }

    /// Goes on with what another run learned.
    fn restore(&mut self, _learned: Self::Learned) {}
}

/// Input that a detector works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Host rows, every 100 ms.
    Rows,
    /// Flow updates and ends.
    Flows,
    /// Packet samples.
    Samples,
    /// Feature vectors, every 10 s.
    Vectors,
    /// Sequences, and what networks say of them.
    Sequences,
}

/// A detector's row of the list.
struct Row {
    label: &'static str,
    grades: Grades,
    page: &'static str,
    /// Techniques: none or one.
    techniques: &'static [&'static str],
    reads: Reads,
    loss: Loss,
}

/// Each entry is a state (field and type, what it reads, which loss its full tables are) and the
/// detectors that speak from it, in the order of ticks and of [`Detector`].
macro_rules! detectors {
    (
        $($field:ident: $type:ty, reads $reads:ident, sheds $loss:ident {
            $($(#[$doc:meta])* $name:ident: $label:literal, proves $($grade:ident)+, page $page:literal
                $(, technique $technique:literal)?;)+
        })+
        + reads $other_reads:ident, sheds $other_loss:ident {
            $(#[$other_doc:meta])* $other:ident: $other_label:literal, proves $other_grade:ident,
                page $other_page:literal;
        }
    ) => {
        /// A detector, as the one who speaks in a finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Detector {
            $($($(#[$doc])* $name,)+)+
            $(#[$other_doc])* $other,
        }

        impl Detector {
            /// Every detector, in the order of the list.
            pub const ALL: &'static [Self] = &[$($(Self::$name,)+)+ Self::$other];

            const fn row(self) -> Row {
                match self {
                    $($(Self::$name => Row {
                        label: $label,
                        grades: Grades::NONE$(.with(Grades::$grade))+,
                        page: $page,
                        techniques: &[$($technique)?],
                        reads: Reads::$reads,
                        loss: Loss::$loss,
                    },)+)+
                    Self::$other => Row {
                        label: $other_label,
                        grades: Grades::$other_grade,
                        page: $other_page,
                        techniques: &[],
                        reads: Reads::$other_reads,
                        loss: Loss::$other_loss,
                    },
                }
            }
        }

        /// The state of every detector but the models.
        #[derive(Debug)]
        pub(crate) struct Detectors {
            $(pub(super) $field: $type,)+
        }

        /// Learned state of every detector; none where a checkpoint has no such part.
        pub(crate) struct Learned {
            $($field: Option<<$type as Detect>::Learned>,)+
        }

        impl Detectors {
            pub(crate) fn new(config: &Config) -> Self {
                Self { $($field: <$type as Detect>::new(config),)+ }
            }

            /// Takes new thresholds; tables keep their capacity.
            pub(crate) fn configure(&mut self, config: &Config) {
                $(self.$field.configure(config);)+
            }

            /// Appends what was found since the last call, every second of event time.
            pub(crate) fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
                $(self.$field.tick(at_ns, findings);)+
            }

            /// Appends how full each table is.
            pub(crate) fn tables(&self, out: &mut Vec<TableUse>) {
                $(self.$field.tables(out);)+
            }

            /// Adds what the tables shed.
            pub(crate) fn add_losses(&self, losses: &mut Losses) {
                let mut tables = Vec::new();
                $(
                    self.$field.tables(&mut tables);
                    for table in tables.drain(..) {
                        losses.add(Loss::$loss, table.n_shed);
                    }
                )+
            }

            /// Writes what is kept over a restart.
            pub(crate) fn save(&self, writer: &mut Writer) {
                $(writer.add(stringify!($field), &self.$field.learned());)+
            }

            /// Goes on with what another run learned.
            pub(crate) fn restore(&mut self, learned: Learned) {
                $(if let Some(learned) = learned.$field {
                    self.$field.restore(learned);
                })+
            }
        }

        impl Learned {
            /// Reads what [`Detectors::save`] wrote.
            pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, CheckpointError> {
                Ok(Self { $($field: reader.part(stringify!($field))?,)+ })
            }
        }
    };
}

impl Detector {
    /// Name, as in the output contract.
    pub const fn label(self) -> &'static str {
        self.row().label
    }

    /// Proof that its findings are, where one doesn't say otherwise.
    pub const fn grades(self) -> Grades {
        self.row().grades
    }

    /// File of its description in `docs/`.
    pub const fn page(self) -> &'static str {
        self.row().page
    }

    /// MITRE ATT&CK technique, where it says more than the family's.
    pub const fn technique(self) -> Option<&'static str> {
        match self.row().techniques {
            [technique] => Some(technique),
            _ => None,
        }
    }

    /// True for models and networks, which judge by what they learned.
    pub const fn is_model(self) -> bool {
        matches!(self, Self::Models | Self::Learned | Self::Networks)
    }

    pub(crate) const fn reads(self) -> Reads {
        self.row().reads
    }

    /// Loss that its full tables are counted as.
    pub(crate) const fn loss(self) -> Loss {
        self.row().loss
    }
}

detectors! {
    floods: FloodDetector, reads Rows, sheds HostTables {
        /// Packet rates towards one host.
        HostRates: "host_rates", proves SHAPE OUTCOME, page "detectors/host_rates.md";
    }
    volumes: VolumeDetector, reads Rows, sheds HostTables {
        /// Packets and bytes towards one host against its own past.
        Volume: "volume", proves SHAPE, page "detectors/volume.md";
    }
    scans: ScanDetector, reads Flows, sheds ScanWindows {
        /// Ports and hosts that one source tried in vain.
        Scan: "scan", proves SHAPE OUTCOME, page "detectors/scan.md";
        /// First contacts of one source that fail where others succeed.
        ScanWalk: "scan_walk", proves SHAPE OUTCOME, page "detectors/scan.md";
    }
    row_scans: RowScanDetector, reads Rows, sheds HostTables {
        /// Ports that one source tried, where flows were not admitted.
        ScanRows: "scan_rows", proves SHAPE OUTCOME, page "detectors/scan.md";
    }
    shapes: ShapeDetectors, reads Flows, sheds ScanWindows {
        /// Short sessions that are all alike.
        Brute: "brute_force", proves SHAPE, page "detectors/passwords.md";
        /// Attempts of which none becomes a connection.
        Attempts: "attempts", proves SHAPE OUTCOME, page "detectors/attempts.md";
        /// Web sessions that come and go, and such that stay and say nothing.
        Web: "web", proves SHAPE, page "detectors/web.md";
        /// UDP flows without an answer.
        Datagrams: "datagrams", proves SHAPE OUTCOME, page "detectors/datagrams.md";
        /// Echo requests.
        Echoes: "echoes", proves SHAPE, page "detectors/echoes.md";
        /// Answers that nobody asked for.
        Reflection: "reflection", proves SHAPE OUTCOME, page "detectors/reflection.md";
        /// Packets of no conversation.
        Strays: "strays", proves SHAPE OUTCOME, page "detectors/strays.md";
    }
    arp_spoof: ArpSpoofDetector, reads Samples, sheds ContentTables {
        /// Stations that speak for addresses of others.
        ArpSpoof: "arp_spoof", proves OUTCOME CONTENT, page "detectors/arp_spoof.md";
    }
    arp_sweep: ArpSweepDetector, reads Samples, sheds ContentTables {
        /// Stations that ask for many addresses.
        ArpSweep: "arp_sweep", proves SHAPE OUTCOME, page "detectors/arp_sweep.md";
    }
    dns_tunnel: DnsTunnelDetector, reads Samples, sheds ContentTables {
        /// Data in names.
        DnsTunnel: "dns_tunnel", proves SHAPE CONTENT, page "detectors/dns_tunnel.md";
    }
    dga: DgaDetector, reads Samples, sheds ContentTables {
        /// Generated names that don't exist.
        Dga: "dga", proves OUTCOME CONTENT, page "detectors/dga.md", technique "T1568.002";
    }
    replies: RepliesDetector, reads Samples, sheds ContentTables {
        /// Logins that a service refuses.
        Replies: "replies", proves OUTCOME CONTENT, page "detectors/replies.md";
    }
    mqtt: MqttDetector, reads Samples, sheds ContentTables {
        /// MQTT messages that break the protocol.
        Mqtt: "mqtt", proves CONTENT, page "detectors/mqtt.md";
    }
    fieldbus: FieldbusDetector, reads Samples, sheds ContentTables {
        /// Field devices that are explored.
        Fieldbus: "fieldbus", proves OUTCOME CONTENT, page "detectors/fieldbus.md";
    }
    icmp_tunnel: IcmpTunnelDetector, reads Samples, sheds ContentTables {
        /// Data in echoes.
        IcmpTunnel: "icmp_tunnel", proves SHAPE CONTENT, page "detectors/icmp_tunnel.md";
    }
    injection: InjectionDetector, reads Samples, sheds ContentTables {
        /// Web requests that carry programs.
        Injection: "injection", proves CONTENT, page "detectors/injection.md", technique "T1190";
    }
    extensions: ExtensionsDetector, reads Samples, sheds ContentTables {
        /// Long chains of IPv6 extension headers.
        Extensions: "extensions", proves CONTENT, page "detectors/extensions.md";
    }
    exfiltration: ExfiltrationDetector, reads Flows, sheds Habits {
        /// Uploads above anything before.
        Exfiltration: "exfiltration", proves SHAPE, page "detectors/exfiltration.md";
    }
    lateral: LateralDetector, reads Flows, sheds Habits {
        /// First logins from host to host.
        Lateral: "lateral", proves SHAPE OUTCOME, page "detectors/lateral.md";
    }
    nd_spoof: NdSpoofDetector, reads Samples, sheds ContentTables {
        /// Stations that speak for IPv6 addresses of others, and routers that nobody knows.
        NdSpoof: "nd_spoof", proves OUTCOME CONTENT, page "detectors/nd_spoof.md";
    }
    fragments: FragmentsDetector, reads Samples, sheds ContentTables {
        /// IP fragments that no stack makes.
        Fragments: "fragments", proves SHAPE, page "detectors/fragments.md";
    }
    guesses: GuessesDetector, reads Samples, sheds ContentTables {
        /// Pages of a web server that don't exist, tried from a list.
        WebGuesses: "web_guesses", proves SHAPE OUTCOME, page "detectors/guesses.md";
        /// Hosts of a zone that don't exist, tried from a list.
        NameGuesses: "name_guesses", proves SHAPE OUTCOME, page "detectors/guesses.md";
    }
    control: ControlDetector, reads Flows, sheds ContentTables {
        /// Contacts as regular as a clock.
        Beacon: "beacon", proves SHAPE, page "detectors/beacon.md";
        /// Clues in the first packets of calls.
        Clues: "clues", proves SHAPE, page "detectors/clues.md";
    }
    learned: LearnedDetector, reads Vectors, sheds ScanWindows {
        /// Minutes of a pair or a source that are like attacks.
        Learned: "learned", proves SHAPE, page "models/pair_windows.md";
    }
    networks: NetworksDetector, reads Sequences, sheds ScanWindows {
        /// Networks over sequences.
        Networks: "networks", proves SHAPE, page "models/networks.md";
    }
    + reads Vectors, sheds Baselines {
        /// The streaming models, calibrated and fused.
        Models: "models", proves SHAPE, page "scoring.md";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The parts of the checkpoint before they had names, one after the other.
    #[test]
    fn a_checkpoint_without_names_is_read_in_the_order_of_the_list() {
        let lateral = vec![([1, 0, 0, 0], [2, 0, 0, 0], 22u16, 7u64)];
        let nothing: [Vec<u8>; 4] = Default::default();
        let body = postcard::to_stdvec(&(nothing, lateral.clone(), 5u64)).unwrap();
        let learned = Learned::read(&mut Reader::Unnamed(&body)).unwrap();
        assert_eq!(learned.lateral, Some((lateral, 5)));
        assert_eq!(learned.floods.map(|hosts| hosts.len()), Some(0));
    }

    #[test]
    fn every_detector_has_a_name_of_its_own_and_a_page() {
        let mut names = BTreeSet::new();
        for detector in Detector::ALL {
            let label = detector.label();
            assert!(names.insert(label), "two detectors are called {label}");
            let page = format!("../../docs/{}", detector.page());
            assert!(
                std::path::Path::new(&page).is_file(),
                "{label} has no page docs/{}",
                detector.page()
            );
        }
    }
}
