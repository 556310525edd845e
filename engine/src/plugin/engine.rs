//! The wasmtime engine, its epoch ticker and its pool: built together, in one
//! constructor, so that no engine runs without a ticker or limits.

use std::num::NonZeroUsize;
use std::time::Duration;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

/// How often a computing guest yields and looks at its deadline.
pub const TICK: Duration = Duration::from_millis(2);

/// Address space of one linear memory. 4 GiB and a guard let the compiler leave
/// out bounds checks.
const MEMORY_RESERVATION: u64 = 4 << 30;
const MEMORY_GUARD: u64 = 32 << 20;
/// Stack of the guest's own frames, and of the fiber that also carries host
/// calls. Address space only: pages are touched as they are used.
const WASM_STACK: usize = 1 << 20;
const FIBER_STACK: usize = 2 << 20;

/// Core instances, memories and tables of one component. Rust guests take one
/// memory; interpreters built into components take several of each.
pub const MAX_CORE_INSTANCES: u32 = 64;
pub const MAX_MEMORIES: u32 = 8;
pub const MAX_TABLES: u32 = 32;
/// Elements of one table.
pub const MAX_TABLE_ELEMENTS: usize = 100_000;

/// Mappings that the kernel keeps apart for one run in flight (memory: image,
/// heap, guard; fiber: stack, guard; neighbours that look alike are merged, the
/// benchmark counts 3.8), and those left to the process.
const MAPPINGS_PER_RUN: u64 = 5;
const MAPPINGS_SPARE: u64 = 8_192;

/// An engine with its limits.
#[derive(Clone)]
pub struct WasmEngine {
    pub engine: Engine,
    /// Runs that may be in flight at the same time.
    pub capacity: u32,
    /// Greatest linear memory of one instance, in bytes.
    pub max_memory: u64,
    /// False where address space for a pool could not be had.
    pub pooled: bool,
}

impl WasmEngine {
    /// An engine for at most `max_in_flight` runs of at most `max_memory` bytes
    /// each, and its ticker thread, which ends with the engine.
    ///
    /// The pool takes address space for every possible run at once. Where the
    /// kernel does not give it (a limit on address space or mappings, strict
    /// overcommit), half of it is tried, and so on; below 64 runs memory is
    /// mapped run by run instead.
    ///
    /// # Errors
    /// In plain words, where no engine can be built at all.
    pub fn new(max_in_flight: u32, max_memory: u64) -> Result<Self, String> {
        let max_memory = max_memory.clamp(1 << 20, MEMORY_RESERVATION);
        let wanted = max_in_flight.clamp(1, mapping_capacity());
        let mut runs = wanted;
        let (engine, capacity, pooled) = loop {
            let mut config = compiler_config();
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(runs, max_memory)));
            match Engine::new(&config) {
                Ok(engine) => break (engine, runs, true),
                Err(error) if runs < 64 => {
                    tracing::warn!(%error, "no address space for a pool of instances, mapping run by run");
                    let engine = Engine::new(&compiler_config()).map_err(|error| {
                        format!("the WebAssembly engine does not start: {error:#}")
                    })?;
                    break (engine, wanted, false);
                }
                Err(_) => runs /= 2,
            }
        };
        spawn_ticker(&engine)?;
        Ok(Self {
            engine,
            capacity,
            max_memory,
            pooled,
        })
    }

    /// An engine that only compiles, for the child process.
    pub(super) fn compiler() -> Result<Engine, String> {
        Engine::new(&compiler_config()).map_err(|error| format!("{error:#}"))
    }
}

/// Everything that decides what compiled code looks like. The child that
/// compiles and the engine that runs must agree on it.
fn compiler_config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .memory_reservation(MEMORY_RESERVATION)
        .memory_guard_size(MEMORY_GUARD)
        .memory_may_move(false)
        .memory_init_cow(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(FIBER_STACK)
        // No guest language needs these in a component, and what is off cannot
        // be attacked.
        .gc_support(false)
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        .wasm_backtrace_max_frames(NonZeroUsize::new(12))
        // Else a trap reads the guest's DWARF, without any bound.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config
}

fn pool(runs: u32, max_memory: u64) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    // Most guests have one memory and two tables; the slack serves the few
    // that take more.
    let slack = (runs / 8).max(u32::from(u8::MAX));
    pool.total_component_instances(runs)
        .total_stacks(runs)
        .total_core_instances(runs.saturating_mul(4).saturating_add(slack))
        .total_memories(runs.saturating_add(slack))
        .total_tables(runs.saturating_mul(2).saturating_add(slack))
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memories_per_module(MAX_MEMORIES)
        .max_tables_per_module(MAX_TABLES)
        .max_component_instance_size(1 << 20)
        .max_core_instance_size(1 << 20)
        .table_elements(MAX_TABLE_ELEMENTS)
        .max_memory_size(max_memory as usize)
        // Resetting a small instance by memset beats giving its pages back.
        .linear_memory_keep_resident(128 << 10)
        .table_keep_resident(16 << 10)
        .async_stack_keep_resident(16 << 10)
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(64);
    pool
}

/// Runs for which the kernel has mappings.
fn mapping_capacity() -> u32 {
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .unwrap_or(65_530);
    (limit.saturating_sub(MAPPINGS_SPARE) / MAPPINGS_PER_RUN).clamp(64, 1_000_000) as u32
}

/// The thread holds the engine weakly and ends with it.
fn spawn_ticker(engine: &Engine) -> Result<(), String> {
    let weak = engine.weak();
    std::thread::Builder::new()
        .name("epoch".into())
        .stack_size(64 << 10)
        .spawn(move || {
            loop {
                std::thread::sleep(TICK);
                match weak.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        })
        .map(drop)
        .map_err(|error| format!("the epoch ticker's thread does not start: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_debugger_would_read_is_not_kept() {
        let text = r#"(module
            (@custom ".debug_str" "bytes for a debugger")
            (func $told (export "run") unreachable))"#;
        let bytes = wat::parse_str(text).unwrap();
        let kept = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|part| part == what);
        assert!(kept(&bytes, b"bytes for a debugger"));
        let code = WasmEngine::compiler().unwrap().precompile_module(&bytes);
        let code = code.unwrap();
        assert!(!kept(&code, b"bytes for a debugger"));
        // Names of functions are.
        assert!(kept(&code, b"told"));
    }
}
