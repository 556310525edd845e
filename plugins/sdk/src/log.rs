//! The run's own log, shown beside its result. Nothing is written outside of
//! WebAssembly.

use crate::Level;

/// Writes one message.
pub fn write(level: Level, message: &str) {
    #[cfg(target_family = "wasm")]
    crate::bindings::host::bellwether::plugin::log::write(level, message);
    #[cfg(not(target_family = "wasm"))]
    let _ = (level, message);
}

/// For people who look for a mistake in the plugin.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Worth knowing.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Not as it should be.
pub fn warning(message: &str) {
    write(Level::Warning, message);
}

/// Wrong.
pub fn error(message: &str) {
    write(Level::Error, message);
}

/// The level that a word or number names, in any case: the usual spellings, the
/// syslog severities 0 to 7 and the tens of pino and bunyan (10 to 60).
pub fn parse_level(word: &str) -> Option<Level> {
    const NAMES: [(&str, Level); 26] = [
        ("info", Level::Info),
        ("error", Level::Error),
        ("warn", Level::Warning),
        ("warning", Level::Warning),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
        ("notice", Level::Notice),
        ("critical", Level::Critical),
        ("fatal", Level::Critical),
        ("err", Level::Error),
        ("crit", Level::Critical),
        ("alert", Level::Critical),
        ("emerg", Level::Critical),
        ("emergency", Level::Critical),
        ("panic", Level::Critical),
        ("severe", Level::Error),
        ("information", Level::Info),
        ("informational", Level::Info),
        ("verbose", Level::Debug),
        ("fine", Level::Debug),
        ("inf", Level::Info),
        ("wrn", Level::Warning),
        ("dbg", Level::Debug),
        ("trc", Level::Trace),
        ("ftl", Level::Critical),
        ("dpanic", Level::Critical),
    ];
    let word = word.trim();
    if let Some((_, level)) = NAMES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word))
    {
        return Some(*level);
    }
    if let Ok(number) = word.parse::<u32>() {
        return Some(match number {
            0..=2 => Level::Critical,
            3 => Level::Error,
            4 => Level::Warning,
            5 => Level::Notice,
            6 => Level::Info,
            7 => Level::Debug,
            10 => Level::Trace,
            20 => Level::Debug,
            30 => Level::Info,
            40 => Level::Warning,
            50 => Level::Error,
            60 => Level::Critical,
            _ => return None,
        });
    }
    // One letter, as glog and Android write it.
    let mut letters = word.bytes();
    match (
        letters.next().map(|letter| letter.to_ascii_uppercase()),
        letters.next(),
    ) {
        (Some(b'T'), None) => Some(Level::Trace),
        (Some(b'D'), None) => Some(Level::Debug),
        (Some(b'I'), None) => Some(Level::Info),
        (Some(b'N'), None) => Some(Level::Notice),
        (Some(b'W'), None) => Some(Level::Warning),
        (Some(b'E'), None) => Some(Level::Error),
        (Some(b'F' | b'C'), None) => Some(Level::Critical),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_many_spellings() {
        for (word, level) in [
            ("INFO", Level::Info),
            (" warn ", Level::Warning),
            ("Fatal", Level::Critical),
            ("50", Level::Error),
            ("6", Level::Info),
            ("E", Level::Error),
        ] {
            assert_eq!(parse_level(word), Some(level), "{word}");
        }
        for word in ["", "loud", "35", "-1", "EE"] {
            assert_eq!(parse_level(word), None, "{word}");
        }
    }
}
