//! Proxies, balancers, offices behind one address, and web users who stay.

use super::super::recipe::{
    BENIGN, Check, FAR, Program, Ready, Recipe, Side, State, WAN, inside, on, outside, variant,
};
use super::services::NGINX;

static HAPROXY: Program = Program {
    name: "haproxy",
    packages: &["haproxy"],
    start: "cat >$DATA/conf <<END
global
    maxconn 2000
defaults
    mode http
    timeout connect 3s
    timeout client 20s
    timeout server 20s
    option ${KEEP:-httpclose}
frontend all
    bind :8080
    bind [::]:8080
    default_backend pool
backend pool
    balance roundrobin
    option httpchk GET /api/health
    default-server inter ${CHECK:-1s} fall 2 rise 2
$(n=0; for host in $SERVERS; do n=$((n + 1)); echo \"    server s$n $host:80 check\"; done)
END
        exec haproxy -db -f $DATA/conf",
    ready: Ready::Tcp(8080),
};

static SQUID: Program = Program {
    name: "squid",
    packages: &["squid"],
    start: "printf \"http_port 3128\\nhttp_access allow all\\ncache deny all\\npid_filename $DATA/pid\\naccess_log none\\ncache_log $DATA/log\\ncoredump_dir $DATA\\nnetdb_filename none\\npinger_enable off\\nshutdown_lifetime 1 second\\n\" >$DATA/conf
        chown -R proxy $DATA
        mount -t tmpfs none /dev/shm
        exec squid -N -f $DATA/conf",
    ready: Ready::Tcp(3128),
};

static REGISTRY: Program = Program {
    name: "registry",
    packages: &["docker-registry"],
    start: "printf \"version: 0.1\\nstorage:\\n  filesystem:\\n    rootdirectory: $DATA/store\\nhttp:\\n  addr: :5000\\n\" >$DATA/conf.yml
        exec docker-registry serve $DATA/conf.yml",
    ready: Ready::Tcp(5000),
};

static LONG_POLL: Program = Program {
    name: "long-poll",
    packages: &["python3"],
    start: "exec python3 $SCRATCH/long_poll.py ${HOLD:-8}",
    ready: Ready::Tcp(80),
};

static WEBSOCKETS: Program = Program {
    name: "websockets",
    packages: &["python3-websockets"],
    start: "exec python3 $SCRATCH/socket_users.py serve",
    ready: Ready::Tcp(80),
};

/// Visits pages as a browser does, some in one connection, then reads.
const VISITS: &str = "visit() {
        curl -s --max-time 5 http://$SERVER_URL/docs/page$((i % 40)).html http://$SERVER_URL/10k http://$SERVER_URL/1k >/dev/null
        curl -s --max-time 5 http://$SERVER_URL/100k >/dev/null
    }
    sleep 0.$((NUMBER % 10)); repeat $COUNT $GAP visit; true";

pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: "balancer_without_keep_alive",
        about: "HAProxy gives requests to four back ends, a connection each, and looks after them",
        group: "haproxy",
        roles: &[inside("server", 4), inside("proxy", 1), inside("client", 4)],
        services: &[NGINX.on("server"), HAPROXY.on("proxy")],
        packages: &["curl"],
        steps: &[on(
            "client",
            "repeat $COUNT $GAP curl -s --max-time 5 http://$PROXY_URL:8080/10k -o /dev/null; true",
        )],
        variants: &[
            variant("busy", &[("COUNT", "250"), ("GAP", "0.05"), ("CHECK", "1s")]),
            variant("quiet", &[("COUNT", "40"), ("GAP", "1"), ("CHECK", "5s")]).over(WAN),
            variant("refused", &[("COUNT", "60"), ("GAP", "0.3"), ("CHECK", "1s")]).state(State::Refusing),
            variant("restart", &[("COUNT", "100"), ("GAP", "0.3"), ("CHECK", "1s")]).state(State::Restarting(8, 12)),
        ],
        checks: &[Check::Packets("tcp/80", 800)],
        ..BENIGN
    },
    Recipe {
        name: "balancer_pool",
        about: "HAProxy keeps connections to a pool that restarts",
        group: "haproxy",
        roles: &[inside("server", 3), inside("proxy", 1), outside("client", 6)],
        services: &[NGINX.on("server"), HAPROXY.on("proxy")],
        packages: &["curl"],
        steps: &[on(
            "client",
            "repeat $COUNT $GAP curl -s --max-time 5 http://$PROXY_URL:8080/1k http://$PROXY_URL:8080/10k -o /dev/null; true",
        )],
        variants: &[
            variant("busy", &[("COUNT", "150"), ("GAP", "0.1"), ("KEEP", "http-keep-alive")]).over(WAN),
            variant("restart", &[("COUNT", "100"), ("GAP", "0.3"), ("KEEP", "http-keep-alive")]).over(WAN).state(State::Restarting(8, 12)),
            variant("silent", &[("COUNT", "30"), ("GAP", "0.5"), ("KEEP", "http-keep-alive")]).state(State::Silent),
        ],
        checks: &[Check::Packets("tcp/80", 800)],
        ..BENIGN
    },
    Recipe {
        name: "office_behind_one_address",
        about: "thirty people behind one address visit a site, seen at the site's end",
        group: "nat",
        roles: &[outside("server", 1), inside("client", 30)],
        services: &[NGINX.on("server")],
        packages: &["curl"],
        steps: &[on("client", VISITS)],
        variants: &[
            variant("morning", &[("COUNT", "10"), ("GAP", "1")]).over(WAN),
            variant("slow", &[("COUNT", "5"), ("GAP", "8")]).over(FAR),
            variant("refused", &[("COUNT", "5"), ("GAP", "2")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("tcp/80", 2_000)],
        at: Side::Outside,
        has_nat: true,
        ..BENIGN
    },
    Recipe {
        name: "visitors",
        about: "forty visitors from everywhere read a site",
        group: "curl",
        roles: &[inside("server", 1), outside("client", 40)],
        services: &[NGINX.on("server")],
        packages: &["curl"],
        steps: &[on("client", VISITS)],
        variants: &[
            variant("evening", &[("COUNT", "8"), ("GAP", "2")]).over(WAN),
            variant("far", &[("COUNT", "4"), ("GAP", "8")]).over(FAR).v6(),
            variant("refused", &[("COUNT", "4"), ("GAP", "3")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("tcp/80", 2_000)],
        ..BENIGN
    },
    Recipe {
        name: "web_proxy",
        about: "an office's requests come from one proxy",
        group: "squid",
        roles: &[outside("server", 4), inside("proxy", 1), inside("client", 8)],
        services: &[NGINX.on("server"), SQUID.on("proxy")],
        packages: &["curl"],
        steps: &[on(
            "client",
            "turn() { curl -s --max-time 6 -x http://$PROXY:3128 -o /dev/null http://$(pick $((i + NUMBER)) $SERVERS)/docs/page$((i % 40)).html; }
            repeat $COUNT $GAP turn; true",
        )],
        variants: &[
            variant("busy", &[("COUNT", "60"), ("GAP", "0.3")]).over(WAN),
            variant("quiet", &[("COUNT", "15"), ("GAP", "3")]).over(FAR),
            variant("refused", &[("COUNT", "30"), ("GAP", "0.5")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("tcp/3128", 500), Check::Packets("tcp/80", 300)],
        ..BENIGN
    },
    Recipe {
        name: "long_polls",
        about: "a web application waits for news: each answer is followed by the next question (the server is ours)",
        group: "long-poll",
        roles: &[outside("server", 1), inside("client", 6)],
        services: &[LONG_POLL.on("server")],
        packages: &["curl"],
        steps: &[on(
            "client",
            "sleep 0.$NUMBER; repeat $COUNT 0 curl -s --max-time 30 -o /dev/null http://$SERVER_URL/events; never_failed",
        )],
        variants: &[
            variant("short", &[("COUNT", "25"), ("HOLD", "2")]).over(WAN),
            variant("long", &[("COUNT", "7"), ("HOLD", "10")]).over(FAR).v6(),
        ],
        checks: &[Check::Packets("tcp/80", 250)],
        ..BENIGN
    },
    Recipe {
        name: "websocket_users",
        about: "users stay connected to a web application by websockets (server and users of ours on a library from Debian)",
        group: "websockets",
        roles: &[outside("server", 1), inside("client", 2)],
        services: &[WEBSOCKETS.on("server")],
        packages: &["python3-websockets"],
        steps: &[on(
            "client",
            "repeat $COUNT 1 python3 $SCRATCH/socket_users.py use ws://$SERVER_URL/ $USERS $HOLD",
        )],
        variants: &[
            variant("few", &[("USERS", "5"), ("HOLD", "40"), ("COUNT", "1")]).over(FAR),
            variant("many", &[("USERS", "60"), ("HOLD", "25"), ("COUNT", "1")]).over(WAN).v6(),
            variant("restart", &[("USERS", "20"), ("HOLD", "30"), ("COUNT", "8")]).over(WAN).state(State::Restarting(10, 8)),
        ],
        checks: &[Check::Packets("tcp/80", 300)],
        ..BENIGN
    },
    Recipe {
        name: "crawler",
        about: "HTTrack crawls a site with four connections",
        group: "httrack",
        roles: &[inside("server", 1), outside("client", 1)],
        services: &[NGINX.on("server")],
        packages: &["httrack"],
        steps: &[on(
            "client",
            "timeout 60 httrack http://$SERVER_URL/ -O $DATA/mirror -q -c$SOCKETS --connection-per-second=$RATE --max-rate=0 --disable-security-limits --timeout=4 --retries=1 >/dev/null || test $? = 124",
        )],
        variants: &[
            variant("polite", &[("SOCKETS", "2"), ("RATE", "2")]).over(FAR),
            variant("hasty", &[("SOCKETS", "8"), ("RATE", "20")]).over(WAN),
            variant("silent", &[("SOCKETS", "2"), ("RATE", "2")]).state(State::Silent),
        ],
        checks: &[Check::Packets("tcp/80", 100)],
        ..BENIGN
    },
    Recipe {
        name: "registry_pulls",
        about: "build jobs push to an image registry, and pull",
        group: "skopeo",
        services: &[REGISTRY.on("server")],
        packages: &["skopeo", "python3"],
        steps: &[on(
            "client",
            "python3 $SCRATCH/image.py image $SIZE
            copy() { timeout 20 skopeo --insecure-policy copy -q \"$@\"; }
            turn() {
                copy --dest-tls-verify=false oci:image docker://$SERVER_URL:5000/app:$i &&
                copy --src-tls-verify=false docker://$SERVER_URL:5000/app:$i oci:pulled$i
            }
            repeat $COUNT $GAP turn; never_failed",
        )],
        variants: &[
            variant("small", &[("COUNT", "12"), ("GAP", "1"), ("SIZE", "50000")]),
            variant("large", &[("COUNT", "4"), ("GAP", "2"), ("SIZE", "2000000")]).over(WAN),
            variant("refused", &[("COUNT", "8"), ("GAP", "2"), ("SIZE", "1000")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("tcp/5000", 300)],
        ..BENIGN
    },
    Recipe {
        name: "package_mirror",
        about: "machines fetch many packages from a mirror, several at a time",
        group: "aria2",
        roles: &[outside("server", 1), inside("client", 3)],
        services: &[NGINX.on("server")],
        packages: &["aria2"],
        steps: &[on(
            "client",
            "for n in $(seq $COUNT); do printf 'http://%s/%s?%d\\n out=p%d\\n' $SERVER_URL $(pick $n 1k 10k 100k 10k) $n $n; done >list
            aria2c -q -j $JOBS -x 1 --connect-timeout=3 --max-tries=2 --retry-wait=1 -d out -i list",
        )],
        variants: &[
            variant("serial", &[("COUNT", "60"), ("JOBS", "1")]).over(FAR),
            variant("parallel", &[("COUNT", "150"), ("JOBS", "10")]).over(WAN).v6(),
            variant("refused", &[("COUNT", "40"), ("JOBS", "4")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("tcp/80", 500)],
        ..BENIGN
    },
];
