//! `system`: figures of the host that the run is on.

use std::path::Path;

use rustix::fs::StatVfsMountFlags;

use super::bindings::bellwether::plugin::system::{
    Cpus, Disk, Error, Host, LoadAverage, MemoryUse, NetworkInterface, ProcessList, ProcessState,
};
use super::procfs::{self, Mount, Units};
use super::run::RunData;
use super::watch::Answer;

const MAX_DISKS: usize = 1_000;
/// Processes of a list, and those that are counted.
const MAX_PROCESSES: usize = 1_000;
const MAX_SEEN: usize = 1 << 17;
/// File systems without a device of their own that are local storage for all
/// that.
const LOCAL: [&str; 3] = ["tmpfs", "overlay", "zfs"];

fn text(path: &str) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| Error::Failed(format!("{path}: {error}")))
}

/// Figures of a text, or an error that names its file.
fn figures<T>(path: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Error> {
    parse(&text(path)?)
        .ok_or_else(|| Error::Failed(format!("{path}: expected figures as in proc(5)")))
}

fn units() -> Result<Units, Error> {
    Ok(Units {
        ticks: rustix::param::clock_ticks_per_second(),
        page: rustix::param::page_size() as u64,
        boot: figures("/proc/stat", procfs::boot_time)?,
    })
}

fn cpu() -> Result<Cpus, Error> {
    let units = units()?;
    figures("/proc/stat", |text| procfs::cpu(text, units))
}

fn disks() -> Result<Vec<Disk>, Error> {
    let known = text("/proc/filesystems")?;
    let local = procfs::on_devices(&known);
    let mounts = procfs::mounts(&text("/proc/self/mountinfo")?);
    Ok(mounts
        .into_iter()
        .filter(|mount| {
            let kind = mount.file_system.as_str();
            local.contains(&kind) || LOCAL.contains(&kind)
        })
        // One that may not be looked at, such as another user's, is left out.
        .filter_map(disk)
        .take(MAX_DISKS)
        .collect())
}

fn disk(mount: Mount) -> Option<Disk> {
    let found = rustix::fs::statvfs(Path::new(&mount.mount)).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Some(Disk {
        total: bytes(found.f_blocks),
        free: bytes(found.f_bfree),
        available: bytes(found.f_bavail),
        inodes: found.f_files,
        inodes_free: found.f_ffree,
        read_only: mount.read_only || found.f_flag.contains(StatVfsMountFlags::RDONLY),
        mount: mount.mount,
        device: mount.device,
        file_system: mount.file_system,
    })
}

fn processes(name: Option<&str>, max: usize) -> Result<ProcessList, Error> {
    let units = units()?;
    let mut found = ProcessList {
        total: 0,
        running: 0,
        sleeping: 0,
        blocked: 0,
        stopped: 0,
        zombie: 0,
        idle: 0,
        list: Vec::new(),
        truncated: false,
    };
    let folder =
        std::fs::read_dir("/proc").map_err(|error| Error::Failed(format!("/proc: {error}")))?;
    let pids = folder
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .take(MAX_SEEN);
    for pid in pids {
        // It may have ended meanwhile; its name need not be UTF-8.
        let Ok(bytes) = std::fs::read(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let Some(process) = procfs::process(&String::from_utf8_lossy(&bytes), units) else {
            continue;
        };
        found.total += 1;
        match process.state {
            ProcessState::Running => found.running += 1,
            ProcessState::Sleeping => found.sleeping += 1,
            ProcessState::Blocked => found.blocked += 1,
            ProcessState::Stopped => found.stopped += 1,
            ProcessState::Zombie => found.zombie += 1,
            ProcessState::Idle => found.idle += 1,
            ProcessState::Other => {}
        }
        if name.is_none_or(|name| name == process.name) {
            found.list.push(process);
        }
    }
    found.list.sort_unstable_by_key(|process| process.pid);
    found.truncated = found.list.len() > max;
    found.list.truncate(max);
    Ok(found)
}

impl RunData {
    async fn figures<T: Send + 'static>(
        &mut self,
        call: &'static str,
        read: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> wasmtime::Result<Result<T, Error>> {
        let watching = self.watch(call, String::new);
        let result = if self.grants.system {
            let blocking = self.shared.blocking.clone();
            blocking
                .run(self.waits, "figures of the host", read)
                .await?
        } else {
            let what = "system is not granted; a grant would be system: true";
            self.log.push("warning", &format!("denied: {what}"));
            Err(Error::Denied(what.into()))
        };
        watching.answered(|| Answer::of(&result, |_| "its figures".into()));
        Ok(result)
    }
}

impl Host for RunData {
    async fn cpu(&mut self) -> wasmtime::Result<Result<Cpus, Error>> {
        self.figures("system.cpu", cpu).await
    }

    async fn memory(&mut self) -> wasmtime::Result<Result<MemoryUse, Error>> {
        self.figures("system.memory", || figures("/proc/meminfo", procfs::memory))
            .await
    }

    async fn disks(&mut self) -> wasmtime::Result<Result<Vec<Disk>, Error>> {
        self.figures("system.disks", disks).await
    }

    async fn network(&mut self) -> wasmtime::Result<Result<Vec<NetworkInterface>, Error>> {
        self.figures("system.network", || {
            Ok(procfs::network(&text("/proc/net/dev")?))
        })
        .await
    }

    async fn load(&mut self) -> wasmtime::Result<Result<LoadAverage, Error>> {
        self.figures("system.load", || figures("/proc/loadavg", procfs::load))
            .await
    }

    async fn uptime(&mut self) -> wasmtime::Result<Result<u64, Error>> {
        self.figures("system.uptime", || figures("/proc/uptime", procfs::uptime))
            .await
    }

    async fn processes(
        &mut self,
        name: Option<String>,
        max: u32,
    ) -> wasmtime::Result<Result<ProcessList, Error>> {
        let max = (max as usize).min(MAX_PROCESSES);
        self.figures("system.processes", move || processes(name.as_deref(), max))
            .await
    }
}
