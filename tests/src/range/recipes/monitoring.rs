//! Monitoring: checks, scrapes, polls and pings, most of them as regular as a clock.

use super::super::recipe::{
    BENIGN, Check, Ends, FAR, Program, Ready, Recipe, State, WAN, inside, on, outside, variant,
};
use super::services::{NGINX, SSHD};

pub static SNMPD: Program = Program {
    name: "snmpd",
    packages: &["snmpd", "snmp"],
    start: "echo 'rocommunity watch' >$DATA/conf
        echo 'rocommunity6 watch' >>$DATA/conf
        exec snmpd -f -Lo -C -c $DATA/conf -p $DATA/pid udp:161 udp6:161",
    ready: Ready::Udp(161),
};

static NODE_EXPORTER: Program = Program {
    name: "node-exporter",
    packages: &["prometheus-node-exporter"],
    start: "exec prometheus-node-exporter --web.listen-address=:9100",
    ready: Ready::Tcp(9100),
};

pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: "nagios_checks",
        about: "Nagios plugins look after eight hosts: ping, SSH banner, HTTP, bare TCP",
        group: "nagios-plugins",
        roles: &[inside("server", 8), inside("client", 1)],
        services: &[SSHD.on("server"), NGINX.on("server")],
        packages: &["monitoring-plugins-basic", "iputils-ping"],
        steps: &[on(
            "client",
            "turn() {
                for host in $SERVERS; do
                    check_ping -H $host -w 200,40% -c 500,80% -p 2
                    check_ssh -t 3 $host
                    check_http -t 3 -H $host
                    check_tcp -t 3 -H $host -p 443
                done
            }
            repeat $COUNT $GAP turn",
        )],
        variants: &[
            variant("fast", &[("COUNT", "4"), ("GAP", "0")]),
            variant("slow", &[("COUNT", "3"), ("GAP", "8")]).over(WAN),
            variant("refused", &[("COUNT", "4"), ("GAP", "1")]).state(State::Refusing),
            variant("gone", &[("COUNT", "1"), ("GAP", "1")]).state(State::Gone),
        ],
        checks: &[Check::Packets("tcp/22", 100)],
        ..BENIGN
    },
    Recipe {
        name: "ssh_banner_checks",
        about: "a balancer opens and closes the SSH port of four hosts",
        group: "netcat",
        roles: &[inside("server", 4), outside("client", 1)],
        services: &[SSHD.on("server")],
        packages: &["netcat-openbsd"],
        steps: &[on(
            "client",
            "turn() { for host in $SERVERS; do nc -z -w 2 $host 22; done; }
            repeat $COUNT $GAP turn; never_failed",
        )],
        variants: &[
            variant("second", &[("COUNT", "50"), ("GAP", "1")]).over(WAN),
            variant("slow", &[("COUNT", "20"), ("GAP", "5")]).over(FAR).v6(),
            variant("refused", &[("COUNT", "40"), ("GAP", "1")]).state(State::Refusing),
            variant("silent", &[("COUNT", "6"), ("GAP", "1")]).state(State::Silent),
        ],
        checks: &[Check::Packets("tcp/22", 400)],
        ..BENIGN
    },
    Recipe {
        name: "prometheus_scrape",
        about: "Prometheus scrapes six exporters",
        group: "prometheus",
        roles: &[inside("server", 6), inside("client", 1)],
        services: &[NODE_EXPORTER.on("server")],
        packages: &["prometheus"],
        steps: &[on(
            "client",
            "targets=$(for host in $SERVERS; do printf \"'%s:9100'\" $host; done | sed \"s/''/','/g\")
            echo \"{global: {scrape_interval: $GAP, scrape_timeout: $GAP}, scrape_configs: [{job_name: n, static_configs: [{targets: [$targets]}]}]}\" >conf.yml
            timeout 60 prometheus --config.file=conf.yml --storage.tsdb.path=$DATA/tsdb --web.listen-address=127.0.0.1:9090; test $? = 124",
        )],
        variants: &[
            variant("second", &[("GAP", "1s")]),
            variant("slow", &[("GAP", "10s")]).over(WAN),
            variant("refused", &[("GAP", "2s")]).state(State::Refusing),
            variant("silent", &[("GAP", "2s")]).state(State::Silent),
        ],
        checks: &[Check::Packets("tcp/9100", 200)],
        ..BENIGN
    },
    Recipe {
        name: "blackbox_probes",
        about: "the blackbox exporter probes a service outside by HTTP and ICMP",
        group: "prometheus",
        roles: &[outside("server", 3), inside("client", 1)],
        services: &[NGINX.on("server")],
        packages: &["prometheus-blackbox-exporter", "curl"],
        steps: &[on(
            "client",
            "echo '{modules: {http: {prober: http, timeout: 3s}, icmp: {prober: icmp, timeout: 2s}, tcp: {prober: tcp, timeout: 2s}}}' >conf.yml
            prometheus-blackbox-exporter --config.file=conf.yml --web.listen-address=127.0.0.1:9115 &
            sleep 1
            turn() {
                for host in $SERVERS; do
                    curl -s \"http://127.0.0.1:9115/probe?module=http&target=http://$host/\" >/dev/null
                    curl -s \"http://127.0.0.1:9115/probe?module=icmp&target=$host\" >/dev/null
                    curl -s \"http://127.0.0.1:9115/probe?module=tcp&target=$host:443\" >/dev/null
                done
            }
            repeat $COUNT $GAP turn",
        )],
        variants: &[
            variant("fast", &[("COUNT", "30"), ("GAP", "1")]).over(WAN),
            variant("slow", &[("COUNT", "6"), ("GAP", "10")]).over(FAR),
            variant("refused", &[("COUNT", "20"), ("GAP", "1")]).state(State::Refusing),
            variant("silent", &[("COUNT", "3"), ("GAP", "1")]).state(State::Silent),
        ],
        checks: &[Check::Packets("tcp/80", 100), Check::Packets("icmp", 20)],
        ..BENIGN
    },
    Recipe {
        name: "snmp_polls",
        about: "a poller walks the interfaces of ten devices",
        group: "net-snmp",
        roles: &[inside("server", 10), inside("client", 1)],
        services: &[SNMPD.on("server")],
        packages: &["snmp"],
        steps: &[on(
            "client",
            "turn() { for host in $SERVERS; do $HOW -v2c -c watch -t 1 -r 1 -On udp:$host $OID >/dev/null; done; }
            repeat $COUNT $GAP turn; never_failed",
        )],
        variants: &[
            variant("get", &[("HOW", "snmpget"), ("OID", ".1.3.6.1.2.1.1.3.0"), ("COUNT", "12"), ("GAP", "3")]),
            variant("walk", &[("HOW", "snmpwalk"), ("OID", ".1.3.6.1.2.1.2"), ("COUNT", "3"), ("GAP", "5")]).over(WAN),
            variant("refused", &[("HOW", "snmpget"), ("OID", ".1.3.6.1.2.1.1.3.0"), ("COUNT", "3"), ("GAP", "1")]).state(State::Refusing),
            variant("silent", &[("HOW", "snmpget"), ("OID", ".1.3.6.1.2.1.1.3.0"), ("COUNT", "2"), ("GAP", "1")]).state(State::Silent),
        ],
        checks: &[Check::Packets("udp/161", 200)],
        ..BENIGN
    },
    Recipe {
        name: "fping_loop",
        about: "fping asks 24 hosts again and again, some of them off",
        group: "fping",
        roles: &[inside("server", 16), inside("client", 1)],
        packages: &["fping"],
        steps: &[on(
            "client",
            "base=${LAN_BASE%.*}
            timeout 50 fping -q -c $COUNT -p $PERIOD $SERVERS $base.241 $base.242 $base.243 $base.244 $base.245 $base.246 $base.247 $base.248",
        )
        .ends(Ends::Anyhow)],
        variants: &[
            variant("second", &[("COUNT", "40"), ("PERIOD", "1000")]),
            variant("slow", &[("COUNT", "8"), ("PERIOD", "5000")]).over(WAN),
            variant("gone", &[("COUNT", "10"), ("PERIOD", "2000")]).state(State::Gone),
        ],
        checks: &[Check::Packets("icmp", 200)],
        ..BENIGN
    },
    Recipe {
        name: "mtr_traces",
        about: "mtr watches the way to three hosts outside by ICMP, UDP and TCP",
        group: "mtr",
        roles: &[outside("server", 3), inside("client", 1)],
        packages: &["mtr-tiny"],
        steps: &[on(
            "client",
            "turn() { for host in $SERVERS; do mtr -n -r -c $COUNT -i $GAP $HOW $host; done; }
            HOW= turn; HOW=--udp turn; HOW='--tcp -P 443' turn",
        )],
        variants: &[
            variant("fast", &[("COUNT", "10"), ("GAP", "0.3")]).over(WAN),
            variant("slow", &[("COUNT", "6"), ("GAP", "1")]).over(FAR),
            variant("gone", &[("COUNT", "3"), ("GAP", "0.5")]).state(State::Gone),
        ],
        checks: &[Check::Packets("icmp", 60), Check::Packets("tcp/443", 20)],
        limit_s: 180,
        ..BENIGN
    },
    Recipe {
        name: "router_looks_for_the_absent",
        about: "a gateway polls a list of 40 hosts, most of which are off: it asks for them by ARP",
        group: "fping",
        roles: &[inside("server", 4)],
        packages: &["fping"],
        steps: &[on(
            "router",
            "base=${LAN_BASE%.*}
            fping -q -c $COUNT -p $PERIOD $SERVERS $(seq -f $base.%g 205 241)",
        )
        .ends(Ends::Anyhow)],
        variants: &[
            variant("fast", &[("COUNT", "12"), ("PERIOD", "3000")]),
            variant("slow", &[("COUNT", "4"), ("PERIOD", "15000")]),
        ],
        checks: &[Check::Packets("arp", 60)],
        ..BENIGN
    },
];
