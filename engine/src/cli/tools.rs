//! Everything that is not the engine: trying things, asking a running engine,
//! backups.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;

use super::Server;
use super::out::{self, say};
use crate::auth::Role;
use crate::check::outcome::{
    Cause, Digest, Job, JobSpec, NodeInfo, Outcome, RunLimits, SeriesId, State,
};
use crate::clock::{Clock, SharedClock, SystemClock};
use crate::config::model::DEFAULT_MEMORY;
use crate::config::spec::{GrantsSpec, Spec};
use crate::config::{self, Config, InputSpec};
use crate::engine::registry::Registry;
use crate::engine::{builtin_plugins, file_plugins, resolve};
use crate::http::commands::RuleTestReport;
use crate::plugin::{CompilerConfig, CrashRequest, Host, HostConfig, Kind, Settings};
use crate::store::Store;

/// A plugin host for one command, with a folder that goes with it.
struct Bench {
    host: Host,
    clock: SharedClock,
    _folder: tempfile::TempDir,
}

fn bench(spec: &Spec) -> anyhow::Result<Bench> {
    let folder = tempfile::tempdir()?;
    let clock: SharedClock = Arc::new(SystemClock);
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

/// Reads and validates a configuration with the plugins it needs.
async fn read(path: &Path) -> anyhow::Result<(Arc<Config>, Bench)> {
    let loaded = config::load(path).map_err(problems)?;
    let bench = bench(&loaded.spec)?;
    let registry = Registry::default();
    builtin_plugins(&bench.host, &registry, bench.clock.now())
        .await
        .map_err(anyhow::Error::msg)?;
    file_plugins(&bench.host, &registry, &loaded, bench.clock.now())
        .await
        .map_err(problems)?;
    let config = Config::build(&loaded.spec, &registry)
        .map_err(|found| problems(loaded.origins.locate(found)))?;
    Ok((Arc::new(config), bench))
}

fn problems(found: Vec<config::Problem>) -> anyhow::Error {
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("the configuration is not valid:\n{}", lines.join("\n"))
}

/// `check run`: the worst state is the exit code, as in the monitoring-plugins
/// convention.
pub async fn check_run(name: &str, node: Option<&str>, path: &Path) -> anyhow::Result<ExitCode> {
    let (config, bench) = read(path).await?;
    let Some(check) = config.checks.get(name) else {
        let known: Vec<&str> = config.checks.keys().map(String::as_str).collect();
        bail!(
            "expected one of the checks {}, found {name}",
            known.join(", ")
        );
    };
    let nodes: Vec<_> = check
        .nodes
        .iter()
        .filter(|info| node.is_none_or(|node| info.name == node))
        .collect();
    if nodes.is_empty() {
        bail!("check {name} selects no such node");
    }
    let mut worst = State::Ok;
    for info in nodes {
        let rendered = check.render_config(info).map_err(anyhow::Error::msg)?;
        let spec = JobSpec {
            series: SeriesId(0),
            check: name.to_owned(),
            node: info.clone(),
            plugin: check.plugin.digest.clone(),
            config: rendered.to_string().into(),
            input: check.render_input(info).map_err(anyhow::Error::msg)?,
            grants: Arc::new(resolve::run_grants(&config, check, &rendered)),
            limits: RunLimits {
                memory: check.memory,
                timeout: check.spec.timeout.0,
            },
        };
        let outcome = run(&bench, spec).await;
        out::write(format_args!("{}: ", info.name));
        worst = worst.max(print(&outcome));
    }
    Ok(ExitCode::from(worst as u8))
}

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

/// The name of a program's file without its ending.
fn stem(file: &Path) -> std::borrow::Cow<'_, str> {
    file.file_stem().unwrap_or_default().to_string_lossy()
}

/// `plugin inspect`.
pub async fn plugin_inspect(file: &Path) -> anyhow::Result<ExitCode> {
    let bench = bench(&Spec::default())?;
    let bytes = read_plugin(file)?;
    let installed = bench
        .host
        .install(bytes, |_| {})
        .await
        .map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    let installed = bench.host.named(installed, &stem(file));
    say!("{}", serde_json::to_string_pretty(&installed)?);
    Ok(ExitCode::SUCCESS)
}

/// `plugin run`.
pub async fn plugin_run(
    file: &Path,
    address: String,
    config: String,
    allow: Vec<String>,
    timeout: Duration,
    program: ProgramInput,
) -> anyhow::Result<ExitCode> {
    let bench = bench(&Spec::default())?;
    let bytes = read_plugin(file)?;
    let installed = bench
        .host
        .install(bytes, |_| {})
        .await
        .map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    let installed = bench.host.named(installed, &stem(file));
    let mut value: serde_json::Value = serde_json::from_str(&config).context("--config")?;
    let input = program.apply(installed.kind, &mut value)?;
    let wrong = config::schema::check(&installed.manifest.config_schema, &value, "config");
    if !wrong.is_empty() {
        return Err(problems(wrong));
    }
    let digest: Digest = installed.digest.clone();
    let spec = JobSpec {
        series: SeriesId(0),
        check: "command-line".into(),
        node: Arc::new(NodeInfo {
            name: "node".into(),
            address,
            labels: Default::default(),
        }),
        plugin: digest,
        config: value.to_string().into(),
        input,
        grants: Arc::new(GrantsSpec {
            net: allow,
            state: true,
            ..GrantsSpec::default()
        }),
        limits: RunLimits {
            memory: DEFAULT_MEMORY,
            timeout,
        },
    };
    let outcome = run(&bench, spec).await;
    Ok(ExitCode::from(print(&outcome) as u8))
}

