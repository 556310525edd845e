#!/usr/bin/env bash
# Tests of the plugins' logic, on the host: no WebAssembly target needed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
if command -v cargo-nextest >/dev/null; then
    exec cargo nextest run --locked --release --workspace "$@"
fi
exec cargo test --locked --release --workspace "$@"
