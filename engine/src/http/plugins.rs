//! Plugins: what is there, what each may do, versions.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::commands::{Command, Commands, DryRunReport};
use super::error::{Error, Result};
use super::extract::{Body, Operator, Path, Viewer};
use super::lifecycle::QuarantineView;
use super::objects::Items;
use super::state::ConfigHandle;
use crate::check::outcome::Digest;
use crate::config::InputSpec;
use crate::config::spec::{GrantsSpec, JsonObject, Spec};
use crate::config::units::Span;
use crate::pipeline::quarantine::Quarantine;
use crate::plugin::{CostFigures, Costs, signing};
use crate::store::plugins::{self as stored, Origin, Plugin as PluginRow};
use crate::store::{Store, quarantines};

/// A plugin with all its versions.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PluginView {
    pub name: String,
    /// `probe`, `log-parser`, `action`, `notifier` or `command`.
    pub kind: String,
    pub origin: Origin,
    pub active_digest: Option<Digest>,
    /// Newest first.
    pub versions: Vec<VersionView>,
    pub summary: String,
    /// What was granted; what came with the engine has what it asks for.
    pub grants: GrantsSpec,
    /// Capabilities that the active version asks for.
    pub wanted: Vec<String>,
    /// Objects that use it, as `check homepage`.
    pub used_by: Vec<String>,
    /// Everything wanted is granted.
    pub granted: bool,
}

/// One version of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct VersionView {
    pub digest: Digest,
    pub version: String,
    pub uploaded_at: i64,
    pub uploaded_by: String,
    /// Bytes.
    pub size: u64,
    pub active: bool,
    /// Since the engine started.
    pub cost: CostFigures,
    /// Name of the configured key that signed it.
    pub signed_by: Option<String>,
    /// Why it is not run; absent where it is.
    pub quarantine: Option<QuarantineView>,
}

/// What the views are made of beside the stored rows.
#[derive(Clone, Copy)]
struct Known<'a> {
    spec: &'a Spec,
    costs: &'a Costs,
    held: &'a [Quarantine],
}

/// A plugin with what it says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PluginPage {
    #[serde(flatten)]
    pub plugin: PluginView,
    /// Of the active version: name, version, summary, `config_schema`,
    /// capabilities, metrics with units.
    #[schema(value_type = Object)]
    pub manifest: serde_json::Value,
}

/// What a check's page shows of its plugin.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PluginFactsView {
    pub name: String,
    pub version: String,
    pub kind: String,
    pub digest: Digest,
    pub summary: String,
    /// JSON Schema of the configuration.
    #[schema(value_type = Object)]
    pub config_schema: serde_json::Value,
    pub metrics: Vec<MetricView>,
}

/// A metric that reports may carry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct MetricView {
    pub name: String,
    /// UCUM-like; empty for none.
    pub unit: String,
    pub description: String,
}

/// The version that a reference (`name`, `name@version`, `name@range`,
/// `sha256:…`) means.
fn resolve<'a>(rows: &'a [PluginRow], reference: &str) -> Option<&'a PluginRow> {
    if let Some(digest) = reference.strip_prefix("sha256:") {
        return rows.iter().find(|row| &*row.digest.0 == digest);
    }
    match reference.split_once('@') {
        Some((name, wanted)) => {
            let versions: Vec<_> = rows.iter().filter(|row| row.name == name).collect();
            let known = versions
                .iter()
                .map(|row| (row.version.as_str(), row.active));
            versions
                .get(crate::config::reference::choose(wanted, known)?)
                .copied()
        }
        None => rows.iter().find(|row| row.name == reference && row.active),
    }
}

/// The plugin that a check refers to, if it is there.
///
/// # Errors
/// The store.
pub async fn facts(store: &Store, reference: &str) -> Result<Option<PluginFactsView>> {
    let rows = stored::list(&mut *store.reader().await?).await?;
    Ok(resolve(&rows, reference).map(|row| PluginFactsView {
        name: row.name.clone(),
        version: row.version.clone(),
        kind: row.kind.clone(),
        digest: row.digest.clone(),
        summary: text(&row.manifest, "summary"),
        config_schema: row
            .manifest
            .get("config_schema")
            .cloned()
            .unwrap_or_default(),
        metrics: row
            .manifest
            .get("metrics")
            .and_then(|metrics| serde_json::from_value(metrics.clone()).ok())
            .unwrap_or_default(),
    }))
}

