//! Following the files of a source: new lines, rotation, truncation, restarts.
//!
//! A file is known by its inode, and held open so that a rotated one is read to
//! its end wherever it went. [`Follower::poll`] is synchronous and is handed the
//! time; it runs on a blocking thread.
//!
//! Known limits: of a file that is copied and truncated (`copytruncate`), what
//! was written between the last read and the truncation cannot be seen; nor can
//! a file that came and was renamed out of the pattern between two reads or while
//! the engine was down, or one that was deleted while it was down, or lines that
//! are added to a rotated file after a minute of silence.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::files::{self, FileKey, Found};
use super::followed::{Followed, State, last_line_break, read_head};
use super::lines::{Fingerprint, Line, LineReader};
use crate::check::outcome::{Fault, FaultKind};
use crate::clock::Timestamp;
use crate::config::spec::{LogSourceSpec, LogStart};
use crate::pipeline::changes::Checkpoint;

/// Key of the row that says that a source was seen, with its pattern as path.
const SEEN: &str = "source";

/// Bytes read from a file at once.
const CHUNK: usize = 64 << 10;

/// Bounds of a follower.
#[derive(Clone, Copy, Debug)]
pub struct FollowerOptions {
    /// Files followed at the same time; of more, the most recently changed.
    pub max_files: usize,
    /// How long a file that left the pattern is still followed without growing.
    pub gone_after: Duration,
}

impl Default for FollowerOptions {
    fn default() -> Self {
        Self {
            max_files: 256,
            gone_after: Duration::from_secs(60),
        }
    }
}

/// Lines of one file, in order.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub file: FileKey,
    pub path: String,
    /// Checkpoint state that goes with these lines.
    pub state: String,
    pub lines: Vec<Line>,
}

/// Something a poll found; the order matters.
#[derive(Clone, Debug)]
pub enum Item {
    Lines(Chunk),
    /// A position to be stored that no line speaks for: first sight, truncation
    /// or the end of a file. Lines before it are to be stored first.
    Checkpoint(Checkpoint),
    /// A file cannot be read. Told once until it changes.
    Fault(Fault),
}

/// What a poll found, and whether there is more to be had at once.
#[derive(Debug, Default)]
pub struct Polled {
    pub items: Vec<Item>,
    pub more: bool,
    /// What cannot be read, also where it was told before.
    pub trouble: Option<Fault>,
}

/// Follows the files of one source.
#[derive(Debug)]
pub struct Follower {
    source: Arc<str>,
    pattern: String,
    from: LogStart,
    options: FollowerOptions,
    /// Positions of files that are not open: durable ones that no file was
    /// found for yet, and parked ones.
    stored: HashMap<FileKey, Checkpoint>,
    /// False until the first poll.
    started: bool,
    /// The source, with this pattern, was seen by an earlier run.
    seen_before: bool,
    /// In the order of their first sight.
    files: BTreeMap<u64, Followed>,
    next_number: u64,
    /// Where the next poll begins, for fairness.
    turn: u64,
    /// Complaints that were made, by what they are about.
    complaints: HashMap<String, String>,
}

impl Follower {
    /// A follower for `spec` that continues at `checkpoints`, the durable rows
    /// of this source.
    pub fn new(
        spec: &LogSourceSpec,
        checkpoints: Vec<Checkpoint>,
        options: FollowerOptions,
    ) -> Self {
        let seen_before = checkpoints
            .iter()
            .any(|c| c.file_key == SEEN && c.path == spec.file);
        let stored: HashMap<FileKey, Checkpoint> = checkpoints
            .into_iter()
            .filter_map(|c| Some((c.file_key.parse().ok()?, c)))
            .collect();
        let next_number = stored
            .values()
            .map(|c| State::of(c).seq.saturating_add(1))
            .max();
        Self {
            source: spec.name.as_str().into(),
            pattern: spec.file.clone(),
            from: spec.from,
            options,
            stored,
            started: false,
            seen_before,
            files: BTreeMap::new(),
            next_number: next_number.unwrap_or_default(),
            turn: 0,
            complaints: HashMap::new(),
        }
    }

