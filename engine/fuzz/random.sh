#!/usr/bin/env bash
# Thousands of uploads that nobody would write: modules and components by
# wasm-smith, random programs, and real plugins with damage. Whatever comes of
# one, the host goes on, and its memory afterwards is what it was before.
#
#   ./random.sh [COUNT]     of each kind; 1500 where absent
#
# Needs what `make test` built: the plugins and the engine's tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
count=${1:-1500}

uploads=$(mktemp -d)
trap 'rm -rf "$uploads"' EXIT
seed=$(date +%s)
echo "seed $seed: engine/fuzz/random.sh repeats it as: smith FOLDER $count $seed"
cargo run --release --quiet --manifest-path engine/fuzz/Cargo.toml --no-default-features --features smith -- "$uploads" "$count" "$seed"

export BELLWETHER_CORPUS_DIR=$uploads BELLWETHER_CORPUS=$count
filter='binary(host) and test(/^corpus::/)'
if cargo nextest --version >/dev/null 2>&1; then
    exec cargo nextest run --release -E "$filter"
fi
exec cargo test --release --test host corpus::
