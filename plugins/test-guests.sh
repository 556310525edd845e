#!/usr/bin/env bash
# Builds the templates of all languages and runs what they built: probes in the
# engine against an HTTP service on loopback, log parsers and WASI commands on
# their own. Every language must say what Rust's template says.
#
#   ./test-guests.sh             all of them, and ./test-convention.sh
#   ./test-guests.sh c python    only these (Rust is built as well, to compare)
#
# The engine is $BELLWETHER_BIN, or target/release/bellwether. Toolchains come
# from their package registries into templates/.toolchains.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly ALL=(rust c cpp zig go javascript typescript python assemblyscript)

say() { printf 'guests: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# What a Debian machine can be given: as root with apt, otherwise the line to
# run is printed.
prerequisites() {
    local missing=()
    command -v python3 >/dev/null || missing+=(python3)
    python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    command -v cargo >/dev/null || die "expected cargo, found none; install Rust from https://rustup.rs"
    [[ ${#missing[@]} -gt 0 ]] || return 0
    if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
        say "installing ${missing[*]}"
        apt-get update -qq >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
    else
        die "missing ${missing[*]}; run: sudo apt-get install -y --no-install-recommends ${missing[*]}"
    fi
}

languages=("$@")
[[ ${#languages[@]} -gt 0 ]] || languages=("${ALL[@]}")
for language in "${languages[@]}"; do
    [[ -x templates/$language/build.sh ]] || die "expected one of ${ALL[*]}, found $language"
done
prerequisites

BELLWETHER_BIN=$(realpath -m "${BELLWETHER_BIN:-../target/release/bellwether}")
export BELLWETHER_BIN
[[ -x $BELLWETHER_BIN ]] || die "expected the engine at $BELLWETHER_BIN, found none; build it, or set BELLWETHER_BIN"

# The runtime for what is no probe, in the version of the engine's own.
PYTHONPATH=$(source templates/common.sh && pypi wasmtime 48.0.0)
export PYTHONPATH

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# build LANGUAGE: its log on failure. A build from an earlier run does not count.
build() {
    rm -rf "templates/$1/dist"
    if ! templates/"$1"/build.sh >"$logs/$1" 2>&1; then
        sed 's/^/  /' "$logs/$1"
        return 1
    fi
}

kib() { printf '%d' $((($(stat -c %s "$1") + 1023) / 1024)); }

passed=0 failed=0 rows=()
if [[ ! " ${languages[*]} " == *' rust '* ]]; then
    build rust || die "Rust's template, which all others are compared with, does not build"
fi
for language in "${languages[@]}"; do
    say "$language"
    start=$(date +%s%N)
    if ! build "$language"; then
        failed=$((failed + 1))
        rows+=("$language|-|-|build failed")
        continue
    fi
    took=$((($(date +%s%N) - start) / 100000000))
    sizes=
    for file in templates/"$language"/dist/*.wasm; do
        sizes+="${sizes:+, }$(basename "$file" .wasm) $(kib "$file")"
    done
    output=$(python3 templates/harness/check.py "$language") || true
    counts=$(tail -n 1 <<<"$output")
    if [[ $counts =~ ^([0-9]+)\ ([0-9]+)$ ]]; then
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
        result="${BASH_REMATCH[1]} passed, ${BASH_REMATCH[2]} failed"
        head -n -1 <<<"$output"
    else
        failed=$((failed + 1)) result='the check itself failed'
        printf '%s\n' "$output"
    fi
    rows+=("$language|$((took / 10)).$((took % 10))|$sizes|$result")
done

# Programs that were written for another engine.
if [[ $# -eq 0 ]]; then
    say "convention"
    start=$(date +%s%N)
    output=$(./test-convention.sh) || true
    counts=$(tail -n 1 <<<"$output")
    result='the test itself failed'
    if [[ $counts =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2])) result=$counts
    else
        failed=$((failed + 1))
    fi
    grep -A 8 '^WRONG' <<<"$output" || true
    took=$((($(date +%s%N) - start) / 100000000))
    rows+=("convention|$((took / 10)).$((took % 10))||$result")
fi

table() { awk -F '|' '{ printf "%-15s %8s  %-46s %s\n", $1, $2, $3, $4 }'; }
{
    echo 'language|build s|KiB|result'
    printf '%s\n' "${rows[@]}"
} | table
printf '%d passed, %d failed\n' "$passed" "$failed"
[[ $failed -eq 0 ]]
