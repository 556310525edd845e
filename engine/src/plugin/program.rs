//! Command plugins: plain WASI programs by the monitoring-plugins convention.
//!
//! Two forms: a core module for WASI preview 1, which keeps its exit code
//! because it runs as it is and through no adapter, and a component that exports
//! `wasi:cli/run@0.2`. A program has no manifest. Each run is a fresh instance
//! with arguments, standard input and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre};
use wasmtime::{Engine, ExternType, Module, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p1;

use super::cache::short;
use super::catalogue::LoadedProgram;
use super::cost::metered;
use super::kind::Exports;
use super::log::clip;
use super::manifest::Manifest;
use super::run::{End, RunData, RunSetup, bounded, ended};
use super::secrets::Redactor;
use super::wasi::{Given, Kept, LazyWasi};
use crate::check::outcome::{Digest, Fault, FaultKind, RunLimits};
use crate::config::spec::GrantsSpec;

/// Bytes that a program may hand over in one call.
pub(super) const PROGRAM_FUEL: usize = 8 << 20;
/// Most arguments, and bytes of all of them.
const MAX_ARGS: usize = 256;
const MAX_ARGS_SIZE: usize = 128 << 10;
/// Longest line of standard error in a fault's text.
const MAX_WORD: usize = 500;

/// The only module that a preview 1 program may import from.
const PREVIEW1: &str = "wasi_snapshot_preview1";

/// A compiled and linked program.
#[derive(Clone)]
pub(super) enum Program {
    Module(wasmtime::InstancePre<RunData>),
    Component {
        pre: InstancePre<RunData>,
        exports: Exports,
        /// False where only success and failure come back (`exit`, the result of
        /// `run`) and no code.
        keeps_codes: bool,
    },
}

/// How a program ended.
pub(super) struct Finished {
    /// The exit code, or why there is none.
    pub result: Result<i32, End>,
    pub stdout: Kept,
    pub data: RunData,
    /// Time without waits.
    pub busy: Duration,
}

/// Preview 1 for core modules.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<wasmtime::Linker<RunData>> {
    let mut linker = wasmtime::Linker::new(engine);
    p1::add_to_linker_async(&mut linker, RunData::preview1)?;
    Ok(linker)
}

/// What stands in for the manifest that a program does not have. Its version is
/// told by its bytes.
pub(super) fn manifest(digest: &Digest) -> Manifest {
    Manifest {
        name: "command".into(),
        version: format!("0.0.0+{}", short(digest)),
        summary: "a WASI program".into(),
        config_schema: schema(),
        capabilities: Vec::new(),
        metrics: Vec::new(),
    }
}

/// JSON Schema of [`Settings`].
fn schema() -> Value {
    serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "args": {
                "type": "array", "items": { "type": "string" }, "maxItems": MAX_ARGS,
                "description": "arguments behind the program's name",
                "examples": [["-w", "80", "-c", "90"]],
            },
            "env": {
                "type": "object", "additionalProperties": { "type": "string" },
                "description": "environment variables; the program has no others",
            },
        },
    })
}

/// Configuration of a command plugin, in whatever role.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    args: Vec<String>,
    env: BTreeMap<String, String>,
}

