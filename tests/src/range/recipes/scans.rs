//! Scans by probes of every kind.

use super::super::recipe::{
    ATTACK, Check, Ends, Mark, Recipe, Variant, WAN, inside, on, outside, variant,
};
use super::services::{NGINX, PYTHON_HTTP, SSHD};

/// From outside through the router, and beside the target.
const SCANS: &[Variant] = &[
    variant("wan", &[]).over(WAN),
    variant("lan", &[]),
    variant("busy", &[]).over(WAN).busy(),
    variant("v6", &[("SIX", "-6")]).over(WAN).v6(),
];

const SCAN: Recipe = Recipe {
    attack: "scan_tcp",
    group: "nmap",
    packages: &["nmap"],
    services: &[SSHD.on("server"), NGINX.on("server")],
    variants: SCANS,
    checks: &[Check::Packets("tcp", 100)],
    ..ATTACK
};

macro_rules! nmap {
    ($name:literal, $attack:literal, $about:literal, $options:literal, $check:expr) => {
        Recipe {
            name: $name,
            attack: $attack,
            about: $about,
            steps: &[on(
                "attacker",
                concat!("nmap $SIX -n -Pn --reason ", $options, " $SERVER"),
            )],
            checks: &[$check],
            ..SCAN
        }
    };
}

pub const RECIPES: &[Recipe] = &[
    nmap!(
        "nmap_ack",
        "scan_tcp_ack",
        "nmap probes 300 ports with bare ACKs",
        "-sA --top-ports 300",
        Check::Packets("tcp", 300)
    ),
    nmap!(
        "nmap_window",
        "scan_tcp_window",
        "nmap probes with bare ACKs and looks at windows",
        "-sW --top-ports 300",
        Check::Packets("tcp", 300)
    ),
    nmap!(
        "nmap_maimon",
        "scan_tcp_maimon",
        "nmap probes with FIN and ACK",
        "-sM --top-ports 300",
        Check::Packets("tcp", 300)
    ),
    nmap!(
        "nmap_null",
        "scan_tcp_null",
        "nmap probes without any flag",
        "-sN --top-ports 300",
        Check::Packets("tcp", 300)
    ),
    Recipe {
        name: "nmap_null_python",
        about: "nmap probes a small web server without any flag",
        attack: "scan_tcp_null",
        services: &[PYTHON_HTTP.on("server")],
        steps: &[on("attacker", "nmap -n -Pn -sN --top-ports 200 $SERVER")],
        variants: &[SCANS[0]],
        ..SCAN
    },
    Recipe {
        name: "masscan",
        about: "masscan asks 500 ports of the whole site",
        attack: "scan_tcp_syn",
        group: "masscan",
        packages: &["masscan"],
        roles: &[inside("server", 4), outside("attacker", 1)],
        marks: &[Mark::Of("attacker")],
        steps: &[on(
            "attacker",
            "timeout -s KILL $((1000 / RATE + 12)) masscan --ports 1-250 --rate $RATE --wait 3 \
                --router-mac $OUTER_MAC --adapter-ip $SELF -e eth0 $SERVERS",
        )
        // It waits for itself for ever in a namespace of processes.
        .ends(Ends::Anyhow)],
        checks: &[
            Check::Packets("tcp", 1_000),
            Check::Says("attacker", "Discovered open port", 2),
        ],
        variants: &[
            variant("quick", &[("RATE", "500")]).over(WAN),
            variant("slow", &[("RATE", "25")]).over(WAN),
            variant("busy", &[("RATE", "100")]).over(WAN).busy(),
        ],
        ..SCAN
    },
];
