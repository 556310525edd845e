#!/usr/bin/env bash
# Builds what is in dist.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

need node nodejs
toolchain=$(npm_packages componentize-qjs@0.4.5)

# --stub-wasi: the component may import nothing that it was not granted.
# --sync: the engine calls plugins without the asynchronous ABI.
component() { # NAME SOURCE
    "$toolchain/node_modules/.bin/componentize-qjs" --sync --stub-wasi \
        --wit "$WIT" --world "$1-plugin" --js "$2" --output "dist/$1.wasm" >/dev/null
}

#: probe
component probe probe.js
#: log-parser
component log-parser log-parser/log-parser.js
