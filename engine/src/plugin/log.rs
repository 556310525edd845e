//! `log`: lines of a run, shown beside its result.

use super::bindings::bellwether::plugin::log::Host;
use super::bindings::bellwether::plugin::types::{self, Level};
use super::run::RunData;
use super::secrets::Redactor;
use crate::check::outcome::RunLogLine;

const MAX_LINES: usize = 100;
const MAX_BYTES: usize = 16 << 10;

/// The bounded log of one run. What does not fit is counted.
#[derive(Debug, Default)]
pub(super) struct RunLog {
    lines: Vec<RunLogLine>,
    bytes: usize,
    dropped: usize,
    /// The last line was cut off.
    cut: bool,
}

impl RunLog {
    /// Adds a line, shortened to what is left.
    pub fn push(&mut self, level: &str, message: &str) {
        if self.lines.len() >= MAX_LINES || self.bytes >= MAX_BYTES {
            self.dropped += 1;
            return;
        }
        let whole = message.len();
        let message = clip(message, MAX_BYTES - self.bytes);
        self.cut = message.len() < whole;
        self.bytes += message.len();
        self.lines.push(RunLogLine {
            level: level.to_owned(),
            message: message.to_owned(),
        });
    }

    /// The last line of level error or worse: a panic's message.
    pub fn last_error(&self, redactor: &Redactor) -> Option<String> {
        let line = self
            .lines
            .iter()
            .rposition(|line| line.level == "error" || line.level == "critical")?;
        Some(clip(&self.message(line, redactor)?, 1_000).to_owned())
    }

    /// A line's text without secrets, and without the beginning of one where the
    /// line was cut off.
    fn message(&self, line: usize, redactor: &Redactor) -> Option<String> {
        let message = self.lines.get(line)?.message.clone();
        Some(match self.cut && line + 1 == self.lines.len() {
            true => redactor.whole(message),
            false => redactor.text(message),
        })
    }

    /// All lines as one text, without secrets.
    pub fn text(&self, redactor: &Redactor) -> String {
        let lines: Vec<String> = (0..self.lines.len())
            .filter_map(|line| self.message(line, redactor))
            .collect();
        lines.join("\n")
    }

    /// The lines, and a last one that counts what was dropped.
    pub fn finish(mut self, redactor: &Redactor) -> Vec<RunLogLine> {
        if !redactor.is_empty() {
            let cut = self.cut.then(|| self.lines.len() - 1);
            for (number, line) in self.lines.iter_mut().enumerate() {
                let message = std::mem::take(&mut line.message);
                line.message = match cut == Some(number) {
                    true => redactor.whole(message),
                    false => redactor.text(message),
                };
            }
        }
        if self.dropped > 0 {
            self.lines.push(RunLogLine {
                level: "warning".into(),
                message: format!("{} more lines were dropped", self.dropped),
            });
        }
        self.lines
    }
}

/// At most `max` bytes of a text, cut between characters.
pub(super) fn clip(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

/// The word of the contract for a level.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::Unset | Level::Info => "info",
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Notice => "notice",
        Level::Warning => "warning",
        Level::Error => "error",
        Level::Critical => "critical",
    }
}

impl types::Host for RunData {}

impl Host for RunData {
    fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        self.log.push(level_name(level), &message);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_bytes_are_bounded() {
        let mut log = RunLog::default();
        for _ in 0..MAX_LINES + 5 {
            log.push("info", "x");
        }
        let lines = log.finish(&Redactor::default());
        assert_eq!(lines.len(), MAX_LINES + 1);
        assert_eq!(lines[MAX_LINES].message, "5 more lines were dropped");

        let mut log = RunLog::default();
        log.push("info", &"ä".repeat(MAX_BYTES));
        log.push("info", "late");
        let lines = log.finish(&Redactor::default());
        assert_eq!((lines[0].message.len(), lines.len()), (MAX_BYTES, 2));
    }

    #[test]
    fn no_part_of_a_secret_is_left_where_a_line_was_cut() {
        let mut redactor = Redactor::default();
        redactor.add("s3cret");
        let said = |before: usize| {
            let mut log = RunLog::default();
            log.push("error", &format!("{}s3cret", "x".repeat(before)));
            let said = log.last_error(&redactor).unwrap();
            let text = log.text(&redactor);
            let line = log.finish(&redactor).remove(0).message;
            assert_eq!(text, line);
            (said, line)
        };
        // In the text of a fault, which is shorter.
        let (text, line) = said(998);
        assert!(text.ends_with("x**") && line.ends_with("x***"), "{line}");
        // At the end of the log.
        let (text, line) = said(MAX_BYTES - 3);
        assert_eq!((text.len(), line.len()), (1_000, MAX_BYTES - 3));
        assert!(line.ends_with('x'), "{line}");
    }
}
