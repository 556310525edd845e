//! Uploads that nobody would write: random programs, and real plugins with
//! damage. Whatever comes of one, the host goes on.
//!
//! Seeds are fixed, and one more comes from the clock and is printed.
//! `BELLWETHER_CORPUS=5000` makes that many of each, without a limit of time;
//! `BELLWETHER_CORPUS_SEED=N` repeats a seed. Every `*.wasm` below
//! `BELLWETHER_CORPUS_DIR` is uploaded as well: `engine/fuzz` fills such a folder
//! with wasm-smith.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bellwether::check::outcome::FaultKind;
use bellwether::clock::{Clock as _, SystemClock};
use bellwether::plugin::{InstallError, Kind};
use serde_json::json;

use crate::random::{Random, number, scramble};
use crate::support::*;

/// Uploads of one kind in an ordinary run, and the time after which there are
/// no more.
const UPLOADS: usize = 300;
const ENOUGH: Duration = Duration::from_secs(20);
/// Growth of resident memory that the allocator's habits explain.
const SLACK: u64 = 160 << 20;

/// Each compilation's processor seconds are twice this many: the mark by which
/// its children are known.
const COMPILE_SECONDS: u64 = 13;

/// Fixed seeds, and one from the clock.
fn seeds() -> Vec<u64> {
    if let Some(seed) = number("BELLWETHER_CORPUS_SEED") {
        return vec![seed];
    }
    let clock = SystemClock.now().micros() as u64;
    println!("seed of the clock: BELLWETHER_CORPUS_SEED={clock}");
    vec![1, 2, clock]
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}

/// Compilers of this test that are still there.
fn compilers() -> usize {
    let mark = format!("compile-plugin\0{}\0", 2 * COMPILE_SECONDS);
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).ends_with(&mark))
        .count()
}

/// Memory is what it was when pools and caches were warm, if that was measured.
fn bounded(settled: Option<u64>) {
    if let Some(before) = settled {
        let after = resident();
        assert!(
            after < before + SLACK,
            "resident memory grew from {before} to {after} bytes"
        );
    }
}

/// What became of the uploads.
#[derive(Debug, Default)]
struct Tally {
    taken: usize,
    refused: usize,
    reports: usize,
    faults: usize,
}

/// A host, and what its uploads came to.
struct Corpus {
    host: TestHost,
    tally: Tally,
}

impl Corpus {
    fn new() -> Self {
        let host = host_with(|config| {
            config.cache_dir = config.data_dir.join("code");
            config.compiler.timeout = Duration::from_secs(COMPILE_SECONDS);
            config.compiler.max_size = 4 << 20;
            config.max_memory = 64 << 20;
        });
        Self {
            host,
            tally: Tally::default(),
        }
    }

    /// Uploads, runs what was taken, removes it.
    async fn upload(&mut self, what: &str, bytes: Vec<u8>) {
        let installed = match self.host.install(bytes, |_| {}).await {
            Ok(installed) => installed,
            Err(InstallError::Engine(text)) => {
                panic!("{what}: the engine failed: {text}")
            }
            Err(InstallError::Refused(_) | InstallError::Describe(_)) => {
                self.tally.refused += 1;
                return;
            }
        };
        self.tally.taken += 1;
        if matches!(installed.kind, Kind::Probe | Kind::Command) {
            let run = job(&installed.digest, json!({}))
                .timeout(50)
                .memory(8 << 20);
            match run.run(&self.host).await.verdict {
                Ok(_) => self.tally.reports += 1,
                Err(fault) => {
                    let engine = matches!(fault.kind, FaultKind::Engine | FaultKind::Plugin);
                    assert!(!engine, "{what}: {fault:?}");
                    self.tally.faults += 1;
                }
            }
        }
        self.host.remove(&installed.digest).unwrap();
    }

