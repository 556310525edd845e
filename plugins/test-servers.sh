#!/usr/bin/env bash
# Runs the probes that speak to servers against real ones: each server on
# loopback, on free ports, in a folder of its own.
#
#   ./test-servers.sh              all of them
#   ./test-servers.sh redis ssh    only these probes
#
# Needs dist/*.wasm (./build.sh), a built engine (BELLWETHER_BIN, by default
# ../target/release/bellwether) and Debian's packages of the servers, which it
# installs as root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

BIN=${BELLWETHER_BIN:-../target/release/bellwether}
readonly BIN
readonly PACKAGES=(openssl openssh-server redis-server redis-tools postgresql mariadb-server mosquitto dovecot-imapd dovecot-pop3d exim4-daemon-light snmpd docker-registry curl python3 python3-websockets python3-grpcio)
export PATH=$PATH:/usr/sbin

say() { printf 'test-servers: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

[[ -x $BIN ]] || die "expected the engine at $BIN; build it, or set BELLWETHER_BIN"
compgen -G 'dist/*.wasm' >/dev/null || die "expected plugins in dist; run ./build.sh"

install_servers() {
    local missing=() package
    for package in "${PACKAGES[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    local line="apt-get install -y --no-install-recommends ${missing[*]}"
    if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
        die "servers are missing; as root: $line"
    fi
    say "installing ${missing[*]}"
    # Without a runlevel Debian starts none of the services.
    apt-get update -qq
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive $line -qq >/dev/null
}
install_servers

readonly POSTGRES_BIN=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -1)
# Debian's Python has Debian's modules, another one on PATH may not.
readonly PYTHON=/usr/bin/python3
# PostgreSQL refuses to run as root, and MariaDB needs to be told.
as_user() { if [[ $(id -u) -eq 0 ]]; then setpriv --reuid="$1" --regid="$1" --init-groups "${@:2}"; else "${@:2}"; fi; }

work=$(mktemp -d)
chmod 755 "$work"
declare -A pids
stop() {
    local pid=${pids[$1]:-}
    [[ -n $pid ]] || return 0
    unset "pids[$1]"
    # Its own process group, so that helpers go too.
    kill -TERM -- "-$pid" 2>/dev/null || return 0
    for _ in {1..50}; do kill -0 -- "-$pid" 2>/dev/null || return 0; sleep 0.1; done
    kill -KILL -- "-$pid" 2>/dev/null || true
}
clean_up() {
    local name
    for name in "${!pids[@]}"; do stop "$name"; done
    rm -rf "$work"
}
trap clean_up EXIT

# start NAME COMMAND…: in a process group of its own.
start() {
    local name=$1
    shift
    setsid "$@" >"$work/$name.log" 2>&1 </dev/null &
    pids[$name]=$!
}
# await NAME PORT…: until the ports are open.
await() {
    local name=$1 port
    shift
    for port; do
        for _ in {1..150}; do
            (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue 2
            sleep 0.1
        done
        tail -20 "$work/$name.log" >&2
        die "$name does not listen on $port after 15 s"
    done
}

mapfile -t ports < <("$PYTHON" - <<'PYTHON'
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(40)]
print("\n".join(str(one.getsockname()[1]) for one in held))
PYTHON
)
used=0
free_port() { printf -v "$1" '%s' "${ports[used++]}"; }

passed=0
failed=0
# expect PLUGIN STATE TEXT METRIC CONFIG: one run; METRIC is a name, `name=value`
# or - for none.
expect() {
    local output
    output=$("$BIN" plugin run "dist/$1.wasm" --address 127.0.0.1 --allow '127.0.0.1:*' --allow 'udp:127.0.0.1:*' --timeout "${TIMEOUT:-5s}" --config "$5" 2>&1) || true
    judge "$output" "$@"
}

# expect_login: the same in a running engine, which has the secrets `good` and
# `wrong`.
expect_login() {
    local output
    output=$(in_engine run "$1" "${TIMEOUT:-5s}" "$5" 2>&1) || true
    judge "$output" "$@"
}

