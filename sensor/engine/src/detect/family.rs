//! The one table of families: kinds of behaviour that incidents are opened for.

use std::fmt::Write as _;

use crate::features::stray::StrayKind;

/// Severity of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Priority a look when convenient.
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// Name, as in the output contract.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// The strongest automatic response to a family; a decision may ask for less, never for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MaxResponse {
    /// No response: the incident is reported only.
    None,
    /// New flows of the source are limited to a rate, at the protocol and port of the incident. The
    /// packets of a scan or a flood can be sent in anybody's name, also in that of somebody real.
    RateLimit,
    /// The source's packets to the protocol and port of the incident are dropped: it took connections to
    /// do it, which nobody completes in another's name.
    Drop,
}

impl MaxResponse {
    /// Words for the documentation.
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::RateLimit => "rate limit",
            Self::Drop => "drop, to the service",
        }
    }
}

/// A family's row of the table.
struct Row {
    label: &'static str,
    meaning: &'static str,
    technique: &'static str,
    /// Scores from which a severity holds, rising.
    severity: &'static [(f64, Severity)],
    response: MaxResponse,
    about: About,
    sentence: &'static str,
}

/// Side that an incident belongs to, where one source does something to one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Source,
    Victim,
}

/// Variant, label, technique, severity by score, strongest response, whose incident, sentence. The
/// doc comment is the family's meaning. Identifiers of incidents hang on the order: append.
macro_rules! families {
    ($(#[doc = $meaning:literal] $name:ident: $label:literal, $technique:literal, $severity:expr,
        $response:ident, $about:ident, $sentence:expr;)+) => {
        /// A kind of behaviour.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Family {
            $(#[doc = $meaning] $name,)+
        }

        impl Family {
            /// Every family, in the order of the table.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];

            const fn row(self) -> Row {
                match self {
                    $(Self::$name => Row {
                        label: $label,
                        meaning: $meaning,
                        technique: $technique,
                        severity: $severity,
                        response: MaxResponse::$response,
                        about: About::$about,
                        sentence: $sentence,
                    },)+
                }
            }
        }
    };
}

/// Severity whatever the score.
macro_rules! always {
    ($severity:ident) => {
        &[(0.0, Severity::$severity)]
    };
}

const FLOOD: &[(f64, Severity)] = &[(0.0, Severity::High), (100.0, Severity::Critical)];
/// Small numbers may be the site's own people.
const LATERAL: &[(f64, Severity)] = &[(0.0, Severity::Medium), (6.0, Severity::High)];
const UPLOAD: &[(f64, Severity)] = &[(0.0, Severity::Low), (4.0, Severity::Medium)];

/// A second router may be the site's own; one that asks to be preferred is less likely so.
const ROUTER: &[(f64, Severity)] = &[
    (0.0, Severity::Low),
    (6.0, Severity::Medium),
    (12.0, Severity::High),
];

/// Sentence of all floods.
const GOT: &str = "{victim} got {observed} {what} (usual: up to {expected}) from {sources} {end}";

