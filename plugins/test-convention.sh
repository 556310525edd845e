#!/usr/bin/env bash
# Programs of the monitoring-plugins project, unchanged, as WASI programs in the
# engine: they must say and end with what they do when built for this machine.
#
#   ./test-convention.sh
#
# The engine is $BELLWETHER_BIN, or ../target/release/bellwether. The sources are
# Debian's, fetched with apt, which checks them; the compiler is that of the
# templates, and `cc` for this machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=/dev/null
source templates/common.sh

BIN=$(realpath -m "${BELLWETHER_BIN:-../target/release/bellwether}")
readonly BIN
[[ -x $BIN ]] || die "expected the engine at $BIN, found none; build it, or set BELLWETHER_BIN"
need cc gcc
need apt-get apt

# Of those that neither fork nor open sockets.
readonly PROGRAMS=(check_dummy check_cluster)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Prints the path of the sources' archive, from an earlier run where there is one.
sources() {
    local kept=$TOOLCHAINS/monitoring-plugins mirror suite options
    if ! compgen -G "$kept/*.orig.tar.*" >/dev/null; then
        mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | grep -v security | sort -u | head -n 1)
        [[ -n $mirror ]] || die "expected a mirror of Debian in apt's sources, found none"
        # A mirror need not have all of them.
        for suite in "$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")" stable testing sid trixie bookworm; do
            say "fetching the sources of monitoring-plugins from $suite"
            rm -rf "$work/apt"
            mkdir -p "$work/apt/lists/partial" "$work/apt/got"
            echo "deb-src $mirror $suite main" >"$work/apt/sources.list"
            options=(-o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=-
                -o Dir::State::lists="$work/apt/lists" -o APT::Sandbox::User=root)
            apt-get "${options[@]}" update -qq >&2 || continue
            # Signature files and patches may be missing; the archive itself counts.
            (cd "$work/apt/got" && apt-get "${options[@]}" source --download-only -qq monitoring-plugins >&2) || true
            if compgen -G "$work/apt/got/*.orig.tar.?z" >/dev/null; then
                mkdir -p "$kept"
                mv "$work/apt/got"/*.orig.tar.?z "$kept"
                break
            fi
        done
    fi
    compgen -G "$kept/*.orig.tar.*" | head -n 1
}

# What `configure` would find, for the few files that are built here.
config() {
    cat <<'C'
#define _GNU_SOURCE 1
#define HAVE_INTTYPES_H 1
#define HAVE_STDINT_H 1
#define HAVE_MATH_H 1
#define HAVE_STRING_H 1
#define HAVE_STRINGS_H 1
#define HAVE_UNISTD_H 1
#define HAVE_SYS_TYPES_H 1
#define HAVE_SYS_TIME_H 1
#define TIME_WITH_SYS_TIME 1
#define HAVE_SIGNAL_H 1
#define HAVE_STRTOL 1
#define HAVE_STRTOUL 1
#define HAVE_STRUCT_TIMEVAL 1
#define HAVE_GETTIMEOFDAY 1
#define PACKAGE "monitoring-plugins"
#define PACKAGE_NAME "monitoring-plugins"
#define VERSION "test"
#define NP_VERSION "test"
#define LOCALEDIR "/nowhere"
#define NP_STATE_DIR_PREFIX "/nowhere"
#define _GL_ATTRIBUTE_PURE
#define _GL_ATTRIBUTE_CONST
#define _GL_ATTRIBUTE_MALLOC
#define _GL_ATTRIBUTE_DEALLOC_FREE
#define _GL_ATTRIBUTE_DEALLOC(f, i)
#define _GL_ATTRIBUTE_RETURNS_NONNULL
#define _GL_ATTRIBUTE_NODISCARD
#define _GL_ATTRIBUTE_NONNULL(a)
#define _GL_INLINE_HEADER_BEGIN
#define _GL_INLINE_HEADER_END
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#ifdef __wasi__
/* WASI has no users; these programs keep no files between runs. */
static inline unsigned getuid(void) { return 1000; }
static inline unsigned geteuid(void) { return 1000; }
static inline int mkstemp(char *name) { (void)name; return -1; }
#endif
C
}

