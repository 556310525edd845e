//! The guest's stack in words.
//!
//! Names come from the module's name section alone. Its DWARF would add files
//! and lines, but reading it takes time and memory that the module's author
//! chooses, on a guest thread and out of the reach of every limit.

use std::fmt::Write;

use wasmtime::WasmBacktrace;

use super::log::clip;

/// Most functions named in a fault's text.
const MAX_NAMED: usize = 4;
/// Bytes of a name that are looked at.
const MAX_NAME: usize = 4 << 10;

/// The guest's stack, a function a line, the innermost first.
pub(super) fn backtrace(trace: &WasmBacktrace) -> String {
    let mut text = "backtrace, innermost first:".to_owned();
    for (number, frame) in trace.frames().iter().enumerate() {
        let name = match frame.func_name() {
            Some(name) => readable(name, 200),
            None => format!("function {}", frame.func_index()),
        };
        text.push_str(&format!("\n{number:>3}: {name}"));
    }
    text
}

/// The first named functions of the guest's stack.
pub(super) fn frames(error: &wasmtime::Error) -> String {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else {
        return String::new();
    };
    let names: Vec<String> = trace
        .frames()
        .iter()
        .filter_map(|frame| frame.func_name())
        .take(MAX_NAMED)
        .map(|name| readable(name, 100))
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(" at {}", names.join(" < ")),
    }
}

/// A function's name for people, at most `most` characters of it: without the
/// hash of Rust's compiler, and demangled where the linker left that to us.
fn readable(name: &str, most: usize) -> String {
    let name = clip(name, MAX_NAME);
    let mut short = Short {
        text: String::new(),
        left: most,
    };
    // The error only says that it is full.
    let _ = match rustc_demangle::try_demangle(name) {
        Ok(demangled) => write!(short, "{demangled:#}"),
        Err(_) => short.write_str(without_hash(name)),
    };
    short.text
}

/// A demangled Rust name without its hash.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((short, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            short
        }
        _ => name,
    }
}

/// A text that takes no more than some characters: a mangled name may stand for
/// one that is very much longer.
struct Short {
    text: String,
    left: usize,
}

impl Write for Short {
    fn write_str(&mut self, more: &str) -> std::fmt::Result {
        for character in more.chars() {
            self.left = self.left.checked_sub(1).ok_or(std::fmt::Error)?;
            self.text.push(character);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_readable_and_short() {
        for (name, expected) in [
            ("hostile::run::h0123456789abcdef", "hostile::run"),
            ("hostile::run::habc", "hostile::run::habc"),
            ("_ZN7hostile3run17h0123456789abcdefE", "hostile::run"),
            ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
            ("main.main", "main.main"),
            ("", ""),
        ] {
            assert_eq!(readable(name, 200), expected, "{name}");
        }
        assert_eq!(readable("äöü", 2), "äö");
        assert_eq!(readable(&"x".repeat(1 << 20), 100).len(), 100);
    }
}
