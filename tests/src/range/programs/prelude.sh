# Functions for the steps of recipes.

# repeat COUNT GAP COMMAND...: runs it so often, with a pause of GAP seconds after each; $i counts
# from 0. Failures are counted in $failures and don't stop it.
failures=0
repeat() {
    _count=$1 _gap=$2
    shift 2
    i=0
    while [ "$i" -lt "$_count" ]; do
        "$@" || failures=$((failures + 1))
        i=$((i + 1))
        sleep "$_gap"
    done
}

# never_failed: ends a step well only where no repetition failed.
never_failed() { [ "$failures" = 0 ] || { echo "$failures failed"; exit 1; }; }

# pick N WORD...: the Nth of the words, from 0, around.
pick() {
    _n=$1
    shift
    shift $((_n % $#))
    echo "$1"
}

# fresh_key NAME: an SSH key for this host's user.
fresh_key() { ssh-keygen -q -t ed25519 -N '' -f "$1"; }

SSH_OPTIONS="-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes -o ConnectTimeout=4 -i $SCRATCH/key"

# Text that stands for words of people, from the seed.
words() { python3 -c "
import random, sys
r = random.Random('$SEED' + sys.argv[1])
print(*(''.join(r.choice('abcdefghijklmnopqrstuvwxyz') for _ in range(r.randint(4, 10))) for _ in range(int(sys.argv[2]))), sep='\n')" "$1" "$2"; }

# The scenario's SSH key, made by whoever comes first.
ssh_key() {
    flock "$SCRATCH/key.lock" sh -c '[ -f "$SCRATCH/key" ] || ssh-keygen -q -t ed25519 -N "" -f "$SCRATCH/key"'
}

# on_host HOST COMMAND...: over SSH, as the account that every host has.
on_host() {
    _host=$1
    shift
    ssh $SSH_OPTIONS "ops@$_host" "$@"
}

# sized NAME BYTES: a file that can't be compressed.
sized() { head -c "$2" /dev/urandom >"$1"; }

# files DIR COUNT BYTES: so many files.
files() {
    mkdir -p "$1"
    _n=0
    while [ "$_n" -lt "$2" ]; do
        sized "$1/file$_n" "$3"
        _n=$((_n + 1))
    done
}

# certificate DIR: a self-signed one for this host.
certificate() {
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=$NAME.$DOMAIN" \
        -keyout "$1/tls.key" -out "$1/tls.crt" 2>/dev/null
}

# pages DIR: a small web site whose pages lead to each other.
pages() {
    mkdir -p "$1/docs" "$1/api"
    for _size in 1 10 100 1000; do sized "$1/${_size}k" $((_size * 1024)); done
    _n=0
    while [ "$_n" -lt 40 ]; do
        echo "<html><title>page $_n</title><a href=/docs/page$((_n + 1)).html>next</a> <a href=/docs/page$((_n * 2 + 1)).html>more</a> <img src=/10k>$(words page$_n 120)</html>" >"$1/docs/page$_n.html"
        _n=$((_n + 1))
    done
    cp "$1/docs/page0.html" "$1/index.html"
    echo '{"status":"ok","version":"2.4.1"}' >"$1/api/health"
}
