//! How much memory a run may take.

use wasmtime::ResourceLimiter;

use super::engine;
use super::run::own_trouble;

/// The linear memory a run has taken, against its limit.
#[derive(Debug)]
pub(super) struct Limiter {
    memory: usize,
    used: usize,
    /// The first request that was refused.
    pub refused: Option<String>,
}

impl Limiter {
    pub fn new(memory: u64) -> Self {
        Self {
            memory: usize::try_from(memory).unwrap_or(usize::MAX),
            used: 0,
            refused: None,
        }
    }

    /// Bytes of linear memory taken; a guest cannot give any back.
    pub fn used(&self) -> u64 {
        self.used as u64
    }

    pub fn limit(&self) -> u64 {
        self.memory as u64
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self.used.saturating_add(desired.saturating_sub(current));
        if wanted > self.memory {
            self.refused.get_or_insert_with(|| {
                format!(
                    "memory: wanted {wanted} bytes, the limit is {} (limits.memory)",
                    self.memory
                )
            });
            return Ok(false);
        }
        self.used = wanted;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // A guest would take it for a limit of its own.
        match no_room(&error) {
            Some(_) => Err(error),
            None => Ok(()),
        }
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > engine::MAX_TABLE_ELEMENTS {
            self.refused.get_or_insert_with(|| {
                format!(
                    "table: wanted {desired} elements, the limit is {}",
                    engine::MAX_TABLE_ELEMENTS
                )
            });
            return Ok(false);
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        engine::MAX_CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        engine::MAX_TABLES as usize
    }

    fn memories(&self) -> usize {
        engine::MAX_MEMORIES as usize
    }
}

/// What the engine's own machine lacks, where that is why there was no memory for
/// a guest: no target and no plugin causes these errors of mmap and mprotect.
pub(super) fn no_room(error: &wasmtime::Error) -> Option<String> {
    let errno = error.downcast_ref::<rustix::io::Errno>();
    let errno = errno.map(|errno| std::io::Error::from(*errno));
    let io = errno.as_ref().or_else(|| error.downcast_ref())?;
    own_trouble(io).map(|_| {
        format!(
            "the engine's machine has no room for the run ({io}): give it more memory, raise vm.max_map_count or lower engine.max_in_flight"
        )
    })
}