    /// The source's name.
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// Files followed now.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Looks for files and reads at most about `max_lines` lines and
    /// `max_bytes` bytes, fairly from all of them.
    pub fn poll(&mut self, now: Timestamp, max_lines: usize, max_bytes: usize) -> Polled {
        let mut polled = Polled::default();
        let mut complaints = HashMap::new();
        self.look(now, &mut polled.items, &mut complaints);
        self.read(now, max_lines, max_bytes, &mut polled, &mut complaints);
        self.drop_gone(now, &mut polled.items);
        for (about, text) in &complaints {
            let told = self.complaints.get(about) == Some(text);
            let text = format!("log source {}: {text}", self.source);
            let fault = Fault::new(FaultKind::Engine, text);
            polled.trouble.get_or_insert_with(|| fault.clone());
            if !told {
                polled.items.push(Item::Fault(fault));
            }
        }
        self.complaints = complaints;
        polled
    }

    /// Compares what is there with what is followed.
    fn look(
        &mut self,
        now: Timestamp,
        items: &mut Vec<Item>,
        complaints: &mut HashMap<String, String>,
    ) {
        let (found, errors) = files::expand(&self.pattern);
        for (path, e) in errors {
            complain(complaints, &path, "look at", &e);
        }
        let first_sight = !self.started && !self.seen_before;
        if first_sight {
            items.push(Item::Checkpoint(self.seen_row(now)));
        }
        let present: HashSet<FileKey> = found.iter().map(|f| f.key).collect();
        for followed in self.files.values_mut() {
            if present.contains(&followed.key) {
                followed.gone = None;
            } else if followed.gone.is_none() {
                followed.gone = Some(now);
                followed.caught_up = false;
            }
        }
        // Before new files are met: their predecessors.
        self.find_rotated(&present, first_sight, now, items);
        let wanted = self.choose(&found, complaints);
        for Found {
            path, key, size, ..
        } in found
        {
            if let Some(known) = self.files.values_mut().find(|f| f.key == key) {
                if known.path != path {
                    known.was = Some(std::mem::replace(&mut known.path, path));
                    known.caught_up = false;
                }
            } else if (first_sight || wanted.contains(&key))
                && let Err(e) = self.meet(&path, key, first_sight, now, items)
            {
                complain(complaints, &path, "read", &e);
                if first_sight && self.from == LogStart::End {
                    // Its beginning is old, whenever it can be read.
                    let row = self.unread_row(&path, key, size, now);
                    self.stored.insert(key, row.clone());
                    items.push(Item::Checkpoint(row));
                }
            }
            if !wanted.contains(&key) {
                self.park(key, now);
            }
        }
        self.started = true;
    }

    /// The most recently changed files, as many as may be followed.
    fn choose(
        &self,
        found: &[Found],
        complaints: &mut HashMap<String, String>,
    ) -> HashSet<FileKey> {
        let max = self.options.max_files;
        if found.len() <= max {
            return found.iter().map(|f| f.key).collect();
        }
        complaints.insert(
            "too many files".into(),
            format!(
                "{:?} matches more than {max} files and only the most recently changed are followed; use a narrower pattern or several sources",
                self.pattern
            ),
        );
        let mut newest: Vec<&Found> = found.iter().collect();
        let open: HashMap<FileKey, u64> = self
            .files
            .values()
            .map(|f| (f.key, f.reader.position()))
            .collect();
        newest.sort_by_key(|f| {
            let parked = self.stored.get(&f.key).map(|row| row.offset);
            let position = open.get(&f.key).copied().or(parked);
            // Whatever is not read to its end comes first: times are coarse.
            std::cmp::Reverse((position != Some(f.size), f.modified))
        });
        newest.iter().take(max).map(|f| f.key).collect()
    }

