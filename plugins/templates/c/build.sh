#!/usr/bin/env bash
# Builds what is in dist.
#
# The compiler is Zig's clang, which brings a C library for WASI. Another clang
# works as well: WASI_CC='clang --target=wasm32-wasi --sysroot=/usr' ./build.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

read -ra cc <<<"${WASI_CC:-zig cc --target=wasm32-wasi}"
flags=(-std=c17 -Os -Wall -Wextra -Werror -I. -s)

#: probe log-parser
# A reactor has no main: the engine calls its exported functions.
component() { # NAME WORLD SOURCE
    pack bindings "$WIT" "$2-plugin" build
    local world=${2//-/_}_plugin
    "${cc[@]}" "${flags[@]}" -mexec-model=reactor -Ibuild -o "build/$1.core.wasm" \
        "$3" "build/$world.c" "build/${world}_component_type.o"
    pack component "build/$1.core.wasm" "dist/$1.wasm"
}

#: probe
component probe probe probe.c
pack check dist/probe.wasm
#: log-parser
component log-parser log-parser log-parser/log_parser.c
pack check dist/log-parser.wasm
#: command
"${cc[@]}" "${flags[@]}" -o dist/command.wasm command/command.c
