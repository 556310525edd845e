//! Log parsers: turn lines into records.

use std::collections::HashMap;

use serde::de::DeserializeOwned;

pub use crate::bindings::log_parser::exports::bellwether::plugin::log_parser::{
    Batch, Entry as RawEntry, Field as RawField, ParseError, Records as RawRecords, Span as RawSpan,
};
use crate::{ConfigProblem, Level, Manifest, Timestamp};
use RawEntry as Entry;
use RawField as Field;
use RawSpan as Span;

/// Turns lines into records. One value serves one source until the engine
/// recycles it; [`LogParser::flush`] is called before that.
pub trait LogParser: Sized {
    /// The source's configuration; see [`Probe::Config`](crate::Probe::Config).
    type Config: DeserializeOwned;

    /// What the plugin says of itself.
    fn describe() -> Manifest;

    /// Called once before the first batch.
    fn configure(config: Self::Config) -> Result<Self, ParseError>;

    /// Parses whole lines. Every line ends up in an entry, in
    /// [`Records::unparsed`] or in [`Records::held`].
    fn parse(&mut self, batch: &Batch, records: &mut Records<'_>) -> Result<(), ParseError>;

    /// Gives up whatever is held back. Most parsers hold nothing.
    fn flush(&mut self, records: &mut Records<'_>) -> Result<(), ParseError> {
        let _ = records;
        Ok(())
    }
}

impl Batch {
    /// The lines with their indices, without line breaks.
    pub fn lines(&self) -> Lines<'_> {
        Lines {
            batch: self,
            next: 0,
            start: 0,
        }
    }
}

/// Iterator over the lines of a batch.
pub struct Lines<'a> {
    batch: &'a Batch,
    next: usize,
    start: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (u32, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let end = *self.batch.ends.get(self.next)? as usize;
        // The host cuts on character boundaries; a host that does not gets an
        // empty line instead of a trap.
        let line = self.batch.text.get(self.start..end).unwrap_or("");
        let index = self.next as u32;
        self.next += 1;
        self.start = end + self.batch.gap as usize;
        Some((index, line))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let rest = self.batch.ends.len() - self.next;
        (rest, Some(rest))
    }
}

impl ExactSizeIterator for Lines<'_> {}

/// Collects records. Text that is a slice of the batch is passed on as a range
/// of it, without a copy; other text is copied once.
pub struct Records<'a> {
    text: &'a str,
    raw: RawRecords,
    index: HashMap<Box<str>, u32>,
    /// Name expected next: lines of one source tend to repeat their keys in
    /// the same order.
    expected: usize,
    /// Fields of the last record, to allocate once for the next.
    fields: usize,
}

/// From here on names are found by hash.
const SCANNED_NAMES: usize = 12;

impl<'a> Records<'a> {
    /// Records of a batch with that text and number of lines.
    pub fn new(text: &'a str, lines: usize) -> Self {
        Records {
            text,
            raw: RawRecords {
                extra: String::new(),
                names: Vec::new(),
                entries: Vec::with_capacity(lines),
                unparsed: Vec::new(),
                held: 0,
            },
            index: HashMap::new(),
            expected: 0,
            fields: 0,
        }
    }

    /// Starts a record; it is added by [`EntryBuilder::add`]. `line` is the
    /// index of the last line that it is made from.
    pub fn entry(&mut self, line: u32) -> EntryBuilder<'_, 'a> {
        let fields = Vec::with_capacity(self.fields);
        EntryBuilder {
            entry: Entry {
                line,
                time: None,
                level: Level::Unset,
                message: Span { start: 0, end: 0 },
                fields,
            },
            records: self,
        }
    }

    /// This line could not be parsed; the engine keeps it as a plain record.
    pub fn unparsed(&mut self, line: u32) {
        self.raw.unparsed.push(line);
    }

    /// So many last lines of the batch wait for a later batch or the flush.
    pub fn held(&mut self, lines: u32) {
        self.raw.held = lines;
    }

    /// The index of a field name, for [`EntryBuilder::indexed_field`]. Valid
    /// for these records only.
    pub fn name(&mut self, name: &str) -> u32 {
        if self
            .raw
            .names
            .get(self.expected)
            .is_some_and(|expected| expected == name)
        {
            self.expected += 1;
            return (self.expected - 1) as u32;
        }
        let found = if self.raw.names.len() < SCANNED_NAMES {
            self.raw.names.iter().position(|known| known == name)
        } else {
            if self.index.is_empty() {
                for (number, known) in self.raw.names.iter().enumerate() {
                    self.index.insert(known.as_str().into(), number as u32);
                }
            }
            self.index.get(name).map(|number| *number as usize)
        };
        let number = found.unwrap_or_else(|| {
            let number = self.raw.names.len();
            if !self.index.is_empty() {
                self.index.insert(name.into(), number as u32);
            }
            self.raw.names.push(name.to_owned());
            number
        });
        self.expected = number + 1;
        number as u32
    }

