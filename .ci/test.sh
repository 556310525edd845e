#!/usr/bin/env bash
# Every test of the project; ends with one line of totals.
#
#   .ci/test.sh            all of it
#   .ci/test.sh engine     only this part: format, lints, plugins, web, engine
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0
passed=0

# Runs a step and shows it.
step() { # NAME, COMMAND…
    local name=$1
    shift
    echo "== $name"
    if ! "$@" 2>&1 | tee "$log"; then
        echo "== $name failed"
        # A runner that counts its failures counts them below.
        [ "$(sum "$failures")" -gt 0 ] || failed=$((failed + 1))
    fi
    passed=$((passed + $(sum '([0-9]+) passed')))
    failed=$((failed + $(sum "$failures")))
}
readonly failures='([0-9]+) (failed|timed out)'

# Adds up what the runner's summary lines say.
sum() { # PATTERN with the number first
    sed -r 's/\x1b\[[0-9;]*m//g' "$log" | grep -oE "(^|[^0-9])$1" |
        grep -oE '[0-9]+' | awk '{n += $1} END {print n + 0}'
}

rust_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --release "$@"
    else
        cargo test --release --no-fail-fast "$@"
    fi
}

parts=("${@:-all}")
wanted() { [[ " ${parts[*]} " == *" $1 "* || " ${parts[*]} " == *" all "* ]]; }

if wanted format; then
    step "format" cargo fmt --check
fi
if wanted lints; then
    step "lints" cargo clippy --release --all-targets --no-deps -- -D warnings
fi
if wanted plugins; then
    step "plugins" plugins/test.sh
fi
if wanted engine; then
    step "engine" rust_tests
fi
if wanted web; then
    step "web: types" npm --prefix web run check
    step "web: pages in Chromium" npm --prefix web run test:a11y
    step "web: the main job in Chromium" npm --prefix web run test:e2e
fi

echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
