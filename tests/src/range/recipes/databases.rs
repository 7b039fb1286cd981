//! Ordinary clients of databases, caches, directories and brokers that connect for each action.

use super::super::recipe::{
    BENIGN, Check, FAR, Program, Ready, Recipe, State, Variant, WAN, inside, on, variant,
};

pub static MARIADB: Program = Program {
    name: "mariadb",
    packages: &["mariadb-server", "mariadb-client"],
    start: "mariadb-install-db --no-defaults --user=root --datadir=$DATA/db --skip-test-db \\
            --innodb-use-native-aio=0 --auth-root-authentication-method=normal >/dev/null || exit 1
        echo \"CREATE DATABASE shop; CREATE TABLE shop.stock (id INT PRIMARY KEY, n INT);
            INSERT INTO shop.stock VALUES (1, 5), (7, 70);
            CREATE USER app@'%' IDENTIFIED BY '$PASSWORD'; GRANT ALL ON shop.* TO app@'%';\" | tr '\\n' ' ' | sed 's/; */;\\n/g' >$DATA/init.sql
        exec mariadbd --no-defaults --user=root --datadir=$DATA/db --socket=$DATA/socket \\
            --pid-file=$DATA/pid --bind-address='*' --skip-name-resolve --log-warnings=2 \\
            --innodb-use-native-aio=0 --innodb-buffer-pool-size=16M --init-file=$DATA/init.sql --max-connections=400",
    ready: Ready::Tcp(3306),
};

pub static POSTGRES: Program = Program {
    name: "postgres",
    packages: &["postgresql", "postgresql-client"],
    start: "bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
        mkdir -p $DATA/db
        echo $PASSWORD >$DATA/password
        chown -R postgres $DATA
        chmod 755 $DATA
        as='setpriv --reuid=postgres --regid=postgres --clear-groups'
        $as $bin/initdb -D $DATA/db -U app --pwfile=$DATA/password -A scram-sha-256 --no-sync >/dev/null
        printf 'host all all 0.0.0.0/0 scram-sha-256\\nhost all all ::/0 scram-sha-256\\n' >>$DATA/db/pg_hba.conf
        exec $as $bin/postgres -D $DATA/db -k $DATA/db -c listen_addresses='*' -c max_connections=200 \\
            -c log_connections=on -c fsync=off",
    ready: Ready::Tcp(5432),
};

pub static REDIS: Program = Program {
    name: "redis",
    packages: &["redis-server", "redis-tools"],
    start: "exec redis-server --port 6379 --bind '0.0.0.0 ::' --save '' --requirepass $PASSWORD --dir $DATA",
    ready: Ready::Tcp(6379),
};

static MEMCACHED: Program = Program {
    name: "memcached",
    packages: &["memcached"],
    start: "exec memcached -u root -p 11211 -l 0.0.0.0,:: -v",
    ready: Ready::Tcp(11211),
};

pub static SLAPD: Program = Program {
    name: "slapd",
    packages: &["slapd", "ldap-utils"],
    start: "mkdir -p $DATA/ldap
        cat >$DATA/slapd.conf <<END
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile $DATA/pid
database mdb
suffix \"dc=example\"
rootdn \"cn=admin,dc=example\"
rootpw $PASSWORD
directory $DATA/ldap
END
        printf 'dn: dc=example\\nobjectClass: dcObject\\nobjectClass: organization\\ndc: example\\no: example\\n' |
            slapadd -f $DATA/slapd.conf
        exec slapd -d stats -f $DATA/slapd.conf -h 'ldap://:389'",
    ready: Ready::Tcp(389),
};

pub static MOSQUITTO: Program = Program {
    name: "mosquitto",
    packages: &["mosquitto", "mosquitto-clients"],
    start: "mosquitto_passwd -b -c $DATA/passwords ops $PASSWORD
        printf \"listener 1883\\nallow_anonymous false\\npassword_file $DATA/passwords\\nuser root\\nlog_dest stdout\\n\" >$DATA/conf
        exec mosquitto -c $DATA/conf",
    ready: Ready::Tcp(1883),
};

/// Rates, paths and states of clients that connect for each action.
const ACTIONS: &[Variant] = &[
    variant("second", &[("COUNT", "40"), ("GAP", "1")]),
    variant("fast", &[("COUNT", "120"), ("GAP", "0.05")]).over(WAN),
    variant("slow", &[("COUNT", "15"), ("GAP", "4")])
        .over(FAR)
        .v6(),
    variant("refused", &[("COUNT", "60"), ("GAP", "0.5")]).state(State::Refusing),
    variant("silent", &[("COUNT", "10"), ("GAP", "1")]).state(State::Silent),
];

const ACTION: Recipe = Recipe {
    variants: ACTIONS,
    ..BENIGN
};

/// Clients of a pool that each come back at once.
const POOLS: &[Variant] = &[
    variant("small", &[("CLIENTS", "3"), ("COUNT", "100")]),
    variant("large", &[("CLIENTS", "10"), ("COUNT", "300")]).over(WAN),
    variant("refused", &[("CLIENTS", "10"), ("COUNT", "100")]).state(State::Refusing),
];

pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: "mysql_select",
        about: "a monitor asks SELECT 1, a connection each",
        group: "mariadb",
        services: &[MARIADB.on("server")],
        steps: &[on(
            "client",
            "repeat $COUNT $GAP mariadb --no-defaults --connect-timeout=3 -h $SERVER -u app -p$PASSWORD -e 'SELECT 1' shop; never_failed",
        )],
        checks: &[Check::Packets("tcp/3306", 200)],
        ..ACTION
    },
    Recipe {
        name: "mysql_slap",
        about: "a pool of workers asks a database, a connection for each query",
        group: "mariadb",
        services: &[MARIADB.on("server")],
        steps: &[on(
            "client",
            "repeat 3 1 mariadb-slap --no-defaults -h $SERVER -u app -p$PASSWORD --create-schema=shop \\
                --concurrency=$CLIENTS --number-of-queries=$COUNT --detach=1 --query='SELECT n FROM stock WHERE id = 7'",
        )],
        variants: POOLS,
        checks: &[Check::Packets("tcp/3306", 200)],
        ..BENIGN
    },
    Recipe {
        name: "postgres_select",
        about: "a script asks SELECT 1, a connection each",
        group: "postgresql",
        services: &[POSTGRES.on("server")],
        steps: &[on(
            "client",
            "repeat $COUNT $GAP psql \"host=$SERVER user=app password=$PASSWORD dbname=postgres connect_timeout=3 sslmode=disable\" -c 'SELECT 1'; never_failed",
        )],
        checks: &[Check::Packets("tcp/5432", 200)],
        ..ACTION
    },
    Recipe {
        name: "pgbench_connect",
        about: "pgbench -C: a connection for each transaction",
        group: "postgresql",
        services: &[POSTGRES.on("server")],
        packages: &["postgresql"],
        steps: &[on(
            "client",
            "echo 'SELECT 1;' >script
            PGPASSWORD=$PASSWORD $(ls /usr/lib/postgresql/*/bin/pgbench | tail -n 1) -n -C -h $SERVER -U app \\
                -f script -c $CLIENTS -t $((COUNT / CLIENTS)) --rate=40 postgres",
        )],
        variants: POOLS,
        checks: &[Check::Packets("tcp/5432", 200)],
        ..BENIGN
    },
    Recipe {
        name: "redis_action",
        about: "a script sets and gets, a connection each",
        group: "redis",
        services: &[REDIS.on("server")],
        packages: &["redis-tools"],
        steps: &[on(
            "client",
            "act() { timeout 3 redis-cli --no-auth-warning -h $SERVER -a $PASSWORD set job:$i $i; }
            repeat $COUNT $GAP act; never_failed",
        )],
        checks: &[Check::Packets("tcp/6379", 150)],
        ..ACTION
    },
    Recipe {
        name: "memcached_action",
        about: "a script asks a cache, a connection each",
        group: "memcached",
        services: &[MEMCACHED.on("server")],
        packages: &["netcat-openbsd"],
        steps: &[on(
            "client",
            "act() { printf 'set k%d 0 60 5\\r\\nhello\\r\\nget k%d\\r\\nquit\\r\\n' $i $i | nc -w 2 $SERVER 11211; }
            repeat $COUNT $GAP act; never_failed",
        )],
        checks: &[Check::Packets("tcp/11211", 150)],
        ..ACTION
    },
    Recipe {
        name: "ldap_bind",
        about: "an application binds for each user that logs in",
        group: "openldap",
        services: &[SLAPD.on("server")],
        packages: &["ldap-utils"],
        steps: &[on(
            "client",
            "repeat $COUNT $GAP ldapsearch -x -o nettimeout=3 -H ldap://$SERVER_URL -D cn=admin,dc=example -w $PASSWORD -b dc=example; never_failed",
        )],
        checks: &[Check::Packets("tcp/389", 150)],
        ..ACTION
    },
    Recipe {
        name: "mqtt_publish",
        about: "sensors connect to publish one value each",
        group: "mosquitto",
        roles: &[inside("server", 1), inside("client", 3)],
        services: &[MOSQUITTO.on("server")],
        packages: &["mosquitto-clients"],
        steps: &[on(
            "client",
            "repeat $COUNT $GAP timeout 4 mosquitto_pub -h $SERVER -u ops -P $PASSWORD -t site/$NAME/temperature -m 21.$NUMBER; never_failed",
        )],
        checks: &[Check::Packets("tcp/1883", 300)],
        ..ACTION
    },
    Recipe {
        name: "mqtt_subscribers",
        about: "displays stay connected while sensors publish over one connection each",
        group: "mosquitto",
        roles: &[inside("server", 1), inside("client", 2), inside("display", 6)],
        services: &[MOSQUITTO.on("server")],
        packages: &["mosquitto-clients"],
        steps: &[
            on(
                "client",
                "for n in $(seq $COUNT); do echo \"{\\\"n\\\":$n}\"; sleep $GAP; done |
                    mosquitto_pub -h $SERVER -u ops -P $PASSWORD -q 1 -t site/$NAME -l || test $COUNT = 60",
            ),
            on(
                "display",
                "while :; do mosquitto_sub -k 10 -h $SERVER -u ops -P $PASSWORD -t 'site/#' >/dev/null; sleep 2; done",
            )
            .ends(super::super::recipe::Ends::WithTheScene),
        ],
        variants: &[
            variant("second", &[("COUNT", "30"), ("GAP", "1")]),
            variant("fast", &[("COUNT", "300"), ("GAP", "0.05")]).over(WAN),
            variant("restart", &[("COUNT", "60"), ("GAP", "1")]).state(State::Restarting(10, 15)),
        ],
        checks: &[Check::Packets("tcp/1883", 200)],
        ..BENIGN
    },
];