families! {
    /// SYNs that lead to no connection.
    SynFlood: "syn_flood", "T1499.001", FLOOD, RateLimit, Victim, GOT;
    /// TCP segments that belong to no connection.
    AckFlood: "ack_flood", "T1499.001", FLOOD, RateLimit, Victim, GOT;
    /// UDP datagrams that are never answered.
    UdpFlood: "udp_flood", "T1498.001", FLOOD, RateLimit, Victim, GOT;
    /// ICMP messages, echo requests above all.
    IcmpFlood: "icmp_flood", "T1498.001", FLOOD, RateLimit, Victim, GOT;
    /// IP fragments that belong to no conversation.
    FragmentFlood: "fragment_flood", "T1498.001", FLOOD, RateLimit, Victim, GOT;
    /// Answers of abused servers to questions that were never asked.
    // A reflector is itself abused, and its address may be a resolver that is needed.
    Reflection: "reflection", "T1498.002", FLOOD, RateLimit, Victim, GOT;
    /// Web requests in short sessions, one after the other.
    HttpFlood: "http_flood", "T1499.002", FLOOD, RateLimit, Victim, GOT;
    /// Web connections that are kept open and say next to nothing.
    SlowHttp: "slow_http", "T1499.002", FLOOD, RateLimit, Victim, GOT;
    /// Ports of a host, tried one after the other.
    PortScan: "port_scan", "T1046", always!(Medium), RateLimit, Source,
        "{sources} tried {n_ports} ports of {victim}, {observed} in the judged window where \
         {expected} would be many, {end}";
    /// Hosts, tried one after the other on one port or by echo.
    HostSweep: "host_sweep", "T1018", always!(Medium), RateLimit, Source,
        "{sources} tried port {port} on {n_hosts} hosts, {observed} of them without success where \
         {expected} would be many, {end}";
    /// Addresses of the link, asked for one after the other.
    ArpSweep: "arp_sweep", "T1018", always!(Medium), None, Source,
        "{station} asked by ARP for {observed} addresses within a minute, most of which nobody has, \
         {end}";
    /// A station that speaks for addresses of others.
    ArpSpoof: "arp_spoof", "T1557.002", always!(High), None, Source,
        "{station} speaks for {victim} as if it were its own address ({evidence}), {end}";
    /// Passwords, guessed.
    BruteForce: "brute_force", "T1110", FLOOD, Drop, Source,
        "{sources} had {observed} {what} with port {port} of {victim} where {expected} would be \
         many, {end}";
    /// Contacts with an address outside, as regular as a clock.
    // Who calls home is a host of the site.
    Beacon: "beacon", "T1071.001", always!(Medium), None, Source,
        "{sources} called port {port} of {victim} {contacts} times, about every {period} s: {regular} % of \
         the intervals are alike where {by_chance} % would be by chance, {end}";
    /// Data carried in the names of DNS questions.
    DnsTunnel: "dns_tunnel", "T1071.004", always!(High), RateLimit, Source,
        "{sources} asked for {observed} different names below {note} that carry data ({evidence}), \
         {end}";
    /// Data carried in ICMP echoes.
    IcmpTunnel: "icmp_tunnel", "T1095", always!(High), RateLimit, Source,
        "{sources} exchanges data in ICMP echoes with {victim} ({evidence}), {end}";
    /// Much more sent to one address outside than ever before.
    Exfiltration: "exfiltration", "T1048", UPLOAD, None, Source,
        "{sources} sent {observed_mb} MB to port {port} of {victim}, where {expected_mb} MB would be \
         usual for the most that it sends to one address in ten minutes, {end}";
    /// Hosts of the site that enter others of the site for the first time.
    LateralMovement: "lateral_movement", "T1021", LATERAL, None, Source,
        "{sources} used {victim} as none of its peers did before ({evidence}), {end}";
    /// Messages that break their protocol.
    MalformedTraffic: "malformed_traffic", "T1499.004", always!(Medium), Drop, Source,
        "{sources} sent {observed} messages to {victim} that break their protocol ({evidence}), \
         {end}";
    /// Load of a host far above its own past, of no known shape.
    VolumeAnomaly: "volume_anomaly", "T1498", always!(Low), None, Victim,
        "{victim} got {observed} {what} where its own past says {expected}, {end}";
    /// Behaviour as never before, of no known shape.
    BehaviourAnomaly: "behaviour_anomaly", "T1071", always!(Low), None, Source,
        "{either} behaves as nothing did before, most of all in {what} ({observed_2} where \
         {expected_2} is usual), {end}";
    /// A station that speaks for IPv6 addresses of others.
    NdSpoof: "nd_spoof", "T1557", always!(High), None, Source,
        "{station} speaks for {victim} as if it were its own address ({evidence}), {end}";
    /// Routers that the link did not have before.
    RogueRouter: "rogue_router", "T1557", ROUTER, None, Source,
        "{sources} offers itself as a router beside those that are known ({evidence}), {end}";
    /// A service that no longer answers, and clients that keep trying.
    ServiceDown: "service_down", "T1489", always!(Low), None, Victim,
        "port {port} of {victim} answers nobody: {observed} attempts in 5 s where {expected} would be \
         usual, by {sources}, {end}";
    /// Datagrams in fragments that no stack makes, to pass filters or to break who puts them together.
    CraftedFragments: "crafted_fragments", "T1211", always!(Medium), None, Source,
        "{sources} sent {observed} datagrams to {victim} in fragments that no stack makes ({evidence}), \
         {end}";
    /// Calls that ordinary programs don't make.
    // Who calls is a host of the site.
    SuspectCall: "suspect_call", "T1071", always!(Medium), None, Source,
        "{sources} called port {port} of {victim} as ordinary programs don't: {note}, {end}";
    /// A page that one client alone drives, by POST.
    WebShell: "web_shell", "T1505.003", always!(Medium), None, Source,
        "{sources} sent {observed} requests by POST to a page of {victim} that nobody else asks for, {end}";
    /// TCP resets that belong to no connection.
    RstFlood: "rst_flood", "T1499.001", FLOOD, Drop, Victim, GOT;
    /// TCP segments with FIN, or without a flag, that belong to no connection.
    FinFlood: "fin_flood", "T1499.001", FLOOD, Drop, Victim, GOT;
    /// IGMP messages beyond what group membership needs.
    IgmpFlood: "igmp_flood", "T1498.001", FLOOD, Drop, Victim, GOT;
    /// GRE packets that carry no readable packet and are never answered.
    GreFlood: "gre_flood", "T1498.001", FLOOD, Drop, Victim, GOT;
    /// ESP packets that are never answered.
    EspFlood: "esp_flood", "T1498.001", FLOOD, Drop, Victim, GOT;
    /// SCTP messages that set up no association.
    SctpFlood: "sctp_flood", "T1499.001", FLOOD, Drop, Victim, GOT;
    /// Packets of another IP protocol that the host does not speak.
    ProtocolFlood: "protocol_flood", "T1498.001", FLOOD, Drop, Victim, GOT;
    /// Requests or messages to a service other than the web, over few connections.
    RequestFlood: "request_flood", "T1499.002", FLOOD, Drop, Victim, GOT;
    /// Connections to a service other than the web that are kept open and say next to nothing.
    ConnectionExhaustion: "connection_exhaustion", "T1499.002", FLOOD, Drop, Victim, GOT;
    /// Pages of a web server, tried from a list.
    // Caches and mirrors ask for much that is not there.
    PathGuessing: "path_guessing", "T1595.003", always!(Low), None, Source,
        "{sources} asked {victim} for {observed} pages that don't exist, where {expected} would be many, {end}";
    /// Hosts of a zone, tried from a list.
    NameGuessing: "name_guessing", "T1590.002", always!(Low), None, Source,
        "{sources} asked for {observed} names below {note} that don't exist, where {expected} would be many, \
         {end}";
}

