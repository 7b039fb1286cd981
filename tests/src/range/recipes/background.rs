//! Ordinary traffic of a small site, around an attack.

use super::super::recipe::{Ends, Role, Service, Step, inside, on, outside};
use super::services::{NGINX, SSHD};

pub const ROLES: &[Role] = &[inside("desk", 3), inside("files", 1), outside("site", 2)];

pub const SERVICES: &[Service] = &[NGINX.on("site"), SSHD.on("files")];

pub const PACKAGES: &[&str] = &["curl", "openssh-client", "iputils-ping"];

pub const STEPS: &[Step] = &[
    on(
        "desk",
        "while :; do
            site=$(pick $(($(date +%N | sed s/^0*//) / 1000 % 2)) $SITES)
            curl -s --max-time 20 http://$site/index.html http://$site/docs/page1.html http://$site/10k http://$site/100k >/dev/null
            curl -sk --max-time 20 https://$site/index.html https://$site/docs/page2.html https://$site/10k >/dev/null
            sleep $(awk -v n=$NUMBER -v s=$(date +%N) 'BEGIN { srand(s + n); print 1 + 4 * rand() }')
        done",
    )
    .ends(Ends::WithTheScene),
    on(
        "desk",
        "while :; do
            head -c 60000 /dev/urandom | on_host $FILES 'cat >/dev/null'
            on_host $FILES 'head -c 90000 /dev/urandom' >/dev/null
            sleep $((7 + NUMBER))
        done",
    )
    .ends(Ends::WithTheScene),
    on("desk", "ping -i 5 $ROUTER >/dev/null").ends(Ends::WithTheScene),
];
