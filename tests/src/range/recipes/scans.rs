//! Scans by probes of every kind.

use super::super::recipe::{
    ATTACK, Check, Ends, Mark, Recipe, Side, Variant, WAN, inside, on, outside, variant,
};
use super::names::AUTH;
use super::services::{NGINX, PYTHON_HTTP, SSHD};

/// Variants from outside through the router, and beside the target.
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

/// Variants without IPv6.
const SCANS_V4: &[Variant] = &[SCANS[0], SCANS[1], SCANS[2]];

/// Guesses at paths, many and few at a time.
const PATHS: &[Variant] = &[
    variant(
        "quick",
        &[("TASKS", "10"), ("PAUSE", "0"), ("WORDS", "400")],
    )
    .over(WAN),
    variant(
        "slow",
        &[("TASKS", "1"), ("PAUSE", "300"), ("WORDS", "100")],
    )
    .over(WAN),
    variant("busy", &[("TASKS", "4"), ("PAUSE", "0"), ("WORDS", "200")])
        .over(WAN)
        .busy(),
];

macro_rules! web {
    ($name:literal, $group:literal, $about:literal, $shell:literal) => {
        Recipe {
            name: $name,
            attack: "web_path_guessing",
            about: $about,
            group: $group,
            packages: &[$group],
            services: &[NGINX.on("server")],
            steps: &[on(
                "attacker",
                concat!("words paths $WORDS >paths; ", $shell),
            )],
            variants: PATHS,
            checks: &[
                Check::Packets("tcp/80", 150),
                Check::Says("nginx", "\" 404 ", 80),
            ],
            ..SCAN
        }
    };
}

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
    nmap!("nmap_fin_slow", "scan_tcp_fin", "nmap probes 40 ports with FIN, two a second", "-sF --top-ports 40 --scan-delay 500ms", Check::Packets("tcp", 40)),
    nmap!("nmap_sctp_init", "scan_sctp", "nmap probes SCTP ports with INIT", "-sY --top-ports 40", Check::Packets("sctp", 30)),
    nmap!("nmap_sctp_cookie", "scan_sctp", "nmap probes SCTP ports with COOKIE ECHO", "-sZ --top-ports 40", Check::Packets("sctp", 30)),
    Recipe {
        name: "nmap_protocols",
        about: "nmap asks which IP protocols a host speaks",
        attack: "scan_ip_protocols",
        // Fifty protocols, one probe each.
        steps: &[on("attacker", "nmap -n -Pn -sO -p 0-60 --max-retries 1 $SERVER")],
        checks: &[Check::Packets("ip", 20)],
        variants: SCANS_V4,
        ..SCAN
    },
    Recipe {
        name: "nmap_fragments",
        about: "nmap splits its SYNs into fragments",
        attack: "scan_tcp_split_syn",
        steps: &[on("attacker", "nmap -n -Pn -sS -f --top-ports 200 $SERVER")],
        variants: SCANS_V4,
        ..SCAN
    },
    Recipe {
        name: "nmap_decoys",
        about: "nmap hides among ten forged sources",
        attack: "scan_tcp_syn",
        steps: &[on("attacker", "nmap -n -Pn -sS -D RND:10 --top-ports 100 $SERVER")],
        marks: &[Mark::Forged("attacker")],
        variants: SCANS_V4,
        checks: &[Check::Packets("tcp", 1_000)],
        ..SCAN
    },
    nmap!("nmap_top50", "scan_tcp_syn", "nmap asks the 50 most usual ports, within a second", "-sS --top-ports 50", Check::Packets("tcp", 50)),
    nmap!("nmap_slow", "scan_tcp_syn", "nmap asks 40 ports, one in two seconds", "-sS --top-ports 40 --scan-delay 2s --max-retries 0", Check::Packets("tcp", 40)),
    nmap!("nmap_connect_versions", "scan_tcp_connect", "nmap connects, and asks what answers", "-sT -sV --top-ports 60 --version-light", Check::Packets("tcp", 60)),
    nmap!("nmap_udp_top", "scan_udp", "nmap asks 30 UDP ports", "-sU --top-ports 30 --max-retries 1 --host-timeout 60s", Check::Packets("udp", 20)),
    Recipe {
        name: "nping_rst",
        about: "nping probes with RST",
        attack: "scan_tcp_rst",
        steps: &[on("attacker", "nping --tcp --flags rst --rate 50 -c 1 -p 1-200 $SERVER")],
        variants: SCANS_V4,
        ..SCAN
    },
    Recipe {
        name: "nping_synack",
        about: "nping probes with SYN and ACK",
        attack: "scan_tcp_synack",
        steps: &[on("attacker", "nping --tcp --flags syn,ack --rate 50 -c 1 -p 1-200 $SERVER")],
        variants: SCANS_V4,
        checks: &[Check::Packets("tcp", 300)],
        ..SCAN
    },
    Recipe {
        name: "hping3_scan",
        about: "hping3 --scan asks ports in an order of its own",
        attack: "scan_tcp_syn",
        group: "hping3",
        packages: &["hping3"],
        steps: &[on("attacker", "timeout 40 hping3 --scan 1-200 -S $SERVER || test $? = 124")],
        variants: SCANS_V4,
        checks: &[Check::Packets("tcp", 200)],
        ..SCAN
    },
    Recipe {
        name: "pnscan_sweep",
        about: "pnscan looks for one port in the whole network",
        attack: "sweep_tcp",
        group: "pnscan",
        packages: &["pnscan"],
        roles: &[inside("server", 6), outside("attacker", 1)],
        steps: &[on("attacker", "pnscan -t 800 -w 20 ${LAN_BASE%.*}.0/25 22")],
        variants: SCANS_V4,
        checks: &[Check::Packets("tcp/22", 100)],
        at: Side::Outside,
        marks: &[Mark::Sweep("attacker")],
        ..SCAN
    },
    Recipe {
        name: "zmap_sweep",
        about: "ZMap looks for one port in the whole network",
        attack: "sweep_tcp",
        group: "zmap",
        packages: &["zmap"],
        roles: &[inside("server", 6), outside("attacker", 1)],
        steps: &[on(
            "attacker",
            "echo >none
            zmap -p 443 -r $RATE -c 3 -G $OUTER_MAC -i eth0 -S $SELF -b none -o /dev/null ${LAN_BASE%.*}.0/24",
        )],
        variants: &[
            variant("quick", &[("RATE", "200")]).over(WAN),
            variant("slow", &[("RATE", "8")]).over(WAN),
            variant("busy", &[("RATE", "50")]).over(WAN).busy(),
        ],
        checks: &[Check::Packets("tcp/443", 200)],
        at: Side::Outside,
        marks: &[Mark::Sweep("attacker")],
        ..SCAN
    },
    Recipe {
        name: "nmap_ping_sweep",
        about: "nmap looks for hosts by echoes, time stamps and probes",
        attack: "ping_sweep",
        roles: &[inside("server", 8), outside("attacker", 1)],
        steps: &[on("attacker", "nmap -n -sn -PE -PP -PS443 --max-retries 1 ${LAN_BASE%.*}.0/25")],
        variants: SCANS_V4,
        checks: &[Check::Packets("icmp", 100)],
        at: Side::Outside,
        marks: &[Mark::Sweep("attacker")],
        ..SCAN
    },
    Recipe {
        name: "arp_scan",
        about: "arp-scan asks for every address of the site",
        attack: "arp_scan",
        group: "arp-scan",
        packages: &["arp-scan"],
        roles: &[inside("server", 6), inside("attacker", 1)],
        steps: &[on("attacker", "arp-scan -I eth0 $OPTIONS ${LAN_BASE%.*}.0/24")],
        variants: &[
            variant("quick", &[("OPTIONS", "-i 3")]),
            variant("slow", &[("OPTIONS", "-i 150 -r 1")]),
            variant("busy", &[("OPTIONS", "-i 20 -r 1")]).busy(),
        ],
        checks: &[Check::Packets("arp", 250)],
        ..SCAN
    },
    Recipe {
        name: "nbtscan",
        about: "nbtscan asks every address for its NetBIOS name",
        attack: "sweep_udp",
        group: "nbtscan",
        packages: &["nbtscan"],
        roles: &[inside("server", 12), outside("attacker", 1)],
        steps: &[on("attacker", "nbtscan -t 300 ${LAN_BASE%.*}.0/24 || true")],
        variants: SCANS_V4,
        checks: &[Check::Packets("udp/137", 100)],
        at: Side::Outside,
        marks: &[Mark::Sweep("attacker")],
        ..SCAN
    },
    Recipe {
        name: "scan6_ports",
        about: "scan6 of the IPv6 toolkit asks ports over IPv6",
        attack: "scan_tcp_syn",
        group: "ipv6toolkit",
        packages: &["ipv6toolkit"],
        steps: &[on("attacker", "ping -c 1 $SERVER; timeout 40 scan6 -i eth0 -d $SERVER --port-scan tcp:1-150 -S $ATTACKER_MAC --rate-limit 50pps || test $? = 124")],
        variants: &[SCANS[3]],
        checks: &[Check::Packets("tcp", 100)],
        ..SCAN
    },
    web!("gobuster_dir", "gobuster", "gobuster guesses paths of a web site", "gobuster dir -q -t $TASKS --delay ${PAUSE}ms -u http://$SERVER_URL -w paths"),
    web!("ffuf_dir", "ffuf", "ffuf guesses paths of a web site", "ffuf -s -t $TASKS -p 0.$PAUSE -u http://$SERVER_URL/FUZZ -w paths"),
    web!("dirb_dir", "dirb", "dirb guesses paths of a web site", "dirb http://$SERVER_URL/ paths -r -S -z $PAUSE"),
    web!("wfuzz_dir", "wfuzz", "wfuzz guesses paths of a web site", "wfuzz -t $TASKS -s 0.$PAUSE --hc 404 -w paths http://$SERVER_URL/FUZZ"),
    Recipe {
        name: "sqlmap_form",
        about: "sqlmap tries a parameter of a web site",
        attack: "web_sqli",
        group: "sqlmap",
        packages: &["sqlmap"],
        services: &[PYTHON_HTTP.on("server")],
        steps: &[on("attacker", "timeout 90 sqlmap -u \"http://$SERVER/index.html?id=1\" --batch --level 1 --threads 1 --flush-session --output-dir=$DATA/out || true")],
        variants: SCANS_V4,
        checks: &[Check::Packets("tcp/80", 200)],
        ..SCAN
    },
    Recipe {
        name: "dns_zone_brute",
        about: "dnsmap guesses names of a zone",
        attack: "dns_name_guessing",
        group: "dnsmap",
        packages: &["dnsmap"],
        services: &[AUTH.on("resolver")],
        roles: &[inside("resolver", 1), outside("auth", 1), outside("attacker", 1)],
        steps: &[on("attacker", "words names 250 >names; dnsmap shop.example -w names -d 10 || true")],
        variants: SCANS_V4,
        checks: &[Check::Packets("udp/53", 400)],
        ..SCAN
    },
];
