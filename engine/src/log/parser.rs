//! What a source hands to its parser, and what it gets back.

use std::future::Future;

use super::lines::Line;
use crate::check::outcome::{Fault, LogRecord};
use crate::clock::Timestamp;

/// Whole lines of one file as one text, so that a plugin gets them in one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineBatch {
    /// The lines with one `\n` between two of them.
    pub text: String,
    /// Byte offset in `text` behind each line, without its line break.
    pub ends: Vec<u32>,
    /// When the lines were read.
    pub received: Timestamp,
}

impl LineBatch {
    /// Bytes between two lines.
    pub const GAP: u32 = 1;

    pub(super) fn new(lines: &[Line], received: Timestamp) -> Self {
        let bytes = lines.iter().map(|l| l.text.len() + 1).sum();
        let (mut text, mut ends) = (
            String::with_capacity(bytes),
            Vec::with_capacity(lines.len()),
        );
        for (i, line) in lines.iter().enumerate() {
            if i > 0 {
                text.push('\n');
            }
            text.push_str(&line.text);
            ends.push(text.len() as u32);
        }
        Self {
            text,
            ends,
            received,
        }
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True without a line.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Line `n`, counted from 0.
    pub fn line(&self, n: usize) -> Option<&str> {
        let end = *self.ends.get(n)? as usize;
        let start = match n {
            0 => 0,
            n => (self.ends[n - 1] + Self::GAP) as usize,
        };
        self.text.get(start..end)
    }
}

/// A record and the line it ends with.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedRecord {
    /// Index of the last line of this batch that the record is made from; 0 for
    /// records of a flush.
    pub line: u32,
    pub record: LogRecord,
}

/// What a parser made of a batch. Numbers out of range are ignored, not trusted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    pub records: Vec<ParsedRecord>,
    /// Lines that become plain records.
    pub unparsed: Vec<u32>,
    /// Last lines of this batch that no record speaks for yet.
    pub held: u32,
}

/// Turns lines of one source into records; one instance at a time.
pub trait LineParser: Send + 'static {
    /// Parses the next lines.
    ///
    /// # Errors
    /// A fault: the instance may be broken and has to be recycled.
    fn parse(&mut self, batch: &LineBatch) -> impl Future<Output = Result<Parsed, Fault>> + Send;

    /// Gives out what is held back.
    ///
    /// # Errors
    /// A fault: what was held back is lost to the instance.
    fn flush(&mut self, now: Timestamp) -> impl Future<Output = Result<Parsed, Fault>> + Send;

    /// True where the instance has served long enough.
    fn should_recycle(&self) -> bool;

    /// Replaces the instance by a fresh one. What it held back is gone.
    ///
    /// # Errors
    /// A fault where there is no fresh one, such as a plugin that is not there.
    fn recycle(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;
}
