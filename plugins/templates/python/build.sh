#!/usr/bin/env bash
# Builds what is in dist.
#
#   ./build.sh bindings    instead writes the contract's Python modules into
#                          build/, for an editor or a type checker
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

toolchain=$(pypi componentize-py 0.25.1)
componentize_py() {
    PYTHONPATH=$toolchain python3 "$toolchain/bin/componentize-py" --quiet -d "$WIT" "$@"
}

if [[ ${1:-} == bindings ]]; then
    #: probe
    componentize_py -w probe-plugin bindings build/probe
    #: log-parser
    componentize_py -w log-parser-plugin bindings build/log-parser
    #:
    exit
fi

# --stub-wasi: the component may import nothing that it was not granted. The
# file is named as a module of its folder.
#: probe
componentize_py -w probe-plugin componentize --stub-wasi -p . -o dist/probe.wasm probe
#: log-parser
componentize_py -w log-parser-plugin componentize --stub-wasi -p log-parser -o dist/log-parser.wasm log_parser
