//! `plugin shadow`: another version beside the one in use.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::push::{Page, choose, get};
use crate::cli::out::say;
use crate::cli::{Server, client};

/// Series that are shown.
const SHOWN: usize = 20;

/// `plugin shadow start`.
pub async fn start(server: &Server, name: &str, version: &str) -> anyhow::Result<ExitCode> {
    let page: Page = get(server, &format!("/api/v1/plugins/{name}")).await?;
    let chosen = choose(&page.versions, name, version)?;
    let body = json!({ "digest": chosen.digest }).to_string();
    client::json(server, "POST", &path(name), body).await?;
    say!(
        "{name} {} runs beside the version in use and changes nothing",
        chosen.version
    );
    say!("how they compare: bellwether plugin shadow show {name}");
    Ok(ExitCode::SUCCESS)
}

/// `plugin shadow stop`.
pub async fn stop(server: &Server, name: &str) -> anyhow::Result<ExitCode> {
    client::json(server, "DELETE", &path(name), String::new()).await?;
    say!("the shadow of {name} has ended");
    Ok(ExitCode::SUCCESS)
}

/// `plugin shadow show`.
pub async fn show(server: &Server, name: &str) -> anyhow::Result<ExitCode> {
    let page: Value = get(server, &path(name)).await?;
    let shadow = &page["shadow"];
    if shadow.is_null() {
        say!("no version runs beside the one in use");
        return Ok(ExitCode::SUCCESS);
    }
    say!(
        "{name}: {} in use, {} beside it: {} agree, {} differ, {} skipped",
        word(&shadow["current"]["version"]),
        word(&shadow["shadow"]["version"]),
        shadow["agreements"],
        shadow["disagreements"],
        shadow["skipped"]
    );
    let series = shadow["series"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    for one in series.iter().take(SHOWN) {
        say!(
            "{} on {}: {} agree, {} differ",
            word(&one["check"]),
            word(&one["node"]),
            one["agreements"],
            one["disagreements"]
        );
        let runs = one["runs"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        // The newest that differs says most, else the newest.
        let run = runs
            .iter()
            .find(|run| run["agrees"] == false)
            .or(runs.first());
        if let Some(run) = run {
            say!("  in use  {}", side(&run["current"]));
            say!("  beside  {}", side(&run["shadow"]));
        }
    }
    if series.len() > SHOWN {
        say!("and {} more", series.len() - SHOWN);
    }
    Ok(ExitCode::SUCCESS)
}

fn path(name: &str) -> String {
    format!("/api/v1/plugins/{name}/shadow")
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn side(side: &Value) -> String {
    let state = match side["fault"]["kind"].as_str() {
        Some(kind) => format!("FAULT ({kind})"),
        None => word(&side["state"]).to_uppercase(),
    };
    let ms = side["duration_us"].as_f64().unwrap_or_default() / 1_000.0;
    format!("{state} - {} ({ms:.1} ms)", word(&side["summary"]))
}
