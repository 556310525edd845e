#!/usr/bin/env bash
# Every test of the project; ends with one line of totals.
#
#   .ci/test.sh            all of it
#   .ci/test.sh engine     only this part: format, lints, licences, plugins, engine, docs, web
set -euo pipefail
cd "$(dirname "$0")/.."

. .ci/steps.sh

rust_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --release --no-fail-fast "$@"
    else
        cargo test --release --no-fail-fast "$@"
    fi
}

parts=("${@:-all}")
wanted() { [[ " ${parts[*]} " == *" $1 "* || " ${parts[*]} " == *" all "* ]]; }

# Both come with rustup's default profile; a minimal toolchain has neither.
has() { # CARGO COMMAND
    cargo "$1" --version >/dev/null 2>&1 || { echo "== no cargo $1 here: left out (rustup component add)"; return 1; }
}
if wanted format && has fmt; then
    step "format" cargo fmt --check
fi
if wanted lints && has clippy; then
    step "lints" cargo clippy --release --all-targets --no-deps -- -D warnings
fi
# Licences, sources and banned crates need no network; advisories do, and change
# by themselves: `cargo deny check advisories`.
licences() {
    cargo deny --offline check --hide-inclusion-graph bans licenses sources &&
        cargo deny --offline --manifest-path plugins/Cargo.toml --config deny.toml check --hide-inclusion-graph bans licenses sources
}
if wanted licences && { cargo deny --version >/dev/null 2>&1 || { echo "== no cargo deny here: left out (cargo install cargo-deny --locked)"; false; }; }; then
    step "licences" licences
fi
if wanted plugins; then
    step "plugins" plugins/test.sh --no-fail-fast
fi
if wanted engine; then
    step "engine" rust_tests
fi
if wanted docs; then
    step "docs" sh docs/check.sh
fi
if wanted web; then
    step "web: types" npm --prefix web run check
    step "web: pages in Chromium" npm --prefix web run test:a11y
    step "web: the main job in Chromium" npm --prefix web run test:e2e
fi
totals
