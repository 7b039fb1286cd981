#!/usr/bin/env bash
# Installs the packages of a folder into roots of their own. In one of them systemd runs, in namespaces of
# its own: the service is started there, finds and limits a scan, is killed, and removed again. Needs root,
# and debootstrap, rpm, skopeo, qemu-user-static and nmap of Debian; says what it leaves out without them.
set -euo pipefail

folder=$(realpath "${1:?usage: try.sh FOLDER}")
work=$(mktemp -d)
space="sensor-try-$$"
root="$work/root"
init=
booted=

say() { echo "== $*"; }
fail() {
    echo "error: $*" >&2
    exit 1
}
has() { command -v "$1" >/dev/null || {
    echo "left out: no $1"
    return 1
}; }
# shellcheck disable=SC2012,SC2086 # names of ours; a pattern
newest() { { ls -t "$folder"/$1 2>/dev/null || true; } | head -1; }

leave() {
    # With --kill-child all that runs in the root goes with it.
    [ -z "$booted" ] || kill -KILL "$booted" 2>/dev/null || true
    for name in "$space-in" "$space-out"; do ip netns delete "$name" 2>/dev/null || true; done
    rm -rf --one-file-system "$work" 2>/dev/null || true
}
trap leave EXIT
[ "$(id -u)" = 0 ] || fail "needs root"

wait_for() {
    local what=$1
    shift
    for _ in $(seq 150); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.2
    done
    inside journalctl --no-pager -u sensor -n 30 >&2 || true
    fail "not within 30 s: $what"
}

# A command in the root where systemd runs.
inside() { nsenter --target "$init" --all --root --wd "$@"; }

make_network() {
    ip netns add "$space-in"
    ip netns add "$space-out"
    ip -n "$space-in" link add uplink type veth peer name peer netns "$space-out"
    ip -n "$space-in" address add 192.0.2.1/24 dev uplink
    ip -n "$space-out" address add 192.0.2.2/24 dev peer
    for end in "$space-in uplink" "$space-in lo" "$space-out peer"; do
        # shellcheck disable=SC2086 # two words
        set -- $end
        ip -n "$1" link set "$2" up
    done
    ip -n "$space-in" route replace default via 192.0.2.254
}

boot() {
    say "a Debian root, with systemd"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,procps \
        "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$root" >"$work/log" 2>&1 || {
        tail -3 "$work/log" >&2
        fail "debootstrap"
    }
    ip netns exec "$space-in" unshare --mount --pid --fork --uts --ipc --cgroup --kill-child \
        bash -euc "$(declare -f enter); enter $root" >"$work/boot" 2>&1 &
    booted=$!
    for _ in $(seq 150); do
        init=$(pgrep --full --parent "$booted" '^/lib/systemd/systemd' || true)
        if [ -n "$init" ] && inside systemctl is-system-running 2>/dev/null | grep -q running; then
            return
        fi
        sleep 0.2
    done
    cat "$work/boot" >&2
    fail "systemd does not come up"
}

# The way into the root, from within the namespaces.
enter() {
    mount --make-rprivate /
    mount --bind "$1" "$1"
    mount -t proc proc "$1/proc"
    mount -t sysfs sysfs "$1/sys"
    mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup"
    mount -t bpf bpf "$1/sys/fs/bpf"
    mount -t tmpfs tmpfs "$1/run"
    mount -t tmpfs tmpfs "$1/tmp"
    mount --rbind /dev "$1/dev"
    cd "$1"
    exec chroot "$1" /bin/env -i container=sensor-try /lib/systemd/systemd --log-target=console
}

pins() { inside find /sys/fs/bpf -mindepth 1 -not -name '*.debug'; }

