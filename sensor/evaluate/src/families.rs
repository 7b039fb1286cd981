//! Families of the output contract that are right for each attack of the label files.
//!
//! One table, from the special to the general; the first row whose words are all in the attack's
//! name counts. Where two families describe the same behaviour, both are right; where one describes
//! it less well, it is half right.

/// Group by which attacks are summed up, and which decides the target that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    Flood,
    Reflection,
    HttpFlood,
    SlowHttp,
    Scan,
    BruteForce,
    ArpSpoof,
    Tunnel,
    Beacon,
    Lateral,
    Malware,
    Malformed,
    Other,
}

impl Group {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Flood => "flood",
            Self::Reflection => "reflection",
            Self::HttpFlood => "http flood",
            Self::SlowHttp => "slow attack",
            Self::Scan => "scan",
            Self::BruteForce => "brute force",
            Self::ArpSpoof => "arp spoofing",
            Self::Tunnel => "tunnel",
            Self::Beacon => "beaconing",
            Self::Lateral => "lateral, exfiltration",
            Self::Malware => "malware",
            Self::Malformed => "malformed",
            Self::Other => "other",
        }
    }
}

/// One row: words of the name, group, families that are right, families that are half right.
pub struct Kind {
    pub words: &'static [&'static str],
    pub group: Group,
    pub right: &'static [&'static str],
    pub half: &'static [&'static str],
}

const fn kind(
    words: &'static [&'static str],
    group: Group,
    right: &'static [&'static str],
    half: &'static [&'static str],
) -> Kind {
    Kind {
        words,
        group,
        right,
        half,
    }
}

