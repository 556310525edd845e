//! Damaged samples for every reader of bytes from outside: what `engine/fuzz`
//! does without end, for a moment and on a stable compiler.
//!
//! `BELLWETHER_FUZZ=1000000` makes that many inputs for each reader;
//! `BELLWETHER_FUZZ_SEED=N` repeats a seed.

use std::panic::catch_unwind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bellwether::clock::{Clock as _, SystemClock};
use bellwether::plugin::fuzz::TARGETS;

use crate::random::{Random, number, scramble};

/// Inputs for each reader and seed in an ordinary run, and the time after which
/// there are no more.
const INPUTS: u64 = 10_000;
const ENOUGH: Duration = Duration::from_secs(3);
/// Longest input, in bytes.
const MAX_INPUT: usize = 4 << 10;

/// The files of a folder of the engine.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has no samples", folder.display());
    paths
}

/// Samples of a reader: the files of its folder below `engine/fuzz/seeds`, those
/// named `*.hex` as hexadecimal digits.
fn samples(target: &str) -> Vec<Vec<u8>> {
    let mut paths = files(&format!("fuzz/seeds/{target}"));
    if target == "configuration" {
        paths.extend(files("tests/config"));
        paths.extend(files("tests/config/broken"));
    }
    let read = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        match path.extension().is_some_and(|kind| kind == "hex") {
            true => hex::decode(bytes.trim_ascii()).unwrap(),
            false => bytes,
        }
    };
    let mut samples: Vec<Vec<u8>> = paths.iter().map(read).collect();
    samples.push(Vec::new());
    samples
}

#[test]
fn no_reader_panics_over_damaged_input() {
    let (most, enough) = match number("BELLWETHER_FUZZ") {
        Some(most) => (most, Duration::MAX),
        None => (INPUTS, ENOUGH),
    };
    let seeds = match number("BELLWETHER_FUZZ_SEED") {
        Some(seed) => vec![seed],
        None => {
            let clock = SystemClock.now().micros() as u64;
            println!("seed of the clock: BELLWETHER_FUZZ_SEED={clock}");
            vec![1, clock]
        }
    };
    for (name, target) in TARGETS {
        let samples = samples(name);
        for sample in &samples {
            target(sample);
        }
        for seed in &seeds {
            let (mut random, begun) = (Random::new(*seed), Instant::now());
            for round in 0..most {
                if begun.elapsed() > enough {
                    println!("{name}: {round} inputs of seed {seed}");
                    break;
                }
                let mut bytes = random.pick(&samples).clone();
                for _ in 0..=random.below(3) {
                    let other = random.pick(&samples);
                    scramble(&mut random, &mut bytes, other);
                }
                bytes.truncate(MAX_INPUT);
                if catch_unwind(|| target(&bytes)).is_err() {
                    let shown = String::from_utf8_lossy(&bytes);
                    panic!("{name}, seed {seed}, round {round}: {bytes:?} {shown:?}");
                }
            }
        }
    }
}
