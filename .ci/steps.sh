# shellcheck shell=bash
# Runs steps and adds up their tests. Source it, call `step` for each and
# `totals` at the end.

passed=0
failed=0
broken=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Reads output, prints "PASSED FAILED". Where a script closed with its own
# `N passed, N failed`, the last such line counts; else nextest's summary; else
# the summaries of cargo test and Playwright. One kind only: nextest shows the
# output of tests that failed, in which other summaries stand.
tally() {
    sed -r 's/\x1b\[[0-9;]*m//g' | awk '
        function add(kind, line, word) {
            seen[kind] = 1
            while (match(line, /[0-9]+ (passed|failed|flaky|timed out)/)) {
                split(substr(line, RSTART, RLENGTH), word, " ")
                n[kind, word[2]] += word[1]
                line = substr(line, RSTART + RLENGTH)
            }
        }
        /^[0-9]+ passed, [0-9]+ failed$/ { n["own", "passed"] = $1; n["own", "failed"] = $3; seen["own"] = 1 }
        /^ *Summary \[/ { add("nextest", $0) }
        /^ *test result:/ || /^ +[0-9]+ (passed|failed|flaky)/ { add("other", $0) }
        END {
            kind = seen["own"] ? "own" : seen["nextest"] ? "nextest" : "other"
            print n[kind, "passed"] + 0, n[kind, "failed"] + n[kind, "flaky"] + n[kind, "timed"] + 0
        }'
}

# Runs a step, shows it, and counts its tests.
step() { # NAME, COMMAND…
    local name=$1 good bad status=0 start=$SECONDS
    shift
    echo "== $name"
    "$@" 2>&1 | tee "$log" || status=$?
    read -r good bad < <(tally <"$log")
    if [ "$status" != 0 ]; then
        echo "== $name failed"
        broken+=("$name")
        # Something broke before a test could say so.
        [ "$bad" != 0 ] || bad=1
    fi
    echo "== $name: $((SECONDS - start)) s"
    passed=$((passed + good))
    failed=$((failed + bad))
}

# The last lines; fails where a step did.
totals() {
    echo
    [ ${#broken[@]} = 0 ] || printf 'failed: %s\n' "${broken[@]}"
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}
