//! `plugin test`: a plugin against recorded requests, without a network.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};

use super::case::Case;
use crate::cli::bench::{Bench, bench_at};
use crate::cli::out::say;
use crate::clock::{TestClock, Timestamp};
use crate::config;
use crate::config::spec::Spec;
use crate::config::units::Span;
use crate::plugin::replay::Replay;
use crate::plugin::watch::Beside;
use crate::plugin::{Installed, Kind};

/// `plugin test`: every case, and a line of totals. Fails where one does.
pub async fn test(target: &Path, tests: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let (file, folder) = find(target, tests)?;
    let cases = cases(&folder)?;
    let clock = TestClock::new(Timestamp::default());
    let mut spec = Spec::default();
    // The author's own machine, and perhaps an interpreter of megabytes.
    spec.engine.compile_timeout = Span::secs(600);
    let bench = bench_at(&spec, clock.clone())?;
    let installed = bench.install(&file).await?;
    say!(
        "{} {} ({})",
        installed.manifest.name,
        installed.manifest.version,
        installed.kind.as_str()
    );
    let mut failed = 0;
    for path in &cases {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        match run(&bench, &clock, &installed, path).await {
            Ok(wrong) if wrong.is_empty() => say!("ok      {name}"),
            Ok(wrong) => {
                failed += 1;
                say!("FAILED  {name} ({})", path.display());
                for text in wrong {
                    say!("        {text}");
                }
            }
            Err(error) => {
                failed += 1;
                say!("FAILED  {name} ({})", path.display());
                say!("        {error:#}");
            }
        }
    }
    say!("{} passed, {failed} failed", cases.len() - failed);
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The plugin's file and the folder with its cases.
fn find(target: &Path, tests: Option<PathBuf>) -> anyhow::Result<(PathBuf, PathBuf)> {
    if target.is_file() {
        let folder = match tests {
            Some(folder) => folder,
            None => {
                // A project has its plugin in dist/.
                let parent = target.parent().unwrap_or(Path::new(""));
                let beside = parent.join("tests");
                let above = parent.join("../tests");
                if !beside.is_dir() && above.is_dir() {
                    above
                } else {
                    beside
                }
            }
        };
        return Ok((target.to_owned(), folder));
    }
    let dist = target.join("dist");
    let mut built: Vec<PathBuf> = std::fs::read_dir(&dist)
        .with_context(|| {
            format!(
                "expected a plugin or a project with its plugin in {}: build it first",
                dist.display()
            )
        })?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "wasm"))
        .collect();
    built.sort();
    match built.as_slice() {
        [one] => Ok((one.clone(), tests.unwrap_or_else(|| target.join("tests")))),
        [] => bail!(
            "expected a plugin in {}, found none: build it first",
            dist.display()
        ),
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            bail!(
                "expected one plugin, found {}: name the one to test",
                names.join(", ")
            )
        }
    }
}

/// The files of a folder, or the one file, by name.
fn cases(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if folder.is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| {
            format!(
                "expected recorded requests in {}: make some with `bellwether plugin run --record`, or name their folder with --tests",
                folder.display()
            )
        })?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .collect();
    if found.is_empty() {
        bail!(
            "expected recorded requests (*.json) in {}, found none",
            folder.display()
        );
    }
    found.sort();
    Ok(found)
}

/// What is otherwise than expected.
async fn run(
    bench: &Bench,
    clock: &Arc<TestClock>,
    installed: &Installed,
    path: &Path,
) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path)?;
    let mut reader = serde_json::Deserializer::from_str(&text);
    let case: Case = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| anyhow::anyhow!("{}: {}", error.path(), error.inner()))?;
    clock.set(case.now().map_err(anyhow::Error::msg)?);
    let config = serde_json::Value::Object(case.request.config.clone());
    let problems = config::schema::check(&installed.manifest.config_schema, &config, "config");
    if !problems.is_empty() {
        return Ok(problems.iter().map(ToString::to_string).collect());
    }
    match (&case.lines, installed.kind) {
        (Some(lines), Kind::LogParser | Kind::Command) => {
            parse(bench, installed, &case, lines, config.to_string()).await
        }
        (None, Kind::Probe | Kind::Command) => check(bench, installed, &case).await,
        (Some(_), kind) => bail!("expected a log parser for lines, found a {}", kind.as_str()),
        (None, Kind::LogParser) => bail!("expected lines for a log parser, found none"),
        (None, kind) => bail!(
            "expected a probe, a log parser or a WASI program, found a {}: try it with a dry run in an engine",
            kind.as_str()
        ),
    }
}

async fn check(bench: &Bench, installed: &Installed, case: &Case) -> anyhow::Result<Vec<String>> {
    if case.request.input.is_some() && installed.kind != Kind::Command {
        bail!("request.input: expected it for WASI programs only");
    }
    let job = case
        .job(installed.digest.clone())
        .map_err(anyhow::Error::msg)?;
    let replay = Replay::play(case.network.clone());
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
    // What the plugin made of a call that went wrong is of no interest.
    Ok(match replay.trouble() {
        Some(trouble) => vec![trouble],
        None => case.expect.of_check(&outcome),
    })
}

async fn parse(
    bench: &Bench,
    installed: &Installed,
    case: &Case,
    lines: &[String],
    config: String,
) -> anyhow::Result<Vec<String>> {
    let received = case.now().map_err(anyhow::Error::msg)?;
    let parsing = async {
        let mut parser = bench
            .host
            .new_parser(&installed.digest, config.into(), case.limits())
            .await?;
        let mut parsed = parser.parse(Case::batch(lines, received)).await?;
        let rest = parser.flush(received).await?;
        parsed.records.extend(rest.records);
        Ok(parsed)
    };
    let parsed: Result<_, crate::check::outcome::Fault> = parsing.await;
    Ok(match (parsed, case.expect.fault) {
        (Ok(_), Some(kind)) => vec![format!("expected a fault ({}), found none", kind.as_str())],
        (Ok(parsed), None) => case.expect.of_records(&parsed),
        (Err(fault), Some(kind)) if fault.kind == kind => Vec::new(),
        (Err(fault), _) => vec![format!(
            "found a fault ({}): {}",
            fault.kind.as_str(),
            fault.text
        )],
    })
}
