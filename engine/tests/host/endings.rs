//! Programs whose language's runtime ends them: their exit codes are no states.

use bellwether::check::outcome::{FaultKind, Outcome, State};
use serde_json::json;

use crate::support::*;
use crate::wat::*;

/// Says this on standard output and error, and exits.
fn exits(stdout: &str, stderr: &str, before: &str, code: i32) -> Vec<u8> {
    let data = format!("{stdout}{stderr}");
    let (out, err) = (stdout.len(), stderr.len());
    let body = format!(
        "{before}
        (call $write (i32.const 1) (i32.const 1024) (i32.const {out}))
        (call $write (i32.const 2) (i32.const {at}) (i32.const {err}))
        (call $exit (i32.const {code}))",
        at = 1024 + out,
    );
    program(&data, &body)
}

async fn run(host: &bellwether::plugin::Host, bytes: Vec<u8>) -> Outcome {
    let digest = host.install(bytes, |_| {}).await.unwrap().digest;
    job(&digest, json!({})).timeout(500).run(host).await
}

/// Asks for memory until there is none.
const GROW: &str =
    "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))";
const GO: &str =
    "panic: index out of range [5]\n\ngoroutine 1 [running]:\nmain.main()\n\t/x.go:5 +0x2\n";
const GO_MEMORY: &str =
    "runtime: out of memory: cannot allocate\nfatal error: out of memory\n\ngoroutine 1\n";
const PYTHON: &str = "Traceback (most recent call last):\n  File \"x.py\", line 1, in <module>\nZeroDivisionError: division by zero\n";

#[tokio::test]
async fn a_runtime_that_gives_up_is_a_fault() {
    let host = host();
    for (what, bytes, kind, expected) in [
        (
            "memory that was refused",
            exits("", "", GROW, 2),
            FaultKind::Limit,
            "limits.memory",
        ),
        (
            "Go without memory",
            exits("\n", GO_MEMORY, GROW, 2),
            FaultKind::Limit,
            "limits.memory",
        ),
        (
            "a panic of Go",
            exits("", GO, "", 2),
            FaultKind::Trap,
            "exit code 2: panic: index out of range [5]",
        ),
        (
            "a fatal error of Go",
            exits("", GO_MEMORY, "", 2),
            FaultKind::Trap,
            "exit code 2: fatal error: out of memory",
        ),
        (
            "an exception of Python",
            exits("", PYTHON, "", 1),
            FaultKind::Trap,
            "exit code 1; it wrote: ZeroDivisionError: division by zero",
        ),
    ] {
        let fault = run(&host, bytes).await.verdict.unwrap_err();
        assert_eq!(fault.kind, kind, "{what}: {}", fault.text);
        assert!(fault.text.contains(expected), "{what}: {}", fault.text);
    }
}

#[tokio::test]
async fn whoever_printed_a_word_has_judged() {
    let host = host();
    for (what, bytes, state) in [
        (
            "a word beside a panic",
            exits("CRITICAL - x", GO, "", 2),
            State::Critical,
        ),
        (
            "a word beside an exception",
            exits("WARNING - x", PYTHON, "", 1),
            State::Warning,
        ),
        (
            "a word without memory",
            exits("CRITICAL - x", "", GROW, 2),
            State::Critical,
        ),
        ("success without memory", exits("", "", GROW, 0), State::Ok),
        (
            "silence",
            exits("", "nothing came: panic: no\n", "", 2),
            State::Critical,
        ),
    ] {
        let report = run(&host, bytes).await.verdict;
        assert_eq!(report.unwrap().state, state, "{what}");
    }
}