/// The table.
pub const KINDS: &[Kind] = &[
    kind(
        &["reflection"],
        Group::Reflection,
        &["reflection"],
        &["syn_flood", "ack_flood", "udp_flood"],
    ),
    kind(
        &["amp_"],
        Group::Reflection,
        &["reflection"],
        &["udp_flood", "fragment_flood"],
    ),
    kind(&["slow"], Group::SlowHttp, &["slow_http"], &["http_flood"]),
    kind(
        &["app_mimicry"],
        Group::HttpFlood,
        &["http_flood"],
        &["syn_flood", "slow_http"],
    ),
    kind(
        &["http", "dos"],
        Group::HttpFlood,
        &["http_flood"],
        &["syn_flood", "slow_http"],
    ),
    kind(
        &["http_flood"],
        Group::HttpFlood,
        &["http_flood"],
        &["syn_flood"],
    ),
    kind(
        &["syn", "flood"],
        Group::Flood,
        &["syn_flood"],
        &["volume_anomaly"],
    ),
    kind(
        &["syn_state"],
        Group::Flood,
        &["syn_flood"],
        &["volume_anomaly"],
    ),
    kind(
        &["icmp_sweep"],
        Group::Scan,
        &["host_sweep"],
        &["arp_sweep"],
    ),
    kind(
        &["ping_sweep"],
        Group::Scan,
        &["host_sweep"],
        &["arp_sweep"],
    ),
    kind(
        &["arp_s", "can"],
        Group::Scan,
        &["arp_sweep"],
        &["host_sweep"],
    ),
    kind(&["arp_sweep"], Group::Scan, &["arp_sweep"], &["host_sweep"]),
    kind(&["arp"], Group::ArpSpoof, &["arp_spoof"], &[]),
    kind(&["mitm"], Group::ArpSpoof, &["arp_spoof"], &[]),
    kind(&["nd_spoof"], Group::ArpSpoof, &["nd_spoof"], &[]),
    kind(
        &["ra_flood"],
        Group::ArpSpoof,
        &["rogue_router"],
        &["nd_spoof"],
    ),
    kind(
        &["ra_spoof"],
        Group::ArpSpoof,
        &["rogue_router"],
        &["nd_spoof"],
    ),
    kind(
        &["icmp", "tunnel"],
        Group::Tunnel,
        &["icmp_tunnel"],
        &["exfiltration", "icmp_flood"],
    ),
    kind(
        &["tunnel"],
        Group::Tunnel,
        &["dns_tunnel"],
        &["exfiltration", "beacon"],
    ),
    kind(
        &["tls", "flood"],
        Group::HttpFlood,
        &["http_flood", "request_flood"],
        &["syn_flood"],
    ),
    kind(
        &["dns_water_torture"],
        Group::Flood,
        &["request_flood"],
        &["name_guessing", "udp_flood", "volume_anomaly"],
    ),
    kind(
        &["dns_name_guessing"],
        Group::Other,
        &["name_guessing"],
        &["behaviour_anomaly"],
    ),
    kind(
        &["web_path_guessing"],
        Group::Other,
        &["path_guessing"],
        &["http_flood", "brute_force", "behaviour_anomaly"],
    ),
    kind(
        &["mqtt_flood"],
        Group::HttpFlood,
        &["request_flood"],
        &["syn_flood"],
    ),
    kind(
        &["dns_tcp_flood"],
        Group::HttpFlood,
        &["request_flood"],
        &["syn_flood"],
    ),
    kind(
        &["ack_flood"],
        Group::Flood,
        &["ack_flood"],
        &["syn_flood", "volume_anomaly"],
    ),
    kind(&["rst_flood"], Group::Flood, &["rst_flood"], &["ack_flood"]),
    kind(&["fin_flood"], Group::Flood, &["fin_flood"], &["ack_flood"]),
    kind(
        &["gre_flood"],
        Group::Flood,
        &["gre_flood"],
        &["protocol_flood"],
    ),
    kind(
        &["esp_flood"],
        Group::Flood,
        &["esp_flood"],
        &["protocol_flood"],
    ),
    kind(
        &["sctp_flood"],
        Group::Flood,
        &["sctp_flood"],
        &["protocol_flood"],
    ),
    kind(
        &["igmp_flood"],
        Group::Flood,
        &["igmp_flood"],
        &["protocol_flood"],
    ),
    kind(
        &["fragment"],
        Group::Flood,
        &["fragment_flood"],
        &["udp_flood", "icmp_flood"],
    ),
    kind(
        &["icmp_flood"],
        Group::Flood,
        &["icmp_flood"],
        &["fragment_flood", "volume_anomaly"],
    ),
    kind(
        &["udp_flood"],
        Group::Flood,
        &["udp_flood"],
        &["reflection", "volume_anomaly"],
    ),
    kind(&["bruteforce"], Group::BruteForce, &["brute_force"], &[]),
    kind(&["brute_force"], Group::BruteForce, &["brute_force"], &[]),
    kind(
        &["udp_sweep"],
        Group::Malware,
        &["host_sweep"],
        &["port_scan", "behaviour_anomaly"],
    ),
    kind(
        &["scan_multi"],
        Group::Scan,
        &["port_scan", "host_sweep"],
        &[],
    ),
    kind(&["scan"], Group::Scan, &["port_scan"], &["host_sweep"]),
    kind(&["sweep"], Group::Scan, &["host_sweep"], &["port_scan"]),
    kind(
        &["recon"],
        Group::Scan,
        &["port_scan", "host_sweep"],
        &["behaviour_anomaly", "volume_anomaly"],
    ),
    kind(
        &["malformed"],
        Group::Malformed,
        &["malformed_traffic"],
        &["brute_force", "behaviour_anomaly"],
    ),
    kind(
        &["exthdr"],
        Group::Malformed,
        &["malformed_traffic"],
        &["icmp_flood", "fragment_flood"],
    ),
    kind(
        &["c2_upload"],
        Group::Lateral,
        &["lateral_movement", "exfiltration", "beacon"],
        &["behaviour_anomaly"],
    ),
    kind(
        &["lateral"],
        Group::Lateral,
        &["lateral_movement"],
        &["behaviour_anomaly", "host_sweep", "exfiltration"],
    ),
    kind(
        &["exfil"],
        Group::Lateral,
        &["exfiltration"],
        &["behaviour_anomaly", "volume_anomaly"],
    ),
    kind(
        &["c2_"],
        Group::Beacon,
        &["beacon", "suspect_call"],
        &["behaviour_anomaly", "exfiltration"],
    ),
    kind(
        &["beacon"],
        Group::Beacon,
        &["beacon"],
        &["behaviour_anomaly", "suspect_call"],
    ),
    kind(
        &["dga"],
        Group::Malware,
        &["beacon", "behaviour_anomaly"],
        &["dns_tunnel"],
    ),
    kind(
        &["spam"],
        Group::Malware,
        &["host_sweep", "behaviour_anomaly"],
        &["exfiltration", "brute_force"],
    ),
    kind(
        &["malware"],
        Group::Malware,
        &["beacon", "behaviour_anomaly", "host_sweep", "suspect_call"],
        &["port_scan", "exfiltration"],
    ),
    kind(
        &["miner"],
        Group::Malware,
        &["suspect_call"],
        &["beacon", "behaviour_anomaly"],
    ),
    kind(
        &["web_shell"],
        Group::Other,
        &["web_shell"],
        &["behaviour_anomaly", "brute_force"],
    ),
    kind(
        &["dcsync"],
        Group::Lateral,
        &["lateral_movement"],
        &["behaviour_anomaly"],
    ),
    kind(
        &["sqli"],
        Group::Other,
        &["behaviour_anomaly"],
        &["http_flood", "brute_force"],
    ),
    kind(
        &["web"],
        Group::Other,
        &["behaviour_anomaly"],
        &["http_flood", "brute_force"],
    ),
    kind(
        &["flood"],
        Group::Flood,
        &["volume_anomaly"],
        &["udp_flood", "syn_flood", "ack_flood"],
    ),
    kind(
        &[],
        Group::Other,
        &["behaviour_anomaly"],
        &["volume_anomaly"],
    ),
];

/// The row of an attack.
pub fn kind_of(attack: &str) -> &'static Kind {
    const LAST: &Kind = &kind(&[], Group::Other, &["behaviour_anomaly"], &[]);
    KINDS
        .iter()
        .find(|kind| kind.words.iter().all(|word| attack.contains(word)))
        .unwrap_or(LAST)
}

impl Kind {
    /// Weight of a family: 1 if it is right, 0.5 if half right, else 0.
    pub fn weight(&self, family: &str) -> f64 {
        if self.right.contains(&family) {
            1.0
        } else if self.half.contains(&family) {
            0.5
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_find_their_row() {
        let cases = [
            ("amp_dns", "reflection"),
            ("tcp_reflection", "reflection"),
            ("adv_syn_state_exhaustion", "syn_flood"),
            ("scan_tcp_syn", "port_scan"),
            ("slow_http_dos", "slow_http"),
            ("http_dos_hoic", "http_flood"),
            ("icmp_sweep", "host_sweep"),
            ("icmp_flood_blacknurse", "icmp_flood"),
            ("arp_mitm", "arp_spoof"),
            ("dns_tunnel_iodine", "dns_tunnel"),
            ("ftp_bruteforce", "brute_force"),
            ("c2_beacon_periodic", "beacon"),
        ];
        for (attack, family) in cases {
            assert_eq!(kind_of(attack).right[0], family, "{attack}");
        }
    }
}
