//! Ordinary use of SSH by machines: loops, file after file, sessions that are shared.

use super::super::recipe::{
    BENIGN, Check, FAR, Recipe, State, Variant, WAN, inside, on, outside, variant,
};
use super::services::{DROPBEAR, SSHD};

const PACKAGES: &[&str] = &["openssh-client", "rsync"];

/// Rates, paths and states that each loop over SSH is run in.
const LOOPS: &[Variant] = &[
    variant("fast", &[("COUNT", "60"), ("GAP", "0.1")]),
    variant("slow", &[("COUNT", "25"), ("GAP", "2")]).over(WAN),
    variant("far", &[("COUNT", "20"), ("GAP", "0.3")])
        .over(FAR)
        .v6(),
    variant("refused", &[("COUNT", "30"), ("GAP", "1")]).state(State::Refusing),
    variant("silent", &[("COUNT", "12"), ("GAP", "1")]).state(State::Silent),
];

const LOOP: Recipe = Recipe {
    group: "openssh",
    services: &[SSHD.on("server")],
    packages: PACKAGES,
    variants: LOOPS,
    checks: &[Check::Packets("tcp/22", 300)],
    ..BENIGN
};

pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: "ssh_loop",
        about: "a shell loop runs one command after the other, a connection each",
        steps: &[on(
            "client",
            "repeat $COUNT $GAP on_host $SERVER 'uptime; df'; never_failed",
        )],
        ..LOOP
    },
    Recipe {
        name: "ssh_fleet",
        about: "a shell loop goes over six hosts, a connection each",
        roles: &[inside("server", 6), inside("client", 1)],
        steps: &[on(
            "client",
            "visit() { on_host $(pick $i $SERVERS) 'cat /proc/loadavg'; }
            repeat $COUNT $GAP visit; never_failed",
        )],
        ..LOOP
    },
    Recipe {
        name: "ssh_shared",
        about: "the same loop with ControlPersist: one connection for all",
        steps: &[on(
            "client",
            "SSH_OPTIONS=\"$SSH_OPTIONS -o ControlMaster=auto -o ControlPath=$DATA/%C -o ControlPersist=20\"
            repeat $COUNT $GAP on_host $SERVER 'uptime; df'; on_host $SERVER -O exit; never_failed",
        )],
        checks: &[Check::Packets("tcp/22", 80)],
        ..LOOP
    },
    Recipe {
        name: "ssh_from_outside",
        about: "an administrator's script outside logs in over and over",
        roles: &[inside("server", 1), outside("client", 1)],
        steps: &[on(
            "client",
            "repeat $COUNT $GAP on_host $SERVER 'systemctl status; id'; [ $failures -lt $COUNT ]",
        )],
        ..LOOP
    },
    Recipe {
        name: "dropbear_loop",
        about: "a shell loop collects figures from a small device",
        group: "dropbear",
        services: &[DROPBEAR.on("server")],
        steps: &[on(
            "client",
            "repeat $COUNT $GAP on_host $SERVER 'cat /proc/loadavg /proc/net/dev'; never_failed",
        )],
        variants: &[
            variant("quick", &[("COUNT", "20"), ("GAP", "0.5")]),
            variant("slow", &[("COUNT", "20"), ("GAP", "2")]).over(WAN),
            variant("refused", &[("COUNT", "30"), ("GAP", "1")]).state(State::Refusing),
        ],
        ..LOOP
    },
    Recipe {
        name: "scp_files",
        about: "scp copies file after file, a connection each",
        steps: &[on(
            "client",
            "files $DATA/out $COUNT ${SIZE:-20000}
            copy() { scp -q $SSH_OPTIONS $DATA/out/file$i ops@$SERVER_URL:; }
            repeat $COUNT $GAP copy; never_failed",
        )],
        ..LOOP
    },
    Recipe {
        name: "sftp_files",
        about: "sftp in batches fetches a file, a connection each",
        steps: &[on(
            "client",
            "fetch() { echo 'get /etc/services' | sftp -q -b - $SSH_OPTIONS ops@$SERVER_URL:; }
            repeat $COUNT $GAP fetch; never_failed",
        )],
        ..LOOP
    },
    Recipe {
        name: "rsync_files",
        about: "rsync over SSH brings one folder after the other up to date",
        group: "rsync",
        steps: &[on(
            "client",
            "files $DATA/out 20 ${SIZE:-4000}
            bring() { sized $DATA/out/file$i 3000; rsync -a -e \"ssh $SSH_OPTIONS\" $DATA/out/ ops@$SERVER_URL:copy$((i % 3))/; }
            repeat $COUNT $GAP bring; never_failed",
        )],
        ..LOOP
    },
];
