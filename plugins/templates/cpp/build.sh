#!/usr/bin/env bash
# Builds dist/probe.wasm.
#
# The compiler is Zig's clang, which brings libc++ for WASI. Another clang works
# as well: WASI_CC and WASI_CXX='clang++ --target=wasm32-wasi …' ./build.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

read -ra cc <<<"${WASI_CC:-zig cc --target=wasm32-wasi}"
read -ra cxx <<<"${WASI_CXX:-zig c++ --target=wasm32-wasi}"

pack bindings "$WIT" probe-plugin build
"${cc[@]}" -std=c17 -Os -c -o build/probe_plugin.o build/probe_plugin.c
# A reactor has no main: the engine calls its exported functions.
"${cxx[@]}" -std=c++20 -Os -fno-exceptions -fno-rtti -Wall -Wextra -Werror -s \
    -mexec-model=reactor -I. -Ibuild -o build/probe.core.wasm \
    probe.cpp build/probe_plugin.o build/probe_plugin_component_type.o
pack component build/probe.core.wasm dist/probe.wasm
pack check dist/probe.wasm
