use bellwether_plugin::findings::Findings;
use bellwether_plugin::system::{Disk, System};
use bellwether_plugin::{ProbeError, Report};

use crate::{Config, Times};

/// File systems with a metric of their own.
const MAX_DISKS: usize = 100;
/// Processes that are counted of one name.
const MAX_PROCESSES: u32 = 1_000;

fn percent(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        whole => 100.0 * part as f64 / whole as f64,
    }
}

/// Reads the figures and judges them; also gives the processor times, which the
/// next run compares with its own.
pub fn check(
    config: &Config,
    host: &dyn System,
    before: Option<Times>,
) -> Result<(Report, Times), ProbeError> {
    let mut findings = Findings::default();
    let cpus = host.cpu()?;
    let now = Times::new(&cpus.all);
    let cpu = before.and_then(|before| busy(before, now));
    if let Some(cpu) = cpu {
        findings.exceeds(cpu, config.warn_cpu, config.critical_cpu, |limit| {
            format!("processor above {limit}%")
        });
    }

    let memory = host.memory()?;
    let used = percent(memory.total.saturating_sub(memory.available), memory.total);
    findings.exceeds(
        used,
        Some(config.warn_memory),
        Some(config.critical_memory),
        |limit| format!("memory above {limit}%"),
    );
    let swap = percent(
        memory.swap_total.saturating_sub(memory.swap_free),
        memory.swap_total,
    );
    findings.exceeds(swap, config.warn_swap, config.critical_swap, |limit| {
        format!("swap above {limit}%")
    });

    let load = host.load()?;
    let processors = cpus.each.len().max(1) as f64;
    findings.exceeds(
        load.five / processors,
        config.warn_load,
        config.critical_load,
        |limit| format!("load above {limit} per processor"),
    );

    let disks: Vec<Disk> = host
        .disks()?
        .into_iter()
        .filter(|disk| wanted(config, disk))
        .collect();
    for mount in &config.disks {
        if !disks.iter().any(|disk| disk.mount == *mount) {
            findings.critical(format!("{mount} is not mounted"));
        }
    }
    let mut fullest = 0.0_f64;
    for disk in &disks {
        let full = fullness(disk);
        fullest = fullest.max(full);
        findings.exceeds(
            full,
            Some(config.warn_disk),
            Some(config.critical_disk),
            |limit| format!("{} at {full:.0}%, above {limit}%", disk.mount),
        );
    }

    let total = host.processes(None, 0)?.total;
    for expected in &config.processes {
        let found = host.processes(Some(&expected.name), MAX_PROCESSES)?;
        let count = found.list.len() as u32;
        if count < expected.min {
            findings.critical(format!(
                "{}: expected at least {} processes, found {count}",
                expected.name, expected.min
            ));
        }
        if let Some(max) = expected.max.filter(|max| count > *max) {
            findings.critical(format!(
                "{}: expected at most {max} processes, found {count}",
                expected.name
            ));
        }
    }

    let processor = cpu.map_or(String::new(), |cpu| format!("processor {cpu:.0}%, "));
    let summary = format!(
        "{processor}memory {used:.0}%, fullest disk {fullest:.0}%, load {:.2}",
        load.five
    );
    let mut report = findings
        .report(summary)
        .metric_if("cpu_percent", cpu)
        .metric("memory_percent", used)
        .metric("memory_available_bytes", memory.available as f64)
        .metric("swap_percent", swap)
        .metric("load_1", load.one)
        .metric("load_5", load.five)
        .metric("load_15", load.fifteen)
        .metric("uptime_s", host.uptime()? as f64 / 1e6)
        .metric("processes", f64::from(total))
        .metric("disk_percent", fullest);
    for disk in disks.iter().take(MAX_DISKS) {
        let full = fullness(disk);
        report = report
            .metric(&format!("disk_percent:{}", metric_name(&disk.mount)), full)
            .detail(format!(
                "{} ({}): {full:.1}% full, {} of {} bytes left",
                disk.mount, disk.file_system, disk.available, disk.total
            ));
    }
    Ok((report, now))
}

/// Processor time in use between two runs, in percent; absent after a boot.
fn busy(before: Times, now: Times) -> Option<f64> {
    let total = now
        .total
        .checked_sub(before.total)
        .filter(|total| *total > 0)?;
    let idle = now.idle.checked_sub(before.idle)?;
    Some((100.0 - percent(idle, total)).clamp(0.0, 100.0))
}

fn wanted(config: &Config, disk: &Disk) -> bool {
    let below = |apex: &String| {
        disk.mount
            .strip_prefix(apex.trim_end_matches('/'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let listed = config.disks.is_empty() || config.disks.contains(&disk.mount);
    // A read-only image is full by nature; `disks` can name it for all that.
    let asked = !config.disks.is_empty() || (!disk.read_only && disk.total > 0);
    listed && asked && !config.ignore_disks.iter().any(below)
}

/// As df has it: what users have of what they can have, or inodes where those
/// are scarcer.
fn fullness(disk: &Disk) -> f64 {
    let used = disk.total.saturating_sub(disk.free);
    let bytes = percent(used, used.saturating_add(disk.available));
    let inodes = percent(disk.inodes.saturating_sub(disk.inodes_free), disk.inodes);
    bytes.max(inodes)
}

/// A mount point as a metric's name can carry it.
fn metric_name(mount: &str) -> String {
    match mount.trim_matches('/') {
        "" => "root".to_owned(),
        path => path
            .chars()
            .map(|letter| match letter {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => letter,
                _ => '-',
            })
            .take(64)
            .collect(),
    }
}
