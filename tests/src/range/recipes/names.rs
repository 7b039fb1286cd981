//! Names, time and addresses: resolvers, block lists, NTP, DHCP, discovery.

use super::super::recipe::{
    BENIGN, Check, Ends, FAR, Program, Ready, Recipe, State, WAN, inside, on, outside, variant,
};

/// Passes on to `auth`, and remembers.
pub static RESOLVER: Program = Program {
    name: "resolver",
    packages: &["dnsmasq"],
    start: "exec dnsmasq -k --user=root --no-resolv --no-hosts --no-poll --pid-file= --log-facility=- \\
        --server=$AUTH --cache-size=2000 --dns-forward-max=1000",
    ready: Ready::Udp(53),
};

/// Zones under `example`: a site, a distribution network, a block list, mail policies, and a service
/// that answers hashes; no such name for all others.
pub static AUTH: Program = Program {
    name: "auth",
    packages: &["dnsmasq"],
    start: "exec dnsmasq -k --user=root --no-resolv --no-hosts --no-poll --pid-file= --log-facility=- \\
        --local=/example/ --local=/arpa/ --address=/cdn.example/198.51.100.9 --address=/hash.example/127.0.0.1 \\
        --host-record=www.shop.example,198.51.100.20 --host-record=mail.shop.example,198.51.100.21 \\
        --address=/7.list.example/127.0.0.2 --mx-host=shop.example,mail.shop.example,10 --local-ttl=30 \\
        '--txt-record=s1._domainkey.shop.example,v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAv' \\
        '--txt-record=_dmarc.shop.example,v=DMARC1; p=reject' '--txt-record=shop.example,v=spf1 mx -all'",
    ready: Ready::Udp(53),
};

const NAMES: Recipe = Recipe {
    group: "dnsmasq",
    roles: &[
        inside("client", 3),
        inside("resolver", 1),
        outside("auth", 1),
    ],
    services: &[AUTH.on("auth"), RESOLVER.on("resolver")],
    fails: "auth",
    packages: &["bind9-dnsutils"],
    checks: &[Check::Packets("udp/53", 400)],
    ..BENIGN
};

static NTP: Program = Program {
    name: "chronyd",
    packages: &["chrony"],
    start: "printf \"local stratum 4\\nallow all\\ncmdport 0\\nbindcmdaddress /\\npidfile $DATA/pid\\nport 123\\n\" >$DATA/conf
        exec chronyd -d -x -u root -f $DATA/conf",
    ready: Ready::Udp(123),
};

pub static DHCPD: Program = Program {
    name: "dhcpd",
    packages: &["dnsmasq"],
    start: "base=${LAN_BASE%.*}
        exec dnsmasq -k --user=root --port=0 --pid-file= --log-facility=- --interface=eth0 --dhcp-authoritative --no-ping \\
        --dhcp-leasefile=$DATA/leases --dhcp-range=$base.150,$base.250,${LEASE:-1h} --dhcp-option=3,$ROUTER4 --log-dhcp",
    ready: Ready::Udp(67),
};

pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: "dns_search_misses",
        about: "hosts with search domains ask for names that exist nowhere",
        steps: &[on(
            "client",
            "for word in $(words hosts$NUMBER $COUNT); do
                for name in $word $word.$DOMAIN $word.corp.example www.$word.example; do dig +tries=1 +time=2 +short @$RESOLVER $name; done
                sleep $GAP
            done || true",
        )],
        variants: &[
            variant("fast", &[("COUNT", "60"), ("GAP", "0.1")]).over(WAN),
            variant("slow", &[("COUNT", "25"), ("GAP", "1")]).over(FAR),
            variant("silent", &[("COUNT", "4"), ("GAP", "0.2")]).state(State::Silent),
        ],
        ..NAMES
    },
    Recipe {
        name: "dns_block_lists",
        about: "a mail filter asks block lists for addresses, most of them not listed",
        steps: &[on(
            "client",
            "ask() { dig +tries=1 +time=2 +short @$RESOLVER $(od -An -N4 -tu1 /dev/urandom | awk '{print $1\".\"$2\".\"$3\".\"$4}').$LIST.example; }
            repeat $COUNT $GAP ask",
        )],
        variants: &[
            variant("fast", &[("COUNT", "200"), ("GAP", "0.05"), ("LIST", "list")]).over(WAN),
            variant("slow", &[("COUNT", "70"), ("GAP", "0.5"), ("LIST", "list")]).over(FAR),
            variant("silent", &[("COUNT", "12"), ("GAP", "0.2"), ("LIST", "list")]).state(State::Silent),
        ],
        ..NAMES
    },
    Recipe {
        name: "dns_hashes",
        about: "a virus scanner asks for hashes of files as names",
        steps: &[on(
            "client",
            "ask() { dig +tries=1 +time=2 +short @$RESOLVER $(head -c 20 /dev/urandom | sha1sum | cut -c 1-40).$(pick $i a b c).hash.example; }
            repeat $COUNT $GAP ask",
        )],
        variants: &[
            variant("fast", &[("COUNT", "150"), ("GAP", "0.05")]).over(WAN),
            variant("slow", &[("COUNT", "70"), ("GAP", "0.5")]).over(FAR),
            variant("silent", &[("COUNT", "12"), ("GAP", "0.2")]).state(State::Silent),
        ],
        ..NAMES
    },
    Recipe {
        name: "dns_mail_policies",
        about: "a mail server asks for MX, SPF, DKIM and DMARC of each sender",
        steps: &[on(
            "client",
            "ask() { for what in 'mx shop.example' 'txt shop.example' 'txt s1._domainkey.shop.example' 'txt _dmarc.shop.example' \"a m$i.cdn.example\"; do
                dig +tries=1 +time=2 +short @$RESOLVER $what; done; }
            repeat $COUNT $GAP ask",
        )],
        variants: &[
            variant("fast", &[("COUNT", "60"), ("GAP", "0.1")]).over(WAN),
            variant("slow", &[("COUNT", "30"), ("GAP", "1")]).over(FAR),
            variant("silent", &[("COUNT", "3"), ("GAP", "0.2")]).state(State::Silent),
        ],
        ..NAMES
    },
    Recipe {
        name: "ntp_morning",
        about: "forty hosts ask one server for the time",
        group: "chrony",
        roles: &[inside("server", 1), inside("client", 40)],
        services: &[NTP.on("server")],
        packages: &["chrony"],
        steps: &[on(
            "client",
            "sleep 0.$((NUMBER % 10))
            repeat $COUNT $GAP timeout 12 chronyd -Q -t 9 -f /dev/null \"server $SERVER iburst\"",
        )],
        variants: &[
            variant("burst", &[("COUNT", "1"), ("GAP", "0")]),
            variant("again", &[("COUNT", "2"), ("GAP", "10")]).v6(),
            variant("refused", &[("COUNT", "1"), ("GAP", "0")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("udp/123", 200)],
        ..BENIGN
    },
    Recipe {
        name: "dhcp_morning",
        about: "a floor of hosts asks for addresses at once",
        group: "udhcpc",
        roles: &[inside("server", 1), inside("client", 30)],
        services: &[DHCPD.on("server")],
        packages: &["udhcpc"],
        steps: &[on(
            "client",
            "sleep $(awk -v n=$NUMBER -v g=$GAP 'BEGIN { print n * g }')
            udhcpc -i eth0 -n -q -f -t 8 -T 2 -s /bin/true",
        )],
        variants: &[
            variant("burst", &[("GAP", "0.05")]),
            variant("slow", &[("GAP", "1.5")]),
            variant("refused", &[("GAP", "0.3")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("udp/67", 110)],
        ..BENIGN
    },
    Recipe {
        name: "mdns_discovery",
        about: "hosts announce printers and shares by mDNS, and browse",
        group: "avahi",
        roles: &[inside("client", 6)],
        packages: &["avahi-daemon", "dbus"],
        fails: "client",
        steps: &[on(
            "client",
            "mkdir -p /run/dbus /run/avahi-daemon services
            cat >services/p.service <<END
<?xml version=\"1.0\" standalone='no'?><!DOCTYPE service-group SYSTEM \"avahi-service.dtd\">
<service-group><name>printer $NAME</name><service><type>_ipp._tcp</type><port>631</port></service>
<service><type>_smb._tcp</type><port>445</port></service></service-group>
END
            mount --bind services /etc/avahi/services
            printf '[server]\\nenable-dbus=no\\nallow-interfaces=eth0\\n[rlimits]\\n' >conf
            turn() { timeout $HOLD avahi-daemon --no-drop-root --no-chroot --no-rlimits -f conf; }
            repeat $COUNT 1 turn; true",
        )],
        variants: &[
            variant("once", &[("HOLD", "25"), ("COUNT", "1")]),
            variant("flapping", &[("HOLD", "6"), ("COUNT", "6")]),
        ],
        checks: &[Check::Packets("udp/5353", 40)],
        ..BENIGN
    },
    Recipe {
        name: "vrrp_pair",
        about: "two gateways keep a shared address by VRRP, and change places",
        group: "keepalived",
        roles: &[inside("gateway", 2), inside("client", 1)],
        packages: &["keepalived", "iputils-ping"],
        fails: "gateway",
        steps: &[
            on(
                "gateway",
                "base=${LAN_BASE%.*}
                cat >conf <<END
global_defs { router_id $NAME
  script_user root }
vrrp_instance one { state BACKUP
  interface eth0
  virtual_router_id 51
  priority $((100 + NUMBER * 10))
  advert_int $GAP
  virtual_ipaddress { $base.253/24 } }
END
                [ $NUMBER = 1 ] && timeout 40 keepalived -n -l -p p1 -r p2 -f conf && exit
                [ $NUMBER = 2 ] && sleep 3 && timeout 20 keepalived -n -l -p p1 -r p2 -f conf
                true",
            )
            .ends(Ends::Anyhow),
            on("client", "base=${LAN_BASE%.*}; ping -c 40 -i 1 $base.253").ends(Ends::Anyhow),
        ],
        variants: &[
            variant("second", &[("GAP", "1")]),
            variant("fast", &[("GAP", "0.2")]),
        ],
        checks: &[Check::Packets("ip", 30)],
        ..BENIGN
    },
];
