use bellwether_plugin::fake::{manifest_problems, metric};
use bellwether_plugin::system::{
    CpuTimes, Cpus, Disk, Error, LoadAverage, MemoryUse, NetworkInterface, Process, ProcessList,
    ProcessState, System,
};
use bellwether_plugin::{ProbeError, Report, State, config};

use crate::{Config, Times, judge};

/// A host of two processors: 1,000 s of work, 3,000 s of none.
struct Fake {
    granted: bool,
    disks: Vec<Disk>,
}

impl Default for Fake {
    fn default() -> Self {
        Fake {
            granted: true,
            disks: vec![disk("/", 50, false), disk("/snap/core", 100, true)],
        }
    }
}

fn disk(mount: &str, full: u64, read_only: bool) -> Disk {
    Disk {
        mount: mount.to_owned(),
        device: "/dev/vda".to_owned(),
        file_system: "ext4".to_owned(),
        read_only,
        total: 1_000,
        free: 1_000 - 10 * full,
        available: 1_000 - 10 * full,
        inodes: 100,
        inodes_free: 90,
    }
}

fn times(scale: u64) -> CpuTimes {
    CpuTimes {
        user: 900 * scale,
        nice: 0,
        system: 100 * scale,
        idle: 2_900 * scale,
        iowait: 100 * scale,
        irq: 0,
        softirq: 0,
        steal: 0,
    }
}

impl System for Fake {
    fn cpu(&self) -> Result<Cpus, Error> {
        if !self.granted {
            return Err(Error::Denied("system".to_owned()));
        }
        Ok(Cpus {
            all: times(2),
            each: vec![times(1), times(1)],
        })
    }

    fn memory(&self) -> Result<MemoryUse, Error> {
        Ok(MemoryUse {
            total: 1_000,
            available: 400,
            free: 100,
            buffers: 0,
            cached: 300,
            swap_total: 200,
            swap_free: 150,
        })
    }

    fn disks(&self) -> Result<Vec<Disk>, Error> {
        Ok(self.disks.clone())
    }

    fn network(&self) -> Result<Vec<NetworkInterface>, Error> {
        Ok(Vec::new())
    }

    fn load(&self) -> Result<LoadAverage, Error> {
        Ok(LoadAverage {
            one: 1.0,
            five: 3.0,
            fifteen: 2.0,
        })
    }

    fn uptime(&self) -> Result<u64, Error> {
        Ok(60_000_000)
    }

    fn processes(&self, name: Option<&str>, max: u32) -> Result<ProcessList, Error> {
        let count = match name {
            Some("nginx") => 3,
            Some(_) => 0,
            None => 80,
        };
        let process = Process {
            pid: 1,
            parent: 0,
            name: "x".to_owned(),
            state: ProcessState::Sleeping,
            threads: 1,
            cpu: 0,
            resident: 0,
            started: 0,
        };
        Ok(ProcessList {
            total: 80,
            running: 1,
            sleeping: 79,
            blocked: 0,
            stopped: 0,
            zombie: 0,
            idle: 0,
            list: vec![process; count.min(max) as usize],
            truncated: count > max,
        })
    }
}

fn run(json: &str, fake: &Fake, before: Option<Times>) -> Result<Report, ProbeError> {
    let config = config::parse::<Config>(json)?;
    judge::check(&config, fake, before).map(|(report, _)| report)
}

#[test]
fn the_schema_fits_the_configuration() {
    let report = run("{}", &Fake::default(), Some(Times::new(&times(1)))).unwrap();
    // Metrics of mount points cannot be known before.
    assert_eq!(
        manifest_problems::<crate::System>(&report),
        ["disk_percent:root: undeclared"]
    );
}

#[test]
fn figures_are_reported() {
    let before = Times::new(&times(1));
    let report = run("{}", &Fake::default(), Some(before)).unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (
            State::Ok,
            "processor 25%, memory 60%, fullest disk 50%, load 3.00"
        )
    );
    let value = |name: &str| metric(&report, name).unwrap_or_else(|| panic!("{name}"));
    assert_eq!(value("cpu_percent"), 25.0);
    assert_eq!(value("swap_percent"), 25.0);
    assert_eq!(value("disk_percent:root"), 50.0);
    assert_eq!(value("uptime_s"), 60.0);
    // A read-only image is not looked at unless it is named.
    assert!(!report.details.contains("snap"), "{}", report.details);
    // Nothing to compare with: the first run, or the first one after a boot.
    for before in [None, Some(Times::new(&times(3)))] {
        let report = run("{}", &Fake::default(), before).unwrap();
        assert!(report.summary.starts_with("memory"), "{}", report.summary);
    }
}

#[test]
fn limits_decide() {
    let before = Some(Times::new(&times(1)));
    for (json, state, text) in [
        (r#"{"warn_cpu":20}"#, State::Warning, "processor above 20%"),
        (
            r#"{"critical_memory":55}"#,
            State::Critical,
            "memory above 55%",
        ),
        (r#"{"warn_swap":10}"#, State::Warning, "swap above 10%"),
        (
            r#"{"warn_load":1}"#,
            State::Warning,
            "load above 1 per processor",
        ),
        (r#"{"warn_load":2}"#, State::Ok, ""),
        (r#"{"warn_disk":40}"#, State::Warning, "/ at 50%, above 40%"),
        (
            r#"{"disks":["/snap/core"]}"#,
            State::Critical,
            "/snap/core at 100%",
        ),
        (
            r#"{"disks":["/data"]}"#,
            State::Critical,
            "/data is not mounted",
        ),
        (
            r#"{"warn_disk":40,"ignore_disks":["/"]}"#,
            State::Ok,
            "fullest disk 0%",
        ),
        (
            r#"{"processes":[{"name":"nginx","min":2,"max":3}]}"#,
            State::Ok,
            "",
        ),
        (
            r#"{"processes":[{"name":"nginx","max":2}]}"#,
            State::Critical,
            "nginx: expected at most 2 processes, found 3",
        ),
        (
            r#"{"processes":[{"name":"sshd"}]}"#,
            State::Critical,
            "sshd: expected at least 1 processes, found 0",
        ),
    ] {
        let report = run(json, &Fake::default(), before).unwrap();
        assert_eq!(report.state, state, "{json}: {}", report.summary);
        assert!(report.summary.contains(text), "{json}: {}", report.summary);
    }
}

#[test]
fn a_missing_grant_is_an_error() {
    let fake = Fake {
        granted: false,
        ..Fake::default()
    };
    assert_eq!(
        run("{}", &fake, None),
        Err(ProbeError::Denied("system".to_owned()))
    );
}
