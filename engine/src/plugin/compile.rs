//! Compilation of an upload in a child process.
//!
//! Compiling is untrusted work: a crafted component may take time and memory
//! without end. The child is the same binary with a cleared environment, no
//! file it could write, limits it sets on itself before it reads a byte, and a
//! parent that kills it when its time is over. It hands back native code by
//! pipe; only the parent writes the cache.

use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wasmtime::Engine;

use super::engine::WasmEngine;

/// Address space of the child.
const ADDRESS_SPACE: u64 = 4 << 30;
/// Greatest native code taken back.
const MAX_CODE: u64 = 1 << 30;
const COMPILED: u8 = 0;
const REFUSED: u8 = 1;

/// The child's command line is `EXE compile-plugin CPU-SECONDS`.
pub const SUBCOMMAND: &str = "compile-plugin";

/// What the child needs to be started.
#[derive(Clone, Debug)]
pub struct CompilerConfig {
    /// The engine's own binary.
    pub exe: PathBuf,
    /// Wall clock of one compilation; the child's CPU time is bounded by twice
    /// as much.
    pub timeout: Duration,
    /// Greatest size of a plugin, in bytes.
    pub max_size: u64,
}

/// One compilation at a time.
#[derive(Debug)]
pub(super) struct Compiler {
    config: CompilerConfig,
    turn: tokio::sync::Mutex<()>,
}

/// A number that changes with everything compiled code depends on: wasmtime's
/// version, its configuration and the processor.
pub(super) fn compatibility(engine: &Engine) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// The two forms of WebAssembly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Component,
    /// A core module.
    Module,
}

/// Looks at size and header, before a child is started.
pub(super) fn check_header(bytes: &[u8], max_size: u64) -> Result<Form, String> {
    if bytes.len() as u64 > max_size {
        return Err(format!(
            "too large: {} bytes, the limit is {max_size} (engine.max_plugin_size)",
            bytes.len()
        ));
    }
    if !bytes.starts_with(b"\0asm") {
        return Err("not WebAssembly: expected a file that begins with \\0asm, found something else; build a component (plugins/README.md)".into());
    }
    match bytes.get(4..8) {
        None => Err("truncated: the file ends within its header".into()),
        Some([0x0d, 0, 1, 0]) => Ok(Form::Component),
        Some([1, 0, 0, 0]) => Ok(Form::Module),
        Some(version) => Err(format!(
            "expected a component (header 0d 00 01 00) or a WASI program (01 00 00 00), found version {}",
            hex::encode(version)
        )),
    }
}

impl Compiler {
    pub fn new(config: CompilerConfig) -> Self {
        Self {
            config,
            turn: tokio::sync::Mutex::new(()),
        }
    }

    pub fn max_size(&self) -> u64 {
        self.config.max_size
    }

    /// Native code of a component.
    ///
    /// # Errors
    /// Why it does not compile, in plain words.
    pub async fn compile(&self, engine: &Engine, bytes: &[u8]) -> Result<Vec<u8>, String> {
        check_header(bytes, self.config.max_size)?;
        let _turn = self.turn.lock().await;
        let (answer, answered) = tokio::sync::oneshot::channel();
        let (config, engine, bytes) = (self.config.clone(), engine.clone(), bytes.to_vec());
        // The kernel ends the child with the thread that started it, and threads of
        // a runtime come and go: it gets one that stays until it has ended.
        std::thread::Builder::new()
            .name("compiler".into())
            .spawn(move || wait_for_child(&config, &engine, &bytes, answer))
            .map_err(|error| format!("the compiler gets no thread: {error}"))?;
        answered
            .await
            .unwrap_or_else(|_| Err("the compiler is lost".into()))
    }
}

/// Runs a child to its end, or until nobody waits for it any more.
fn wait_for_child(
    config: &CompilerConfig,
    engine: &Engine,
    bytes: &[u8],
    mut answer: tokio::sync::oneshot::Sender<Result<Vec<u8>, String>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(async {
            tokio::select! {
                result = tokio::time::timeout(config.timeout, config.run_child(engine, bytes)) => {
                    // Dropping the future killed the child.
                    Some(result.unwrap_or_else(|_| Err(format!(
                        "compiling took longer than {} s (engine.compile_timeout)",
                        config.timeout.as_secs_f32()
                    ))))
                }
                () = answer.closed() => None,
            }
        }),
        Err(error) => Some(Err(format!("the compiler gets no runtime: {error}"))),
    };
    if let Some(result) = result {
        let _ = answer.send(result);
    }
}