    /// Closes a file that was read to its end and remembers where that is.
    fn park(&mut self, key: FileKey, now: Timestamp) {
        let followed = self.files.iter().find(|(_, f)| f.key == key);
        let Some((number, followed)) = followed else {
            return;
        };
        let whole = followed.reader.next_byte() == followed.reader.position();
        let size = followed.file.metadata().map_or(0, |m| m.len());
        if whole && followed.reader.position() == size {
            let row = followed.checkpoint(&self.source, now);
            let number = *number;
            self.stored.insert(key, row);
            self.files.remove(&number);
        }
    }

    /// Files with a known position that are no longer where they were: those
    /// that were renamed in their folder are read to their end.
    fn find_rotated(
        &mut self,
        present: &HashSet<FileKey>,
        pattern_changed: bool,
        now: Timestamp,
        items: &mut Vec<Item>,
    ) {
        let absent: Vec<FileKey> = self
            .stored
            .keys()
            .filter(|key| !present.contains(key))
            .copied()
            .collect();
        for key in absent {
            let Some(stored) = self.stored.remove(&key) else {
                continue;
            };
            let folder = Path::new(&stored.path).parent().unwrap_or(Path::new("."));
            let renamed = match pattern_changed {
                true => None,
                false => files::find_renamed(folder, key),
            };
            let opened = renamed.and_then(|path| {
                let file = File::open(path).ok()?;
                (FileKey::of(&file.metadata().ok()?) == key).then_some(file)
            });
            let head = opened.as_ref().and_then(|f| read_head(f).ok());
            match (opened, head) {
                (Some(file), Some(head)) if State::of(&stored).fingerprint.matches(&head) => {
                    self.follow(Followed {
                        number: State::of(&stored).seq,
                        key,
                        path: stored.path.into(),
                        file,
                        reader: LineReader::at(stored.offset),
                        fingerprint: Fingerprint::of(&head),
                        size: 0,
                        modified: (0, 0),
                        gone: Some(now),
                        was: None,
                        caught_up: false,
                    });
                }
                _ => items.push(Item::Checkpoint(Checkpoint {
                    removed: true,
                    updated_at: now,
                    ..stored
                })),
            }
        }
    }

