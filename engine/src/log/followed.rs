//! One open file of a source.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::files::FileKey;
use super::follow::{Chunk, Item};
use super::lines::{Fingerprint, HEAD, Line, LineReader, MAX_LINE};
use crate::clock::Timestamp;
use crate::pipeline::changes::Checkpoint;

/// An open file and how far it was read.
#[derive(Debug)]
pub(super) struct Followed {
    /// Its number in [`Follower::files`].
    pub(super) number: u64,
    pub(super) key: FileKey,
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) reader: LineReader,
    pub(super) fingerprint: Fingerprint,
    /// Size and time of the last change at the last look.
    pub(super) size: u64,
    pub(super) modified: (i64, i64),
    /// When it left the pattern, or grew last since then.
    pub(super) gone: Option<Timestamp>,
    /// The path before it was renamed within the pattern.
    pub(super) was: Option<PathBuf>,
    /// Read to its end since it left its path: whoever is there now may go on.
    pub(super) caught_up: bool,
}

/// What a checkpoint's state says.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct State {
    #[serde(flatten)]
    pub(super) fingerprint: Fingerprint,
    /// Order of first sight: rotated files are read in it.
    pub(super) seq: u64,
}

impl State {
    /// The stored state; one that cannot be read matches every file.
    pub(super) fn of(stored: &Checkpoint) -> Self {
        serde_json::from_str(&stored.state).unwrap_or_else(|_| State {
            fingerprint: Fingerprint::of(b""),
            seq: 0,
        })
    }
}

impl Followed {
    /// Reads one chunk; true where there is more.
    pub(super) fn read(
        &mut self,
        source: &Arc<str>,
        now: Timestamp,
        buffer: &mut [u8],
        max_lines: usize,
        out: &mut Vec<Item>,
    ) -> io::Result<bool> {
        let metadata = self.file.metadata()?;
        let (size, modified) = (metadata.len(), (metadata.mtime(), metadata.mtime_nsec()));
        if size != self.size || modified != self.modified {
            let head = read_head(&self.file)?;
            if size < self.reader.next_byte() || !self.fingerprint.matches(&head) {
                // Truncated and perhaps written again: what was held of the old
                // content will not be finished.
                if let Some(line) = self.reader.finish() {
                    out.push(Item::Lines(self.chunk(vec![line])));
                }
                self.reader = LineReader::at(0);
                self.fingerprint = Fingerprint::of(&head);
                out.push(Item::Checkpoint(self.checkpoint(source, now)));
            } else if self.fingerprint.is_short() {
                self.fingerprint = Fingerprint::of(&head);
            }
            if self.gone.is_some() && size > self.size {
                self.gone = Some(now);
            }
            (self.size, self.modified) = (size, modified);
        }
        let from = self.reader.next_byte();
        if from >= size {
            return Ok(false);
        }
        let got = self.file.read_at(buffer, from)?;
        let mut lines = Vec::new();
        let used = self.reader.push(&buffer[..got], max_lines, &mut lines);
        if !lines.is_empty() {
            out.push(Item::Lines(self.chunk(lines)));
        }
        Ok(used > 0 && self.reader.next_byte() < size)
    }

    pub(super) fn chunk(&self, lines: Vec<Line>) -> Chunk {
        let dropped: u64 = lines.iter().map(|l| l.dropped).sum();
        if dropped > 0 {
            metrics::counter!("bellwether_log_bytes_dropped_total").increment(dropped);
        }
        Chunk {
            file: self.key,
            path: self.path.display().to_string(),
            state: self.state(),
            lines,
        }
    }

    fn state(&self) -> String {
        let state = State {
            fingerprint: self.fingerprint.clone(),
            seq: self.number,
        };
        serde_json::to_string(&state).unwrap_or_default()
    }

    pub(super) fn checkpoint(&self, source: &Arc<str>, now: Timestamp) -> Checkpoint {
        Checkpoint {
            source: Arc::clone(source),
            file_key: self.key.to_string(),
            path: self.path.display().to_string(),
            offset: self.reader.position(),
            state: self.state(),
            updated_at: now,
            removed: false,
        }
    }
}

pub(super) fn read_head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD];
    let mut filled = 0;
    while filled < HEAD {
        match file.read_at(&mut head[filled..], filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    head.truncate(filled);
    Ok(head)
}

/// Offset behind the file's last line break, so that a line which is still
/// being written is later read as a whole. A tail without one in the last
/// 64 KiB counts as read.
pub(super) fn last_line_break(file: &File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let start = size.saturating_sub(MAX_LINE as u64);
    let mut tail = vec![0; (size - start) as usize];
    let mut filled = 0;
    while filled < tail.len() {
        match file.read_at(&mut tail[filled..], start + filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(match tail[..filled].iter().rposition(|b| *b == b'\n') {
        Some(at) => start + at as u64 + 1,
        None if start == 0 => 0,
        None => start + filled as u64,
    })
}