impl Family {
    /// Name, as in the output contract.
    pub const fn label(self) -> &'static str {
        self.row().label
    }

    /// Flood of packets of no conversation.
    pub(crate) const fn of_stray(kind: StrayKind) -> Self {
        match kind {
            StrayKind::Reset => Self::RstFlood,
            StrayKind::Fin => Self::FinFlood,
            StrayKind::Igmp => Self::IgmpFlood,
            StrayKind::Gre => Self::GreFlood,
            StrayKind::Esp => Self::EspFlood,
            StrayKind::Sctp => Self::SctpFlood,
            StrayKind::Other(_) => Self::ProtocolFlood,
        }
    }

    /// True for floods of packets of no conversation.
    pub(crate) const fn is_of_stray(self) -> bool {
        matches!(
            self,
            Self::RstFlood
                | Self::FinFlood
                | Self::IgmpFlood
                | Self::GreFlood
                | Self::EspFlood
                | Self::SctpFlood
                | Self::ProtocolFlood
        )
    }

    /// True for behaviour that consists of TCP connections that are served, or may be.
    pub(crate) const fn is_of_connections(self) -> bool {
        matches!(
            self,
            Self::HostSweep
                | Self::HttpFlood
                | Self::SlowHttp
                | Self::BruteForce
                | Self::MalformedTraffic
                | Self::RequestFlood
                | Self::ConnectionExhaustion
        )
    }

    /// MITRE ATT&CK technique (enterprise matrix).
    pub const fn technique(self) -> &'static str {
        self.row().technique
    }

    /// Severity of an incident with this score.
    pub fn severity(self, score: f64) -> Severity {
        let steps = self.row().severity.iter();
        let reached = steps.take_while(|(least, _)| score >= *least).last();
        reached.map_or(Severity::Low, |(_, severity)| *severity)
    }

    /// The most that may be done to a source by itself.
    pub const fn max_response(self) -> MaxResponse {
        self.row().response
    }

    /// True where what a source does to a host is an incident of the host.
    pub const fn is_of_victim(self) -> bool {
        matches!(self.row().about, About::Victim)
    }

    /// Template of the sentence: names in braces stand for an incident's own words.
    pub const fn sentence(self) -> &'static str {
        self.row().sentence
    }
}