    /// Uploads what `make` makes of each seed, and looks at what is left then.
    async fn feed(mut self, name: &str, make: impl Fn(&mut Random) -> Vec<u8>) -> Tally {
        let (most, enough) = match number("BELLWETHER_CORPUS") {
            Some(most) => (most as usize, Duration::MAX),
            None => (UPLOADS, ENOUGH),
        };
        let seeds = seeds();
        let (begun, mut count, mut settled) = (Instant::now(), 0, None);
        'all: for round in 0..most.div_ceil(seeds.len()) {
            for seed in &seeds {
                if begun.elapsed() >= enough && round > 0 {
                    break 'all;
                }
                let mut random = Random::new(seed.wrapping_add((round as u64) << 32));
                let bytes = make(&mut random);
                let what = format!("{name}, seed {seed}, round {round}");
                self.upload(&what, bytes).await;
                count += 1;
                // Pools and caches are warm from here on.
                if count == 30 {
                    settled = Some(resident());
                }
            }
        }
        println!("{name}: {count} uploads: {:?}", self.tally);
        bounded(settled);
        self.is_well().await;
        self.tally
    }

    /// No compiler is left, nothing of the uploads is kept, and a good plugin
    /// runs.
    async fn is_well(&self) {
        let patience = Instant::now() + Duration::from_secs(30);
        while compilers() > 0 {
            assert!(Instant::now() < patience, "a compiler is still running");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for folder in ["plugins", "code"] {
            let kept = std::fs::read_dir(self.host.dir.path().join(folder)).unwrap();
            assert_eq!(kept.count(), 0, "something is left in {folder}");
        }
        let good = install(&self.host, "testing/noop").await;
        let report = job(&good, json!({})).report(&self.host).await;
        assert_eq!(report.summary, "nothing to do");
    }
}

/// What a module or component is made of: its header and its sections.
struct Sections {
    header: Vec<u8>,
    sections: Vec<(u8, Vec<u8>)>,
}

impl Sections {
    fn read(bytes: &[u8]) -> Self {
        let (header, mut rest) = bytes.split_at(8);
        let mut sections = Vec::new();
        while let [id, behind @ ..] = rest {
            let (length, size) = leb(behind);
            let (body, next) = behind[size..].split_at(length);
            sections.push((*id, body.to_vec()));
            rest = next;
        }
        Self {
            header: header.to_vec(),
            sections,
        }
    }

