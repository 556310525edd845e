//! Secrets, figures of the host, and files.

use bellwether_plugin::files::{self, Files};
use bellwether_plugin::secrets::{self, Secrets};
use bellwether_plugin::system::{self, System};
use bellwether_plugin::{ProbeError, Report, log, state};

use crate::Config;

/// Reads a secret and lets it slip.
#[expect(clippy::panic, reason = "that is what is asked for")]
pub fn secret(config: &Config) -> Result<Report, ProbeError> {
    let value = match secrets::Host.get(&config.target) {
        Ok(value) => value,
        Err(secrets::Error::Denied(what)) => {
            return Ok(Report::critical(format!("denied: {what}")));
        }
        Err(secrets::Error::Unavailable(text)) => {
            return Ok(Report::critical(format!("failed: {text}")));
        }
    };
    let told = format!("the password is {value}, really");
    let report = Report::ok("ok").metric("value", value.len() as f64);
    Ok(match config.leak.as_str() {
        "report" => Report::ok(told).metric("value", value.len() as f64),
        "details" => report.detail(told),
        "metric" => report.metric(&value, 1.0),
        "log" => {
            log::info(&told);
            report
        }
        "fail" => return Err(ProbeError::Failed(told)),
        "panic" => panic!("{told}"),
        "state" => match state::set("key", told.as_bytes(), None) {
            Ok(_) => Report::ok("ok: kept"),
            Err(error) => Report::ok(format!("failed: {error:?}")),
        },
        _ => report,
    })
}

fn failed(error: system::Error) -> Report {
    match error {
        system::Error::Denied(what) => Report::critical(format!("denied: {what}")),
        system::Error::Failed(text) => Report::critical(format!("failed: {text}")),
    }
}

fn figures() -> Result<Report, system::Error> {
    let host = system::Host;
    let cpu = host.cpu()?;
    let memory = host.memory()?;
    let disks = host.disks()?;
    let network = host.network()?;
    let load = host.load()?;
    let mut report = Report::ok("ok")
        .metric("cpus", cpu.each.len() as f64)
        .metric("cpu_total", cpu.all.total() as f64)
        .metric("memory_total", memory.total as f64)
        .metric("memory_available", memory.available as f64)
        .metric("load_one", load.one)
        .metric("uptime", host.uptime()? as f64);
    for disk in disks {
        report = report.detail(format!(
            "disk {} {} {} of {}",
            disk.mount, disk.file_system, disk.available, disk.total
        ));
    }
    for interface in network {
        report = report.detail(format!(
            "interface {} {}",
            interface.name, interface.receive_bytes
        ));
    }
    Ok(report)
}

/// All figures.
pub fn system() -> Report {
    figures().unwrap_or_else(failed)
}

/// Processes of a name.
pub fn processes(config: &Config) -> Report {
    let name = Some(config.target.as_str()).filter(|name| !name.is_empty());
    match system::Host.processes(name, config.amount) {
        Err(error) => failed(error),
        Ok(found) => {
            let report = Report::ok(format!("ok: {} listed", found.list.len()))
                .metric("value", f64::from(found.total))
                .metric("truncated", f64::from(u8::from(found.truncated)));
            found.list.into_iter().fold(report, |report, process| {
                report.detail(format!(
                    "{} {} {} bytes, {} threads",
                    process.pid, process.name, process.resident, process.threads
                ))
            })
        }
    }
}

/// One function of `files`.
pub fn files(config: &Config) -> Report {
    let (host, root, path) = (files::Host, &config.target, &config.text);
    let done = match config.call.as_str() {
        "stat" => host
            .stat(root, path)
            .map(|stat| format!("{:?} {} bytes", stat.file_type, stat.size)),
        "list" => host.list(root, path, config.amount).map(|listing| {
            let names: Vec<String> = listing.entries.into_iter().map(|e| e.name).collect();
            names.join("|")
        }),
        _ => host
            .read(root, path, config.size.into(), config.amount)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    };
    match done {
        Ok(text) => Report::ok(format!("ok: {text}")),
        Err(files::Error::Denied(what)) => Report::critical(format!("denied: {what}")),
        Err(error) => Report::critical(format!("failed: {error:?}")),
    }
}
