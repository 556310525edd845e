//! Figures out of the texts of `/proc` (proc(5)). Pure: text in, figures out.

use super::bindings::bellwether::plugin::system::{
    CpuTimes, Cpus, LoadAverage, MemoryUse, NetworkInterface, Process, ProcessState,
};

const MAX_CPUS: usize = 1_024;
const MAX_INTERFACES: usize = 1_000;

/// How the kernel counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Units {
    /// Ticks of a second.
    pub ticks: u64,
    /// Bytes of a page.
    pub page: u64,
    /// When the host was started, in microseconds since the Unix epoch.
    pub boot: i64,
}

impl Units {
    fn micros(self, ticks: u64) -> u64 {
        ticks.saturating_mul(1_000_000) / self.ticks.max(1)
    }
}

/// `/proc/stat`: when the host was started.
pub(super) fn boot_time(text: &str) -> Option<i64> {
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    seconds.trim().parse::<i64>().ok()?.checked_mul(1_000_000)
}

/// `/proc/stat`: processor times.
pub(super) fn cpu(text: &str, units: Units) -> Option<Cpus> {
    let mut all = None;
    let mut each = Vec::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(' ') else {
            continue;
        };
        match name.strip_prefix("cpu") {
            Some("") => all = cpu_times(rest, units),
            Some(_) if each.len() < MAX_CPUS => each.extend(cpu_times(rest, units)),
            _ => {}
        }
    }
    Some(Cpus { all: all?, each })
}

fn cpu_times(text: &str, units: Units) -> Option<CpuTimes> {
    let mut numbers = text.split_whitespace().map(|word| word.parse::<u64>());
    let mut next = || Some(units.micros(numbers.next()?.ok()?));
    Some(CpuTimes {
        user: next()?,
        nice: next()?,
        system: next()?,
        idle: next()?,
        iowait: next()?,
        irq: next()?,
        softirq: next()?,
        steal: next().unwrap_or(0),
    })
}

/// `/proc/meminfo`.
pub(super) fn memory(text: &str) -> Option<MemoryUse> {
    let value = |name: &str| {
        let rest = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib.saturating_mul(1_024))
    };
    Some(MemoryUse {
        total: value("MemTotal")?,
        available: value("MemAvailable")?,
        free: value("MemFree")?,
        buffers: value("Buffers").unwrap_or(0),
        cached: value("Cached").unwrap_or(0),
        swap_total: value("SwapTotal").unwrap_or(0),
        swap_free: value("SwapFree").unwrap_or(0),
    })
}

/// `/proc/net/dev`.
pub(super) fn network(text: &str) -> Vec<NetworkInterface> {
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let numbers: Vec<u64> = rest
                .split_whitespace()
                .map_while(|word| word.parse().ok())
                .collect();
            let at = |place: usize| numbers.get(place).copied();
            Some(NetworkInterface {
                name: name.trim().to_owned(),
                receive_bytes: at(0)?,
                receive_packets: at(1)?,
                receive_errors: at(2)?,
                receive_dropped: at(3)?,
                send_bytes: at(8)?,
                send_packets: at(9)?,
                send_errors: at(10)?,
                send_dropped: at(11)?,
            })
        })
        .take(MAX_INTERFACES)
        .collect()
}

/// `/proc/loadavg`.
pub(super) fn load(text: &str) -> Option<LoadAverage> {
    let mut words = text.split_whitespace().map(|word| word.parse::<f64>());
    let mut next = || words.next()?.ok().filter(|number| number.is_finite());
    Some(LoadAverage {
        one: next()?,
        five: next()?,
        fifteen: next()?,
    })
}

/// `/proc/uptime`, in microseconds.
pub(super) fn uptime(text: &str) -> Option<u64> {
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then_some((seconds * 1e6) as u64)
}

/// `/proc/PID/stat`. The name may hold spaces and brackets.
pub(super) fn process(text: &str, units: Units) -> Option<Process> {
    let (pid, rest) = text.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    let started = units.micros(number(19)?);
    Some(Process {
        pid: pid.parse().ok()?,
        parent: u32::try_from(number(1)?).ok()?,
        name: name.to_owned(),
        state: match *fields.first()? {
            "R" => ProcessState::Running,
            "S" => ProcessState::Sleeping,
            "D" => ProcessState::Blocked,
            "T" | "t" => ProcessState::Stopped,
            "Z" | "X" => ProcessState::Zombie,
            "I" => ProcessState::Idle,
            _ => ProcessState::Other,
        },
        threads: u32::try_from(number(17)?).ok()?,
        cpu: units.micros(number(11)?.saturating_add(number(12)?)),
        resident: number(21)?.saturating_mul(units.page),
        started: units
            .boot
            .saturating_add(i64::try_from(started).unwrap_or(i64::MAX)),
    })
}

