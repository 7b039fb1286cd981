//! Configuration management, version control and backups.

use super::super::recipe::{
    BENIGN, Check, FAR, Program, Ready, Recipe, State, WAN, inside, on, outside, variant,
};
use super::services::{NGINX, SSHD};

static RSYNCD: Program = Program {
    name: "rsyncd",
    packages: &["rsync"],
    start: "files $DATA/mirror 40 15000
        printf \"uid = root\\ngid = root\\nuse chroot = no\\n[mirror]\\npath = $DATA/mirror\\nread only = yes\\n\" >$DATA/conf
        exec rsync --daemon --no-detach --config=$DATA/conf --log-file=/dev/stdout",
    ready: Ready::Tcp(873),
};

static GIT_DAEMON: Program = Program {
    name: "git-daemon",
    packages: &["git"],
    start: "cd $DATA
        git init -q --initial-branch=main work
        git -C work config user.email ops@example
        git -C work config user.name ops
        files $DATA/work/src 30 2000
        git -C work add -A
        git -C work commit -q -m first
        git clone -q --bare work project.git
        exec git daemon --reuseaddr --export-all --base-path=$DATA --verbose $DATA",
    ready: Ready::Tcp(9418),
};

pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: "ansible_run",
        about: "Ansible runs commands and copies files on six hosts",
        group: "ansible",
        roles: &[inside("server", 6), inside("client", 1)],
        services: &[SSHD.on("server")],
        packages: &["ansible-core", "openssh-client"],
        steps: &[on(
            "client",
            "for host in $SERVERS; do echo \"$host ansible_python_interpreter=/usr/bin/python3\"; done >hosts.ini
            export ANSIBLE_HOST_KEY_CHECKING=False ANSIBLE_FORKS=$FORKS ANSIBLE_SSH_ARGS=\"$SSH_OPTIONS -o ControlMaster=$SHARED -o ControlPersist=30s\"
            run() { ansible -i hosts.ini all -u ops \"$@\"; }
            run -m command -a uptime
            run -m copy -a 'src=/etc/services dest=services'
            run -m shell -a 'df; free'; [ $? = 0 ] || [ $FORKS = 3 ]",
        )],
        variants: &[
            variant("shared", &[("FORKS", "5"), ("SHARED", "auto")]),
            variant("single", &[("FORKS", "1"), ("SHARED", "no")]).over(WAN),
            variant("refused", &[("FORKS", "3"), ("SHARED", "no")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("tcp/22", 500)],
        limit_s: 180,
        ..BENIGN
    },
    Recipe {
        name: "git_over_ssh",
        about: "a build server asks a repository over SSH for news, and fetches",
        group: "git",
        services: &[SSHD.on("server")],
        packages: &["git", "openssh-client"],
        steps: &[on(
            "client",
            "export GIT_SSH_COMMAND=\"ssh $SSH_OPTIONS\"
            on_host $SERVER 'git init -q --bare project.git'
            git init -q --initial-branch=main work
            git -C work config user.email ops@example; git -C work config user.name ops
            turn() {
                git -C work commit -q --allow-empty -m $i && git -C work push -q ssh://ops@$SERVER_URL/~/project.git main
                git ls-remote ssh://ops@$SERVER_URL/~/project.git
            }
            repeat $COUNT $GAP turn; never_failed",
        )],
        variants: &[
            variant("fast", &[("COUNT", "25"), ("GAP", "0.2")]),
            variant("slow", &[("COUNT", "12"), ("GAP", "3")]).over(FAR),
            variant("refused", &[("COUNT", "20"), ("GAP", "1")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("tcp/22", 300)],
        ..BENIGN
    },
    Recipe {
        name: "git_clones",
        about: "build jobs clone a repository over and over",
        group: "git",
        roles: &[outside("server", 1), inside("client", 2)],
        services: &[GIT_DAEMON.on("server")],
        packages: &["git"],
        steps: &[on(
            "client",
            "turn() { timeout 8 git clone -q git://$SERVER_URL/project.git copy$i; }
            repeat $COUNT $GAP turn; never_failed",
        )],
        variants: &[
            variant("fast", &[("COUNT", "30"), ("GAP", "0.2")]).over(WAN),
            variant("slow", &[("COUNT", "10"), ("GAP", "4")]).over(FAR).v6(),
            variant("refused", &[("COUNT", "20"), ("GAP", "1")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("tcp/9418", 200)],
        ..BENIGN
    },
    Recipe {
        name: "borg_backups",
        about: "Borg backs up over SSH, and prunes",
        group: "borg",
        services: &[SSHD.on("server")],
        packages: &["borgbackup", "openssh-client"],
        steps: &[on(
            "client",
            "export BORG_RSH=\"ssh $SSH_OPTIONS\" BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes
            repo=ssh://ops@$SERVER_URL/./repo
            borg init -e none $repo
            files data $FILES $SIZE
            turn() { sized data/new$i $SIZE; borg create $repo::$i data && borg list $repo; }
            repeat $COUNT 1 turn; never_failed",
        )],
        variants: &[
            variant("small", &[("COUNT", "8"), ("FILES", "20"), ("SIZE", "20000")]),
            variant("large", &[("COUNT", "3"), ("FILES", "20"), ("SIZE", "500000")]).over(WAN),
            variant("refused", &[("COUNT", "10"), ("FILES", "2"), ("SIZE", "2000")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("tcp/22", 300)],
        ..BENIGN
    },
    Recipe {
        name: "restic_backups",
        about: "restic backs up over SFTP",
        group: "restic",
        services: &[SSHD.on("server")],
        packages: &["restic", "openssh-client"],
        steps: &[on(
            "client",
            "export RESTIC_PASSWORD=x
            to=\"-r sftp:ops@$SERVER:repo -o sftp.command='ssh $SSH_OPTIONS ops@$SERVER -s sftp' --no-cache\"
            eval restic $to init
            files data $FILES $SIZE
            turn() { sized data/new$i $SIZE; eval restic $to backup data; }
            repeat $COUNT 1 turn; never_failed",
        )],
        variants: &[
            variant("small", &[("COUNT", "5"), ("FILES", "10"), ("SIZE", "20000")]),
            variant("large", &[("COUNT", "2"), ("FILES", "20"), ("SIZE", "500000")]).over(WAN),
            variant("refused", &[("COUNT", "6"), ("FILES", "2"), ("SIZE", "2000")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("tcp/22", 300)],
        limit_s: 150,
        ..BENIGN
    },
    Recipe {
        name: "rsync_mirror",
        about: "mirrors ask an rsync daemon outside for news",
        group: "rsync",
        roles: &[outside("server", 1), inside("client", 2)],
        services: &[RSYNCD.on("server")],
        packages: &["rsync"],
        steps: &[on(
            "client",
            "turn() { [ $((i % 5)) = 0 ] && rm -rf copy; rsync -a --timeout=4 --contimeout=3 rsync://$SERVER_URL/mirror/ copy/; }
            repeat $COUNT $GAP turn; never_failed",
        )],
        variants: &[
            variant("fast", &[("COUNT", "40"), ("GAP", "0.2")]).over(WAN),
            variant("slow", &[("COUNT", "12"), ("GAP", "3")]).over(FAR).v6(),
            variant("silent", &[("COUNT", "8"), ("GAP", "2")]).state(State::Silent),
        ],
        checks: &[Check::Packets("tcp/873", 300)],
        ..BENIGN
    },
    Recipe {
        name: "first_upload",
        about: "a first backup goes to a store outside: much up, nothing down",
        group: "curl",
        roles: &[outside("server", 1), inside("client", 1)],
        services: &[NGINX.on("server")],
        packages: &["curl"],
        steps: &[on(
            "client",
            "turn() { sized part $SIZE; curl -sf --limit-rate ${LIMIT:-4M} --connect-timeout 3 -T part http://$SERVER_URL/upload/part$i; }
            repeat $COUNT 0.5 turn; never_failed",
        )],
        variants: &[
            variant("parts", &[("COUNT", "20"), ("SIZE", "1000000")]).over(WAN),
            variant("whole", &[("COUNT", "1"), ("SIZE", "30000000")]).over(WAN),
            variant("refused", &[("COUNT", "20"), ("SIZE", "1000")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("tcp/80", 1_000)],
        ..BENIGN
    },
];
