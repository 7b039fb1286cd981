//! Mail that is sent, relayed and fetched.

use super::super::recipe::{
    BENIGN, Check, FAR, Program, Ready, Recipe, State, WAN, inside, on, outside, variant,
};

/// Takes mail and throws it away.
pub static SINK: Program = Program {
    name: "smtp-sink",
    packages: &["postfix"],
    start: "exec smtp-sink -v -u nobody -h $NAME.$DOMAIN $SELF_URL:25 500",
    ready: Ready::Tcp(25),
};

pub static DOVECOT: Program = Program {
    name: "dovecot",
    packages: &["dovecot-imapd", "dovecot-pop3d"],
    start: "mkdir -p /run/dovecot $DATA/mail
        chown -R 20001 $DATA/mail
        cat >$DATA/conf <<END
base_dir = /run/dovecot
protocols = imap pop3
listen = *, ::
ssl = no
disable_plaintext_auth = no
mail_location = maildir:$DATA/mail/%u
passdb {
  driver = static
  args = password=$PASSWORD
}
userdb {
  driver = static
  args = uid=20001 gid=20001 home=$DATA/mail/%u
}
auth_failure_delay = 1 secs
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
log_path = /dev/stderr
auth_verbose = yes
END
        exec dovecot -F -c $DATA/conf",
    ready: Ready::Tcp(143),
};

pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: "mail_relay",
        about: "a relay delivers to forty servers outside, some of them away",
        group: "swaks",
        roles: &[inside("client", 1), outside("server", 40)],
        services: &[SINK.on("server")],
        packages: &["swaks"],
        steps: &[on(
            "client",
            "for turn in $(seq $COUNT); do for host in $SERVERS; do
                swaks --server $host --timeout 3 --helo $NAME.$DOMAIN --from a@shop.example --to b@shop.example --body \"$(words $host 40)\" >/dev/null
                sleep $GAP
            done; done; true",
        )],
        variants: &[
            variant("quick", &[("COUNT", "2"), ("GAP", "0.05")]).over(WAN),
            variant("slow", &[("COUNT", "1"), ("GAP", "1")]).over(FAR),
            variant("refused", &[("COUNT", "1"), ("GAP", "0.5")]).state(State::Refusing),
            variant("silent", &[("COUNT", "1"), ("GAP", "0.2")]).state(State::Silent),
        ],
        checks: &[Check::Packets("tcp/25", 400)],
        limit_s: 180,
        ..BENIGN
    },
    Recipe {
        name: "mail_list",
        about: "a list server gives one smart host many messages, a connection each",
        group: "postfix",
        roles: &[inside("client", 1), outside("server", 1)],
        services: &[SINK.on("server")],
        packages: &["postfix"],
        steps: &[on(
            "client",
            "repeat $COUNT $GAP timeout 20 smtp-source -d -s $SESSIONS -m $MESSAGES -f a@shop.example -t b@shop.example -l 3000 inet:$SERVER_URL:25; never_failed",
        )],
        variants: &[
            variant("bursts", &[("COUNT", "6"), ("GAP", "5"), ("SESSIONS", "8"), ("MESSAGES", "60")]).over(WAN),
            variant("steady", &[("COUNT", "35"), ("GAP", "0.7"), ("SESSIONS", "1"), ("MESSAGES", "1")]).over(FAR),
            variant("refused", &[("COUNT", "40"), ("GAP", "1"), ("SESSIONS", "1"), ("MESSAGES", "1")]).state(State::Refusing),
        ],
        checks: &[Check::Packets("tcp/25", 400)],
        ..BENIGN
    },
    Recipe {
        name: "imap_polls",
        about: "mail programs log in, look, and log out, over and over",
        group: "dovecot",
        roles: &[inside("client", 3), inside("server", 1)],
        services: &[DOVECOT.on("server")],
        packages: &["curl"],
        steps: &[on(
            "client",
            "repeat $COUNT $GAP curl -s --max-time 5 --user user$NUMBER:$PASSWORD \"imap://$SERVER_URL/INBOX?ALL\"; never_failed",
        )],
        variants: &[
            variant("fast", &[("COUNT", "40"), ("GAP", "0.3")]).over(WAN),
            variant("slow", &[("COUNT", "12"), ("GAP", "4")]).over(FAR).v6(),
            variant("refused", &[("COUNT", "30"), ("GAP", "1")]).state(State::Refusing),
            variant("silent", &[("COUNT", "6"), ("GAP", "1")]).state(State::Silent),
        ],
        checks: &[Check::Packets("tcp/143", 300)],
        ..BENIGN
    },
];