/// Writes `docs/families.md`.
pub fn families_markdown() -> String {
    let mut text = String::from(
        "# Families\n\n\
        Kinds of behaviour that incidents are opened for. Made from the table of the engine \
        (`sensor/engine/src/detect/family.rs`); a test keeps it current. The technique is of MITRE \
        ATT&CK; a detector may name a more exact one. A severity holds from its score on. The \
        response is the strongest that the sensor takes by itself, and only where sources are not \
        spoofed, are not local and the score reaches `engine.decide.min_score`. It is no more than a \
        rate limit (of TCP segments that need no connection, a challenge) unless an outcome or a content proves the abuse, it took TCP connections, which \
        nobody completes in another's name, and the source was no good peer before; then it is a \
        quarantine, which drops what is new and lets flows that go both ways go on, and a drop only \
        where an outcome and a content prove the abuse. Nothing is done for an incident of low \
        severity, nor while the service is down for everybody.\n\n\
        | family | meaning | technique | severity from score | strongest response |\n\
        |---|---|---|---|---|\n",
    );
    for family in Family::ALL {
        let row = family.row();
        let step = |(least, severity): &(f64, Severity)| match *least {
            0.0 => severity.label().to_owned(),
            least => format!("{} from {least:.0}", severity.label()),
        };
        let severity: Vec<String> = row.severity.iter().map(step).collect();
        // Writing to a string can't fail.
        let _infallible = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            row.label,
            row.meaning.trim(),
            row.technique,
            severity.join(", "),
            row.response.label()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn severity_is_that_of_the_highest_step_reached() {
        assert_eq!(Family::SynFlood.severity(99.9), Severity::High);
        assert_eq!(Family::SynFlood.severity(100.0), Severity::Critical);
        assert_eq!(Family::LateralMovement.severity(0.0), Severity::Medium);
        assert_eq!(Family::Exfiltration.severity(300.0), Severity::Medium);
    }

    #[test]
    fn families_have_names_of_their_own() {
        let names: BTreeSet<&str> = Family::ALL.iter().map(|family| family.label()).collect();
        assert_eq!(names.len(), Family::ALL.len());
    }

    /// `SENSOR_BLESS=1 cargo test -p sensor-engine documented` writes it anew.
    #[test]
    fn families_are_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/families.md");
        if std::env::var_os("SENSOR_BLESS").is_some() {
            std::fs::write(path, families_markdown()).expect("write docs/families.md");
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == families_markdown(),
            "docs/families.md is out of date: SENSOR_BLESS=1 cargo test -p sensor-engine documented"
        );
    }
}
