//! Modes that use up time, memory and output.

use std::hint::black_box;

use bellwether_plugin::{ProbeError, Report};

use crate::Config;

/// Computes for ever.
pub fn endless_loop() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Computes for so many turns.
pub fn burn(turns: u64) -> Report {
    let mut value = 1_u64;
    for turn in 0..turns {
        value = black_box(
            value
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(turn),
        );
    }
    Report::ok(format!("burnt {turns} turns")).metric("value", turns as f64)
}

/// Allocates and touches memory until there is no more.
pub fn memory_bomb() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// Allocates so many bytes and returns.
pub fn allocate(bytes: u64) -> Report {
    let kept = black_box(vec![1_u8; bytes as usize]);
    Report::ok(format!("allocated {} bytes", kept.len())).metric("value", kept.len() as f64)
}

/// Calls itself so deep.
pub fn stack_overflow(depth: u64) -> Report {
    #[inline(never)]
    fn deeper(left: u64) -> u64 {
        let frame = black_box([left; 64]);
        if left == 0 {
            0
        } else {
            black_box(deeper(left - 1)) + 1 + (frame[3] - left)
        }
    }
    let reached = deeper(depth);
    Report::ok(format!("reached {reached}")).metric("value", reached as f64)
}

/// Calls itself so deep without using linear memory: the host's own stack is
/// what overflows.
pub fn call_overflow(depth: u64) -> Report {
    #[inline(never)]
    fn deeper(left: u64) -> u64 {
        // No tail call and nothing to accumulate: it cannot become a loop.
        if left == 0 {
            1
        } else {
            deeper(left - 1).wrapping_mul(3) ^ left
        }
    }
    let reached = deeper(depth);
    Report::ok(format!("returned {reached}")).metric("value", depth as f64)
}

/// A report that is too large.
pub fn huge_output(config: &Config) -> Result<Report, ProbeError> {
    let amount = config.amount;
    let text = |default: u64| "x".repeat(amount.unwrap_or(default) as usize);
    Ok(match config.what.as_str() {
        "metrics" => {
            let mut report = Report::ok("many metrics");
            for number in 0..amount.unwrap_or(1_000_000) {
                report = report.metric(&format!("m{number}"), number as f64);
            }
            report
        }
        "names" => Report::ok("a long name").metric(&text(1 << 20), 1.0),
        "details" => Report::ok("long details").detail(text(100 << 20)),
        _ => Report::ok(text(100 << 20)),
    })
}

/// Ends the run abruptly.
#[expect(clippy::panic, reason = "that is what is asked for")]
pub fn trap(what: &str) -> ! {
    match what {
        "out-of-bounds" => {
            let list = black_box(vec![1]);
            let index = black_box(7);
            std::process::exit(list[index]);
        }
        "divide" => {
            let zero = black_box(0);
            std::process::exit(1 / zero);
        }
        "panic" => panic!("told to panic"),
        _ => unreachable(),
    }
}

/// The bare trap, without a panic's message.
fn unreachable() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}

/// Numbers that are none, and one that is.
pub fn nan_metrics() -> Report {
    Report::ok("odd numbers")
        .metric("nan", f64::NAN)
        .metric("plus", f64::INFINITY)
        .metric("minus", f64::NEG_INFINITY)
        .metric("value", 1.5)
}

/// Text that is not what it should be.
pub fn oddities(what: &str) -> Result<Report, ProbeError> {
    Ok(match what {
        "invalid-utf8" => {
            // SAFETY: none: this breaks String's promise on purpose, to see what
            // a host does with such bytes. Nothing in here reads them as text.
            let summary = unsafe { String::from_utf8_unchecked(vec![b'a', 0xff, 0xfe, b'z']) };
            Report::ok(summary)
        }
        "duplicates" => Report::ok("the same name twice")
            .metric("value", 1.0)
            .metric("value", 2.0)
            .metric("", 3.0)
            .metric("no spaces, please\n", 4.0),
        _ => Report::ok("a\0b\rc\nd\u{7f}e\u{202e}f\u{feff}\u{1b}[31mg<script>alert(1)</script>")
            .detail("\u{1b}]0;title\u{7}<img src=x onerror=alert(1)>\r\nSubject: injected"),
    })
}
