//! Ordinary use of web services by machines.

use super::super::recipe::{
    BENIGN, Check, FAR, Recipe, State, Variant, WAN, inside, on, outside, variant,
};
use super::services::{NGINX, PYTHON_HTTP};

/// Rates, paths and states of polls.
const POLLS: &[Variant] = &[
    variant("second", &[("COUNT", "40"), ("GAP", "1")]),
    variant("fast", &[("COUNT", "150"), ("GAP", "0.05")]).over(WAN),
    variant("slow", &[("COUNT", "12"), ("GAP", "5")])
        .over(FAR)
        .v6(),
    variant("refused", &[("COUNT", "60"), ("GAP", "0.5")]).state(State::Refusing),
    variant("silent", &[("COUNT", "10"), ("GAP", "1")]).state(State::Silent),
    variant("restart", &[("COUNT", "60"), ("GAP", "0.5")]).state(State::Restarting(8, 10)),
];

const POLL: Recipe = Recipe {
    group: "curl",
    services: &[NGINX.on("server")],
    packages: &["curl"],
    variants: POLLS,
    checks: &[Check::Packets("tcp/80", 100)],
    ..BENIGN
};

pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: "curl_api",
        about: "one curl after the other asks an API inside",
        steps: &[on(
            "client",
            "repeat $COUNT $GAP curl -sf --max-time 3 http://$SERVER_URL/api/health; never_failed",
        )],
        ..POLL
    },
    Recipe {
        name: "curl_tls",
        about: "one curl after the other asks a service outside over TLS",
        roles: &[outside("server", 1), inside("client", 1)],
        steps: &[on(
            "client",
            "repeat $COUNT $GAP curl -skf --max-time 3 https://$SERVER_URL/api/health; never_failed",
        )],
        checks: &[Check::Packets("tcp/443", 100)],
        ..POLL
    },
    Recipe {
        name: "curl_missing",
        about: "a script asks for what isn't there any more, and gets 404 each time",
        steps: &[on(
            "client",
            "repeat $COUNT $GAP curl -s --max-time 3 -o /dev/null http://$SERVER_URL/api/v1/jobs/next",
        )],
        checks: &[
            Check::Packets("tcp/80", 100),
            Check::Says("nginx", "\" 404 ", 10),
        ],
        ..POLL
    },
    Recipe {
        name: "health_checks",
        about: "three balancers look after a service by HTTP, each at its rate",
        roles: &[inside("server", 1), inside("client", 3)],
        steps: &[on(
            "client",
            "repeat $COUNT $GAP curl -sf --max-time 2 -A health/1.0 http://$SERVER_URL/api/health; never_failed",
        )],
        ..POLL
    },
    Recipe {
        name: "python_poll",
        about: "a script asks a small web server over and over",
        group: "python",
        services: &[PYTHON_HTTP.on("server")],
        packages: &["python3"],
        steps: &[on(
            "client",
            "python3 -c '
import sys, time, urllib.request
for _ in range(int(sys.argv[2])):
    try:
        urllib.request.urlopen(sys.argv[1], timeout=3).read()
    except OSError as error:
        print(\"failed\", error)
    time.sleep(float(sys.argv[3]))
' http://$SERVER_URL/api/health $COUNT $GAP",
        )],
        variants: &[
            variant("quick", &[("COUNT", "30"), ("GAP", "0.3")]),
            variant("slow", &[("COUNT", "20"), ("GAP", "3")])
                .over(FAR)
                .v6(),
            variant("refused", &[("COUNT", "30"), ("GAP", "0.3")]).state(State::Refusing),
        ],
        ..POLL
    },
    Recipe {
        name: "wget_mirror",
        about: "wget -r walks through a site",
        group: "wget",
        packages: &["wget"],
        roles: &[outside("server", 1), inside("client", 1)],
        steps: &[on(
            "client",
            "repeat 3 $GAP wget -q -r -l 6 --timeout=3 --tries=1 -P $DATA/mirror$i http://$SERVER_URL/",
        )],
        variants: &[
            variant("quick", &[("GAP", "1")]).over(WAN),
            variant("polite", &[("GAP", "3")]).over(FAR).v6(),
            variant("silent", &[("GAP", "3")]).state(State::Silent),
        ],
        ..POLL
    },
];
