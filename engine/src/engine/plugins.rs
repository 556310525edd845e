//! Plugins at start and at reload: the ones inside the engine, the ones that
//! were uploaded, the ones that the file names by path.

use rust_embed::RustEmbed;

use super::Core;
use super::registry::{Registry, Version};
use crate::check::outcome::Digest;
use crate::clock::Timestamp;
use crate::config::{Config, Loaded, Problem};
use crate::plugin::{Host, digest};
use crate::store::StoreError;
use crate::store::plugins::{self, Origin};

/// First-party plugins, built from `plugins/`.
#[derive(RustEmbed)]
#[folder = "../plugins/dist/"]
#[include = "*.wasm"]
#[exclude = "testing/*"]
struct Builtin;

/// Makes the first-party plugins usable. Compiled code is cached, so only the
/// first start after an upgrade takes seconds.
///
/// # Errors
/// A built-in plugin that this engine does not load: a broken build.
pub async fn builtin_plugins(
    host: &Host,
    registry: &Registry,
    now: Timestamp,
) -> Result<(), String> {
    for file in Builtin::iter() {
        let Some(embedded) = Builtin::get(&file) else {
            continue;
        };
        let bytes = embedded.data.into_owned();
        let installed = match host.load(&digest::of(&bytes)).await {
            Ok(installed) => installed,
            Err(_) => host
                .install(bytes, |_| {})
                .await
                .map_err(|error| format!("built-in plugin {file}: {error}"))?,
        };
        let name = installed.manifest.name.clone();
        registry.add(
            &name,
            Version::new(&installed, Origin::Builtin, "engine", now),
        );
    }
    Ok(())
}

/// Installs the plugins that the file names by path.
///
/// # Errors
/// A file that is missing, or no plugin.
pub async fn file_plugins(
    host: &Host,
    registry: &Registry,
    loaded: &Loaded,
    now: Timestamp,
) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    for (index, plugin) in loaded.spec.plugins.iter().enumerate() {
        let Some(path) = &plugin.path else { continue };
        let problem = |text: String| Problem::new(format!("plugins[{index}].path"), text);
        let full = loaded.base.join(path);
        let bytes = match tokio::fs::read(&full).await {
            Ok(bytes) => bytes,
            Err(error) => {
                let text = format!("expected a plugin at {}: {error}", full.display());
                problems.push(problem(text));
                continue;
            }
        };
        match host.install(bytes, |_| {}).await {
            Ok(installed) => {
                registry.add(
                    &plugin.name,
                    Version::new(&installed, Origin::File, "file", now),
                );
            }
            Err(error) => problems.push(problem(format!("{}: {error}", full.display()))),
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(loaded.origins.locate(problems))
    }
}

impl Core {
    /// Makes the uploaded plugins usable. One that no longer loads stays in the
    /// list of the store and is reported: checks that use it are refused by
    /// name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load_uploaded_plugins(&self) -> Result<(), StoreError> {
        let mut reader = self.store.reader().await?;
        let listed = plugins::list(&mut reader).await?;
        for stored in listed
            .into_iter()
            .filter(|row| row.origin == Origin::Upload)
        {
            match self.host.load(&stored.digest).await {
                Ok(installed) => {
                    let mut version = Version::new(
                        &installed,
                        Origin::Upload,
                        &stored.uploaded_by,
                        stored.uploaded_at,
                    );
                    version.active = stored.active;
                    self.registry.add(&stored.name, version);
                }
                Err(error) => {
                    tracing::error!(plugin = %stored.name, %error, "an uploaded plugin does not load");
                }
            }
        }
        Ok(())
    }

    /// Lists the plugins that came with the engine and its file in the store, for
    /// handlers; those of an earlier engine or file leave the list.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn list_own_plugins(&self) -> Result<(), StoreError> {
        let rows: Vec<plugins::Plugin> = self
            .registry
            .all()
            .iter()
            .flat_map(|(name, versions)| versions.iter().map(|version| row(name, version)))
            .filter(|row| row.origin != Origin::Upload)
            .collect();
        self.recorder
            .write(move |conn| {
                let rows = rows.clone();
                Box::pin(async move {
                    for old in plugins::list(conn).await? {
                        let kept = rows.iter().any(|row| row.digest == old.digest);
                        if old.origin != Origin::Upload && !kept {
                            plugins::delete(conn, &old.digest).await?;
                        }
                    }
                    for row in &rows {
                        plugins::insert(conn, row).await?;
                        if row.active {
                            plugins::activate(conn, &row.digest).await?;
                        }
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Loads every plugin that the configuration refers to, so that no check
    /// pays for a compilation.
    ///
    /// # Errors
    /// A stored plugin that no longer loads.
    pub async fn load_referenced(&self, config: &Config) -> Result<(), Vec<Problem>> {
        let checks = config
            .checks
            .values()
            .map(|one| ("checks", &one.spec.name, &one.plugin));
        let remedies = config
            .remediations
            .values()
            .map(|one| ("remediations", &one.spec.name, &one.plugin));
        let sources = config
            .log_sources
            .values()
            .map(|one| ("log_sources", &one.spec.name, &one.plugin));
        let mut seen: Vec<&Digest> = Vec::new();
        let mut problems = Vec::new();
        for (list, name, plugin) in checks.chain(remedies).chain(sources) {
            if seen.contains(&&plugin.digest) {
                continue;
            }
            seen.push(&plugin.digest);
            if let Err(error) = self.host.load(&plugin.digest).await {
                let text = format!(
                    "{list} {name}: plugin {} does not load: {error}",
                    plugin.name
                );
                problems.push(Problem::new(list, text));
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }
}

/// The row of a version.
pub fn row(name: &str, version: &Version) -> plugins::Plugin {
    plugins::Plugin {
        digest: version.digest.clone(),
        name: name.to_owned(),
        version: version.manifest.version.clone(),
        kind: version.kind.as_str().to_owned(),
        manifest: serde_json::to_value(&*version.manifest).unwrap_or_default(),
        origin: version.origin,
        active: version.active,
        size: version.size,
        uploaded_at: version.uploaded_at,
        uploaded_by: version.uploaded_by.clone(),
    }
}