# compile SUFFIX COMPILER…: all programs.
compile() {
    local suffix=$1 program
    shift
    for program in "${PROGRAMS[@]}"; do
        # Old C, and none of ours: no warnings.
        "$@" -w -Os -I"$work" -Ilib -Iplugins -Igl "plugins/$program.c" plugins/utils.c lib/utils_base.c gl/sha256.c \
            -o "$work/$program$suffix" -lm >"$work/log" 2>&1 || { cat "$work/log" >&2; die "$program does not build"; }
    done
}

archive=$(sources)
[[ -n $archive ]] || die "expected the sources of monitoring-plugins from Debian, found none at any suite of apt's mirror; fetch monitoring-plugins_*.orig.tar.gz into $TOOLCHAINS/monitoring-plugins"
say "$(basename "$archive")"
mkdir "$work/build" "$work/source"
tar -xf "$archive" -C "$work/source" --strip-components 1
config >"$work/config.h"
PYTHONPATH=$(pypi wasmtime 48.0.0)
export PYTHONPATH
harness=$HERE/harness/guest.py
cd "$work/source"
mkdir build
compile .native cc
compile .wasm zig cc --target=wasm32-wasi -s -D_WASI_EMULATED_SIGNAL -lwasi-emulated-signal

readonly STATES=(OK WARNING CRITICAL UNKNOWN)
passed=0 failed=0
# same PROGRAM ARGUMENT…: output and exit code, on its own and in the engine.
same() {
    local program=$1 expected code=0 found found_code=0 state verdict first
    shift
    expected=$("$work/$program.native" "$@" 2>&1 </dev/null) || code=$?
    found=$(python3 "$harness" command "$work/$program.wasm" -- "$@" 2>&1 </dev/null) || found_code=$?
    local wrong=''
    [[ $found == "$expected" && $found_code == "$code" ]] || wrong="expected exit code $code and \"$expected\", found $found_code and \"$found\""
    found_code=0
    verdict=$("$BIN" plugin run "$work/$program.wasm" -- "$@" 2>&1) || found_code=$?
    state=${STATES[$code]:-UNKNOWN}
    # The engine shows the text before the performance data.
    first=${expected%%$'\n'*} first=${first%%|*}
    [[ $found_code == "$code" && $verdict == "$state - ${first%"${first##*[! ]}"}"* ]] ||
        wrong=${wrong:-expected the engine to say \"$state - $first\", found \"$verdict\" and exit code $found_code}
    if [[ -z $wrong ]]; then
        passed=$((passed + 1))
        printf 'ok    %-14s %s: %s\n' "$program" "$*" "${expected%%$'\n'*}"
    else
        failed=$((failed + 1))
        printf 'WRONG %-14s %s\n      %s\n' "$program" "$*" "$wrong"
    fi
}

for code in 0 1 2 3; do
    same check_dummy "$code" "state $code"
done
same check_dummy 0
same check_dummy 1 "load is high|load1=5.2;5;10;0 load5=3;5;10"
same check_dummy 7
same check_dummy high
same check_dummy
same check_dummy -V
same check_dummy --help
for data in 0,0,0 0,2,0 2,2,0 3,1,0 1,1,1; do
    same check_cluster -s -d "$data" -w 0 -c 1
    same check_cluster -h -d "$data" -w 1 -c 2 -l "web farm"
done
same check_cluster -s -d 2,0,2 -w @1:1 -c @2:
same check_cluster -s -d 0,0 -w 0
same check_cluster -s -w 0 -c 1
same check_cluster --service --data=0,x,2 --warning=0 --critical=1

printf '%d passed, %d failed\n' "$passed" "$failed"
[[ $failed -eq 0 ]]
