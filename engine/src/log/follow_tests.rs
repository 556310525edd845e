use std::io::Write as _;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

/// A folder with a log, a follower on it, and what was committed.
struct Bench {
    dir: tempfile::TempDir,
    spec: LogSourceSpec,
    options: FollowerOptions,
    follower: Follower,
    now: Timestamp,
    committed: BTreeMap<String, Checkpoint>,
    lines: Vec<String>,
    faults: Vec<String>,
    /// Number of renamed files.
    rotated: u32,
}

impl Bench {
    fn new(pattern: &str, from: LogStart) -> Self {
        let options = FollowerOptions {
            max_files: 8,
            gone_after: Duration::from_secs(60),
        };
        Self::with(pattern, from, options, |_| {})
    }

    fn with(
        pattern: &str,
        from: LogStart,
        options: FollowerOptions,
        before: impl FnOnce(&Path),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        before(dir.path());
        let spec = LogSourceSpec {
            name: "app".into(),
            file: dir.path().join(pattern).display().to_string(),
            parser: "json-lines".into(),
            from,
            config: Default::default(),
        };
        Self {
            follower: Follower::new(&spec, Vec::new(), options),
            dir,
            spec,
            options,
            now: Timestamp::from_secs(1_000),
            committed: BTreeMap::new(),
            lines: Vec::new(),
            faults: Vec::new(),
            rotated: 0,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut options = File::options();
        let mut file = options
            .append(true)
            .create(true)
            .open(self.path(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&mut self, name: &str) {
        self.rotated += 1;
        let to = self.path(&format!("{name}.{}", self.rotated));
        std::fs::rename(self.path(name), to).unwrap();
    }

    /// One poll of which the first `keep` items are committed. Items commit one
    /// by one as the source sends them: lines with the position behind them.
    fn poll_and_commit(&mut self, max_lines: usize, keep: usize) -> bool {
        self.now = self.now + Duration::from_secs(1);
        let polled = self.follower.poll(self.now, max_lines, 1 << 20);
        for item in polled.items.into_iter().take(keep) {
            match item {
                Item::Lines(chunk) => {
                    let end = chunk.lines.last().unwrap().end;
                    self.lines.extend(chunk.lines.into_iter().map(|l| l.text));
                    let row = Checkpoint {
                        source: "app".into(),
                        file_key: chunk.file.to_string(),
                        path: chunk.path,
                        offset: end,
                        state: chunk.state,
                        updated_at: self.now,
                        removed: false,
                    };
                    self.committed.insert(row.file_key.clone(), row);
                }
                Item::Checkpoint(row) if row.removed => {
                    self.committed.remove(&row.file_key);
                }
                Item::Checkpoint(row) => {
                    self.committed.insert(row.file_key.clone(), row);
                }
                Item::Fault(fault) => self.faults.push(fault.text),
            }
        }
        polled.more
    }

    fn drain(&mut self) {
        while self.poll_and_commit(1_000, usize::MAX) {}
    }

    /// A new process with what was committed.
    fn restart(&mut self) {
        let rows = self.committed.values().cloned().collect();
        self.follower = Follower::new(&self.spec, rows, self.options);
    }

    fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}

#[test]
fn from_end_skips_what_was_there_and_reads_later_files_whole() {
    let before = |dir: &Path| std::fs::write(dir.join("a.log"), "old 1\nold 2\n").unwrap();
    let mut b = Bench::with("*.log", LogStart::End, FollowerOptions::default(), before);
    b.drain();
    assert_eq!(b.take(), [""; 0]);
    b.append("a.log", "new 1\n");
    b.append("b.log", "first\n");
    b.drain();
    let mut lines = b.take();
    lines.sort();
    assert_eq!(lines, ["first", "new 1"]);
}

#[test]
fn the_checkpoint_is_durable_from_first_sight() {
    let before = |dir: &Path| std::fs::write(dir.join("a.log"), "old\n").unwrap();
    let mut b = Bench::with("*.log", LogStart::End, FollowerOptions::default(), before);
    b.drain();
    // Nothing was read, and yet what is written while the engine is down is.
    b.restart();
    b.append("a.log", "while down\n");
    b.append("b.log", "new while down\n");
    b.drain();
    assert_eq!(b.take(), ["while down", "new while down"]);
}

#[test]
fn a_source_seen_without_files_reads_the_first_one_whole_after_a_restart() {
    let mut b = Bench::new("*.log", LogStart::End);
    b.drain();
    b.restart();
    b.append("a.log", "first\n");
    b.drain();
    assert_eq!(b.take(), ["first"]);
}

#[test]
fn a_source_with_another_pattern_is_seen_for_the_first_time() {
    let mut b = Bench::new("a.log", LogStart::End);
    b.drain();
    b.append("other.log", "old\n");
    b.spec.file = b.path("other.log").display().to_string();
    b.restart();
    b.drain();
    assert_eq!(b.take(), [""; 0]);
    b.append("other.log", "new\n");
    b.drain();
    assert_eq!(b.take(), ["new"]);
}

#[test]
fn from_start_reads_everything() {
    let before = |dir: &Path| std::fs::write(dir.join("a.log"), "old\n").unwrap();
    let mut b = Bench::with("a.log", LogStart::Start, FollowerOptions::default(), before);
    b.drain();
    assert_eq!(b.take(), ["old"]);
}

#[test]
fn a_line_in_the_middle_of_being_written_at_first_sight_is_read_whole() {
    let before = |dir: &Path| std::fs::write(dir.join("a.log"), "old\nhalf").unwrap();
    let mut b = Bench::with("a.log", LogStart::End, FollowerOptions::default(), before);
    b.drain();
    b.append("a.log", " a line\n");
    b.drain();
    assert_eq!(b.take(), ["half a line"]);
}

#[test]
fn a_rotated_file_is_read_to_its_end_before_the_new_one() {
    let mut b = Bench::new("a.log", LogStart::Start);
    b.append("a.log", "1\n");
    b.drain();
    b.append("a.log", "2\n3\n");
    b.rotate("a.log");
    b.append("a.log", "4\n");
    // Even where a poll takes one line only.
    while b.poll_and_commit(1, usize::MAX) {}
    // The writer has not noticed the rotation yet.
    b.append("a.log.1", "late\n");
    b.drain();
    assert_eq!(b.take(), ["1", "2", "3", "4", "late"]);
}

#[test]
fn a_rotation_while_the_engine_is_down_loses_nothing() {
    let mut b = Bench::new("a.log", LogStart::Start);
    b.append("a.log", "1\n");
    b.drain();
    b.append("a.log", "2\n");
    b.rotate("a.log");
    b.append("a.log", "3\n");
    b.restart();
    b.drain();
    assert_eq!(b.take(), ["1", "2", "3"]);
}

#[test]
fn a_rotated_file_that_the_pattern_still_matches_is_not_read_twice() {
    let mut b = Bench::new("a.log*", LogStart::Start);
    b.append("a.log", "1\n");
    b.drain();
    b.append("a.log", "2\n3\n");
    b.rotate("a.log");
    b.append("a.log", "4\n");
    while b.poll_and_commit(1, usize::MAX) {}
    b.restart();
    b.drain();
    assert_eq!(b.take(), ["1", "2", "3", "4"]);
}

#[test]
fn copytruncate_is_noticed_by_size_and_by_content() {
    let mut b = Bench::new("a.log", LogStart::Start);
    b.append("a.log", "first line\nsecond line\n");
    b.drain();
    std::fs::write(b.path("a.log"), "new\n").unwrap();
    b.drain();
    // Grown beyond the old position, and to the very same size.
    std::fs::write(b.path("a.log"), "another line\nand one more\n").unwrap();
    b.drain();
    std::fs::write(b.path("a.log"), "ANOTHER LINE\nAND ONE MORE\n").unwrap();
    b.drain();
    let expected = "first line,second line,new,another line,and one more,ANOTHER LINE,AND ONE MORE";
    assert_eq!(b.take().join(","), expected);
}

#[test]
fn truncation_while_the_engine_is_down_is_noticed() {
    let mut b = Bench::new("a.log", LogStart::Start);
    b.append("a.log", "first line\n");
    b.drain();
    std::fs::write(b.path("a.log"), "2026 other first line\nsecond\n").unwrap();
    b.restart();
    b.drain();
    assert_eq!(b.take(), ["first line", "2026 other first line", "second"]);
}

#[test]
fn an_inode_with_other_content_is_a_new_file() {
    let mut b = Bench::new("*.log", LogStart::End);
    b.append("a.log", "content of the first file\n");
    b.drain();
    b.append("a.log", "more\n");
    b.drain();
    // As if the file was deleted and its inode given to another.
    let rows: Vec<Checkpoint> = b.committed.values().cloned().collect();
    std::fs::write(
        b.path("a.log"),
        "Content of another file, which is longer\n",
    )
    .unwrap();
    b.follower = Follower::new(&b.spec, rows, b.options);
    b.drain();
    assert_eq!(
        b.take().last().unwrap(),
        "Content of another file, which is longer"
    );
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_forgotten() {
    let mut b = Bench::new("*.log", LogStart::Start);
    b.append("a.log", "1\n");
    b.drain();
    b.append("a.log", "2\nno line break");
    std::fs::remove_file(b.path("a.log")).unwrap();
    b.drain();
    assert_eq!(b.take(), ["1", "2"]);
    assert_eq!(b.committed.len(), 2);
    b.now = b.now + Duration::from_secs(120);
    b.drain();
    assert_eq!(b.take(), ["no line break"]);
    assert_eq!((b.follower.files(), b.committed.len()), (0, 1));
}

#[test]
fn a_file_that_cannot_be_read_is_told_once_and_stops_nothing() {
    let mut b = Bench::new("*.log", LogStart::Start);
    std::os::unix::fs::symlink(b.path("loop.log"), b.path("loop.log")).unwrap();
    b.append("a.log", "1\n");
    b.drain();
    b.drain();
    assert_eq!(b.take(), ["1"]);
    assert_eq!(b.faults.len(), 1, "{:?}", b.faults);
    assert!(b.faults[0].contains("loop.log"), "{}", b.faults[0]);
}

#[test]
fn of_too_many_files_the_changing_ones_are_followed_and_none_is_read_twice() {
    let options = FollowerOptions {
        max_files: 3,
        gone_after: Duration::from_secs(60),
    };
    let before = |dir: &Path| {
        for i in 0..10 {
            std::fs::write(dir.join(format!("{i}.log")), "old\n").unwrap();
        }
    };
    let mut b = Bench::with("*.log", LogStart::End, options, before);
    b.drain();
    assert!(b.follower.files() <= 3);
    assert!(b.faults[0].contains("more than 3 files"), "{:?}", b.faults);
    let mut expected = Vec::new();
    for round in 0..3 {
        for i in 0..10 {
            let line = format!("{i} in round {round}");
            b.append(&format!("{i}.log"), &format!("{line}\n"));
            expected.push(line);
            b.drain();
            assert!(b.follower.files() <= 4);
        }
    }
    assert_eq!(b.take(), expected);
    assert_eq!(b.faults.len(), 1);
}

#[test]
fn polls_are_bounded_and_fair() {
    let mut b = Bench::new("*.log", LogStart::Start);
    let many: String = (0..5_000).map(|i| format!("flood {i}\n")).collect();
    b.append("a.log", &many);
    b.append("b.log", "quiet\n");
    assert!(b.poll_and_commit(100, usize::MAX));
    assert!(b.poll_and_commit(100, usize::MAX));
    assert!(b.lines.len() <= 200 && b.lines.contains(&"quiet".to_owned()));
    b.drain();
    assert_eq!(b.lines.len(), 5_001);
}

#[derive(Clone, Debug)]
enum Op {
    /// Lines, and whether the last one stays unfinished for now.
    Append(u8, bool),
    Poll(u8),
    /// A poll of which only some items are committed, then a new process.
    Crash(u8, u8),
    Restart,
    Rotate,
    /// Also with a rotation while no process runs.
    RotateWhileDown,
    CopyTruncate,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u8..6, any::<bool>()).prop_map(|(n, open)| Op::Append(n, open)),
        3 => (1u8..5).prop_map(Op::Poll),
        1 => (1u8..5, 0u8..4).prop_map(|(max, keep)| Op::Crash(max, keep)),
        1 => Just(Op::Restart),
        1 => Just(Op::Rotate),
        1 => Just(Op::RotateWhileDown),
        1 => Just(Op::CopyTruncate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Whatever happens to the file and the process, every line is there once
    /// and in order. Before a truncation everything is read, because what was
    /// not is gone; and only one rotation happens while no process runs.
    #[test]
    fn nothing_is_lost_or_doubled(ops in prop::collection::vec(op(), 1..60)) {
        let mut b = Bench::new("a.log", LogStart::Start);
        b.append("a.log", "");
        b.drain();
        let (mut written, mut open) = (Vec::new(), false);
        let finish = |b: &Bench, open: &mut bool| {
            if std::mem::take(open) {
                b.append("a.log", " finished\n");
            }
        };
        for op in ops {
            match op {
                Op::Append(n, unfinished) => {
                    finish(&b, &mut open);
                    for i in 0..n {
                        let number = written.len();
                        open = unfinished && i + 1 == n;
                        match open {
                            true => {
                                b.append("a.log", &format!("line {number}"));
                                written.push(format!("line {number} finished"));
                            }
                            false => {
                                b.append("a.log", &format!("line {number}\n"));
                                written.push(format!("line {number}"));
                            }
                        }
                    }
                }
                Op::Poll(max) => {
                    b.poll_and_commit(max.into(), usize::MAX);
                }
                Op::Crash(max, keep) => {
                    b.poll_and_commit(max.into(), keep.into());
                    b.restart();
                }
                Op::Restart => b.restart(),
                Op::Rotate => {
                    finish(&b, &mut open);
                    // The process has the old file open before and meets the
                    // new one after.
                    b.poll_and_commit(1, usize::MAX);
                    b.rotate("a.log");
                    b.append("a.log", "");
                    b.poll_and_commit(1, usize::MAX);
                }
                Op::RotateWhileDown => {
                    finish(&b, &mut open);
                    b.poll_and_commit(1, usize::MAX);
                    b.rotate("a.log");
                    b.append("a.log", "");
                    b.restart();
                    b.poll_and_commit(1, usize::MAX);
                }
                Op::CopyTruncate => {
                    finish(&b, &mut open);
                    b.drain();
                    std::fs::write(b.path("a.log"), "").unwrap();
                    b.poll_and_commit(1, usize::MAX);
                }
            }
        }
        finish(&b, &mut open);
        b.drain();
        prop_assert_eq!(b.take(), written);
        prop_assert_eq!(&b.faults, &Vec::<String>::new());
    }
}