impl CompilerConfig {
    async fn run_child(&self, engine: &Engine, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let cpu_seconds = self.timeout.as_secs().saturating_mul(2).max(2);
        let mut child = tokio::process::Command::new(&self.exe)
            .arg(SUBCOMMAND)
            .arg(cpu_seconds.to_string())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                format!(
                    "the compiler {} does not start: {error}",
                    self.exe.display()
                )
            })?;
        let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the compiler has no pipes".into());
        };
        let send = async {
            // A child that refuses early closes the pipe; its answer says why.
            let _ = stdin.write_all(bytes).await;
            drop(stdin);
        };
        let receive = async {
            let tag = stdout.read_u8().await?;
            let length = stdout.read_u64().await?;
            if length > MAX_CODE {
                return Err(std::io::Error::other(format!(
                    "native code of {length} bytes"
                )));
            }
            let mut payload = Vec::new();
            stdout.take(length).read_to_end(&mut payload).await?;
            if payload.len() as u64 != length {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            Ok((tag, payload))
        };
        let ((), answer) = tokio::join!(send, receive);
        match answer {
            Ok((COMPILED, payload)) => match payload.split_first_chunk::<8>() {
                Some((hash, code)) if u64::from_be_bytes(*hash) == compatibility(engine) => {
                    Ok(code.to_vec())
                }
                _ => Err(format!(
                    "the compiler {} is of another version than this engine",
                    self.exe.display()
                )),
            },
            Ok((_, payload)) => Err(String::from_utf8_lossy(&payload).into_owned()),
            Err(error) => {
                use std::os::unix::process::ExitStatusExt as _;
                let status = child
                    .wait()
                    .await
                    .map_err(|error| format!("the compiler is lost: {error}"))?;
                Err(match status.signal() {
                    Some(signal) if signal == Signal::XCPU.as_raw() => {
                        format!("compiling took more than {cpu_seconds} s of processor time")
                    }
                    Some(signal) if signal == Signal::KILL.as_raw() => format!(
                        "the compiler was killed: it took more than {cpu_seconds} s of processor time, or this machine has no memory left"
                    ),
                    Some(signal) => format!(
                        "the compiler ended by signal {signal}; it may have needed more than {} GiB of memory",
                        ADDRESS_SPACE >> 30
                    ),
                    None => format!("the compiler gave no answer ({status}): {error}"),
                })
            }
        }
    }
}

/// The child's main function: component or module on standard input, framed answer on
/// standard output.
pub fn compile_child_main() -> ExitCode {
    let cpu_seconds = std::env::args()
        .nth(2)
        .and_then(|text| text.parse().ok())
        .unwrap_or(120);
    let answer = match limit_self(cpu_seconds) {
        Ok(()) => compile_stdin(),
        Err(error) => Err(format!("the compiler cannot limit itself: {error}")),
    };
    let (tag, payload) = match answer {
        Ok(code) => (COMPILED, code),
        Err(text) => (REFUSED, text.into_bytes()),
    };
    let mut out = std::io::stdout().lock();
    let written = out
        .write_all(&[tag])
        .and_then(|()| out.write_all(&(payload.len() as u64).to_be_bytes()))
        .and_then(|()| out.write_all(&payload))
        .and_then(|()| out.flush());
    if written.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn limit_self(cpu_seconds: u64) -> Result<(), rustix::io::Errno> {
    let limit = |resource, amount| {
        rustix::process::setrlimit(
            resource,
            Rlimit {
                current: Some(amount),
                maximum: Some(amount),
            },
        )
    };
    limit(Resource::As, ADDRESS_SPACE)?;
    limit(Resource::Cpu, cpu_seconds)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, 16)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
}

fn compile_stdin() -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|error| format!("the plugin does not arrive: {error}"))?;
    let engine = WasmEngine::compiler()?;
    let mut payload = compatibility(&engine).to_be_bytes().to_vec();
    let (what, code) = match check_header(&bytes, u64::MAX)? {
        Form::Component => ("component", engine.precompile_component(&bytes)),
        Form::Module => ("module", engine.precompile_module(&bytes)),
    };
    let code = code.map_err(|error| explain(what, &format!("{error:#}")))?;
    payload.extend_from_slice(&code);
    Ok(payload)
}

/// wasmtime's words, with a plain beginning where the cause is common.
fn explain(what: &str, error: &str) -> String {
    if error.contains("unexpected end")
        || error.contains("unexpected-end")
        || error.contains("out of bounds")
    {
        format!("truncated or damaged: the file ends in the middle ({error})")
    } else if error.contains("exceeds") || error.contains("too many") || error.contains("limit") {
        format!("beyond a limit of the engine: {error}")
    } else {
        format!("not a valid {what}: {error}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let component = b"\0asm\x0d\0\x01\0";
        assert_eq!(check_header(component, 8), Ok(Form::Component));
        assert_eq!(check_header(b"\0asm\x01\0\0\0", 8), Ok(Form::Module));
        let cases: [(&[u8], &str); 5] = [
            (b"", "not WebAssembly"),
            (b"#!/bin/sh", "not WebAssembly"),
            (b"\0asm\x0d", "truncated"),
            (b"\0asm\x0c\0\x01\0", "found version 0c000100"),
            (b"\0asm\x0d\0\x01\0 ", "too large: 9 bytes, the limit is 8"),
        ];
        for (bytes, expected) in cases {
            let max = if expected.starts_with("too large") {
                8
            } else {
                100
            };
            let error = check_header(bytes, max).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
