#!/usr/bin/env bash
# Checks the prerequisites and installs what a Debian machine can be given:
# as root with apt, otherwise it prints the line to run.
#
#   .ci/setup.sh          what building needs
#   .ci/setup.sh test     and what testing needs (Chromium)
set -euo pipefail

need() { # COMMAND, HINT
    command -v "$1" >/dev/null || { echo "setup: expected $1, found none: $2" >&2; exit 1; }
}
need cargo "install Rust 1.95 or later with rustup"
need node "install Node.js 20 or later"
need npm "install npm, which comes with Node.js"
need make "run: apt-get install make"
need gcc "run: apt-get install gcc"

node_major=$(node -p 'process.versions.node.split(".")[0]')
[ "$node_major" -ge 20 ] || { echo "setup: expected Node.js 20 or later, found $(node --version)" >&2; exit 1; }

packages=()
if [ "${1:-}" = test ]; then
    command -v chromium >/dev/null || packages+=(chromium)
fi
if [ ${#packages[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
    else
        echo "setup: missing ${packages[*]}; run: sudo apt-get install ${packages[*]}" >&2
        exit 1
    fi
fi
