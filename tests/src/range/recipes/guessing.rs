//! Passwords guessed by tools.

use super::super::recipe::{
    ATTACK, Check, Ends, FAR, Recipe, Variant, WAN, inside, on, outside, variant,
};
use super::databases::{MARIADB, MOSQUITTO, POSTGRES, REDIS, SLAPD};
use super::mail::DOVECOT;
use super::media::SMBD;
use super::monitoring::SNMPD;
use super::services::{DROPBEAR, LOGIN_FORM, NGINX, SSHD, VSFTPD};

/// Word lists of a guesser: the account that is there among others, and none of its passwords.
macro_rules! lists {
    ($rest:literal) => {
        concat!(
            "printf '%s\\n' root admin ops backup test >users
            words passwords ${WORDS:-60} >passwords\n",
            $rest
        )
    };
}

const RATES: &[Variant] = &[
    variant("quick", &[("TASKS", "4"), ("PAUSE", "0"), ("WORDS", "20")]).over(WAN),
    variant("busy", &[("TASKS", "4"), ("PAUSE", "0"), ("WORDS", "20")])
        .over(WAN)
        .busy(),
    variant("single", &[("TASKS", "1"), ("PAUSE", "0"), ("WORDS", "4")])
        .over(FAR)
        .v6(),
];

/// Variants for tools that can't be given an IPv6 address.
const RATES_V4: &[Variant] = &[
    RATES[0],
    RATES[1],
    variant("single", &[("TASKS", "1"), ("PAUSE", "0"), ("WORDS", "4")]).over(FAR),
];

const GUESS: Recipe = Recipe {
    attack: "ssh_bruteforce",
    services: &[SSHD.on("server")],
    variants: RATES,
    checks: &[
        Check::Packets("tcp/22", 120),
        Check::Says("sshd", "Failed password", 12),
    ],
    limit_s: 150,
    ..ATTACK
};

/// Variants for tools that find no service far away.
const FEW: &[Variant] = &[RATES[0], RATES[1]];

macro_rules! guess {
    ($name:literal, $($rest:tt)*) => { guess!(RATES_V4, $name, $($rest)*) };
    ($variants:ident, $name:literal, $attack:literal, $group:literal, $about:literal, $service:ident, $says:literal, $text:literal, $least:literal, $port:literal, $shell:expr) => {
        Recipe {
            name: $name,
            about: $about,
            attack: $attack,
            group: $group,
            packages: &[$group],
            services: &[$service.on("server")],
            steps: &[on("attacker", $shell)],
            variants: $variants,
            checks: &[Check::Packets($port, 20), Check::Says($says, $text, $least)],
            ..GUESS
        }
    };
}

pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: "hydra_ssh",
        about: "hydra guesses SSH passwords",
        group: "hydra",
        packages: &["hydra"],
        steps: &[on(
            "attacker",
            lists!(
                "hydra -I -t $TASKS -c $PAUSE -L users -P passwords ssh://$SERVER_URL || test $? = 255"
            ),
        )],
        ..GUESS
    },
    Recipe {
        name: "medusa_ssh",
        about: "medusa guesses SSH passwords",
        group: "medusa",
        packages: &["medusa"],
        steps: &[on(
            "attacker",
            lists!("medusa -h $SERVER -U users -P passwords -M ssh -t $TASKS"),
        )],
        variants: RATES_V4,
        ..GUESS
    },
    Recipe {
        name: "ncrack_ssh",
        about: "ncrack guesses SSH passwords",
        group: "ncrack",
        packages: &["ncrack"],
        steps: &[on(
            "attacker",
            lists!("timeout 90 ncrack -U users -P passwords ssh://$SERVER,CL=$TASKS"),
        )
        .ends(Ends::Anyhow)],
        variants: &[
            variant("quick", &[("TASKS", "4"), ("WORDS", "20")]).over(WAN),
            variant("busy", &[("TASKS", "4"), ("WORDS", "20")])
                .over(WAN)
                .busy(),
            variant("single", &[("TASKS", "1"), ("WORDS", "8")]).over(FAR),
        ],
        ..GUESS
    },
    Recipe {
        name: "sshpass_dropbear",
        about: "a shell script guesses SSH passwords of a small device with sshpass",
        group: "sshpass",
        packages: &["sshpass", "openssh-client"],
        services: &[DROPBEAR.on("server")],
        steps: &[on(
            "attacker",
            lists!("guess() {
                for user in ops root admin; do
                    sshpass -p $1 ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
                        -o PubkeyAuthentication=no -o NumberOfPasswordPrompts=1 -o LogLevel=ERROR $user@$SERVER true
                    sleep $PAUSE
                done
            }
            for word in $(cat passwords); do guess $word; done"),
        )],
        variants: &[
            variant("quick", &[("PAUSE", "0"), ("WORDS", "8")]),
            variant("busy", &[("PAUSE", "2"), ("WORDS", "8")])
                .over(WAN)
                .busy(),
        ],
        checks: &[
            Check::Packets("tcp/22", 100),
            Check::Says("dropbear", "Bad password attempt", 12),
        ],
        ..GUESS
    },
    Recipe {
        name: "patator_ssh",
        about: "patator guesses SSH passwords",
        group: "patator",
        packages: &["patator"],
        steps: &[on(
            "attacker",
            lists!(
                "patator ssh_login host=$SERVER user=FILE0 password=FILE1 0=users 1=passwords -t $TASKS"
            ),
        )],
        variants: RATES_V4,
        ..GUESS
    },
    Recipe {
        name: "hydra_ssh_spread",
        about: "twenty sources guess SSH passwords together, each slowly",
        group: "hydra",
        packages: &["hydra"],
        roles: &[
            inside("server", 1),
            outside("attacker", 20),
        ],
        steps: &[on(
            "attacker",
            lists!(
                "sleep $NUMBER
            hydra -I -t 1 -c $PAUSE -l root -P passwords ssh://$SERVER_URL || test $? = 255"
            ),
        )],
        variants: &[
            variant("slow", &[("PAUSE", "5"), ("WORDS", "10")]).over(WAN),
            variant("busy", &[("PAUSE", "5"), ("WORDS", "10")])
                .over(WAN)
                .busy(),
        ],
        ..GUESS
    },
    Recipe {
        name: "hydra_ftp",
        about: "hydra guesses FTP passwords",
        attack: "ftp_bruteforce",
        group: "hydra",
        packages: &["hydra"],
        services: &[VSFTPD.on("server")],
        steps: &[on(
            "attacker",
            lists!(
                "hydra -I -t $TASKS -c $PAUSE -L users -P passwords ftp://$SERVER_URL || test $? = 255"
            ),
        )],
        checks: &[
            Check::Packets("tcp/21", 150),
            Check::Says("vsftpd", "FAIL LOGIN", 8),
        ],
        ..GUESS
    },
    Recipe {
        name: "hydra_ssh_slow",
        about: "hydra guesses one SSH password in five to eight seconds",
        group: "hydra",
        packages: &["hydra"],
        steps: &[on(
            "attacker",
            lists!("hydra -I -t 1 -c $PAUSE -l root -P passwords ssh://$SERVER_URL || test $? = 255"),
        )],
        variants: &[
            variant("alone", &[("PAUSE", "2"), ("WORDS", "20")]).over(WAN),
            variant("busy", &[("PAUSE", "2"), ("WORDS", "20")]).over(WAN).busy(),
        ],
        limit_s: 240,
        checks: &[Check::Packets("tcp/22", 200), Check::Says("sshd", "Failed password", 12)],
        ..GUESS
    },
    Recipe {
        name: "ncrack_ssh_slow",
        about: "ncrack opens one SSH connection in four seconds",
        group: "ncrack",
        packages: &["ncrack"],
        steps: &[on(
            "attacker",
            lists!("timeout 130 ncrack -U users -P passwords ssh://$SERVER,CL=1,cd=4s,at=1"),
        )
        .ends(Ends::Anyhow)],
        variants: &[
            variant("alone", &[("WORDS", "20")]).over(WAN),
            variant("busy", &[("WORDS", "20")]).over(WAN).busy(),
        ],
        limit_s: 200,
        checks: &[Check::Packets("tcp/22", 200), Check::Says("sshd", "Failed password", 12)],
        ..GUESS
    },
    Recipe {
        name: "ncrack_ftp",
        about: "ncrack guesses FTP passwords",
        attack: "ftp_bruteforce",
        group: "ncrack",
        packages: &["ncrack"],
        services: &[VSFTPD.on("server")],
        steps: &[on(
            "attacker",
            lists!("timeout 60 ncrack -U users -P passwords ftp://$SERVER,CL=$TASKS"),
        )
        .ends(Ends::Anyhow)],
        variants: RATES_V4,
        checks: &[Check::Packets("tcp/21", 100), Check::Says("vsftpd", "FAIL LOGIN", 10)],
        ..GUESS
    },
    guess!("hydra_http_basic", "http_bruteforce", "hydra", "hydra guesses passwords of a web page", NGINX, "nginx", "\" 401 ", 12, "tcp/80",
        lists!("hydra -I -t $TASKS -c $PAUSE -L users -P passwords http-get://$SERVER_URL/private/ || test $? = 255")),
    guess!("medusa_http_basic", "http_bruteforce", "medusa", "medusa guesses passwords of a web page", NGINX, "nginx", "\" 401 ", 12, "tcp/80",
        lists!("medusa -h $SERVER -U users -P passwords -M http -m DIR:/private/ -t $TASKS")),
    guess!("patator_http_basic", "http_bruteforce", "patator", "patator guesses passwords of a web page", NGINX, "nginx", "\" 401 ", 12, "tcp/80",
        lists!("patator http_fuzz resolve=unused.example:127.0.0.1 url=http://$SERVER/private/ user_pass=FILE0:FILE1 0=users 1=passwords -t $TASKS -x ignore:code=401")),
    guess!("hydra_mysql", "mysql_bruteforce", "hydra", "hydra guesses database passwords", MARIADB, "mariadb", "Access denied", 12, "tcp/3306",
        lists!("hydra -I -t $TASKS -c $PAUSE -L users -P passwords mysql://$SERVER_URL || test $? = 255")),
    guess!("patator_mysql", "mysql_bruteforce", "patator", "patator guesses database passwords", MARIADB, "mariadb", "Access denied", 12, "tcp/3306",
        lists!("patator mysql_login host=$SERVER user=FILE0 password=FILE1 0=users 1=passwords -t $TASKS")),
    guess!("hydra_postgres", "postgres_bruteforce", "hydra", "hydra guesses database passwords", POSTGRES, "postgres", "password authentication failed", 12, "tcp/5432",
        lists!("hydra -I -t $TASKS -c $PAUSE -L users -P passwords postgres://$SERVER_URL || test $? = 255")),
    guess!("hydra_redis", "redis_bruteforce", "hydra", "hydra guesses the password of a cache", REDIS, "attacker", "0 valid password", 1, "tcp/6379",
        lists!("words passwords 40 >passwords; hydra -I -t $TASKS -c $PAUSE -P passwords redis://$SERVER_URL || test $? = 255")),
    guess!("hydra_imap", "imap_bruteforce", "hydra", "hydra guesses mail passwords", DOVECOT, "dovecot", "Password mismatch", 12, "tcp/143",
        lists!("timeout 100 hydra -I -t $TASKS -c $PAUSE -L users -P passwords imap://$SERVER_URL || true")),
    guess!("hydra_pop3", "pop3_bruteforce", "hydra", "hydra guesses mail passwords", DOVECOT, "dovecot", "Password mismatch", 12, "tcp/110",
        lists!("timeout 100 hydra -I -t $TASKS -c $PAUSE -L users -P passwords pop3://$SERVER_URL || true")),
    guess!("hydra_http_form", "http_bruteforce", "hydra", "hydra guesses passwords of a form on a web page (the page is a server of ours)", LOGIN_FORM, "login-form", "\" 200 ", 12, "tcp/80",
        lists!("hydra -I -t $TASKS -c $PAUSE -L users -P passwords $SERVER http-post-form '/login:user=^USER^&password=^PASS^:wrong' || test $? = 255")),
    guess!(FEW, "hydra_snmp", "snmp_bruteforce", "hydra", "hydra guesses SNMP communities", SNMPD, "attacker", "0 valid password", 1, "udp/161",
        lists!("words passwords 60 >passwords; hydra -I -t $TASKS -c $PAUSE -P passwords snmp://$SERVER_URL || test $? = 255")),
    guess!("medusa_imap", "imap_bruteforce", "medusa", "medusa guesses mail passwords", DOVECOT, "dovecot", "Password mismatch", 12, "tcp/143",
        lists!("timeout 100 medusa -h $SERVER -U users -P passwords -M imap -t $TASKS || true")),
    guess!("hydra_ldap", "ldap_bruteforce", "hydra", "hydra guesses passwords of a directory", SLAPD, "slapd", "err=49", 12, "tcp/389",
        lists!("words passwords 40 >passwords; hydra -I -t $TASKS -c $PAUSE -l cn=admin,dc=example -P passwords ldap3://$SERVER_URL || test $? = 255")),
    guess!(FEW, "ncrack_mqtt", "mqtt_bruteforce", "ncrack", "ncrack guesses passwords of a message broker", MOSQUITTO, "mosquitto", "not authorised", 12, "tcp/1883",
        lists!("timeout 60 ncrack -U users -P passwords mqtt://$SERVER,CL=$TASKS || true")),
    guess!("smbclient_guess", "smb_bruteforce", "smbclient", "a shell script guesses passwords of a share with smbclient", SMBD, "smbd", "NT_STATUS_WRONG_PASSWORD", 4, "tcp/445",
        lists!("for word in $(cat passwords); do smbclient //$SERVER/share -U ops%$word -c ls; sleep $PAUSE; done; true")),
    Recipe {
        name: "onesixtyone_snmp",
        about: "onesixtyone guesses SNMP communities",
        attack: "snmp_bruteforce",
        group: "onesixtyone",
        packages: &["onesixtyone"],
        services: &[SNMPD.on("server")],
        steps: &[on(
            "attacker",
            lists!("onesixtyone -c passwords -w $PAUSE $SERVER"),
        )],
        variants: &[
            variant("quick", &[("WORDS", "300"), ("PAUSE", "10")]).over(WAN),
            variant("slow", &[("WORDS", "80"), ("PAUSE", "500")]).over(WAN),
            variant("busy", &[("WORDS", "300"), ("PAUSE", "10")]).over(WAN).busy(),
        ],
        checks: &[Check::Packets("udp/161", 75)],
        ..GUESS
    },
    Recipe {
        name: "sprayed_http",
        about: "twenty sources guess passwords of a web page together, one in three seconds each",
        attack: "http_bruteforce",
        group: "curl",
        packages: &["curl"],
        roles: &[inside("server", 1), outside("attacker", 20)],
        services: &[NGINX.on("server")],
        steps: &[on(
            "attacker",
            lists!("sleep 0.$((NUMBER % 10))
            guess() { curl -s -o /dev/null -u ops:$(pick $((i + NUMBER)) $(cat passwords)) http://$SERVER_URL/private/; }
            repeat 12 $PAUSE guess"),
        )],
        variants: &[
            variant("alone", &[("PAUSE", "3"), ("WORDS", "60")]).over(WAN),
            variant("busy", &[("PAUSE", "3"), ("WORDS", "60")]).over(WAN).busy(),
        ],
        checks: &[Check::Packets("tcp/80", 1_000), Check::Says("nginx", "\" 401 ", 200)],
        ..GUESS
    },
];