/// What a program is given for a configuration; nothing on standard input yet.
///
/// # Errors
/// A fault of kind config.
pub(super) fn given(loaded: &LoadedProgram, config: &str, stdout: usize) -> Result<Given, Fault> {
    let wrong = |text: String| Fault::new(FaultKind::Config, text);
    let settings: Settings = serde_json::from_str(config)
        .map_err(|error| wrong(format!("config: expected args and env: {error}")))?;
    let size: usize = settings.args.iter().map(String::len).sum();
    if settings.args.len() > MAX_ARGS || size > MAX_ARGS_SIZE {
        return Err(wrong(format!(
            "config /args: expected at most {MAX_ARGS} arguments of together {MAX_ARGS_SIZE} bytes, found {} of {size}",
            settings.args.len()
        )));
    }
    let odd = |text: &&String| text.contains('\0');
    let values = settings.env.values();
    if let Some(text) = settings.args.iter().chain(values).find(odd) {
        return Err(wrong(format!(
            "config: expected text without a zero byte, found {text:?}"
        )));
    }
    if let Some(name) = settings.env.keys().find(|name| !is_variable(name)) {
        return Err(wrong(format!(
            "config /env: expected a name of letters, digits and _, found {name:?}"
        )));
    }
    let mut args = vec![loaded.installed.manifest.name.clone()];
    args.extend(settings.args);
    Ok(Given {
        args,
        env: settings.env.into_iter().collect(),
        stdin: bytes::Bytes::new(),
        stdout,
    })
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl Program {
    /// A core module that is a WASI preview 1 program.
    ///
    /// # Errors
    /// What was expected and found, in plain words.
    pub fn module(linker: &wasmtime::Linker<RunData>, module: &Module) -> Result<Self, String> {
        const EXPECTED: &str = "expected a component, or a WASI program (target wasm32-wasip1)";
        match module.get_export("_start") {
            Some(ExternType::Func(start))
                if start.params().len() == 0 && start.results().len() == 0 => {}
            Some(_) => {
                return Err(format!(
                    "a core module whose export _start is no function without parameters and results; {EXPECTED}"
                ));
            }
            None if module.get_export("_initialize").is_some() => {
                return Err(format!(
                    "a core module that is a library (it exports _initialize and no _start); {EXPECTED}; `wasm-tools component new` or `plugins/build.sh` makes a component of a library"
                ));
            }
            None => {
                return Err(format!(
                    "a core module without the export _start; {EXPECTED}; `wasm-tools component new` or `plugins/build.sh` makes a component of a library"
                ));
            }
        }
        let mut strangers: Vec<String> = module
            .imports()
            .filter(|import| import.module() != PREVIEW1)
            .map(|import| format!("{}.{}", import.module(), import.name()))
            .collect();
        strangers.dedup();
        if !strangers.is_empty() {
            return Err(format!(
                "imports {}, which the engine does not have; expected only {PREVIEW1}",
                clip(&strangers.join(", "), 1_000)
            ));
        }
        linker
            .instantiate_pre(module)
            .map(Program::Module)
            .map_err(|error| {
                format!(
                    "imports something that this version of the engine does not have: {error:#}"
                )
            })
    }

    /// A component that exports `wasi:cli/run`.
    pub fn component(
        engine: &Engine,
        component: &Component,
        pre: InstancePre<RunData>,
        exports: Exports,
    ) -> Self {
        let keeps_codes = component
            .component_type()
            .imports(engine)
            .filter(|(name, _)| name.starts_with("wasi:cli/exit@"))
            .any(|(_, import)| match import.ty {
                ComponentItem::ComponentInstance(exit) => {
                    exit.get_export(engine, "exit-with-code").is_some()
                }
                _ => false,
            });
        Program::Component {
            pre,
            exports,
            keeps_codes,
        }
    }

    /// True where an exit code of 1 is what the program said.
    pub fn keeps_codes(&self) -> bool {
        match self {
            Program::Module(_) => true,
            Program::Component { keeps_codes, .. } => *keeps_codes,
        }
    }

    /// Runs to the end or to the store's deadline. Standard error is in the
    /// run's log then.
    pub async fn run(&self, mut store: Store<RunData>, given: Given) -> Finished {
        let bound = store.data().bound();
        store.data_mut().wasi = LazyWasi::of(given);
        let (result, busy) = metered(bounded(bound, self.start(&mut store))).await;
        let mut data = store.into_data();
        let (stdout, stderr) = data.take_output();
        data.log_lines("warning", &stderr);
        if stderr.dropped > 0 {
            let dropped = stderr.dropped;
            data.log.push(
                "warning",
                &format!("{dropped} bytes of standard error were dropped"),
            );
        }
        let result = result.or_else(|error| match error.downcast_ref::<I32Exit>() {
            Some(exit) => Ok(exit.0),
            None => Err(error),
        });
        let result = data.unless_own_fault(result, |code| *code == 0);
        let ending = |error: wasmtime::Error, data: &mut RunData| {
            // WASI has no codes from 126 on and says so in words only.
            if error.root_cause().to_string().contains("exit status") {
                return End::Fault(Fault::new(
                    FaultKind::Failed,
                    "the program ended with an exit code beyond 125, expected 0 to 3",
                ));
            }
            match ended(&error, data) {
                End::Fault(fault) => End::Fault(with_last_word(fault, &stderr, &data.redactor)),
                end => end,
            }
        };
        let result = match result {
            Ok(code) => match gave_up(code, &stdout, &stderr, &data) {
                Some(fault) => Err(End::Fault(fault)),
                None => Ok(code),
            },
            Err(error) => Err(ending(error, &mut data)),
        };
        Finished {
            result,
            stdout,
            data,
            busy,
        }
    }

    /// The exit code where the program returns; an error that holds one where it
    /// exits.
    async fn start(&self, store: &mut Store<RunData>) -> wasmtime::Result<i32> {
        match self {
            Program::Module(pre) => {
                let instance = pre.instantiate_async(&mut *store).await?;
                let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
                start.call_async(&mut *store, ()).await?;
                Ok(0)
            }
            Program::Component { pre, exports, .. } => {
                let instance = pre.instantiate_async(&mut *store).await?;
                let run = instance
                    .get_typed_func::<(), (Result<(), ()>,)>(&mut *store, exports.function(0)?)?;
                let (result,) = run.call_async(&mut *store, ()).await?;
                Ok(i32::from(result.is_err()))
            }
        }
    }

    /// Times of that many bare runs, for the benchmark: a store without limits,
    /// instantiate, call.
    pub async fn bare_runs(
        &self,
        runs: usize,
        engine: &Engine,
        data: impl Fn() -> RunData,
    ) -> wasmtime::Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(runs);
        for _ in 0..runs {
            let mut data = data();
            data.wasi = LazyWasi::of(Given::default());
            let begun = std::time::Instant::now();
            let mut store = Store::new(engine, data);
            store.epoch_deadline_async_yield_and_update(1);
            store.set_epoch_deadline(1);
            if let Err(error) = self.start(&mut store).await
                && error.downcast_ref::<I32Exit>().is_none()
            {
                return Err(error);
            }
            drop(store);
            times.push(begun.elapsed());
        }
        Ok(times)
    }
}

