//! Everything that is not the engine: trying things, asking a running engine,
//! backups.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};

use super::Server;
use super::bench::{Bench, bench, print, problems};
use super::client;
use super::out::{self, say};
use crate::auth::Role;
use crate::check::outcome::{JobSpec, RunLimits, SeriesId, State};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config};
use crate::engine::configuration::check_mail;
use crate::engine::registry::Registry;
use crate::engine::{builtin_plugins, file_plugins, resolve};
use crate::http::commands::{Reloaded, RuleTestReport};
use crate::store::Store;

/// Reads and validates a configuration with the plugins it needs.
async fn read(path: &Path) -> anyhow::Result<(Arc<Config>, Bench, config::Origins)> {
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
    Ok((Arc::new(config), bench, loaded.origins))
}

/// `check run`: the worst state is the exit code, as in the monitoring-plugins
/// convention.
pub async fn check_run(name: &str, node: Option<&str>, path: &Path) -> anyhow::Result<ExitCode> {
    let (config, bench, _) = read(path).await?;
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
        let outcome = bench.host.run_probe(bench.job(spec)).await;
        out::write(format_args!("{}: ", info.name));
        worst = worst.max(print(&outcome));
    }
    Ok(ExitCode::from(worst as u8))
}

/// `plan`.
pub async fn plan(path: &Path) -> anyhow::Result<ExitCode> {
    let (config, _bench, origins) = read(path).await?;
    check_mail(&config).map_err(|problem| problems(origins.locate(vec![problem])))?;
    for warning in origins.locate(config.warnings.clone()) {
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
    let contents = crate::store::backup::backup_of(data_dir, to).await?;
    say!(
        "backed up {} into {}, with {} uploaded plugins",
        data_dir.display(),
        to.display(),
        contents.plugins
    );
    for plugin in contents.missing {
        say!(
            "warning: the bytes of plugin {plugin} are gone or damaged: upload it again after a restore"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// `rule test`. A wrong expression is an exit code of 1.
pub async fn rule_test(server: &Server, when: &str) -> anyhow::Result<ExitCode> {
    let body = serde_json::json!({ "when": when }).to_string();
    let answer = client::json(server, "POST", "/api/v1/rules/test", body).await?;
    say!("{answer}");
    let report: RuleTestReport = serde_json::from_str(&answer).context("the engine's answer")?;
    Ok(match report.ok {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// `apply`.
pub async fn apply(server: &Server) -> anyhow::Result<ExitCode> {
    let answer = client::json(server, "POST", "/api/v1/config/reload", String::new()).await?;
    say!("{answer}");
    let done: Reloaded = serde_json::from_str(&answer).context("the engine's answer")?;
    for key in done.restart {
        say!("warning: {key} holds only after a restart of the engine");
    }
    Ok(ExitCode::SUCCESS)
}

/// `export`.
pub async fn export(server: &Server) -> anyhow::Result<ExitCode> {
    out::write(format_args!(
        "{}",
        client::json(server, "GET", "/api/v1/config/export", String::new()).await?
    ));
    Ok(ExitCode::SUCCESS)
}