# judge OUTPUT and what `expect` has.
judge() {
    local output=$1 plugin=$2 state=$3 text=$4 metric=$5 config=$6 first
    first=${output%%$'\n'*}
    if [[ -n ${secret:-} && $output == *"$secret"* ]]; then
        output="the password is shown: $output" first=
    fi
    local wrong=''
    [[ $first == "$state - "* ]] || wrong="expected the state $state"
    [[ $first == *"$text"* ]] || wrong="${wrong:-expected \"$text\"}"
    if [[ $metric == *=* ]]; then
        grep -qxF "  ${metric%=*} = ${metric#*=}" <<<"$output" || wrong=${wrong:-expected the metric $metric}
    elif [[ $metric != - ]]; then
        grep -qE "^  $metric = [-0-9.e]+$" <<<"$output" || wrong=${wrong:-expected the metric $metric}
    fi
    if [[ -z $wrong ]]; then
        passed=$((passed + 1))
        printf 'ok    %-16s %s\n' "$plugin" "$first"
    else
        failed=$((failed + 1))
        printf 'WRONG %-16s %s\n      %s\n' "$plugin" "$config" "$wrong"
        sed 's/^/      /' <<<"$output"
    fi
}

wanted=("$@")
chosen() {
    local one
    [[ ${#wanted[@]} -gt 0 ]] || return 0
    for one in "${wanted[@]}"; do [[ $one != "$1" ]] || return 0; done
    return 1
}

# A certificate authority and a certificate for localhost, for 30 days, and one
# that nobody vouches for.
certificates() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 60 -subj '/CN=Test CA' \
        -keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=localhost' \
        -keyout "$work/key.pem" -out "$work/request.pem" 2>/dev/null
    openssl x509 -req -in "$work/request.pem" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 30 \
        -extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n') -out "$work/cert.pem" 2>/dev/null
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 5 -subj '/CN=stranger' \
        -addext 'subjectAltName=DNS:stranger.test' -keyout "$work/other.key" -out "$work/other.pem" 2>/dev/null
    cat "$work/cert.pem" "$work/key.pem" >"$work/both.pem"
    # Servers read their key as users of their own.
    chmod 644 "$work"/*.pem
    export SSL_CERT_FILE=$work/ca.pem
}

odd_servers() {
    free_port noise; free_port silence; free_port hang_up; free_port endless; free_port closed
    start odd "$PYTHON" test-servers/odd.py "$noise" "$silence" "$hang_up" "$endless"
    await odd "$noise" "$silence" "$hang_up" "$endless"
}

# wrong_servers PLUGIN MORE: nothing listens, and servers that speak no protocol.
# MORE is the rest of the configuration.
wrong_servers() {
    local plugin=$1 more=${2:-} port
    expect "$plugin" CRITICAL 'connection refused' - "{\"port\":$closed$more}"
    TIMEOUT=1s expect "$plugin" CRITICAL 'timed out' - "{\"port\":$silence$more}"
    for port in "$noise" "$endless" "$hang_up"; do
        expect "$plugin" CRITICAL '' - "{\"port\":$port$more}"
    done
}

readonly LOGIN_PLUGINS=(redis postgresql mysql smtp mail-access mqtt snmp)
in_engine() { "$PYTHON" test-servers/engine.py "$engine_url" "$token" "$@"; }

# An engine with two secrets, and with the plugins of dist, which may read them.
start_engine() {
    local port plugin dir=$work/engine
    free_port port
    mkdir -p "$dir"
    # Long enough that no answer holds it by chance.
    secret=$(openssl rand -hex 12)
    export GOOD_PASSWORD=$secret WRONG_PASSWORD=not-$secret
    registry_server
    {
        printf 'secrets:\n  good: { env: GOOD_PASSWORD }\n  wrong: { env: WRONG_PASSWORD }\n'
        printf 'registries:\n  - { host: "127.0.0.1:%s", plain_http: true, username: robot, password: { env: GOOD_PASSWORD } }\n' "$registry_port"
        printf 'nodes:\n  - { name: local, address: 127.0.0.1 }\nplugins:\n'
        for plugin in "${LOGIN_PLUGINS[@]}"; do
            printf '  - { name: %s, path: %s, grants: { net: ["127.0.0.1:*", "udp:127.0.0.1:*"], read_secrets: [good, wrong], state: true } }\n' \
                "$plugin" "$PWD/dist/$plugin.wasm"
        done
    } >"$dir/engine.yaml"
    token=$("$BIN" token create --data-dir "$dir/data" --role operator)
    start engine "$BIN" serve --config "$dir/engine.yaml" --data-dir "$dir/data" --listen "127.0.0.1:$port"
    engine_url=http://127.0.0.1:$port
    # The first start compiles all plugins.
    in_engine await || { tail -20 "$work/engine.log" >&2; die "the engine does not start"; }
}

for file in test-servers/[a-z]*.sh; do
    # shellcheck source=/dev/null
    . "$file"
done

certificates
odd_servers
start_engine
for probe in tls-certificate smtp ssh mail-access redis postgresql mysql mqtt websocket prometheus http-scenario snmp grpc-health registry; do
    if chosen "$probe"; then
        "test_${probe//-/_}"
    fi
done

echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