    fn write(&self) -> Vec<u8> {
        let mut bytes = self.header.clone();
        for (id, body) in &self.sections {
            bytes.push(*id);
            let mut length = body.len();
            while length >= 0x80 {
                bytes.push(length as u8 | 0x80);
                length >>= 7;
            }
            bytes.push(length as u8);
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

/// An unsigned LEB128 number, and how many bytes it takes.
fn leb(bytes: &[u8]) -> (usize, usize) {
    let (mut number, mut size) = (0, 0);
    for byte in bytes {
        number |= usize::from(byte & 0x7f) << (7 * size);
        size += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (number, size)
}

/// A real plugin with damage: in its bytes, in the order and number of its
/// sections, or in one section alone, so that the others stay valid.
fn damaged(random: &mut Random, plugins: &[Vec<u8>]) -> Vec<u8> {
    let bytes = random.pick(plugins);
    if random.one_in(6) {
        let mut bytes = bytes.clone();
        let other = random.pick(plugins);
        scramble(random, &mut bytes, other);
        return bytes;
    }
    let mut parts = Sections::read(bytes);
    for _ in 0..=random.below(6).saturating_sub(3) {
        let count = parts.sections.len();
        if count == 0 {
            break;
        }
        let at = random.below(count);
        match random.below(14) {
            0 => drop(parts.sections.remove(at)),
            1 => parts.sections.insert(at, parts.sections[at].clone()),
            2 => parts.sections.swap(at, random.below(count)),
            3 => {
                let from = Sections::read(random.pick::<Vec<u8>>(plugins));
                let piece = random.pick(&from.sections).clone();
                parts.sections.insert(at, piece);
            }
            4 => parts.sections[at].0 = random.below(14) as u8,
            // One bit, mostly of the code: what is left is often valid, and means
            // something else.
            5..=11 => {
                let by_size = |at: &usize| parts.sections[*at].1.len();
                let longest = (0..count).max_by_key(by_size).unwrap_or(at);
                let at = if random.one_in(4) { at } else { longest };
                let body = &mut parts.sections[at].1;
                if !body.is_empty() {
                    let place = random.below(body.len());
                    body[place] ^= 1 << random.below(8);
                }
            }
            _ => {
                let other = random.pick(plugins);
                scramble(random, &mut parts.sections[at].1, other);
            }
        }
    }
    parts.write()
}

/// Functions of WASI preview 1 with the types of their parameters: `i` for 32
/// bits, `l` for 64.
const CALLS: [(&str, &str); 24] = [
    ("args_get", "ii"),
    ("args_sizes_get", "ii"),
    ("environ_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("clock_time_get", "ili"),
    ("clock_res_get", "ii"),
    ("random_get", "ii"),
    ("fd_write", "iiii"),
    ("fd_read", "iiii"),
    ("fd_pread", "iiili"),
    ("fd_seek", "ilii"),
    ("fd_close", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_filestat_get", "ii"),
    ("fd_prestat_get", "ii"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_readdir", "iiili"),
    ("fd_renumber", "ii"),
    ("path_open", "iiiiillii"),
    ("path_filestat_get", "iiiii"),
    ("poll_oneoff", "iiii"),
    ("sock_recv", "iiiiii"),
    ("sock_shutdown", "ii"),
    ("sched_yield", ""),
];

/// Numbers that are pointers, lengths, descriptors, or nothing of the kind.
fn constant(random: &mut Random) -> i64 {
    const EDGES: [i64; 12] = [
        0,
        1,
        2,
        3,
        8,
        16,
        1_024,
        65_532,
        65_535,
        65_536,
        i32::MIN as i64,
        -1,
    ];
    match random.below(3) {
        0 => random.below(70_000) as i64,
        _ => *random.pick(&EDGES),
    }
}

/// What keeps an address within the first page.
const WITHIN: &str = "(i32.const 65532)";

/// An expression of 32 bits.
fn expression(random: &mut Random, depth: usize) -> String {
    if depth == 0 || random.one_in(3) {
        return match random.below(3) {
            0 => "(local.get $a)".into(),
            _ => format!("(i32.const {})", constant(random) as i32),
        };
    }
    let inner = |random: &mut Random| expression(random, depth - 1);
    match random.below(9) {
        0 if random.one_in(6) => format!("(i32.load {})", inner(random)),
        0 => format!("(i32.load (i32.and {} {WITHIN}))", inner(random)),
        1 => format!("(memory.grow {})", inner(random)),
        2 => format!(
            "(i32.trunc_sat_f64_s (f64.convert_i32_s {}))",
            inner(random)
        ),
        3 => format!(
            "(call_indirect (type $f) {} (i32.and {} (i32.const 1)))",
            inner(random),
            inner(random)
        ),
        4 => format!("(call $helper {})", inner(random)),
        5 | 6 => {
            let (name, types) = *random.pick(&CALLS);
            let parameters: Vec<String> = types
                .chars()
                .map(|kind| match kind {
                    'l' => format!("(i64.const {})", constant(random)),
                    _ => inner(random),
                })
                .collect();
            format!("(call ${name} {})", parameters.join(" "))
        }
        _ => {
            const OPERATIONS: [&str; 8] =
                ["add", "sub", "mul", "div_s", "rem_u", "and", "shl", "lt_u"];
            let operation = *random.pick(&OPERATIONS);
            format!("(i32.{operation} {} {})", inner(random), inner(random))
        }
    }
}

fn statement(random: &mut Random, depth: usize) -> String {
    let value = expression(random, 3);
    if depth == 0 {
        return format!("(drop {value})");
    }
    let inner = |random: &mut Random| statement(random, depth - 1);
    match random.below(8) {
        0 => format!("(local.set $a {value})"),
        1 => format!(
            "(i32.store (i32.and {} {WITHIN}) {value})",
            expression(random, 1)
        ),
        2 => format!(
            "(if {value} (then {}) (else {}))",
            inner(random),
            inner(random)
        ),
        // Most loops end.
        3 => {
            let most = if random.one_in(60) {
                -1
            } else {
                1 + random.below(15) as i32
            };
            format!(
                "(local.set $n{depth} (i32.const {most})) (loop $l {} (local.set $n{depth} (i32.sub (local.get $n{depth}) (i32.const 1))) (br_if $l (local.get $n{depth})))",
                inner(random)
            )
        }
        4 => format!(
            "(memory.fill {} {value} {})",
            expression(random, 1),
            expression(random, 1)
        ),
        5 if random.one_in(8) => "(unreachable)".into(),
        6 if random.one_in(4) => format!("(call $proc_exit (i32.and {value} (i32.const 7)))"),
        _ => format!("(drop {value})"),
    }
}

/// A counter for each depth of loops.
const LOOPS: &str = "(local $n1 i32) (local $n2 i32) (local $n3 i32)";

/// A program that is valid, and calls WASI with whatever comes.
fn program(random: &mut Random) -> Vec<u8> {
    let mut text = String::from("(module (type $f (func (param i32) (result i32)))\n");
    for (name, types) in CALLS {
        let types: String = types
            .chars()
            .map(|kind| if kind == 'l' { "i64 " } else { "i32 " })
            .collect();
        text += &format!(
            "(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param {types}) (result i32)))\n"
        );
    }
    text += "(import \"wasi_snapshot_preview1\" \"proc_exit\" (func $proc_exit (param i32)))\n";
    let elements = 1 + random.below(10);
    let (least, most) = (1 + random.below(3), random.pick(&["", "4", "65536"]));
    text +=
        &format!("(memory (export \"memory\") {least} {most}) (table {elements} 100 funcref)\n");
    text += "(elem (i32.const 0) $helper)\n";
    let body = |random: &mut Random| -> String {
        let depth = 1 + random.below(3);
        (0..1 + random.below(12))
            .map(|_| statement(random, depth) + "\n")
            .collect()
    };
    // It does not call itself: that would always end in a full stack.
    let helper = body(random)
        .replace("$a)", "$x)")
        .replace("$a ", "$x ")
        .replace("(call $helper", "(i32.clz")
        .replace("(call_indirect (type $f)", "(i32.add");
    text += &format!("(func $helper (type $f) (local $x i32) {LOOPS} {helper} (local.get 0))\n");
    text += &format!(
        "(func (export \"_start\") (local $a i32) {LOOPS} {}))",
        body(random)
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[tokio::test]
async fn random_programs_end_as_reports_or_faults() {
    let tally = Corpus::new().feed("random programs", program).await;
    assert!(tally.taken > 0 && tally.refused == 0, "{tally:?}");
    assert_eq!(tally.reports + tally.faults, tally.taken, "{tally:?}");
}

#[tokio::test]
async fn damaged_plugins_are_refused_or_run_within_their_limits() {
    let plugins: Vec<Vec<u8>> = [
        "testing/noop",
        "testing/hostile-parser",
        "testing/echo-notifier",
        "testing/hostile-action",
        "testing/wasi-http",
        "testing/two-worlds",
        "tcp",
    ]
    .map(plugin)
    .into();
    let tally = Corpus::new()
        .feed("damaged plugins", |random| damaged(random, &plugins))
        .await;
    assert!(tally.refused > 0, "{tally:?}");
}

#[tokio::test]
async fn a_folder_of_uploads_is_gone_through() {
    let Ok(folder) = std::env::var("BELLWETHER_CORPUS_DIR") else {
        return;
    };
    let mut corpus = Corpus::new();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("BELLWETHER_CORPUS_DIR: {folder}: {error}"))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "wasm"))
        .collect();
    paths.sort();
    let mut settled = None;
    for (count, path) in paths.iter().enumerate() {
        let bytes = std::fs::read(path).unwrap();
        corpus.upload(&path.display().to_string(), bytes).await;
        if count == 30 {
            settled = Some(resident());
        }
    }
    println!("{folder}: {} uploads: {:?}", paths.len(), corpus.tally);
    bounded(settled);
    corpus.is_well().await;
}

#[test]
fn sections_are_read_and_written_as_they_are() {
    for name in ["testing/noop", "testing/two-worlds"] {
        let bytes = plugin(name);
        assert_eq!(Sections::read(&bytes).write(), bytes, "{name}");
    }
}
