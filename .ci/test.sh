#!/usr/bin/env bash
# Every test of the project; ends with one line of totals.
#
#   .ci/test.sh            all of it
#   .ci/test.sh engine     only this part: format, lints, plugins, web, engine
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0
failed=0
broken=()

# Adds up the summaries of nextest, cargo test and Playwright: "PASSED FAILED".
tally() {
    sed -r 's/\x1b\[[0-9;]*m//g' | awk '
        /^ *(Summary \[|test result:)/ || /^ +[0-9]+ (passed|failed|flaky)/ {
            while (match($0, /[0-9]+ (passed|failed|flaky|timed out)/)) {
                split(substr($0, RSTART, RLENGTH), word, " ")
                n[word[2]] += word[1]
                $0 = substr($0, RSTART + RLENGTH)
            }
        }
        END { print n["passed"] + 0, n["failed"] + n["flaky"] + n["timed"] + 0 }'
}

# Runs a step, shows it, and counts its tests.
step() { # NAME, COMMAND…
    local name=$1 good bad status=0
    shift
    echo "== $name"
    "$@" 2>&1 | tee "$log" || status=$?
    read -r good bad < <(tally <"$log")
    if [ "$status" != 0 ]; then
        echo "== $name failed"
        broken+=("$name")
        # Something broke before a test could say so.
        [ "$bad" != 0 ] || bad=1
    fi
    passed=$((passed + good))
    failed=$((failed + bad))
}

rust_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --release --no-fail-fast "$@"
    else
        cargo test --release --no-fail-fast "$@"
    fi
}

parts=("${@:-all}")
wanted() { [[ " ${parts[*]} " == *" $1 "* || " ${parts[*]} " == *" all "* ]]; }

# Both come with rustup's default profile; a minimal toolchain has neither.
has() { # CARGO COMMAND
    cargo "$1" --version >/dev/null 2>&1 || { echo "== no cargo $1 here: left out (rustup component add)"; return 1; }
}
if wanted format && has fmt; then
    step "format" cargo fmt --check
fi
if wanted lints && has clippy; then
    step "lints" cargo clippy --release --all-targets --no-deps -- -D warnings
fi
if wanted plugins; then
    step "plugins" plugins/test.sh --no-fail-fast
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
[ ${#broken[@]} = 0 ] || printf 'failed: %s\n' "${broken[@]}"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
