//! A log source from file to sink, with a parser that misbehaves on demand.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bellwether::check::outcome::{Fault, FaultKind, LogLevel, LogRecord};
use bellwether::clock::{SystemClock, Timestamp};
use bellwether::config::spec::{LogSourceSpec, LogStart};
use bellwether::log::{
    Follower, FollowerOptions, LineBatch, LineParser, Parsed, ParsedRecord, Source, SourceEvent,
    Stopped,
};
use bellwether::pipeline::changes::Checkpoint;
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the parser is told to do, and what it was asked.
#[derive(Default)]
struct Script {
    /// The next answers of `parse` that are faults.
    faults: VecDeque<Fault>,
    /// Recycled after this many batches.
    recycle_after: Option<usize>,
    /// A made-up answer instead of a real one.
    nonsense: Option<Parsed>,
    /// `flush` gives nothing out.
    forgetful: bool,
    calls: Vec<String>,
}

/// Joins lines that begin with a space to the one before, so that it always
/// holds the last record back; `plain` lines are left unparsed.
struct Joining {
    script: Arc<Mutex<Script>>,
    held: Vec<String>,
    batches: usize,
}

impl Joining {
    fn record(lines: &[String], received: Timestamp) -> LogRecord {
        LogRecord {
            time: received,
            received,
            level: LogLevel::Info,
            message: lines.join("|"),
            fields: Vec::new(),
        }
    }
}

impl LineParser for Joining {
    async fn parse(&mut self, batch: &LineBatch) -> Result<Parsed, Fault> {
        let mut script = self.script.lock();
        script.calls.push(format!("parse {}", batch.len()));
        if let Some(fault) = script.faults.pop_front() {
            return Err(fault);
        }
        if let Some(parsed) = script.nonsense.take() {
            return Ok(parsed);
        }
        self.batches += 1;
        let mut parsed = Parsed::default();
        let mut held_here = 0;
        for n in 0..batch.len() {
            let line = batch.line(n).unwrap_or_default().to_owned();
            if line.starts_with(' ') && !self.held.is_empty() {
                self.held.push(line);
                held_here += 1;
                continue;
            }
            if !self.held.is_empty() {
                let record = Self::record(&std::mem::take(&mut self.held), batch.received);
                let line = n.saturating_sub(1) as u32;
                parsed.records.push(ParsedRecord { line, record });
            }
            held_here = 0;
            if line.starts_with("plain") {
                parsed.unparsed.push(n as u32);
            } else {
                self.held.push(line);
                held_here = 1;
            }
        }
        parsed.held = held_here;
        Ok(parsed)
    }

    async fn flush(&mut self, now: Timestamp) -> Result<Parsed, Fault> {
        let mut parsed = Parsed::default();
        let mut script = self.script.lock();
        script.calls.push("flush".into());
        if script.forgetful {
            self.held.clear();
        }
        if !self.held.is_empty() {
            let record = Self::record(&std::mem::take(&mut self.held), now);
            parsed.records.push(ParsedRecord { line: 0, record });
        }
        Ok(parsed)
    }

    fn should_recycle(&self) -> bool {
        let after = self.script.lock().recycle_after;
        after.is_some_and(|n| self.batches >= n)
    }

    async fn recycle(&mut self) -> Result<(), Fault> {
        self.script.lock().calls.push("recycle".into());
        self.held.clear();
        self.batches = 0;
        Ok(())
    }
}

#[derive(Clone, Debug, Default)]
struct Stored {
    records: Vec<LogRecord>,
    checkpoints: BTreeMap<String, Checkpoint>,
    faults: Vec<Fault>,
    batches: usize,
    /// How often all was said to be well.
    sound: usize,
}

impl Stored {
    fn messages(&self) -> Vec<&str> {
        self.records.iter().map(|r| r.message.as_str()).collect()
    }

    /// Position in the only file.
    fn offset(&self) -> u64 {
        self.checkpoints
            .values()
            .filter(|c| c.file_key != "source")
            .map(|c| c.offset)
            .sum()
    }
}

