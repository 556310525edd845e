#!/usr/bin/env bash
# Builds dist/probe.wasm: types from the contract, the type check, the component.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

need node nodejs
types=$(npm_packages @bytecodealliance/jco@1.17.9)
compiler=$(npm_packages typescript@7.0.2)
componentizer=$(npm_packages componentize-qjs@0.4.5)

# The types say bigint for 64-bit integers. QuickJS's bindings hand out numbers,
# exact up to 2^53: microseconds since 1970 fit until the year 2255.
"$types/node_modules/.bin/jco" guest-types --quiet "$WIT" -n probe-plugin -o build/types
sed -i 's/\bbigint\b/number/g' build/types/interfaces/*.d.ts

"$compiler/node_modules/.bin/tsc" -p .

# --stub-wasi: the component may import nothing that it was not granted.
# --sync: the engine calls plugins without the asynchronous ABI.
"$componentizer/node_modules/.bin/componentize-qjs" --sync --stub-wasi \
    --wit "$WIT" --world probe-plugin --js build/js/probe.js --output dist/probe.wasm >/dev/null
