//! One log source: lines from its files through its parser to the recorder.
//!
//! Invariants: a checkpoint travels with the records it speaks for and never
//! passes a line that the parser holds back; nothing is read while the recorder
//! has no room; and whatever the parser does, each line ends in a record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::files::FileKey;
use super::follow::{Chunk, Follower, Item, Polled};
use super::lines::Line;
use super::parser::{LineBatch, LineParser, Parsed};
use crate::check::outcome::{Fault, LogLevel, LogRecord};
use crate::clock::{SharedClock, Timestamp};
use crate::pipeline::changes::Checkpoint;

/// Most lines and bytes in one batch.
const MAX_LINES: usize = 1_000;
const MAX_BYTES: usize = 256 << 10;

/// Pause between two looks at files that have nothing new.
const POLL: Duration = Duration::from_millis(200);

/// Held lines are flushed when nothing came for this long.
const FLUSH_IDLE: Duration = Duration::from_secs(1);

/// Held lines are flushed beyond this number or size.
const MAX_HELD_LINES: usize = 4_000;
const MAX_HELD_BYTES: usize = 1 << 20;

/// Faults on the same lines after which they are stored unparsed.
const MAX_FAULTS: u32 = 3;

/// A file that cannot be read counts as another fault this often.
const REMIND: Duration = Duration::from_secs(10);

/// Pause after the first fault; doubles with each on the same lines.
const FAULT_PAUSE: Duration = Duration::from_millis(200);

/// Records of a source and how far they got it. Commits as one.
#[derive(Clone, Debug, PartialEq)]
pub struct LogBatch {
    pub source: Arc<str>,
    /// In the order of their lines.
    pub records: Vec<LogRecord>,
    pub checkpoints: Vec<Checkpoint>,
}

/// What a source tells.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceEvent {
    /// To be committed.
    Batch(LogBatch),
    /// The parser or a file failed; lines are kept all the same.
    Fault { source: Arc<str>, fault: Fault },
    /// All is well: after faults, and once at the start.
    Sound { source: Arc<str> },
}

/// The receiving side is gone: the engine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// A source; [`run`](Self::run) is its only task.
pub struct Source<P, S> {
    follower: Option<Follower>,
    name: Arc<str>,
    parser: P,
    sink: S,
    clock: SharedClock,
    /// Lines that the parser holds back, all of one file.
    held: Vec<Line>,
    held_of: Option<Origin>,
    last_line: Instant,
    /// The parser's last answer was a fault.
    parser_faulty: bool,
    /// When a file that cannot be read is told of again.
    remind_at: Option<Timestamp>,
    /// What was told last; absent at the start.
    sound: Option<bool>,
}

/// Where lines come from, for checkpoints.
#[derive(Clone, Debug)]
struct Origin {
    file: FileKey,
    path: String,
    state: String,
}

