#!/usr/bin/env bash
# Builds what is in dist.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

readonly TARGET=(-target wasm32-wasi -O ReleaseSmall)

#: probe
# The contract's C header as a Zig module; the first time takes a minute, for
# Zig compiles its C translator.
pack bindings "$WIT" probe-plugin build
zig translate-c -target wasm32-wasi -lc build/probe_plugin.h >build/contract.zig

# A reactor has no main: the engine calls its exported functions.
zig build-exe "${TARGET[@]}" -mexec-model=reactor -lc --name probe -femit-bin=build/probe.core.wasm \
    build/probe_plugin.c build/probe_plugin_component_type.o -Ibuild \
    --dep contract -Mroot=probe.zig -Mcontract=build/contract.zig
pack component build/probe.core.wasm dist/probe.wasm
pack check dist/probe.wasm
#: command
zig build-exe "${TARGET[@]}" -femit-bin=dist/command.wasm command/command.zig