/// A folder, a database in memory, and a source that can be killed.
struct Bench {
    dir: tempfile::TempDir,
    stored: watch::Sender<Stored>,
    script: Arc<Mutex<Script>>,
    /// Permits to store a batch.
    room: Arc<Semaphore>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            stored: watch::Sender::default(),
            script: Arc::default(),
            room: Arc::new(Semaphore::new(1_000_000)),
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    fn start(&mut self) {
        let spec = LogSourceSpec {
            name: "app".into(),
            file: self.dir.path().join("*.log").display().to_string(),
            parser: "joining".into(),
            from: LogStart::Start,
            config: Default::default(),
        };
        let rows = self.stored.borrow().checkpoints.values().cloned().collect();
        let follower = Follower::new(&spec, rows, FollowerOptions::default());
        let parser = Joining {
            script: Arc::clone(&self.script),
            held: Vec::new(),
            batches: 0,
        };
        let (stored, room) = (self.stored.clone(), Arc::clone(&self.room));
        let sink = move |event: SourceEvent| {
            let (stored, room) = (stored.clone(), Arc::clone(&room));
            async move {
                if let SourceEvent::Sound { .. } = event {
                    stored.send_modify(|s| s.sound += 1);
                    return Ok(());
                }
                room.acquire().await.map_err(|_| Stopped)?.forget();
                stored.send_modify(|s| match event {
                    SourceEvent::Batch(batch) => {
                        s.batches += 1;
                        s.records.extend(batch.records);
                        for row in batch.checkpoints {
                            s.checkpoints.insert(row.file_key.clone(), row);
                        }
                    }
                    SourceEvent::Fault { fault, .. } => s.faults.push(fault),
                    SourceEvent::Sound { .. } => {}
                });
                Ok(())
            }
            .boxed()
        };
        self.cancel = CancellationToken::new();
        let source = Source::new(follower, parser, sink, Arc::new(SystemClock));
        self.tasks.spawn(source.run(self.cancel.clone()));
    }