    /// Begins to follow a file.
    fn meet(
        &mut self,
        path: &Path,
        key: FileKey,
        first_sight: bool,
        now: Timestamp,
        items: &mut Vec<Item>,
    ) -> io::Result<()> {
        let file = match File::open(path) {
            // It went between the look and now.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let metadata = file.metadata()?;
        if FileKey::of(&metadata) != key {
            // Another file by now: the next poll meets it.
            return Ok(());
        }
        let head = read_head(&file)?;
        let stored = self.stored.remove(&key);
        let start = match &stored {
            Some(s) if State::of(s).fingerprint.matches(&head) && s.offset <= metadata.len() => {
                s.offset
            }
            // Truncated meanwhile, or another file that got the inode.
            Some(_) => 0,
            None if first_sight && self.from == LogStart::End => last_line_break(&file)?,
            None => 0,
        };
        let number = self.follow(Followed {
            number: match &stored {
                Some(s) if s.offset == start => State::of(s).seq,
                _ => self.next_number,
            },
            key,
            path: path.to_owned(),
            file,
            reader: LineReader::at(start),
            fingerprint: Fingerprint::of(&head),
            size: 0,
            modified: (0, 0),
            gone: None,
            was: None,
            caught_up: false,
        });
        if stored.is_none_or(|s| s.offset != start)
            && let Some(followed) = self.files.get(&number)
        {
            items.push(Item::Checkpoint(followed.checkpoint(&self.source, now)));
        }
        Ok(())
    }

    fn follow(&mut self, mut followed: Followed) -> u64 {
        if self.files.contains_key(&followed.number) {
            followed.number = self.next_number;
        }
        let number = followed.number;
        self.next_number = self.next_number.max(number.saturating_add(1));
        self.files.insert(number, followed);
        number
    }

    /// True while a file that was at the same path before has unread lines.
    fn is_blocked(&self, number: u64) -> bool {
        let Some(own) = self.files.get(&number) else {
            return false;
        };
        self.files.range(..number).any(|(_, f)| {
            let left = f.gone.is_some() && f.path == own.path || f.was.as_ref() == Some(&own.path);
            left && !f.caught_up
        })
    }

    /// Reads what is new, one chunk a file in turn.
    fn read(
        &mut self,
        now: Timestamp,
        max_lines: usize,
        max_bytes: usize,
        polled: &mut Polled,
        complaints: &mut HashMap<String, String>,
    ) {
        let (mut lines_left, mut bytes_left) = (max_lines.max(1), max_bytes.max(1));
        let begin = self.turn;
        let numbers: Vec<u64> = self.files.keys().copied().collect();
        let (later, earlier): (Vec<u64>, Vec<u64>) = numbers.into_iter().partition(|n| *n >= begin);
        let mut buffer = vec![0; CHUNK];
        let mut waiting: Vec<u64> = later.into_iter().chain(earlier).collect();
        while !waiting.is_empty() && lines_left > 0 && bytes_left > 0 {
            let mut again = Vec::new();
            let mut progress = false;
            for number in waiting {
                if lines_left == 0 || bytes_left == 0 {
                    again.push(number);
                    continue;
                }
                if self.is_blocked(number) {
                    again.push(number);
                    continue;
                }
                let Some(followed) = self.files.get_mut(&number) else {
                    continue;
                };
                self.turn = number + 1;
                let mut out = Vec::new();
                let read = followed.read(&self.source, now, &mut buffer, lines_left, &mut out);
                let more = match read {
                    Ok(more) => more,
                    Err(e) => {
                        complain(complaints, &followed.path, "read", &e);
                        false
                    }
                };
                for item in &out {
                    if let Item::Lines(chunk) = item {
                        lines_left = lines_left.saturating_sub(chunk.lines.len());
                        let bytes: usize = chunk.lines.iter().map(|l| l.text.len() + 1).sum();
                        bytes_left = bytes_left.saturating_sub(bytes);
                    }
                }
                polled.items.append(&mut out);
                progress = true;
                if more {
                    again.push(number);
                } else if let Some(followed) = self.files.get_mut(&number) {
                    followed.caught_up = true;
                }
            }
            waiting = again;
            if !progress {
                break;
            }
        }
        polled.more = !waiting.is_empty() && (lines_left == 0 || bytes_left == 0);
    }

    /// Lets go of files that left the pattern and do not grow any more.
    fn drop_gone(&mut self, now: Timestamp, items: &mut Vec<Item>) {
        let (source, after) = (&self.source, self.options.gone_after);
        self.files.retain(|_, followed| {
            let idle = followed.gone.is_some_and(|since| now.since(since) >= after);
            if !idle || followed.reader.next_byte() < followed.size {
                return true;
            }
            if let Some(line) = followed.reader.finish() {
                items.push(Item::Lines(followed.chunk(vec![line])));
            }
            items.push(Item::Checkpoint(Checkpoint {
                removed: true,
                ..followed.checkpoint(source, now)
            }));
            false
        });
    }

    /// The position of a file that could not be opened: its end.
    fn unread_row(&self, path: &Path, key: FileKey, size: u64, now: Timestamp) -> Checkpoint {
        Checkpoint {
            file_key: key.to_string(),
            path: path.display().to_string(),
            offset: size,
            state: String::new(),
            ..self.seen_row(now)
        }
    }

    fn seen_row(&self, now: Timestamp) -> Checkpoint {
        Checkpoint {
            source: Arc::clone(&self.source),
            file_key: SEEN.into(),
            path: self.pattern.clone(),
            offset: 0,
            state: "{}".into(),
            updated_at: now,
            removed: false,
        }
    }
}

fn complain(complaints: &mut HashMap<String, String>, path: &Path, what: &str, e: &io::Error) {
    let path = path.display();
    let hint = match e.kind() {
        io::ErrorKind::PermissionDenied => "; let the engine's user read it",
        _ => "",
    };
    complaints.insert(path.to_string(), format!("cannot {what} {path}: {e}{hint}"));
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
