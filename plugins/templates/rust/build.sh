#!/usr/bin/env bash
# Builds what is in dist.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

#: repository
# Dependencies in the versions of the engine's own plugins, until you choose.
[[ -f Cargo.lock ]] || cp "$PACK/../Cargo.lock" .
#: command
# The command first: it needs nothing but cargo. A compiler without that target
# builds the components all the same.
if rust_target wasm32-wasip1; then
    cargo build --quiet --release --target wasm32-wasip1 -p command
    cp target/wasm32-wasip1/release/command.wasm dist/command.wasm
else
    say 'no target wasm32-wasip1 (rustup target add wasm32-wasip1): dist/command.wasm is left out'
fi

#: probe log-parser
rust_target wasm32-unknown-unknown
built=${CARGO_TARGET_DIR:-target}/wasm32-unknown-unknown/release
#: probe
cargo build --quiet --release --target wasm32-unknown-unknown -p http-rust
pack component "$built/probe.wasm" dist/probe.wasm
pack check dist/probe.wasm
#: log-parser
cargo build --quiet --release --target wasm32-unknown-unknown -p app-log-rust
pack component "$built/log_parser.wasm" dist/log-parser.wasm
pack check dist/log-parser.wasm
