//! Plugins at start and at reload: the ones inside the engine, the ones that
//! were uploaded, the ones that the file names by path.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rust_embed::RustEmbed;

use super::Core;
use super::registry::{Registry, Version};
use crate::check::outcome::Digest;
use crate::clock::Timestamp;
use crate::config::spec::SigningSpec;
use crate::config::{Config, Loaded, Problem};
use crate::pipeline::quarantine::{Blocked, QuarantineCause};
use crate::plugin::{Host, digest, signing};
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
        let installed = host
            .install(bytes, |_| {})
            .await
            .map_err(|error| format!("built-in plugin {file}: {error}"))?;
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
        let signature = match read_signature(&full).await {
            Ok(signature) => signature,
            Err(text) => {
                problems.push(problem(text));
                continue;
            }
        };
        // One that is revoked is taken, and held back: an engine that does not
        // start checks nothing at all.
        let (signing, digest) = (&loaded.spec.signing, digest::of(&bytes));
        if let Err(refused) = signing::admit(signing, &digest, signature.as_deref()) {
            problems.push(problem(format!("{}: {refused}", full.display())));
            continue;
        }
        match host.install(bytes, |_| {}).await {
            Ok(installed) => {
                let installed = host.named(installed, &plugin.name);
                let version = Version {
                    signature,
                    ..Version::new(&installed, Origin::File, "file", now)
                };
                registry.add(&plugin.name, version);
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

/// Longest signature file, in bytes.
const MAX_SIGNATURE: u64 = 1_024;

/// What stands in `FILE.sig`, where there is one.
async fn read_signature(plugin: &Path) -> Result<Option<String>, String> {
    let mut name = plugin.as_os_str().to_owned();
    name.push(".sig");
    let path = PathBuf::from(name);
    let cannot = |error: String| format!("{}: {error}", path.display());
    match tokio::fs::metadata(&path).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot(error.to_string())),
        Ok(meta) if meta.len() > MAX_SIGNATURE => {
            let expected = "expected a signature of 64 bytes in base64, found a larger file";
            return Err(cannot(expected.into()));
        }
        Ok(_) => {}
    }
    let text = tokio::fs::read_to_string(&path).await;
    text.map(|text| Some(text.trim().to_owned()))
        .map_err(|error| cannot(error.to_string()))
}

impl Core {
    /// Versions that `signing` does not let run.
    pub fn blocked(&self, signing: &SigningSpec) -> BTreeMap<Digest, Blocked> {
        let mut blocked = BTreeMap::new();
        for version in self.registry.all().into_values().flatten() {
            let digest = &version.digest;
            let found = if signing::is_revoked(signing, digest) {
                Blocked {
                    cause: QuarantineCause::Revoked,
                    reason: format!("sha256:{} is revoked by the configuration", digest.0),
                }
            } else if version.origin == Origin::Builtin {
                continue;
            } else {
                match signing::admit(signing, digest, version.signature.as_deref()) {
                    Ok(()) => continue,
                    Err(reason) => Blocked {
                        cause: QuarantineCause::Unsigned,
                        reason,
                    },
                }
            };
            blocked.insert(digest.clone(), found);
        }
        blocked
    }

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
                    let installed = self.host.named(installed, &stored.name);
                    let mut version = Version::new(
                        &installed,
                        Origin::Upload,
                        &stored.uploaded_by,
                        stored.uploaded_at,
                    );
                    version.active = stored.active;
                    version.signature = stored.signature;
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
                        plugins::sign(conn, &row.digest, row.signature.as_deref()).await?;
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
        let contacts = config.contacts.values().filter_map(|one| {
            let plugin = one.plugin.as_ref()?;
            Some(("contacts", &one.spec.name, plugin))
        });
        for (list, name, plugin) in checks.chain(remedies).chain(sources).chain(contacts) {
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
        signature: version.signature.clone(),
    }
}
