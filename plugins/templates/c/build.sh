#!/usr/bin/env bash
# Builds dist/probe.wasm, dist/log-parser.wasm and dist/command.wasm.
#
# The compiler is Zig's clang, which brings a C library for WASI. Another clang
# works as well: WASI_CC='clang --target=wasm32-wasi --sysroot=/usr' ./build.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

read -ra cc <<<"${WASI_CC:-zig cc --target=wasm32-wasi}"
flags=(-std=c17 -Os -Wall -Wextra -Werror -I. -s)

# A reactor has no main: the engine calls its exported functions.
component() { # NAME WORLD SOURCE
    pack bindings "$WIT" "$2-plugin" build
    local world=${2//-/_}_plugin
    "${cc[@]}" "${flags[@]}" -mexec-model=reactor -Ibuild -o "build/$1.core.wasm" \
        "$3" "build/$world.c" "build/${world}_component_type.o"
    pack component "build/$1.core.wasm" "dist/$1.wasm"
}

component probe probe probe.c
component log-parser log-parser log-parser/log_parser.c
"${cc[@]}" "${flags[@]}" -o dist/command.wasm command/command.c
pack check dist/probe.wasm dist/log-parser.wasm
