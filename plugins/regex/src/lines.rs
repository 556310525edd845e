//! Records of several lines.

use bellwether_plugin::{Batch, ParseError, Records};
use regex::Regex;

use crate::config::{Config, Plan, compile};

/// A record of several lines ends at this size in any case, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// Joins lines until the next record starts. The lines of a record lie side by
/// side in the batch, so its text is a slice of it; only what is held back from
/// an earlier batch is copied.
pub struct Multiline {
    start: Regex,
    max_lines: u32,
    /// Held back from earlier batches.
    held: String,
    held_lines: u32,
}

/// Lines of this batch that belong to the record at hand.
#[derive(Clone, Copy)]
struct Open {
    first: u32,
    lines: u32,
    start: usize,
    end: usize,
}

impl Multiline {
    /// Compiles the configuration, where it asks for this at all.
    pub fn read(config: &Config) -> Result<Option<Self>, ParseError> {
        let Some(start) = &config.multiline_start else {
            return Ok(None);
        };
        Ok(Some(Multiline {
            start: compile("/multiline_start", start)?,
            max_lines: config.max_lines.max(1),
            held: String::new(),
            held_lines: 0,
        }))
    }

    /// Adds the records that end in this batch and holds back the last one.
    pub fn parse(&mut self, plan: &mut Plan, batch: &Batch, records: &mut Records<'_>) {
        let mut open: Option<Open> = None;
        let mut start = 0;
        for (number, line) in batch.lines() {
            let end = start + line.len();
            let lines = self.held_lines + open.map_or(0, |open| open.lines);
            let bytes = self.held.len() + open.map_or(0, |open| open.end - open.start);
            let full = lines >= self.max_lines || bytes + line.len() > MAX_BYTES;
            if lines > 0 && (full || self.start.is_match(line)) {
                self.close(plan, batch, open.take(), records);
            }
            open = Some(match open {
                Some(open) => Open {
                    lines: open.lines + 1,
                    end,
                    ..open
                },
                None => Open {
                    first: number,
                    lines: 1,
                    start,
                    end,
                },
            });
            start = end + batch.gap as usize;
        }
        if let Some(open) = open {
            if self.held_lines > 0 {
                self.held.push('\n');
            }
            self.held.push_str(&batch.text[open.start..open.end]);
            self.held_lines += open.lines;
            records.held(open.lines);
        }
    }

    /// Adds what is held back.
    pub fn flush(&mut self, plan: &mut Plan, records: &mut Records<'_>) {
        if self.held_lines > 0 {
            let text = std::mem::take(&mut self.held);
            self.held_lines = 0;
            whole(plan, &text, 0, records);
        }
    }

    fn close(
        &mut self,
        plan: &mut Plan,
        batch: &Batch,
        open: Option<Open>,
        records: &mut Records<'_>,
    ) {
        if self.held_lines == 0 {
            let Some(open) = open else { return };
            let text = &batch.text[open.start..open.end];
            let last = open.first + open.lines - 1;
            if !text.trim_ascii().is_empty() && !plan.record(text, last, records) {
                (open.first..=last).for_each(|line| records.unparsed(line));
            }
            return;
        }
        let mut text = std::mem::take(&mut self.held);
        self.held_lines = 0;
        let mut last = 0;
        if let Some(open) = open {
            text.push('\n');
            text.push_str(&batch.text[open.start..open.end]);
            last = open.first + open.lines - 1;
        }
        whole(plan, &text, last, records);
        // Keep the memory for the next one.
        text.clear();
        self.held = text;
    }
}

/// Adds a record whose lines are not all in this batch: what does not match
/// cannot be left to the host by line number, so it becomes a plain record.
fn whole(plan: &mut Plan, text: &str, line: u32, records: &mut Records<'_>) {
    if !text.trim_ascii().is_empty() && !plan.record(text, line, records) {
        let mut entry = records.entry(line);
        entry.message(text);
        entry.add();
    }
}
