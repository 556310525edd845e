//! Figures of the host that the run is on.

use crate::bindings::host::bellwether::plugin::system as wit;
pub use crate::bindings::host::bellwether::plugin::system::{
    CpuTimes, Cpus, Disk, Error, LoadAverage, MemoryUse, NetworkInterface, Process, ProcessList,
    ProcessState,
};

/// Reads figures; [`Host`] on the real host, a fake in tests.
pub trait System {
    /// Processor times since boot.
    fn cpu(&self) -> Result<Cpus, Error>;
    /// Memory and swap.
    fn memory(&self) -> Result<MemoryUse, Error>;
    /// File systems of local storage.
    fn disks(&self) -> Result<Vec<Disk>, Error>;
    /// Counters of the network interfaces.
    fn network(&self) -> Result<Vec<NetworkInterface>, Error>;
    /// Load averages.
    fn load(&self) -> Result<LoadAverage, Error>;
    /// Microseconds since boot.
    fn uptime(&self) -> Result<u64, Error>;
    /// Counts of all processes, and those of a name or all, `max` at most.
    fn processes(&self, name: Option<&str>, max: u32) -> Result<ProcessList, Error>;
}

/// The engine's host.
pub struct Host;

impl System for Host {
    fn cpu(&self) -> Result<Cpus, Error> {
        wit::cpu()
    }

    fn memory(&self) -> Result<MemoryUse, Error> {
        wit::memory()
    }

    fn disks(&self) -> Result<Vec<Disk>, Error> {
        wit::disks()
    }

    fn network(&self) -> Result<Vec<NetworkInterface>, Error> {
        wit::network()
    }

    fn load(&self) -> Result<LoadAverage, Error> {
        wit::load()
    }

    fn uptime(&self) -> Result<u64, Error> {
        wit::uptime()
    }

    fn processes(&self, name: Option<&str>, max: u32) -> Result<ProcessList, Error> {
        wit::processes(name, max)
    }
}

impl CpuTimes {
    /// All modes together.
    pub fn total(&self) -> u64 {
        [
            self.user,
            self.nice,
            self.system,
            self.idle,
            self.iowait,
            self.irq,
            self.softirq,
            self.steal,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

impl From<Error> for crate::ProbeError {
    fn from(error: Error) -> Self {
        match error {
            Error::Denied(what) => crate::ProbeError::Denied(what),
            Error::Failed(text) => crate::ProbeError::Failed(text),
        }
    }
}