fn text(manifest: &serde_json::Value, key: &str) -> String {
    manifest
        .get(key)
        .and_then(|value| value.as_str())
        .unwrap_or("")
        .to_owned()
}

pub(super) fn wanted(manifest: &serde_json::Value) -> Vec<String> {
    let list = manifest
        .get("capabilities")
        .and_then(|value| value.as_array());
    let names = list
        .into_iter()
        .flatten()
        .filter_map(|value| value.as_str());
    names.map(str::to_owned).collect()
}

/// True where each capability has at least one grant.
fn covers(grants: &GrantsSpec, wanted: &[String]) -> bool {
    wanted.iter().all(|capability| match capability.as_str() {
        "net" => !grants.net.is_empty(),
        "secrets" => !grants.secrets.is_empty(),
        "command" => !grants.commands.is_empty(),
        "state" => grants.state,
        "read-secrets" => !grants.read_secrets.is_empty(),
        "system" => grants.system,
        "files" => !grants.files.is_empty(),
        _ => false,
    })
}

/// Objects that refer to any of a plugin's versions.
fn used_by(spec: &Spec, name: &str, digests: &[&Digest]) -> Vec<String> {
    users(spec, &|reference| match reference.strip_prefix("sha256:") {
        Some(digest) => digests.iter().any(|known| &*known.0 == digest),
        None => reference.split('@').next() == Some(name),
    })
}

/// Objects whose reference to a plugin `means` the one in question.
fn users(spec: &Spec, means: &dyn Fn(&str) -> bool) -> Vec<String> {
    let checks = spec.checks.iter().filter(|c| means(&c.plugin));
    let sources = spec.log_sources.iter().filter(|s| means(&s.parser));
    let remediations = spec.remediations.iter().filter(|r| means(&r.plugin));
    let contacts = spec.contacts.iter();
    let contacts = contacts.filter(|c| c.plugin.as_deref().is_some_and(means));
    checks
        .map(|c| format!("check {}", c.name))
        .chain(sources.map(|s| format!("log source {}", s.name)))
        .chain(remediations.map(|r| format!("remediation {}", r.name)))
        .chain(contacts.map(|c| format!("contact {}", c.name)))
        .collect()
}

fn views(rows: &[PluginRow], known: Known<'_>) -> Vec<PluginView> {
    let mut by_name: BTreeMap<&str, Vec<&PluginRow>> = BTreeMap::new();
    for row in rows {
        by_name.entry(&row.name).or_default().push(row);
    }
    by_name
        .into_iter()
        .map(|(name, versions)| view(name, versions, known))
        .collect()
}

fn view(name: &str, mut versions: Vec<&PluginRow>, known: Known<'_>) -> PluginView {
    let spec = known.spec;
    versions.sort_by(|a, b| (b.uploaded_at, &b.digest).cmp(&(a.uploaded_at, &a.digest)));
    let active = versions.iter().copied().find(|row| row.active);
    let shown = active.or(versions.first().copied());
    let wanted = shown.map_or_else(Vec::new, |row| wanted(&row.manifest));
    let origin = shown.map_or(Origin::Upload, |row| row.origin);
    let grants = spec
        .plugins
        .iter()
        .find(|plugin| plugin.name == name)
        .map(|plugin| plugin.grants.clone())
        .unwrap_or_default();
    let digests: Vec<&Digest> = versions.iter().map(|row| &row.digest).collect();
    PluginView {
        name: name.to_owned(),
        kind: shown.map_or(String::new(), |row| row.kind.clone()),
        origin,
        active_digest: active.map(|row| row.digest.clone()),
        summary: shown.map_or(String::new(), |row| text(&row.manifest, "summary")),
        granted: origin == Origin::Builtin || covers(&grants, &wanted),
        used_by: used_by(spec, name, &digests),
        versions: versions
            .iter()
            .map(|row| VersionView {
                digest: row.digest.clone(),
                version: row.version.clone(),
                uploaded_at: row.uploaded_at.micros(),
                uploaded_by: row.uploaded_by.clone(),
                size: row.size,
                active: row.active,
                signed_by: row.signature.as_deref().and_then(|signature| {
                    signing::signer(&spec.signing, &row.digest, signature).map(str::to_owned)
                }),
                cost: known.costs.get(&row.digest),
                quarantine: known
                    .held
                    .iter()
                    .find(|held| held.digest == row.digest)
                    .map(QuarantineView::from),
            })
            .collect(),
        grants,
        wanted,
    }
}

