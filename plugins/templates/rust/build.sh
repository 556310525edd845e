#!/usr/bin/env bash
# Builds dist/probe.wasm, dist/log-parser.wasm and dist/command.wasm.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

# Dependencies in the versions of the engine's own plugins, until you choose.
[[ -f Cargo.lock ]] || cp "$TEMPLATES/../Cargo.lock" .

# The command first: it needs nothing but cargo. A compiler without that target
# builds the components all the same.
if rust_target wasm32-wasip1; then
    cargo build --quiet --release --target wasm32-wasip1 -p command
    cp target/wasm32-wasip1/release/command.wasm dist/command.wasm
else
    say 'no target wasm32-wasip1 (rustup target add wasm32-wasip1): dist/command.wasm is left out'
fi

rust_target wasm32-unknown-unknown
cargo build --quiet --release --target wasm32-unknown-unknown -p http-rust -p app-log-rust
built=${CARGO_TARGET_DIR:-target}/wasm32-unknown-unknown/release
pack component "$built/http_rust.wasm" dist/probe.wasm
pack component "$built/app_log_rust.wasm" dist/log-parser.wasm
pack check dist/probe.wasm dist/log-parser.wasm
