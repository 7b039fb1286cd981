//! Names of MITRE ATT&CK techniques (enterprise matrix).

/// Name of a technique; empty for one that no detector speaks of.
pub fn technique_name(id: &str) -> &'static str {
    match id {
        "T1018" => "Remote System Discovery",
        "T1021" => "Remote Services",
        "T1041" => "Exfiltration Over C2 Channel",
        "T1046" => "Network Service Discovery",
        "T1048" => "Exfiltration Over Alternative Protocol",
        "T1071" => "Application Layer Protocol",
        "T1071.001" => "Application Layer Protocol: Web Protocols",
        "T1071.004" => "Application Layer Protocol: DNS",
        "T1095" => "Non-Application Layer Protocol",
        "T1110" => "Brute Force",
        "T1190" => "Exploit Public-Facing Application",
        "T1211" => "Exploitation for Defense Evasion",
        "T1489" => "Service Stop",
        "T1498" => "Network Denial of Service",
        "T1498.001" => "Network Denial of Service: Direct Network Flood",
        "T1498.002" => "Network Denial of Service: Reflection Amplification",
        "T1499.001" => "Endpoint Denial of Service: OS Exhaustion Flood",
        "T1499.002" => "Endpoint Denial of Service: Service Exhaustion Flood",
        "T1499.003" => "Endpoint Denial of Service: Application Exhaustion Flood",
        "T1499.004" => "Endpoint Denial of Service: Application or System Exploitation",
        "T1505.003" => "Server Software Component: Web Shell",
        "T1557" => "Adversary-in-the-Middle",
        "T1557.002" => "Adversary-in-the-Middle: ARP Cache Poisoning",
        "T1568.002" => "Dynamic Resolution: Domain Generation Algorithms",
        "T1571" => "Non-Standard Port",
        "T1590.002" => "Gather Victim Network Information: DNS",
        "T1595.003" => "Active Scanning: Wordlist Scanning",
        _ => "",
    }
}

/// Tactics of the matrix in the order in which an intruder comes to them.
pub const TACTICS: [&str; 10] = [
    "Reconnaissance",
    "Initial Access",
    "Persistence",
    "Defense Evasion",
    "Credential Access",
    "Discovery",
    "Lateral Movement",
    "Command and Control",
    "Exfiltration",
    "Impact",
];

/// Name of the tactic that a technique serves where a detector finds it; empty for one that no detector
/// speaks of.
pub fn tactic_name(technique: &str) -> &'static str {
    match technique.split('.').next().unwrap_or_default() {
        "T1590" | "T1595" => "Reconnaissance",
        "T1190" => "Initial Access",
        "T1505" => "Persistence",
        "T1211" => "Defense Evasion",
        "T1110" | "T1557" => "Credential Access",
        "T1018" | "T1046" => "Discovery",
        "T1021" => "Lateral Movement",
        "T1071" | "T1095" | "T1568" | "T1571" => "Command and Control",
        "T1041" | "T1048" => "Exfiltration",
        "T1489" | "T1498" | "T1499" => "Impact",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_engine::Family;

    #[test]
    fn every_family_has_a_technique_with_a_name() {
        for family in Family::ALL {
            let id = family.technique();
            assert!(!technique_name(id).is_empty(), "{}: {id}", family.label());
            let tactic = tactic_name(id);
            assert!(TACTICS.contains(&tactic), "{}: {id}", family.label());
        }
    }
}
