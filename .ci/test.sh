#!/usr/bin/env bash
# Every test of the project; ends with one line of totals.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0
passed=0

# Runs a step, shows it, and adds up the numbers of its runner's summary.
step() { # NAME, COMMAND…
    local name=$1
    shift
    echo "== $name"
    if ! "$@" 2>&1 | tee "$log"; then
        echo "== $name failed"
        failed=$((failed + 1))
    fi
}
count() { # PATTERN with one number
    local n
    n=$(sed -r 's/\x1b\[[0-9;]*m//g' "$log" | sed -nr "s/$1/\1/p" | awk '{n += $1} END {print n + 0}')
    passed=$((passed + n))
}
rust_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --release "$@"
    else
        cargo test --release --no-fail-fast "$@"
    fi
}

step "plugin tests" plugins/test.sh
count '.*[^0-9]([0-9]+) passed.*'
step "web types" npm --prefix web run check
step "engine tests" rust_tests
count '.*[^0-9]([0-9]+) passed.*'

echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
