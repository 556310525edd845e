//! A plugin host for one command, and what its runs look like on a terminal.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use super::out::say;
use crate::check::outcome::{Cause, Job, JobSpec, Outcome, State};
use crate::clock::{SharedClock, SystemClock};
use crate::config;
use crate::config::spec::Spec;
use crate::plugin::{CompilerConfig, Host, HostConfig, Installed, Settings};

/// A plugin host for one command, with a folder that goes with it.
pub struct Bench {
    pub host: Host,
    pub clock: SharedClock,
    _folder: tempfile::TempDir,
}

/// A host with the settings of a configuration.
pub fn bench(spec: &Spec) -> anyhow::Result<Bench> {
    bench_at(spec, Arc::new(SystemClock))
}

/// A host whose runs read this clock.
pub fn bench_at(spec: &Spec, clock: SharedClock) -> anyhow::Result<Bench> {
    let folder = tempfile::tempdir()?;
    let host = Host::new(HostConfig {
        data_dir: folder.path().to_owned(),
        cache_dir: folder.path().join("cache"),
        compiler: CompilerConfig {
            exe: std::env::current_exe()?,
            timeout: spec.engine.compile_timeout.0,
            max_size: spec.engine.max_plugin_size.0,
        },
        max_in_flight: 64,
        max_memory: spec.engine.max_memory.0,
        settings: Settings::from_spec(spec).map_err(anyhow::Error::msg)?,
        resolver: None,
        extra_roots: Vec::new(),
        clock: clock.clone(),
    });
    Ok(Bench {
        host: host.map_err(anyhow::Error::msg)?,
        clock,
        _folder: folder,
    })
}

impl Bench {
    /// Takes a plugin's file in; a program is called as its file.
    pub async fn install(&self, file: &Path) -> anyhow::Result<Installed> {
        let bytes = std::fs::read(file)
            .with_context(|| format!("expected a plugin at {}", file.display()))?;
        let installed = self
            .host
            .install(bytes, |_| {})
            .await
            .map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        Ok(self.host.named(installed, &stem))
    }

    /// A run at once.
    pub fn job(&self, spec: JobSpec) -> Job {
        Job {
            spec: Arc::new(spec),
            scheduled: self.clock.now(),
            attempt: 1,
            cause: Cause::RunNow,
            state: Arc::default(),
        }
    }
}

/// The problems of a configuration as one error.
pub fn problems(found: Vec<config::Problem>) -> anyhow::Error {
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("the configuration is not valid:\n{}", lines.join("\n"))
}

/// Prints an outcome; a fault counts as unknown.
pub fn print(outcome: &Outcome) -> State {
    let took = outcome.duration().as_secs_f64() * 1000.0;
    let state = match &outcome.verdict {
        Ok(report) => {
            say!(
                "{} - {} ({took:.1} ms)",
                report.state.as_str().to_uppercase(),
                report.summary
            );
            if !report.details.is_empty() {
                say!("{}", report.details);
            }
            for metric in &report.metrics {
                say!("  {} = {}", metric.name, metric.value);
            }
            report.state
        }
        Err(fault) => {
            say!(
                "FAULT ({}) - {} ({took:.1} ms)",
                fault.kind.as_str(),
                fault.text
            );
            State::Unknown
        }
    };
    for line in &outcome.log {
        say!("  log {}: {}", line.level, line.message);
    }
    state
}
