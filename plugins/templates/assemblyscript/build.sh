#!/usr/bin/env bash
# Builds what is in dist.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

need node nodejs
toolchain=$(npm_packages assemblyscript@0.28.20 @assemblyscript/wasi-shim@0.1.0)
asc() {
    "$toolchain/node_modules/.bin/asc" "$@" -O2 --shrinkLevel 2
}

#: probe
# --runtime stub: an instance lives for one run, so nothing needs to be freed.
asc probe.ts --runtime stub --use abort=contract/onAbort --exportStart _initialize \
    -o build/probe.core.wasm
pack component build/probe.core.wasm dist/probe.wasm "$WIT" probe-plugin
pack check dist/probe.wasm
#: command
shim=$(realpath --relative-to=. "$toolchain/node_modules/@assemblyscript/wasi-shim")
asc command/command.ts --config "$shim/asconfig.json" --lib "$shim/assembly" -o dist/command.wasm
