//! `plugin push`, `plugin grant` and `plugin activate`: a plugin on its way
//! into a running engine.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cli::bench::bench;
use crate::cli::out::say;
use crate::cli::{Server, client};
use crate::config::spec::{GrantsSpec, Spec};
use crate::http::uploads::{Upload, UploadPhase, UploadResult};

/// Time between two looks at an upload.
const LOOK: Duration = Duration::from_millis(200);

/// What `plugin push` is told.
pub struct Push<'a> {
    pub file: &'a Path,
    pub name: Option<&'a str>,
    /// The version that the file must have.
    pub version: Option<&'a str>,
    /// How long to wait for the end of it.
    pub wait: Duration,
}

/// The part of a plugin's page that is of interest here.
#[derive(Deserialize)]
pub struct Page {
    grants: GrantsSpec,
    pub versions: Vec<PageVersion>,
}

#[derive(Deserialize)]
pub struct PageVersion {
    pub digest: String,
    pub version: String,
    pub active: bool,
}

/// Where to ask for progress.
#[derive(Deserialize)]
struct Accepted {
    upload_id: String,
}

/// Asks for JSON and reads it.
pub async fn get<T: DeserializeOwned>(server: &Server, path: &str) -> anyhow::Result<T> {
    let text = client::json(server, "GET", path, String::new()).await?;
    serde_json::from_str(&text).with_context(|| format!("the engine's answer to {path}"))
}

/// `plugin push`.
pub async fn push(server: &Server, push: Push<'_>) -> anyhow::Result<ExitCode> {
    let file = push.file;
    let bytes =
        std::fs::read(file).with_context(|| format!("expected a plugin at {}", file.display()))?;
    if let Some(expected) = push.version {
        let installed = bench(&Spec::default())?.install(file).await?;
        let found = &installed.manifest.version;
        if found != expected {
            bail!(
                "--version: expected {expected}, found that {} says {found}: nothing was sent",
                file.display()
            );
        }
    }
    let mut beside = file.as_os_str().to_owned();
    beside.push(".sig");
    let signature = std::fs::read_to_string(beside).ok();
    let (kind, body) = form(file, &bytes, push.name, signature.as_deref())?;
    let answer = client::send(server, "POST", "/api/v1/plugins", &kind, body).await?;
    let accepted: Accepted = serde_json::from_slice(&answer)?;
    let result = follow(server, &accepted.upload_id, push.wait).await?;
    told(server, &result).await?;
    Ok(ExitCode::SUCCESS)
}

/// `plugin pull`.
pub async fn pull(
    server: &Server,
    reference: &str,
    name: Option<&str>,
    wait: Duration,
) -> anyhow::Result<ExitCode> {
    let body = serde_json::json!({ "reference": reference, "name": name }).to_string();
    let answer = client::json(server, "POST", "/api/v1/plugins/pull", body).await?;
    let accepted: Accepted = serde_json::from_str(&answer)?;
    let result = follow(server, &accepted.upload_id, wait).await?;
    told(server, &result).await?;
    Ok(ExitCode::SUCCESS)
}