try_deb() {
    local deb
    deb=$(newest "*_$(dpkg --print-architecture).deb")
    [ -n "$deb" ] || return 0
    make_network
    boot
    say "install $(basename "$deb"): nothing starts"
    cp "$deb" "$root/sensor.deb"
    inside dpkg --install /sensor.deb
    [ "$(inside systemctl is-active sensor || true)" = inactive ] || fail "it was started"
    [ -z "$(pins)" ] || fail "something is in the kernel: $(pins)"
    inside getent passwd sensor >/dev/null || fail "no user sensor"
    inside sensor --version
    inside sensor config check
    inside sensor doctor --iface uplink || fail "doctor"

    say "start, first detection, first block"
    printf '[respond]\nmode = "enforce"\n' >"$root/etc/sensor/conf.d/50-site.toml"
    chmod 640 "$root/etc/sensor/conf.d/50-site.toml"
    inside chgrp sensor /etc/sensor/conf.d/50-site.toml
    inside systemctl enable --now sensor || {
        inside journalctl --no-pager -u sensor -n 30 >&2
        fail "start"
    }
    [ "$(inside ps -o user= -C sensor)" = sensor ] || fail "it does not run as its user"
    inside sensor status
    ip netns exec "$space-out" nmap -n -Pn -sS -p 1-1000 192.0.2.1 >/dev/null
    wait_for "the scan is found" bash -c "$(declare -f inside); init=$init; inside sensor incidents | grep port_scan"
    inside sensor incidents
    inside sensor block list
    inside sensor doctor --iface uplink || fail "doctor, of the running sensor"
    inside systemctl reload sensor

    say "killed: blocks stay, and it comes back"
    inside systemctl kill --signal=KILL sensor
    wait_for "systemd starts it again" bash -c "$(declare -f inside); init=$init; inside sensor block list | grep 192.0.2.2"

    say "removed, purged: nothing stays"
    inside dpkg --remove sensor
    [ -z "$(pins)" ] || fail "pins are left: $(pins)"
    ! inside pgrep --exact sensor || fail "it still runs"
    ! ip -n "$space-in" -details link show uplink | grep -q 'prog/xdp' || fail "a program is left"
    [ ! -e "$root/usr/bin/sensor" ] || fail "the program is left"
    ! inside test -e /run/sensor || fail "sockets are left"
    [ -e "$root/etc/sensor/sensor.toml" ] || fail "a removal took the configuration"
    inside dpkg --purge sensor
    for place in etc/sensor var/lib/sensor var/log/sensor; do
        [ ! -e "$root/$place" ] || fail "/$place is left"
    done
}

try_rpm() {
    local rpm place="$work/rpm"
    rpm=$(newest "*.$(uname -m).rpm")
    [ -n "$rpm" ] || return 0
    say "install $(basename "$rpm")"
    mkdir -p "$place"
    rpm --root "$place" --initdb
    # No scripts: there is no shell in this root, and none is wanted here.
    rpm --root "$place" --install --nodeps --noscripts --ignoreos "$rpm"
    chroot "$place" /usr/bin/sensor --version
    rpm --root "$place" --erase --noscripts sensor
    [ ! -e "$place/usr/bin/sensor" ] || fail "the program is left"
}

try_image() {
    local image
    image=$(newest "*-$(dpkg --print-architecture).oci.tar")
    [ -n "$image" ] || return 0
    say "unpack $(basename "$image")"
    skopeo inspect "oci-archive:$image" | grep -E '"(Architecture|Os|Digest)"'
    skopeo copy --quiet "oci-archive:$image" "dir:$work/image"
    mkdir "$work/container"
    for layer in "$work"/image/*; do
        tar --extract --gzip --file "$layer" --directory "$work/container" 2>/dev/null || true
    done
    chroot "$work/container" /usr/bin/sensor --version
}

try_other_processor() {
    local archive
    archive=$(newest "*-aarch64-linux.tar.gz")
    [ -n "$archive" ] || return 0
    say "$(basename "$archive"), emulated"
    mkdir "$work/arm"
    tar --extract --gzip --file "$archive" --directory "$work/arm" --strip-components=1
    qemu-aarch64-static "$work/arm/usr/bin/sensor" --version
    qemu-aarch64-static "$work/arm/usr/bin/sensor" config example >/dev/null
}

(cd "$folder" && sha256sum --quiet --check SHA256SUMS)
if has debootstrap && has nmap; then try_deb; fi
if has rpm; then try_rpm; fi
if has skopeo; then try_image; fi
if has qemu-aarch64-static; then try_other_processor; fi
say "packages are right"