/// A line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub mount: String,
    pub device: String,
    pub file_system: String,
    pub read_only: bool,
}

/// `/proc/self/mountinfo`: what is mounted, later mounts over earlier ones.
pub(super) fn mounts(text: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let (mut left, mut right) = (left.split(' ').skip(4), right.split(' '));
        let (Some(mount), Some(options)) = (left.next(), left.next()) else {
            continue;
        };
        let (Some(file_system), Some(device)) = (right.next(), right.next()) else {
            continue;
        };
        let mount = unescape(mount);
        mounts.retain(|known| known.mount != mount);
        mounts.push(Mount {
            mount,
            device: unescape(device),
            file_system: file_system.to_owned(),
            read_only: options.split(',').any(|option| option == "ro"),
        });
    }
    mounts
}

/// Octal escapes of spaces, tabs, line breaks and backslashes.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let octal = behind
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `/proc/filesystems`: those that live on a device of this host.
pub(super) fn on_devices(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix('\t'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: Units = Units {
        ticks: 100,
        page: 4_096,
        boot: 1_000_000_000,
    };

    #[test]
    fn processors() {
        let text = "cpu  10 1 5 100 2 0 3 4 0 0\ncpu0 6 1 2 50 1 0 1 2 0 0\ncpu1 4 0 3 50 1 0 2 2 0 0\nintr 5\nbtime 1700000000\n";
        let cpu = cpu(text, UNITS).unwrap();
        assert_eq!((cpu.all.user, cpu.all.steal), (100_000, 40_000));
        assert_eq!(cpu.each.len(), 2);
        assert_eq!(cpu.each[1].system, 30_000);
        assert_eq!(boot_time(text), Some(1_700_000_000_000_000));
        assert!(super::cpu("intr 5\n", UNITS).is_none());
    }

    #[test]
    fn memory_and_load() {
        let text = "MemTotal:       16384 kB\nMemFree:         1024 kB\nMemAvailable:    8192 kB\nBuffers:            4 kB\nCached:            40 kB\nSwapCached:         7 kB\nSwapTotal:          0 kB\n";
        let memory = memory(text).unwrap();
        assert_eq!((memory.total, memory.available), (16 << 20, 8 << 20));
        assert_eq!((memory.cached, memory.swap_total), (40 << 10, 0));
        assert!(super::memory("MemTotal: 1 kB\n").is_none());
        let load = load("0.20 1.18 12.50 1/80 11206\n").unwrap();
        assert_eq!((load.one, load.fifteen), (0.2, 12.5));
        assert!(super::load("a b c").is_none());
        assert_eq!(uptime("350.25 10.00\n"), Some(350_250_000));
    }

    #[test]
    fn interfaces() {
        let text = "Inter-|   Receive |  Transmit\n face |bytes packets|bytes\n    lo: 10 1 0 0 0 0 0 0 20 2 0 0 0 0 0 0\neth0:1234567 9 3 4 0 0 0 0 77 8 5 6 0 0 0 0\n";
        let found = network(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].name, "eth0");
        assert_eq!(
            (
                found[1].receive_bytes,
                found[1].receive_dropped,
                found[1].send_errors
            ),
            (1_234_567, 4, 5)
        );
    }

    #[test]
    fn a_process_may_have_an_odd_name() {
        let text = "42 (a) S (b) R 1 42 42 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 3 0 500 1000000 10 18446744073709551615 1 1";
        let found = process(text, UNITS).unwrap();
        assert_eq!((found.pid, found.parent, found.threads), (42, 1, 3));
        assert_eq!(found.name, "a) S (b");
        assert_eq!(found.state, ProcessState::Running);
        assert_eq!((found.cpu, found.resident), (3_000_000, 40_960));
        assert_eq!(found.started, 1_005_000_000);
        assert!(process("42 (a) R 1", UNITS).is_none());
    }

    #[test]
    fn mounted_file_systems() {
        let text = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n23 22 8:2 / /mnt/my\\040disk ro,noatime - xfs /dev/sdb1 rw\n24 22 0:5 / /mnt/my\\040disk rw - nfs4 server:/x rw\n25 22 0:6 / /proc rw - proc proc rw\nbroken\n";
        let found = mounts(text);
        let shown: Vec<_> = found
            .iter()
            .map(|m| (m.mount.as_str(), m.file_system.as_str(), m.read_only))
            .collect();
        assert_eq!(
            shown,
            [
                ("/", "ext4", false),
                ("/mnt/my disk", "nfs4", false),
                ("/proc", "proc", false)
            ]
        );
        assert_eq!(on_devices("nodev\tproc\n\text4\n\txfs\n"), ["ext4", "xfs"]);
        assert_eq!(unescape("a\\134b\\9"), "a\\b\\9");
    }
}