    /// The answer as the contract has it, for what this builder has no words
    /// for.
    pub fn raw(&mut self) -> &mut RawRecords {
        &mut self.raw
    }

    /// The answer for the engine.
    pub fn finish(self) -> RawRecords {
        self.raw
    }

    fn span(&mut self, text: &str) -> Span {
        let start = (text.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        if start <= self.text.len() && text.len() <= self.text.len() - start {
            return Span {
                start: start as u32,
                end: (start + text.len()) as u32,
            };
        }
        let start = (self.text.len() + self.raw.extra.len()) as u32;
        self.raw.extra.push_str(text);
        Span {
            start,
            end: start + text.len() as u32,
        }
    }
}

/// One record on its way.
pub struct EntryBuilder<'r, 'a> {
    records: &'r mut Records<'a>,
    entry: Entry,
}

impl EntryBuilder<'_, '_> {
    /// When it happened.
    pub fn time(&mut self, time: Timestamp) -> &mut Self {
        self.entry.time = Some(time);
        self
    }

    /// How bad it is.
    pub fn level(&mut self, level: Level) -> &mut Self {
        self.entry.level = level;
        self
    }

    /// What it says; the last call counts.
    pub fn message(&mut self, text: &str) -> &mut Self {
        self.entry.message = self.records.span(text);
        self
    }

    /// Adds a field.
    pub fn field(&mut self, name: &str, value: &str) -> &mut Self {
        let name = self.records.name(name);
        self.indexed_field(name, value)
    }

    /// Adds a field by its name's index, see [`Records::name`].
    pub fn indexed_field(&mut self, name: u32, value: &str) -> &mut Self {
        let value = self.records.span(value);
        self.entry.fields.push(Field { name, value });
        self
    }

    /// Fields so far.
    pub fn field_count(&self) -> usize {
        self.entry.fields.len()
    }

    /// Adds the record to the answer. A record that is dropped instead leaves
    /// nothing behind but unused text.
    pub fn add(self) {
        self.records.fields = self.entry.fields.len();
        self.records.expected = 0;
        self.records.raw.entries.push(self.entry);
    }
}

impl ParseError {
    /// A configuration value that the plugin cannot work with. `pointer` is a
    /// JSON Pointer.
    pub fn config(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        ParseError::Config(ConfigProblem {
            pointer: pointer.into(),
            message: message.into(),
        })
    }
}

impl From<ConfigProblem> for ParseError {
    fn from(problem: ConfigProblem) -> Self {
        ParseError::Config(problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_of_the_batch_are_not_copied() {
        let text = "alpha beta".to_owned();
        let mut records = Records::new(&text, 1);
        let mut entry = records.entry(0);
        entry
            .message(&text[6..])
            .field("a", &text[..5])
            .field("b", "made up")
            .field("a", "");
        entry.add();
        let raw = records.finish();
        assert_eq!(raw.extra, "made up");
        assert_eq!(raw.names, ["a", "b"]);
        let entry = &raw.entries[0];
        assert_eq!(entry.message, Span { start: 6, end: 10 });
        assert_eq!(entry.fields[0].value, Span { start: 0, end: 5 });
        assert_eq!(entry.fields[1].value, Span { start: 10, end: 17 });
        assert_eq!(entry.fields[2].name, 0);
    }

    #[test]
    fn names_are_kept_once_however_many_there_are() {
        let mut records = Records::new("", 0);
        for round in 0..3 {
            for number in 0..100_u32 {
                let name = format!("field{}", (number * 7 + round) % 100);
                let index = records.name(&name);
                assert_eq!(records.raw.names[index as usize], name);
            }
        }
        assert_eq!(records.raw.names.len(), 100);
    }

    #[test]
    fn lines_are_cut_at_their_ends() {
        let batch = Batch {
            text: "one\r\n\r\nthree".to_owned(),
            ends: vec![3, 5, 12],
            gap: 2,
            received: 0,
        };
        assert_eq!(
            batch.lines().collect::<Vec<_>>(),
            [(0, "one"), (1, ""), (2, "three")]
        );
    }
}
