//! Writes random WebAssembly into a folder: `smith FOLDER COUNT [SEED]`.
//!
//! Core modules that are WASI programs by their exports, core modules of any
//! shape, modules whose code is not valid, and components, in turn.

use std::path::PathBuf;
use std::process::ExitCode;

use arbitrary::Unstructured;
use wasm_smith::{Component, Config, Module};

/// Random bytes from which one is made.
const INPUT: usize = 16 << 10;

/// The next number of a generator (splitmix64).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// `(module (func (export "_start")))`.
const PROGRAM: &[u8] =
    b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x0a\x01\x06_start\0\0\x0a\x04\x01\x02\0\x0b";

fn config(kind: u64) -> Config {
    let mut config = Config {
        max_memories: 2,
        max_memory32_bytes: 32 << 20,
        max_instructions: 500,
        // What the engine refuses by its kind says nothing of the rest.
        gc_enabled: false,
        reference_types_enabled: false,
        wide_arithmetic_enabled: false,
        compact_imports_enabled: false,
        threads_enabled: false,
        exceptions_enabled: false,
        memory64_enabled: false,
        custom_page_sizes_enabled: false,
        ..Config::default()
    };
    match kind {
        // A program: what it exports decides that it is taken.
        0 => {
            config.exports = Some(PROGRAM.to_vec());
            config.max_imports = 0;
            config.min_funcs = 1;
        }
        1 => config.min_funcs = 1,
        _ => config.allow_invalid_funcs = true,
    }
    config
}

fn one(kind: u64, bytes: &[u8]) -> arbitrary::Result<Vec<u8>> {
    let mut input = Unstructured::new(bytes);
    Ok(match kind {
        3 => Component::new(Config::default(), &mut input)?.to_bytes(),
        kind => Module::new(config(kind), &mut input)?.to_bytes(),
    })
}

fn run() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let usage = "expected smith FOLDER COUNT [SEED]";
    let folder = PathBuf::from(arguments.next().ok_or(usage)?);
    let count = arguments.next().ok_or(usage)?;
    let count: u64 = count
        .parse()
        .map_err(|_| format!("{usage}, found the count {count:?}"))?;
    let seed = match arguments.next() {
        None => 1,
        Some(seed) => seed
            .parse()
            .map_err(|_| format!("{usage}, found the seed {seed:?}"))?,
    };
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for number in 0..count {
        let mut state: u64 = seed ^ (number << 32);
        let length = 64 + (next(&mut state) as usize % INPUT);
        let bytes: Vec<u8> = (0..length).map(|_| next(&mut state) as u8).collect();
        let kind = number % 4;
        // Some bytes make nothing.
        let Ok(module) = one(kind, &bytes) else {
            continue;
        };
        let path = folder.join(format!("{seed}-{number:05}-{kind}.wasm"));
        std::fs::write(&path, module).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("smith: {error}");
            ExitCode::FAILURE
        }
    }
}