/// What Rust adds to the message of a panic: of no use to whoever runs a check.
const BACKTRACE_HINT: &str = "note: run with `RUST_BACKTRACE=";

/// How lines of standard error begin with which the runtimes of languages end a
/// program: Go's, and that of Python.
const PANICS: [&str; 2] = ["panic: ", "fatal error: "];
const TRACEBACK: &str = "Traceback (most recent call last):";

/// The fault of a program that its own runtime ended: their exit codes are those
/// of states. Whoever printed a word has judged, and the code is believed.
fn gave_up(code: i32, stdout: &Kept, stderr: &Kept, data: &RunData) -> Option<Fault> {
    if code == 0 || !stdout.bytes.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    if let Some(refused) = &data.limiter.refused {
        return Some(Fault::new(FaultKind::Limit, refused.clone()));
    }
    let fault = Fault::new(
        FaultKind::Trap,
        format!("the program broke off with exit code {code}"),
    );
    let text = String::from_utf8_lossy(&stderr.bytes);
    let begins = |line: &&str| PANICS.iter().any(|panic| line.starts_with(panic));
    if let Some(line) = text.lines().find(begins) {
        // What follows are its stacks.
        return Some(Fault {
            text: format!("{}: {}", fault.text, data.redactor.clip(line, MAX_WORD)),
            ..fault
        });
    }
    text.lines()
        .any(|line| line.trim_end() == TRACEBACK)
        .then(|| with_last_word(fault, stderr, &data.redactor))
}

/// A fault with the last line that the program wrote to standard error: the
/// message of a panic or of an abort.
fn with_last_word(fault: Fault, stderr: &Kept, redactor: &Redactor) -> Fault {
    let text = stderr.text(redactor);
    match text
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with(BACKTRACE_HINT))
    {
        Some(line) => Fault {
            text: format!(
                "{}; it wrote: {}",
                fault.text,
                redactor.clip(line, MAX_WORD)
            ),
            ..fault
        },
        None => fault,
    }
}

/// The fault of an exit code that means none of the states.
pub(super) fn odd_exit(code: i32, said: &str, redactor: &Redactor) -> Fault {
    let said = match said {
        "" => String::new(),
        said => format!(": {}", redactor.clip(said, MAX_WORD)),
    };
    Fault::new(
        FaultKind::Failed,
        format!("the program ended with exit code {code}, expected 0 to 3{said}"),
    )
}

/// Kept output up to the last whole word where the rest was dropped: half a
/// number is another number.
pub(super) fn whole_words(stdout: &Kept) -> &[u8] {
    if stdout.dropped == 0 {
        return &stdout.bytes;
    }
    let end = stdout.bytes.iter().rposition(u8::is_ascii_whitespace);
    stdout.bytes.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// The setup of a program's run without node and state.
pub(super) fn setup(limits: &RunLimits, grants: Arc<GrantsSpec>) -> RunSetup {
    RunSetup {
        timeout: limits.timeout,
        length: limits.deadline(),
        memory: limits.memory,
        grants,
        node: None,
        state: None,
        dry_run: false,
        fuel: PROGRAM_FUEL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let engine = Engine::default();
        let linker = linker(&engine).unwrap();
        let module = Module::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        match Program::module(&linker, &module) {
            Err(refused) => refused,
            Ok(_) => panic!("{text} was taken"),
        }
    }

    #[test]
    fn what_is_no_program_is_refused_by_name() {
        let cases = [
            ("(module)", "a core module without the export _start"),
            (
                r#"(module (func (export "_initialize")))"#,
                "that is a library",
            ),
            (
                r#"(module (func (export "_start") (param i32)))"#,
                "no function without parameters",
            ),
            (
                r#"(module (import "env" "puts" (func)) (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32))) (func (export "_start")))"#,
                "imports env.puts, which the engine does not have; expected only wasi_snapshot_preview1",
            ),
            (
                r#"(module (import "wasi_snapshot_preview1" "sock_open" (func (param i32 i32 i32) (result i32))) (func (export "_start")))"#,
                "sock_open",
            ),
        ];
        for (text, expected) in cases {
            let found = refusal(text);
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn cut_output_ends_with_a_whole_word() {
        let kept = |text: &str, dropped| Kept {
            bytes: text.into(),
            dropped,
        };
        assert_eq!(whole_words(&kept("OK | a=12", 0)), b"OK | a=12");
        assert_eq!(whole_words(&kept("OK | a=12", 1)), b"OK |");
        assert_eq!(whole_words(&kept("aaaa", 1)), b"");
    }

    #[test]
    fn names_of_variables() {
        assert!(is_variable("A_1") && is_variable("_"));
        for bad in ["", "1A", "A=B", "A B", "ä"] {
            assert!(!is_variable(bad), "{bad}");
        }
    }
}
