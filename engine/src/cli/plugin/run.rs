//! Trying a plugin's file without an engine: `plugin inspect` and `plugin run`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};

use super::case::Case;
use crate::check::outcome::{JobSpec, NodeInfo, RunLimits, SeriesId};
use crate::cli::bench::{bench, print, problems};
use crate::cli::out::{self, say};
use crate::config::model::DEFAULT_MEMORY;
use crate::config::spec::{GrantsSpec, Spec};
use crate::config::{self, InputSpec};
use crate::plugin::replay::Replay;
use crate::plugin::watch::Beside;
use crate::plugin::{CrashRequest, Kind};

/// What only WASI programs take.
pub struct ProgramInput {
    pub input_file: Option<PathBuf>,
    pub args: Vec<String>,
}

impl ProgramInput {
    /// Adds the arguments to a configuration; the text for standard input.
    fn apply(
        self,
        kind: Kind,
        config: &mut serde_json::Value,
    ) -> anyhow::Result<Option<Arc<InputSpec>>> {
        if kind != Kind::Command {
            if self.input_file.is_some() || !self.args.is_empty() {
                bail!(
                    "expected a WASI program for --input-file and arguments, found a {}",
                    kind.as_str()
                );
            }
            return Ok(None);
        }
        if !self.args.is_empty()
            && let Some(config) = config.as_object_mut()
        {
            config.insert("args".to_owned(), self.args.into());
        }
        self.input_file
            .map(|path| {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("expected text in {}", path.display()))?;
                Ok(Arc::new(InputSpec::Text(text)))
            })
            .transpose()
    }
}

/// `plugin inspect`.
pub async fn inspect(file: &Path) -> anyhow::Result<ExitCode> {
    let bench = bench(&Spec::default())?;
    let installed = bench.install(file).await?;
    say!("{}", serde_json::to_string_pretty(&installed)?);
    Ok(ExitCode::SUCCESS)
}

/// What `plugin run` is told beside the file.
pub struct RunArguments {
    pub address: String,
    pub config: String,
    pub allow: Vec<String>,
    pub timeout: Duration,
    pub record: Option<PathBuf>,
    pub program: ProgramInput,
}

/// `plugin run`.
pub async fn run(file: &Path, arguments: RunArguments) -> anyhow::Result<ExitCode> {
    let bench = bench(&Spec::default())?;
    let installed = bench.install(file).await?;
    let mut value: serde_json::Value =
        serde_json::from_str(&arguments.config).context("--config")?;
    let input = arguments.program.apply(installed.kind, &mut value)?;
    let wrong = config::schema::check(&installed.manifest.config_schema, &value, "config");
    if !wrong.is_empty() {
        return Err(problems(wrong));
    }
    let spec = JobSpec {
        series: SeriesId(0),
        check: "command-line".into(),
        node: Arc::new(NodeInfo {
            name: "node".into(),
            address: arguments.address,
            labels: Default::default(),
        }),
        plugin: installed.digest.clone(),
        config: value.to_string().into(),
        input,
        grants: Arc::new(GrantsSpec {
            net: arguments.allow,
            state: true,
            ..GrantsSpec::default()
        }),
        limits: RunLimits {
            memory: DEFAULT_MEMORY,
            timeout: arguments.timeout,
        },
    };
    let job = bench.job(spec);
    let Some(record) = arguments.record else {
        let outcome = bench.host.run_probe(job).await;
        return Ok(ExitCode::from(print(&outcome) as u8));
    };
    if record.exists() {
        bail!(
            "--record: {} is there already: choose another name",
            record.display()
        );
    }
    let replay = Replay::record();
    let outcome = bench
        .host
        .rehearse(
            job,
            Beside {
                replay: Some(replay.clone()),
                watch: None,
            },
        )
        .await;
    let state = print(&outcome);
    let case = Case::of(&outcome, replay.recorded());
    let text = serde_json::to_string_pretty(&case)?;
    std::fs::write(&record, format!("{text}\n"))
        .with_context(|| format!("--record: {} cannot be written", record.display()))?;
    say!("recorded in {}", record.display());
    Ok(ExitCode::from(state as u8))
}

/// `plugin run --replay`.
pub async fn replay(file: &Path, request: &Path) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(request)
        .with_context(|| format!("expected a crash request at {}", request.display()))?;
    let mut value: serde_json::Value = serde_json::from_str(&text)
        .with_context(|| format!("expected JSON in {}", request.display()))?;
    // As one item of the API's list, too.
    if let Some(inner) = value.get_mut("request") {
        value = inner.take();
    }
    let request: CrashRequest = serde_json::from_value(value)
        .with_context(|| format!("expected a crash request in {}", request.display()))?;
    let bench = bench(&Spec::default())?;
    let installed = bench.install(file).await?;
    if installed.digest != request.digest {
        say!(
            "{} is not the version that crashed ({} {}, sha256:{})",
            file.display(),
            request.plugin,
            request.version,
            request.digest.0
        );
    }
    say!(
        "recorded: FAULT ({}) - {}",
        request.fault.kind.as_str(),
        request.fault.text
    );
    let job = request.job(installed.digest, bench.clock.now());
    let outcome = bench.host.run_probe(job).await;
    out::write(format_args!("now: "));
    Ok(ExitCode::from(print(&outcome) as u8))
}