/// `plugin run --replay`.
pub async fn plugin_replay(file: &Path, request: &Path) -> anyhow::Result<ExitCode> {
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
    let installed = bench
        .host
        .install(read_plugin(file)?, |_| {})
        .await
        .map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
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

fn read_plugin(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("expected a plugin at {}", file.display()))
}

async fn run(bench: &Bench, spec: JobSpec) -> Outcome {
    let job = Job {
        spec: Arc::new(spec),
        scheduled: bench.clock.now(),
        attempt: 1,
        cause: Cause::RunNow,
        state: Arc::default(),
    };
    bench.host.run_probe(job).await
}

/// Prints an outcome; a fault counts as unknown.
fn print(outcome: &Outcome) -> State {
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

/// `plan`.
pub async fn plan(path: &Path) -> anyhow::Result<ExitCode> {
    let (config, _bench) = read(path).await?;
    for warning in &config.warnings {
        say!("warning: {warning}");
    }
    let series: usize = config.checks.values().map(|check| check.nodes.len()).sum();
    say!(
        "valid: {} nodes, {} checks ({series} series), {} rules, {} contacts, {} remediations, {} log sources",
        config.nodes.len(),
        config.checks.len(),
        config.rules.len(),
        config.contacts.len(),
        config.remediations.len(),
        config.log_sources.len(),
    );
    say!(
        "at most {:.0} checks in flight if every target hangs, engine.max_in_flight is {}",
        config.planned_in_flight().ceil(),
        config.spec.engine.max_in_flight
    );
    Ok(ExitCode::SUCCESS)
}

/// `token create`.
pub async fn token_create(data_dir: &Path, name: &str, role: Role) -> anyhow::Result<ExitCode> {
    let (store, mut writer) = Store::open(data_dir).await?;
    let now = SystemClock.now();
    let token =
        crate::http::setup::create_token(writer.connection().await?, name, role, None, now).await?;
    writer.close().await?;
    store.close().await;
    say!("{token}");
    Ok(ExitCode::SUCCESS)
}

/// `backup`. Reads beside a running engine.
pub async fn backup(data_dir: &Path, to: &Path) -> anyhow::Result<ExitCode> {
    crate::store::backup::backup_of(data_dir, to).await?;
    say!("backed up {} into {}", data_dir.display(), to.display());
    Ok(ExitCode::SUCCESS)
}

/// `rule test`. A wrong expression is an exit code of 1.
pub async fn rule_test(server: &Server, when: &str) -> anyhow::Result<ExitCode> {
    let body = serde_json::json!({ "when": when }).to_string();
    let answer = request(server, "POST", "/api/v1/rules/test", body).await?;
    say!("{answer}");
    let report: RuleTestReport = serde_json::from_str(&answer).context("the engine's answer")?;
    Ok(match report.ok {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// `apply`.
pub async fn apply(server: &Server) -> anyhow::Result<ExitCode> {
    say!(
        "{}",
        request(server, "POST", "/api/v1/config/reload", String::new()).await?
    );
    Ok(ExitCode::SUCCESS)
}

/// `export`.
pub async fn export(server: &Server) -> anyhow::Result<ExitCode> {
    out::write(format_args!(
        "{}",
        request(server, "GET", "/api/v1/config/export", String::new()).await?
    ));
    Ok(ExitCode::SUCCESS)
}

/// Asks a running engine, over plain HTTP on a trusted path (loopback).
pub(super) async fn request(
    server: &Server,
    method: &str,
    path: &str,
    body: String,
) -> anyhow::Result<String> {
    let url: url::Url = server.url.parse().context("--url")?;
    if url.scheme() != "http" {
        bail!("--url: expected http://host:port of an engine on this machine, found {url}");
    }
    let host = url.host_str().context("--url: expected a host")?;
    let address = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
    let stream = tokio::net::TcpStream::connect(&address)
        .await
        .with_context(|| format!("no engine answers at {address}"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", &address)
        .header("authorization", format!("Bearer {}", server.token))
        .header("content-type", "application/json")
        .body(Full::new(bytes::Bytes::from(body)))?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let text =
            String::from_utf8_lossy(&response.into_body().collect().await?.to_bytes()).into_owned();
        anyhow::Ok((status, text))
    };
    tokio::pin!(connection);
    let (status, text) = tokio::select! {
        answer = exchange => answer?,
        ended = &mut connection => bail!("the engine closed the connection: {ended:?}"),
    };
    if !status.is_success() {
        bail!("the engine answered {status}: {text}");
    }
    Ok(text)
}
