#!/usr/bin/env bash
# Builds every plugin of this workspace into dist/NAME.wasm, and the test guests
# into dist/testing/NAME.wasm. Quick when nothing changed.
#
#   ./build.sh             all of them
#   ./build.sh http tcp    only these (a folder below plugins/, as testing/noop)
#
# Needs cargo and a compiler for wasm32-unknown-unknown: rustup's where the
# target is or can be installed, else Debian's rustc-web with its sources.
# BELLWETHER_GUEST_COMPILER=rustup or =debian demands one of the two.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly TARGET=wasm32-unknown-unknown
readonly PACKAGES=(rustc-web rust-web-src)
# Worlds without code, for tests of what the engine refuses.
readonly WORLDS=(backdoor wrong-world two-worlds newer-version nothing)

# Plain programs for another target. What needs them does without where no
# compiler for it can be had.
readonly PROGRAMS=(testing/command-queue)
readonly PROGRAM_TARGET=wasm32-wasip1

say() { printf 'plugins: %s\n' "$*"; }
die() { printf 'plugins: %s\n' "$*" >&2; exit 1; }

# True where this compiler brings a standard library for the target.
has_target() {
    local libdir
    libdir=$("$1" --print target-libdir --target "${2:-$TARGET}" 2>/dev/null) || return 1
    compgen -G "$libdir/libstd-*.rlib" >/dev/null
}

# Debian's compiler builds the standard library from Debian's sources, which no
# other compiler understands. rust-lld comes from the normal toolchain.
use_debian() {
    local rustc=/usr/bin/rustc
    if ! [[ -x $rustc ]] || ! compgen -G '/usr/src/rustc-*/library/Cargo.lock' >/dev/null; then
        if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
            die "no compiler for $TARGET: run \`rustup target add $TARGET\`, or as root \`apt-get install -y --no-install-recommends ${PACKAGES[*]}\`"
        fi
        say "installing ${PACKAGES[*]}"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${PACKAGES[@]}"
    fi
    local host lld
    host=$(rustc -vV | sed -n 's/^host: //p')
    lld=$(rustc --print sysroot)/lib/rustlib/$host/bin
    if [[ -x $lld/rust-lld ]]; then
        export PATH="$lld:$PATH"
    elif ! command -v rust-lld >/dev/null && ! command -v wasm-ld >/dev/null; then
        die "no linker for $TARGET: expected rust-lld in $lld or wasm-ld on PATH; install the package lld"
    fi
    export RUSTC=$rustc RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_BUILD_STD=std,panic_abort
    export CARGO_TARGET_DIR=target/wasm-debian
    say "using $("$rustc" --version) and its sources"
}

pick_compiler() {
    local wanted=${BELLWETHER_GUEST_COMPILER:-any}
    if [[ $wanted == debian ]]; then
        use_debian
        return
    fi
    if has_target rustc; then
        return
    fi
    if command -v rustup >/dev/null; then
        say "adding the target $TARGET"
        if rustup target add "$TARGET" >/dev/null 2>&1 && has_target rustc; then
            return
        fi
    fi
    [[ $wanted == any ]] || die "no compiler for $TARGET: \`rustup target add $TARGET\` failed"
    use_debian
}

# Folders of plugins: those whose crate is a cdylib.
plugin_folders() {
    grep -l 'crate-type = \["cdylib"\]' ./*/Cargo.toml testing/*/Cargo.toml | sed 's|^\./||; s|/Cargo.toml$||' | sort
}

folders=("$@")
if [[ ${#folders[@]} -eq 0 ]]; then
    mapfile -t folders < <(plugin_folders)
fi

is_program() {
    local one
    for one in "${PROGRAMS[@]}"; do
        if [[ $one == "$1" ]]; then return 0; fi
    done
    return 1
}

# Builds the programs with rustup's compiler.
build_programs() {
    [[ $# -gt 0 ]] || return 0
    if ! has_target rustc "$PROGRAM_TARGET" && command -v rustup >/dev/null; then
        rustup target add "$PROGRAM_TARGET" >/dev/null 2>&1 || true
    fi
    if ! has_target rustc "$PROGRAM_TARGET"; then
        say "left out $*: no compiler for $PROGRAM_TARGET"
        return 0
    fi
    local folder name
    for folder in "$@"; do
        name=bellwether-${folder//\//-}
        CARGO_TARGET_DIR=target/wasip1 cargo build --quiet --locked --profile plugin \
            --target "$PROGRAM_TARGET" -p "$name"
        mkdir -p "dist/$(dirname "$folder")"
        cp "target/wasip1/$PROGRAM_TARGET/plugin/$name.wasm" "dist/$folder.wasm"
    done
}

programs=()
plugins=()
for folder in "${folders[@]}"; do
    if is_program "$folder"; then programs+=("$folder"); else plugins+=("$folder"); fi
done
[[ $# -gt 0 ]] || programs=("${PROGRAMS[@]}")
build_programs "${programs[@]}"
[[ ${#plugins[@]} -gt 0 ]] || exit 0
folders=("${plugins[@]}")

# The host part first: it uses the normal compiler.
cargo build --quiet --locked --release -p pack
readonly PACK=target/release/pack

packages=()
for folder in "${folders[@]}"; do
    [[ -f $folder/Cargo.toml ]] || die "expected the folder of a plugin, found none at $folder"
    packages+=(-p "bellwether-${folder//\//-}")
done

# Folders of their own: another compiler would otherwise evict the host's
# artefacts at every turn. Paths are cut so that builds on two machines give the
# same bytes.
export CARGO_TARGET_DIR=target/wasm
pick_compiler
home=${CARGO_HOME:-$HOME/.cargo}
export RUSTFLAGS="-C target-feature=+simd128 --remap-path-prefix=$PWD=plugins --remap-path-prefix=$home=cargo ${RUSTFLAGS:-}"
cargo build --quiet --locked --profile plugin --target "$TARGET" "${packages[@]}"

dist=()
for folder in "${folders[@]}"; do
    crate=bellwether_${folder//[\/-]/_}
    "$PACK" component "$CARGO_TARGET_DIR/$TARGET/plugin/$crate.wasm" "dist/$folder.wasm"
    dist+=("dist/$folder.wasm")
done
if [[ $# -eq 0 ]]; then
    for world in "${WORLDS[@]}"; do
        "$PACK" world wit testing/worlds "$world" "dist/testing/$world.wasm"
        dist+=("dist/testing/$world.wasm")
    done
fi
"$PACK" check "${dist[@]}"