/// Waits for the end of an upload and prints its progress.
pub async fn follow(server: &Server, id: &str, wait: Duration) -> anyhow::Result<UploadResult> {
    let mut shown = String::new();
    let following = async {
        loop {
            let upload: Upload = get(server, &format!("/api/v1/plugins/uploads/{id}")).await?;
            match (upload.phase, upload.result) {
                (UploadPhase::Done, Some(result)) => return anyhow::Ok(result),
                (UploadPhase::Failed, _) => bail!("refused: {}", upload.message),
                _ if upload.message != shown => {
                    say!("{}", upload.message);
                    shown = upload.message;
                }
                _ => {}
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(wait, following).await {
        Ok(result) => result,
        Err(_) => bail!(
            "the upload {id} has not ended after {} s; it goes on in the engine: look at its page, or wait longer with --wait",
            wait.as_secs()
        ),
    }
}

/// Says what came of an upload and what is to be done.
pub async fn told(server: &Server, result: &UploadResult) -> anyhow::Result<()> {
    let name = &result.name;
    say!(
        "{name} {} ({}) is there, sha256:{}",
        result.version,
        result.kind,
        result.digest.0
    );
    let page: Page = get(server, &format!("/api/v1/plugins/{name}")).await?;
    let missing: Vec<&str> = result
        .wanted
        .iter()
        .map(String::as_str)
        .filter(|wanted| !granted(&page.grants, wanted))
        .collect();
    if result.wanted.is_empty() {
        say!("it asks for no capability");
    } else {
        say!("it asks for: {}", result.wanted.join(", "));
    }
    if !missing.is_empty() {
        say!(
            "not granted yet: {}; what you grant is yours to say:",
            missing.join(", ")
        );
        let flags: Vec<&str> = missing.iter().filter_map(|wanted| flag(wanted)).collect();
        say!("  bellwether plugin grant {name} {}", flags.join(" "));
        say!("  or on its page in the web UI: Plugins, {name}");
    }
    if let Some(old) = &result.replaces {
        let version = if old.version == result.version {
            format!("sha256:{}", result.digest.0)
        } else {
            result.version.clone()
        };
        say!("version {} stays in use", old.version);
        for (word, capabilities) in [
            ("adds", &old.added_capabilities),
            ("drops", &old.removed_capabilities),
        ] {
            if !capabilities.is_empty() {
                say!("  the new one {word}: {}", capabilities.join(", "));
            }
        }
        say!("compare the two on their checks: bellwether plugin shadow start {name} {version}");
        say!("use the new one: bellwether plugin activate {name} {version}");
    }
    Ok(())
}

/// True where a capability has at least one grant.
fn granted(grants: &GrantsSpec, wanted: &str) -> bool {
    match wanted {
        "net" => !grants.net.is_empty(),
        "secrets" => !grants.secrets.is_empty(),
        "command" => !grants.commands.is_empty(),
        "state" => grants.state,
        "read-secrets" => !grants.read_secrets.is_empty(),
        "system" => grants.system,
        "files" => !grants.files.is_empty(),
        _ => false,
    }
}

/// How `plugin grant` is told of a capability.
fn flag(wanted: &str) -> Option<&'static str> {
    Some(match wanted {
        "net" => "--net node",
        "secrets" => "--secret NAME",
        "command" => "--command NAME",
        "state" => "--state",
        "read-secrets" => "--read-secret NAME",
        "system" => "--system",
        "files" => "--files NAME",
        _ => return None,
    })
}

/// `plugin grant`: what a plugin may do, instead of what it might before.
pub async fn grant(server: &Server, name: &str, grants: GrantsSpec) -> anyhow::Result<ExitCode> {
    let body = serde_json::to_string(&grants)?;
    client::json(
        server,
        "PUT",
        &format!("/api/v1/plugins/{name}/grants"),
        body.clone(),
    )
    .await?;
    say!("{name} may now do this and nothing else: {body}");
    Ok(ExitCode::SUCCESS)
}

/// `plugin activate`.
pub async fn activate(server: &Server, name: &str, version: &str) -> anyhow::Result<ExitCode> {
    let page: Page = get(server, &format!("/api/v1/plugins/{name}")).await?;
    let chosen = choose(&page.versions, name, version)?;
    let body = serde_json::json!({ "digest": chosen.digest }).to_string();
    client::json(
        server,
        "POST",
        &format!("/api/v1/plugins/{name}/activate"),
        body,
    )
    .await?;
    say!("{name} {} is in use", chosen.version);
    if let Some(old) = page
        .versions
        .iter()
        .find(|one| one.active && one.digest != chosen.digest)
    {
        say!(
            "back: bellwether plugin activate {name} sha256:{}",
            old.digest
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The version that a word means: a version or a digest.
pub fn choose<'a>(
    versions: &'a [PageVersion],
    name: &str,
    word: &str,
) -> anyhow::Result<&'a PageVersion> {
    let digest = word.strip_prefix("sha256:");
    let mut found = versions.iter().filter(|one| match digest {
        Some(digest) => one.digest == digest,
        None => one.version == word,
    });
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            bail!("{name} has several files that call themselves {word}: name one by sha256:…")
        }
        (None, _) => {
            let known: Vec<&str> = versions.iter().map(|one| one.version.as_str()).collect();
            bail!(
                "expected one of the versions {} of {name}, found {word}",
                known.join(", ")
            )
        }
    }
}

/// The form that the web UI sends, too: its type and its body.
fn form(
    file: &Path,
    bytes: &[u8],
    name: Option<&str>,
    signature: Option<&str>,
) -> anyhow::Result<(String, Bytes)> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).context("randomness")?;
    let boundary = format!("bellwether-{}", hex::encode(random));
    let mut body = Vec::with_capacity(bytes.len() + 1_024);
    let fields = [("name", name), ("signature", signature.map(str::trim))];
    for (field, value) in fields {
        if let Some(value) = value {
            body.extend_from_slice(
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n")
                    .as_bytes(),
            );
        }
    }
    let file_name: String = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .chars()
        .filter(|c| !c.is_control() && *c != '"')
        .collect();
    body.extend_from_slice(
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{file_name}\"\r\n\
             Content-Type: application/wasm\r\n\r\n"
        )
        .as_bytes(),
    );
    body.extend_from_slice(bytes);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    let kind = format!("multipart/form-data; boundary={boundary}");
    Ok((kind, body.into()))
}