    async fn kill(&mut self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut options = std::fs::File::options();
        let mut file = options
            .append(true)
            .create(true)
            .open(self.path(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    async fn until(&self, what: &str, done: impl Fn(&Stored) -> bool) -> Stored {
        let mut watch = self.stored.subscribe();
        match tokio::time::timeout(Duration::from_secs(60), watch.wait_for(|s| done(s))).await {
            Ok(stored) => stored.unwrap().clone(),
            Err(_) => panic!("{what} expected, found {:#?}", self.stored.borrow()),
        }
    }
}

fn trap() -> Fault {
    Fault::new(FaultKind::Trap, "the guest trapped")
}

#[tokio::test]
async fn a_checkpoint_never_passes_lines_that_are_held_back() {
    let mut b = Bench::new();
    b.append("a.log", "one\ntwo\n");
    b.start();
    let s = b.until("a record", |s| !s.records.is_empty()).await;
    assert_eq!((s.messages(), s.offset()), (vec!["one"], 4));
    b.kill().await;
    // What was held is read again and completed.
    b.append("a.log", " more of two\nthree\n");
    b.start();
    let s = b.until("a record", |s| s.records.len() >= 2).await;
    assert_eq!(s.messages(), ["one", "two| more of two"]);
    // Nothing more comes: the last one is flushed.
    let s = b.until("the last record", |s| s.records.len() >= 3).await;
    assert_eq!((s.messages()[2], s.offset()), ("three", 27));
    b.kill().await;
    b.start();
    b.append("a.log", "plain end\n");
    let s = b.until("the end", |s| s.offset() == 37).await;
    assert_eq!(
        s.messages(),
        ["one", "two| more of two", "three", "plain end"]
    );
    assert_eq!(s.records[3].level, LogLevel::Unset);
    assert!(s.faults.is_empty());
    b.kill().await;
}

#[tokio::test]
async fn after_a_fault_the_lines_go_to_a_fresh_instance_with_what_was_held() {
    let mut b = Bench::new();
    b.append("a.log", "one\n");
    b.start();
    b.until("first sight", |s| s.batches >= 2).await;
    while b.script.lock().calls.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    b.script.lock().faults = [trap(), trap()].into();
    b.append("a.log", " rest of one\ntwo\n");
    let s = b.until("both records", |s| s.records.len() >= 2).await;
    assert_eq!(s.messages(), ["one| rest of one", "two"]);
    assert_eq!(s.faults, [trap(), trap()]);
    b.until("well again", |s| s.sound >= 2).await;
    let calls = b.script.lock().calls.clone();
    let recycled = calls.iter().filter(|c| *c == "recycle").count();
    assert_eq!(recycled, 2, "{calls:?}");
    b.kill().await;
}

#[tokio::test]
async fn after_three_faults_on_the_same_lines_they_are_stored_as_they_are() {
    let mut b = Bench::new();
    b.script.lock().faults = [trap(), trap(), trap()].into();
    b.append("a.log", "one\n\ntwo\n");
    b.start();
    let s = b.until("plain records", |s| s.records.len() >= 2).await;
    assert_eq!((s.messages(), s.offset()), (vec!["one", "two"], 9));
    assert!(
        s.records
            .iter()
            .all(|r| r.level == LogLevel::Unset && r.fields.is_empty())
    );
    assert_eq!(s.faults.len(), 3);
    assert!(
        s.faults[2]
            .text
            .contains("stored unparsed after 3 attempts"),
        "{}",
        s.faults[2].text
    );
    assert_eq!(s.sound, 0, "nothing was parsed yet");
    // The next lines are parsed again.
    b.append("a.log", "three\nfour\n");
    b.until("well again", |s| s.sound == 1).await;
    let s = b.until("a parsed record", |s| s.records.len() >= 3).await;
    assert_eq!(s.records[2].level, LogLevel::Info);
    b.kill().await;
}

#[tokio::test]
async fn lines_held_of_one_file_are_not_joined_with_another() {
    let mut b = Bench::new();
    b.append("a.log", "a\n");
    b.append("b.log", " b\n");
    b.start();
    let s = b.until("two records", |s| s.records.len() >= 2).await;
    let mut messages = s.messages();
    messages.sort_unstable();
    assert_eq!(messages, [" b", "a"]);
    assert_eq!(s.offset(), 5);
    b.kill().await;
}

#[tokio::test]
async fn an_instance_is_flushed_before_it_is_recycled() {
    let mut b = Bench::new();
    b.script.lock().recycle_after = Some(1);
    b.append("a.log", "one\n");
    b.start();
    while b.script.lock().calls.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    b.append("a.log", "two\n");
    let s = b.until("both", |s| s.records.len() >= 2).await;
    assert_eq!(s.messages(), ["one", "two"]);
    let calls = b.script.lock().calls.clone();
    assert_eq!(calls[..4], ["parse 1", "flush", "recycle", "parse 1"]);
    b.kill().await;
}

#[tokio::test]
async fn lines_that_a_parser_forgets_are_stored_as_they_are() {
    let mut b = Bench::new();
    b.script.lock().forgetful = true;
    b.append("a.log", "one\n more\n");
    b.start();
    let s = b.until("the held lines", |s| s.records.len() >= 2).await;
    assert_eq!((s.messages(), s.offset()), (vec!["one", " more"], 10));
    b.kill().await;
}

#[tokio::test]
async fn numbers_that_a_parser_makes_up_do_no_harm() {
    let mut b = Bench::new();
    b.start();
    let record = Joining::record(&["made up".to_owned()], Timestamp(0));
    b.script.lock().nonsense = Some(Parsed {
        records: vec![ParsedRecord {
            line: u32::MAX,
            record,
        }],
        unparsed: vec![7, u32::MAX, 0, 0],
        held: u32::MAX,
    });
    b.append("a.log", "plain one\n");
    b.until("the made up record", |s| s.messages().contains(&"made up"))
        .await;
    b.append("a.log", "plain two\n");
    let s = b.until("the end", |s| s.offset() == 20).await;
    assert!(s.messages().contains(&"plain two"), "{:?}", s.messages());
    b.kill().await;
}

#[tokio::test]
async fn a_recorder_without_room_stops_the_reading_and_nothing_is_dropped() {
    let mut b = Bench::new();
    b.room = Arc::new(Semaphore::new(3));
    let text: String = (0..20_000).map(|i| format!("plain {i}\n")).collect();
    b.append("a.log", &text);
    b.start();
    let s = b.until("three batches", |s| s.batches >= 3).await;
    assert!(s.records.len() <= 2_000, "{}", s.records.len());
    // The next batch waits for room, and with it the parser.
    let asked = || b.script.lock().calls.len();
    while asked() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(asked(), 2);
    b.room.add_permits(1_000_000);
    let s = b.until("everything", |s| s.records.len() >= 20_000).await;
    let expected: Vec<String> = (0..20_000).map(|i| format!("plain {i}")).collect();
    assert_eq!(s.messages(), expected);
    b.kill().await;
}

#[tokio::test]
async fn restarts_at_any_moment_neither_lose_nor_double_a_record() {
    let mut b = Bench::new();
    let mut expected = Vec::new();
    for round in 0..15u64 {
        let mut text = String::new();
        for i in 0..400 {
            let more = (round * 7 + i) % 5 == 0;
            text.push_str(&format!(
                "{round}.{i}\n{}",
                if more { " more\n" } else { "" }
            ));
            expected.push(format!("{round}.{i}{}", if more { "| more" } else { "" }));
        }
        b.append("a.log", &text);
        b.start();
        let seen = b.stored.borrow().records.len();
        let want = (seen + (round as usize * 53) % 390).min(expected.len() - 1);
        b.until("some records", |s| s.records.len() >= want).await;
        if round % 4 == 3 {
            std::fs::rename(b.path("a.log"), b.path(&format!("a.log.{round}"))).unwrap();
        }
        b.kill().await;
    }
    b.append("a.log", "");
    b.start();
    let s = b
        .until("everything", |s| s.records.len() >= expected.len())
        .await;
    assert_eq!(s.messages(), expected);
    b.kill().await;
}