impl<P, S> Source<P, S>
where
    P: LineParser,
    S: Fn(SourceEvent) -> BoxFuture<'static, Result<(), Stopped>> + Send + Sync + 'static,
{
    /// A source that reads from `follower`. `sink` returns once there is room
    /// for more: that is the back pressure.
    pub fn new(follower: Follower, parser: P, sink: S, clock: SharedClock) -> Self {
        Self {
            name: Arc::clone(follower.source()),
            follower: Some(follower),
            parser,
            sink,
            clock,
            held: Vec::new(),
            held_of: None,
            last_line: Instant::now(),
            parser_faulty: false,
            remind_at: None,
            sound: None,
        }
    }

    /// Reads until cancelled or until nobody takes records any more. Lines that
    /// are held back then are read again after the next start.
    pub async fn run(mut self, cancel: CancellationToken) {
        while !cancel.is_cancelled() {
            let Some(polled) = self.poll().await else {
                return;
            };
            let (more, trouble) = (polled.more, polled.trouble);
            for item in polled.items {
                let taken = cancel.run_until_cancelled(self.take(item)).await;
                if !matches!(taken, Some(Ok(()))) {
                    return;
                }
            }
            let told = cancel.run_until_cancelled(self.health(trouble)).await;
            if !matches!(told, Some(Ok(()))) {
                return;
            }
            if more {
                continue;
            }
            let idle = self.last_line.elapsed() >= FLUSH_IDLE;
            if idle && !self.held.is_empty() {
                let flushed = cancel.run_until_cancelled(self.flush()).await;
                if !matches!(flushed, Some(Ok(()))) {
                    return;
                }
            }
            let pause = tokio::time::sleep(POLL);
            if cancel.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// Reads on a blocking thread: a file system may hang.
    async fn poll(&mut self) -> Option<Polled> {
        let mut follower = self.follower.take()?;
        let now = self.clock.now();
        let work = move || {
            let polled = follower.poll(now, MAX_LINES, MAX_BYTES);
            (follower, polled)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok((follower, polled)) => {
                self.follower = Some(follower);
                Some(polled)
            }
            Err(error) => {
                tracing::error!(source = %self.name, %error, "the log source stopped unexpectedly");
                None
            }
        }
    }

    async fn take(&mut self, item: Item) -> Result<(), Stopped> {
        match item {
            Item::Lines(chunk) => {
                self.last_line = Instant::now();
                self.parse(chunk).await
            }
            Item::Checkpoint(checkpoint) => {
                // Lines before this position go first.
                self.flush().await?;
                self.send(Vec::new(), vec![checkpoint]).await
            }
            Item::Fault(fault) => self.report(fault).await,
        }
    }

    async fn parse(&mut self, chunk: Chunk) -> Result<(), Stopped> {
        let Chunk {
            file,
            path,
            state,
            mut lines,
        } = chunk;
        if self.held_of.as_ref().is_some_and(|o| o.file != file) || self.parser.should_recycle() {
            self.flush().await?;
        }
        if self.parser.should_recycle()
            && let Err(fault) = self.parser.recycle().await
        {
            self.report(fault).await?;
        }
        let origin = Origin { file, path, state };
        for attempt in 1.. {
            let batch = LineBatch::new(&lines, self.clock.now());
            let fault = match self.parser.parse(&batch).await {
                Ok(parsed) => {
                    self.parser_faulty = false;
                    return self.accept(origin, lines, batch.received, parsed).await;
                }
                Err(fault) => fault,
            };
            self.parser_faulty = true;
            // What the broken instance held goes in again.
            if !self.held.is_empty() {
                let new = std::mem::replace(&mut lines, std::mem::take(&mut self.held));
                lines.extend(new);
            }
            self.held_of = None;
            let giving_up = attempt >= MAX_FAULTS;
            self.report(Fault {
                text: match giving_up {
                    true => format!(
                        "{}; {} lines are stored unparsed after {attempt} attempts",
                        fault.text,
                        lines.len()
                    ),
                    false => fault.text,
                },
                ..fault
            })
            .await?;
            tokio::time::sleep(FAULT_PAUSE * 2u32.pow(attempt.min(5) - 1)).await;
            if let Err(fault) = self.parser.recycle().await {
                self.report(fault).await?;
            }
            if giving_up {
                break;
            }
        }
        self.store_plain(origin, lines).await
    }

    /// Sends the records of a batch, in the order of its lines, with the
    /// position that they reach.
    async fn accept(
        &mut self,
        origin: Origin,
        mut lines: Vec<Line>,
        received: Timestamp,
        parsed: Parsed,
    ) -> Result<(), Stopped> {
        let spoken_for = lines.len() - (parsed.held as usize).min(lines.len());
        let mut records: Vec<(u32, LogRecord)> = parsed
            .records
            .into_iter()
            .map(|r| (r.line, r.record))
            .collect();
        let mut plain = 0u64;
        for n in parsed.unparsed {
            // A number out of range means no line.
            let Some(line) = lines.get(n as usize) else {
                continue;
            };
            if !line.text.trim().is_empty() {
                records.push((n, plain_record(line, received)));
                plain += 1;
            }
        }
        metrics::counter!("bellwether_log_lines_total").increment(lines.len() as u64);
        metrics::counter!("bellwether_log_lines_unparsed_total").increment(plain);
        records.sort_by_key(|(line, _)| *line);
        let records: Vec<LogRecord> = records.into_iter().map(|r| r.1).collect();

        let reached = if spoken_for > 0 {
            self.held = lines.split_off(spoken_for);
            lines.last()
        } else if records.is_empty() {
            // No word about any line yet, earlier ones included.
            self.held.extend(lines);
            self.held_of = Some(origin);
            return self.flush_if_much().await;
        } else {
            // All lines of this batch are held, so the records are made from
            // the lines that were held before.
            lines = std::mem::replace(&mut self.held, lines);
            lines.last()
        };
        let checkpoints = reached.map(|line| self.checkpoint(&origin, line.end));
        self.held_of = (!self.held.is_empty()).then_some(origin);
        self.send(records, checkpoints.into_iter().collect())
            .await?;
        self.flush_if_much().await
    }

    /// Keeps what is held back within bounds.
    async fn flush_if_much(&mut self) -> Result<(), Stopped> {
        let bytes: usize = self.held.iter().map(|l| l.text.len()).sum();
        if self.held.len() > MAX_HELD_LINES || bytes > MAX_HELD_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Makes the parser give out what it holds back.
    async fn flush(&mut self) -> Result<(), Stopped> {
        let Some(origin) = self.held_of.take() else {
            return Ok(());
        };
        let lines = std::mem::take(&mut self.held);
        match self.parser.flush(self.clock.now()).await {
            // A parser that forgot what it held back loses nothing either.
            Ok(parsed) if parsed.records.is_empty() => self.store_plain(origin, lines).await,
            Ok(parsed) => {
                let records = parsed.records.into_iter().map(|r| r.record).collect();
                let end = lines.last().map(|line| self.checkpoint(&origin, line.end));
                self.send(records, end.into_iter().collect()).await
            }
            Err(fault) => {
                self.parser_faulty = true;
                self.report(fault).await?;
                if let Err(fault) = self.parser.recycle().await {
                    self.report(fault).await?;
                }
                self.store_plain(origin, lines).await
            }
        }
    }

    /// Stores lines as they are.
    async fn store_plain(&mut self, origin: Origin, lines: Vec<Line>) -> Result<(), Stopped> {
        let received = self.clock.now();
        let records = lines
            .iter()
            .filter(|line| !line.text.trim().is_empty())
            .map(|line| plain_record(line, received))
            .collect();
        let end = lines.last().map(|line| self.checkpoint(&origin, line.end));
        self.send(records, end.into_iter().collect()).await
    }

    fn checkpoint(&self, origin: &Origin, offset: u64) -> Checkpoint {
        Checkpoint {
            source: Arc::clone(&self.name),
            file_key: origin.file.to_string(),
            path: origin.path.clone(),
            offset,
            state: origin.state.clone(),
            updated_at: self.clock.now(),
            removed: false,
        }
    }

    async fn send(
        &self,
        records: Vec<LogRecord>,
        checkpoints: Vec<Checkpoint>,
    ) -> Result<(), Stopped> {
        if records.is_empty() && checkpoints.is_empty() {
            return Ok(());
        }
        let batch = LogBatch {
            source: Arc::clone(&self.name),
            records,
            checkpoints,
        };
        (self.sink)(SourceEvent::Batch(batch)).await
    }

    /// Tells of files that still cannot be read, and when all is well again.
    async fn health(&mut self, trouble: Option<Fault>) -> Result<(), Stopped> {
        let now = self.clock.now();
        match (trouble, self.remind_at) {
            (None, _) => self.remind_at = None,
            // It was told of when it was found.
            (Some(_), None) => self.remind_at = Some(now + REMIND),
            (Some(fault), Some(at)) if at <= now => {
                self.remind_at = Some(now + REMIND);
                self.report(fault).await?;
            }
            (Some(_), Some(_)) => {}
        }
        let sound = self.remind_at.is_none() && !self.parser_faulty;
        if sound && self.sound != Some(true) {
            self.sound = Some(true);
            let source = Arc::clone(&self.name);
            (self.sink)(SourceEvent::Sound { source }).await?;
        }
        Ok(())
    }

    async fn report(&mut self, fault: Fault) -> Result<(), Stopped> {
        self.sound = Some(false);
        let source = Arc::clone(&self.name);
        (self.sink)(SourceEvent::Fault { source, fault }).await
    }
}

fn plain_record(line: &Line, received: Timestamp) -> LogRecord {
    LogRecord {
        time: received,
        received,
        level: LogLevel::Unset,
        message: line.text.clone(),
        fields: Vec::new(),
    }
}
