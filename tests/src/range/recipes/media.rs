//! Telephony, streams, one-way export, tunnels for work, file sharing, printing.

use super::super::recipe::{
    BENIGN, Check, Ends, FAR, Program, Ready, Recipe, State, WAN, inside, on, outside, variant,
};
use super::services::NGINX;

static SIP: Program = Program {
    name: "sipp",
    packages: &["sip-tester"],
    start: "exec sipp -sn uas -i $SELF -p 5060 -nostdin -rtp_echo",
    ready: Ready::Udp(5060),
};

static IPERF: Program = Program {
    name: "iperf3",
    packages: &["iperf3"],
    start: "exec iperf3 -s --forceflush",
    ready: Ready::Tcp(5201),
};

static TFTPD: Program = Program {
    name: "tftpd",
    packages: &["tftpd-hpa", "tftp-hpa"],
    start: "files $DATA/boot 4 60000
        exec in.tftpd -L --secure --user root --address $SELF:69 $DATA/boot",
    ready: Ready::Udp(69),
};

pub static SMBD: Program = Program {
    name: "smbd",
    packages: &["samba", "smbclient"],
    start: "mkdir -p $DATA/share $DATA/lock $DATA/private
        chmod 777 $DATA/share
        cat >$DATA/smb.conf <<END
[global]
workgroup = SITE
security = user
lock directory = $DATA/lock
state directory = $DATA/lock
cache directory = $DATA/lock
pid directory = $DATA/lock
private dir = $DATA/private
ncalrpc dir = $DATA/lock/rpc
passdb backend = tdbsam
log level = 1 auth:3
log file = /dev/stdout
disable spoolss = yes
server min protocol = SMB2
[share]
path = $DATA/share
read only = no
END
        printf '%s\\n%s\\n' $PASSWORD $PASSWORD | smbpasswd -c $DATA/smb.conf -s -a ops
        exec smbd -F --no-process-group -s $DATA/smb.conf --debug-stdout",
    ready: Ready::Tcp(445),
};

static PRINTER: Program = Program {
    name: "printer",
    packages: &["cups-ipp-utils"],
    start: "exec python3 $SCRATCH/printer.py",
    ready: Ready::Tcp(631),
};

static TRACKER: Program = Program {
    name: "opentracker",
    packages: &["opentracker"],
    start: "chmod 755 $DATA; chown nobody $DATA; exec opentracker -i $SELF -p 6969 -P 6969 -u nobody -d $DATA",
    ready: Ready::Tcp(6969),
};

pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: "sip_calls",
        about: "an exchange calls another: SIP over UDP, media both ways",
        group: "sipp",
        roles: &[outside("server", 1), inside("client", 1)],
        services: &[SIP.on("server")],
        packages: &["sip-tester"],
        steps: &[on(
            "client",
            "timeout 100 sipp -sn uac $SERVER:5060 -i $SELF -p 5061 -r $RATE -rp 1000 -l 50 -m $COUNT -d $HOLD -nostdin >out 2>&1; tail -n 20 out; test -s out",
        )],
        variants: &[
            variant("few", &[("RATE", "1"), ("COUNT", "20"), ("HOLD", "4000")]).over(WAN),
            variant("many", &[("RATE", "20"), ("COUNT", "400"), ("HOLD", "2000")]).over(FAR),
            variant("refused", &[("RATE", "1"), ("COUNT", "10"), ("HOLD", "1000")]).state(State::Refusing),
            variant("silent", &[("RATE", "1"), ("COUNT", "10"), ("HOLD", "1000")]).state(State::Silent),
        ],
        checks: &[Check::Packets("udp/5060", 80)],
        ..BENIGN
    },
    Recipe {
        name: "rtp_conference",
        about: "a conference: RTP both ways, 50 packets a second for each of five people (a sender and receiver of ours)",
        group: "rtp",
        roles: &[outside("server", 1), inside("client", 5)],
        services: &[],
        packages: &["python3"],
        steps: &[
            on("server", "timeout $((HOLD + 6)) python3 $SCRATCH/rtp.py reflect :: 40000 || true"),
            on("client", "sleep 1; python3 $SCRATCH/rtp.py call $SERVER 40000 $RATE $SIZE $HOLD"),
        ],
        variants: &[
            variant("voice", &[("RATE", "50"), ("SIZE", "172"), ("HOLD", "25")]).over(WAN),
            variant("video", &[("RATE", "150"), ("SIZE", "1100"), ("HOLD", "15")]).over(FAR).v6(),
        ],
        checks: &[Check::Packets("udp/40000", 4_000)],
        ..BENIGN
    },
    Recipe {
        name: "multicast_video",
        about: "a camera sends video to a group, whether anybody listens or not (a sender of ours)",
        group: "rtp",
        roles: &[inside("server", 1), inside("client", 3)],
        packages: &["python3"],
        steps: &[
            on("server", "sleep 1; python3 $SCRATCH/rtp.py send 239.20.1.7 5004 $RATE 1316 25"),
            on("client", "timeout 28 python3 $SCRATCH/rtp.py listen 239.20.1.7 5004 || true"),
        ],
        variants: &[
            variant("camera", &[("RATE", "150")]),
            variant("channel", &[("RATE", "500")]),
        ],
        checks: &[Check::Packets("udp/5004", 3_000)],
        ..BENIGN
    },
    Recipe {
        name: "syslog_one_way",
        about: "hosts log to a collector by UDP; nothing comes back",
        group: "logger",
        roles: &[inside("server", 1), inside("client", 4)],
        packages: &["bsdutils", "socat"],
        steps: &[
            on("server", "exec socat -u UDP6-RECV:514 OPEN:/dev/null").ends(Ends::WithTheScene),
            on(
                "client",
                "turn() { words l$i 8 | tr '\\n' ' ' | logger -n $SERVER -P 514 -d -t app; }
                repeat $COUNT $GAP turn",
            ),
        ],
        variants: &[
            variant("steady", &[("COUNT", "60"), ("GAP", "0.4")]),
            variant("bursts", &[("COUNT", "250"), ("GAP", "0.01")]).over(WAN),
            variant("silent", &[("COUNT", "100"), ("GAP", "0.2")]).state(State::Silent),
        ],
        checks: &[Check::Packets("udp/514", 200)],
        ..BENIGN
    },
    Recipe {
        name: "flow_export",
        about: "a router exports flows to a collector by UDP; nothing comes back",
        group: "softflowd",
        roles: &[inside("server", 1), inside("client", 2), outside("site", 1)],
        services: &[NGINX.on("site")],
        packages: &["softflowd", "nfdump", "curl"],
        steps: &[
            on(
                "server",
                "mkdir flows; exec nfcapd -p 2055 -w flows -b $SELF",
            )
            .ends(Ends::WithTheScene),
            on(
                "client",
                "softflowd -d -i eth0 -n $SERVER:2055 -v 5 -t tcp=2 -t tcp.fin=1 -t udp=2 -t general=2 -t maxlife=4 -t expint=1 &
                sleep 1
                repeat $COUNT $GAP curl -s --max-time 4 -o /dev/null http://$SITE/10k; sleep 3",
            ),
        ],
        variants: &[
            variant("steady", &[("COUNT", "40"), ("GAP", "1")]),
            variant("busy", &[("COUNT", "300"), ("GAP", "0.05")]).over(WAN),
        ],
        checks: &[Check::Packets("udp/2055", 5)],
        ..BENIGN
    },
    Recipe {
        name: "wireguard_tunnel",
        about: "a branch office works through WireGuard",
        group: "wireguard",
        roles: &[outside("server", 1), inside("client", 1)],
        packages: &["wireguard-go", "wireguard-tools", "iperf3", "iputils-ping"],
        steps: &[
            on(
                "server",
                "wg genkey >$SCRATCH/k1; wg pubkey <$SCRATCH/k1 >$SCRATCH/p1.part; mv $SCRATCH/p1.part $SCRATCH/p1
                until [ -f $SCRATCH/p2 ]; do sleep 0.1; done
                wireguard-go wg0
                wg set wg0 listen-port 51820 private-key $SCRATCH/k1 peer $(cat $SCRATCH/p2) allowed-ips 172.31.0.2/32
                ip addr add 172.31.0.1/24 dev wg0; ip link set wg0 up
                exec iperf3 -s",
            )
            .ends(Ends::WithTheScene),
            on(
                "client",
                "wg genkey >$SCRATCH/k2; wg pubkey <$SCRATCH/k2 >$SCRATCH/p2.part; mv $SCRATCH/p2.part $SCRATCH/p2
                until [ -f $SCRATCH/p1 ]; do sleep 0.1; done
                wireguard-go wg0
                wg set wg0 private-key $SCRATCH/k2 peer $(cat $SCRATCH/p1) endpoint $SERVER_URL:51820 allowed-ips 172.31.0.1/32 persistent-keepalive 5
                ip addr add 172.31.0.2/24 dev wg0; ip link set wg0 up; sleep 2
                ping -c 5 172.31.0.1; iperf3 -c 172.31.0.1 -b $RATE -t 8; ping -c 10 172.31.0.1",
            ),
        ],
        variants: &[
            variant("quiet", &[("RATE", "200K")]).over(FAR),
            variant("busy", &[("RATE", "8M")]).over(WAN).v6(),
        ],
        checks: &[Check::Packets("udp/51820", 100)],
        ..BENIGN
    },
    Recipe {
        name: "openvpn_tunnel",
        about: "somebody works from home through OpenVPN over UDP",
        group: "openvpn",
        roles: &[outside("client", 1), inside("server", 1)],
        packages: &["openvpn", "iperf3", "iputils-ping"],
        steps: &[
            on(
                "server",
                "openvpn --genkey secret $SCRATCH/vpn.part; mv $SCRATCH/vpn.part $SCRATCH/vpn.key
                openvpn --dev tun --proto udp --port 1194 --ifconfig 172.31.1.1 172.31.1.2 --secret $SCRATCH/vpn.key --cipher AES-256-CBC --keepalive 5 60 --verb 1 &
                exec iperf3 -s",
            )
            .ends(Ends::WithTheScene),
            on(
                "client",
                "until [ -f $SCRATCH/vpn.key ]; do sleep 0.1; done
                openvpn --dev tun --proto udp --remote $SERVER 1194 --ifconfig 172.31.1.2 172.31.1.1 --secret $SCRATCH/vpn.key --cipher AES-256-CBC --keepalive 5 60 --verb 1 &
                n=0; until ping -c 1 -W 1 172.31.1.1 >/dev/null; do sleep 0.5; n=$((n + 1)); [ $n -lt 40 ] || exit 1; done
                iperf3 -c 172.31.1.1 -b $RATE -t 8; ping -c 15 172.31.1.1",
            ),
        ],
        variants: &[
            variant("quiet", &[("RATE", "200K")]).over(FAR),
            variant("busy", &[("RATE", "6M")]).over(WAN),
        ],
        checks: &[Check::Packets("udp/1194", 100)],
        ..BENIGN
    },
    Recipe {
        name: "iperf_runs",
        about: "somebody measures the line: TCP both ways, then UDP",
        group: "iperf3",
        roles: &[outside("server", 1), inside("client", 1)],
        services: &[IPERF.on("server")],
        packages: &["iperf3"],
        steps: &[on(
            "client",
            "iperf3 -c $SERVER -b $RATE -t 6; iperf3 -R -c $SERVER -b $RATE -t 6; iperf3 -u -c $SERVER -b $RATE -l 1200 -t 6",
        )],
        variants: &[
            variant("slow", &[("RATE", "5M")]).over(FAR),
            variant("fast", &[("RATE", "60M"), ]).over(WAN).v6(),
            variant("refused", &[("RATE", "5M")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("tcp/5201", 1_000), Check::Packets("udp/5201", 1_000)],
        ..BENIGN
    },
    Recipe {
        name: "tftp_boots",
        about: "phones fetch their firmware by TFTP after a power cut",
        group: "tftp",
        roles: &[inside("server", 1), inside("client", 8)],
        services: &[TFTPD.on("server")],
        packages: &["tftp-hpa"],
        steps: &[on(
            "client",
            "for file in 0 1 2 3; do timeout 10 tftp -m binary $SERVER -c get file$file; sleep $GAP; done; true",
        )],
        variants: &[
            variant("burst", &[("GAP", "0")]),
            variant("slow", &[("GAP", "3")]).over(WAN),
            variant("refused", &[("GAP", "1")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("udp", 1_000)],
        ..BENIGN
    },
    Recipe {
        name: "smb_share",
        about: "workers list, put and get on a share, a session each",
        group: "samba",
        roles: &[inside("server", 1), inside("client", 2)],
        services: &[SMBD.on("server")],
        packages: &["smbclient"],
        steps: &[on(
            "client",
            "sized part 30000
            turn() { timeout 10 smbclient -t 4 //$SERVER/share -U ops%$PASSWORD -c \"ls; put part $NAME$i; get $NAME$i back\"; }
            repeat $COUNT $GAP turn; never_failed",
        )],
        variants: &[
            variant("fast", &[("COUNT", "25"), ("GAP", "0.2")]),
            variant("slow", &[("COUNT", "12"), ("GAP", "3")]).over(WAN),
            variant("refused", &[("COUNT", "20"), ("GAP", "1")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("tcp/445", 500)],
        ..BENIGN
    },
    Recipe {
        name: "torrent_dead_peers",
        about: "a torrent is fetched from a swarm, half of which has gone; DHT asks around",
        group: "aria2",
        roles: &[outside("server", 1), outside("seed", 2), outside("dead", 6), inside("client", 1)],
        services: &[TRACKER.on("server")],
        packages: &["aria2", "python3", "curl"],
        steps: &[
            on(
                "seed",
                "python3 $SCRATCH/torrent.py http://$SERVER:6969/announce $SIZE
                exec aria2c -q --listen-port=6881 --enable-dht=true --dht-listen-port=6882 --dht-entry-point=$SEED1:6882 --dht-file-path=dht \\
                    --check-integrity=true --seed-ratio=0.0 -d . content.torrent",
            )
            .ends(Ends::WithTheScene),
            on(
                "dead",
                "python3 $SCRATCH/torrent.py http://$SERVER:6969/announce $SIZE; rm content
                timeout -s KILL 4 aria2c -q --listen-port=6881 --enable-dht=true --dht-listen-port=6882 --dht-entry-point=$SEED1:6882 --dht-file-path=dht -d . --max-download-limit=1K content.torrent
                ip link set eth0 down",
            )
            .ends(Ends::Anyhow),
            on(
                "client",
                "python3 $SCRATCH/torrent.py http://$SERVER:6969/announce $SIZE; rm content
                timeout 45 aria2c -q --listen-port=6881 --enable-dht=true --dht-listen-port=6882 --dht-entry-point=$DEAD1:6882 --dht-entry-point=$SEED1:6882 --dht-file-path=dht \\
                    --max-download-limit=$RATE --seed-time=0 -d . content.torrent || test $? = 124",
            )
            .after(6),
        ],
        variants: &[
            variant("slow", &[("SIZE", "4000000"), ("RATE", "150K")]).over(FAR),
            variant("fast", &[("SIZE", "20000000"), ("RATE", "1M")]).over(WAN),
        ],
        checks: &[Check::Packets("tcp", 200), Check::Packets("udp", 10)],
        ..BENIGN
    },
    Recipe {
        name: "print_jobs",
        about: "desktops ask a printer for its state by IPP, and print (the printer is a server of ours)",
        group: "cups",
        roles: &[inside("server", 1), inside("client", 3)],
        services: &[PRINTER.on("server")],
        packages: &["cups-ipp-utils", "python3"],
        steps: &[on(
            "client",
            "sized page $SIZE
            turn() { timeout 6 ipptool -T 3 ipp://$SERVER_URL/ipp/print get-printer-attributes.test >/dev/null
                timeout 8 ipptool -T 3 -f page ipp://$SERVER_URL/ipp/print print-job.test >/dev/null; }
            repeat $COUNT $GAP turn",
        )],
        variants: &[
            variant("small", &[("COUNT", "12"), ("GAP", "1"), ("SIZE", "4000")]),
            variant("large", &[("COUNT", "4"), ("GAP", "5"), ("SIZE", "400000")]).over(WAN),
            variant("refused", &[("COUNT", "12"), ("GAP", "1"), ("SIZE", "4000")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("tcp/631", 200)],
        ..BENIGN
    },
];