/// All plugins
#[utoipa::path(
    get, path = "/plugins", operation_id = "list_plugins", tag = "plugins",
    responses((status = 200, body = Items<PluginView>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn list(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(store): State<Store>,
    State(costs): State<Costs>,
) -> Result<Json<Items<PluginView>>> {
    let mut reader = store.reader().await?;
    let rows = stored::list(&mut reader).await?;
    let known = Known {
        spec: &config.get().spec,
        costs: &costs,
        held: &quarantines::list(&mut reader).await?,
    };
    Ok(Json(Items::all(views(&rows, known))))
}

/// One plugin with its manifest
#[utoipa::path(
    get, path = "/plugins/{name}", operation_id = "get_plugin", tag = "plugins",
    params(("name" = String, Path)), responses((status = 200, body = PluginPage)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn get(
    _: Viewer,
    State(config): State<ConfigHandle>,
    State(store): State<Store>,
    State(costs): State<Costs>,
    Path(name): Path<String>,
) -> Result<Json<PluginPage>> {
    let mut reader = store.reader().await?;
    let rows = stored::list(&mut reader).await?;
    let known = Known {
        spec: &config.get().spec,
        costs: &costs,
        held: &quarantines::list(&mut reader).await?,
    };
    let plugin = views(&rows, known)
        .into_iter()
        .find(|plugin| plugin.name == name)
        .ok_or_else(|| Error::not_found("plugin", &name))?;
    let shown = plugin
        .active_digest
        .as_ref()
        .or(plugin.versions.first().map(|v| &v.digest));
    let manifest = rows
        .iter()
        .find(|row| Some(&row.digest) == shown)
        .map(|row| row.manifest.clone())
        .unwrap_or_default();
    Ok(Json(PluginPage { plugin, manifest }))
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// Generation of the configuration now.
    pub generation: u64,
}

/// Say what a plugin may do
#[utoipa::path(
    put, path = "/plugins/{name}/grants", operation_id = "set_grants", tag = "plugins",
    params(("name" = String, Path)), request_body = GrantsSpec,
    responses((status = 200, body = Done)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn grant(
    Operator(caller): Operator,
    State(config): State<ConfigHandle>,
    State(commands): State<Commands>,
    Path(plugin): Path<String>,
    Body(grants): Body<GrantsSpec>,
) -> Result<Json<Done>> {
    // What only the file defines cannot be granted before it does.
    let spec = config.get();
    let unknown = |field: &str, names: &[String], known: &dyn Fn(&str) -> bool| {
        let missing = names.iter().enumerate().find(|(_, name)| !known(name));
        missing.map(|(at, name)| {
            Error::field(
                format!("{field}[{at}]"),
                format!("expected a name that the configuration file defines, found {name:?}"),
            )
        })
    };
    let secret = |name: &str| spec.spec.secrets.contains_key(name);
    let command = |name: &str| spec.spec.commands.contains_key(name);
    let folder = |name: &str| spec.spec.files.contains_key(name);
    let wrong = unknown("secrets", &grants.secrets, &secret)
        .or_else(|| unknown("commands", &grants.commands, &command))
        .or_else(|| unknown("read_secrets", &grants.read_secrets, &secret))
        .or_else(|| unknown("files", &grants.files, &folder));
    if let Some(error) = wrong {
        return Err(error);
    }
    let actor = caller.actor();
    let applied = commands
        .ask(|reply| Command::Grant {
            plugin,
            grants,
            actor,
            reply,
        })
        .await?;
    Ok(Json(Done {
        generation: applied.generation,
    }))
}

/// The version to use.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Activate {
    pub digest: Digest,
}

/// Use another version
#[utoipa::path(
    post, path = "/plugins/{name}/activate", operation_id = "activate_plugin", tag = "plugins",
    params(("name" = String, Path)), request_body = Activate,
    responses((status = 200, body = Done)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn activate(
    Operator(caller): Operator,
    State(commands): State<Commands>,
    Path(plugin): Path<String>,
    Body(wanted): Body<Activate>,
) -> Result<Json<Done>> {
    let actor = caller.actor();
    let applied = commands
        .ask(|reply| Command::Activate {
            plugin,
            digest: wanted.digest,
            actor,
            reply,
        })
        .await?;
    Ok(Json(Done {
        generation: applied.generation,
    }))
}

async fn remove_from(
    (config, commands, store): (&ConfigHandle, &Commands, &Store),
    actor: super::commands::Actor,
    plugin: String,
    digest: Option<Digest>,
) -> Result<StatusCode> {
    let rows = stored::list(&mut *store.reader().await?).await?;
    let (versions, config): (Vec<_>, _) = (
        rows.iter().filter(|row| row.name == plugin).collect(),
        config.get(),
    );
    if versions.is_empty() {
        return Err(Error::not_found("plugin", &plugin));
    }
    let users = match &digest {
        Some(digest) if versions.iter().all(|row| row.digest != *digest) => {
            return Err(Error::not_found("plugin version", &digest.0));
        }
        Some(digest) => users(&config.spec, &|reference| {
            resolve(&rows, reference).is_some_and(|row| row.digest == *digest)
        }),
        None => {
            let digests: Vec<&Digest> = versions.iter().map(|row| &row.digest).collect();
            used_by(&config.spec, &plugin, &digests)
        }
    };
    if !users.is_empty() {
        let message = format!("plugin {plugin:?} is used by {}", users.join(", "));
        return Err(Error::conflict("in_use", message));
    }
    commands
        .ask(|reply| Command::RemovePlugin {
            plugin,
            digest,
            actor,
            reply,
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete a plugin with all its versions
#[utoipa::path(
    delete, path = "/plugins/{name}", operation_id = "delete_plugin", tag = "plugins",
    params(("name" = String, Path)), responses((status = 204)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn remove(
    Operator(caller): Operator,
    State(config): State<ConfigHandle>,
    State(commands): State<Commands>,
    State(store): State<Store>,
    Path(plugin): Path<String>,
) -> Result<StatusCode> {
    remove_from((&config, &commands, &store), caller.actor(), plugin, None).await
}

/// Delete one version of a plugin
#[utoipa::path(
    delete, path = "/plugins/{name}/versions/{digest}", operation_id = "delete_plugin_version",
    tag = "plugins", params(("name" = String, Path), ("digest" = String, Path)),
    responses((status = 204)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn remove_version(
    Operator(caller): Operator,
    State(config): State<ConfigHandle>,
    State(commands): State<Commands>,
    State(store): State<Store>,
    Path((plugin, digest)): Path<(String, Digest)>,
) -> Result<StatusCode> {
    remove_from(
        (&config, &commands, &store),
        caller.actor(),
        plugin,
        Some(digest),
    )
    .await
}

/// A run to be tried.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DryRun {
    /// Where to run it; absent for what needs no node.
    #[serde(default)]
    pub node: Option<String>,
    #[serde(default)]
    #[schema(value_type = Object)]
    pub config: JsonObject,
    /// What a command plugin is handed.
    #[serde(default)]
    pub input: Option<InputSpec>,
    /// At most 60s; 5s where absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub timeout: Option<Span>,
}

/// Run a plugin once, recording nothing
#[utoipa::path(
    post, path = "/plugins/{name}/dry_run", operation_id = "dry_run_plugin", tag = "plugins",
    params(("name" = String, Path)), request_body = DryRun,
    responses((status = 200, body = DryRunReport)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn dry_run(
    Operator(caller): Operator,
    State(commands): State<Commands>,
    Path(plugin): Path<String>,
    Body(wanted): Body<DryRun>,
) -> Result<Json<DryRunReport>> {
    let longest = Duration::from_secs(60);
    if wanted.timeout.is_some_and(|timeout| timeout.0 > longest) {
        return Err(Error::field("timeout", "expected at most 60s"));
    }
    let actor = caller.actor();
    commands
        .ask(|reply| Command::DryRun {
            plugin,
            node: wanted.node,
            config: wanted.config,
            input: wanted.input,
            timeout: wanted.timeout.map(|timeout| timeout.0),
            actor,
            reply,
        })
        .await
        .map(Json)
}
