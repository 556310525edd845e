//! The plugins that are present: built in, uploaded, or named by path.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::check::outcome::Digest;
use crate::clock::Timestamp;
use crate::config::reference;
use crate::config::{PluginFacts, PluginLookup};
use crate::plugin::{Installed, Kind, Manifest};
use crate::store::plugins::Origin;

/// One version of a plugin.
#[derive(Clone, Debug)]
pub struct Version {
    pub digest: Digest,
    pub kind: Kind,
    pub manifest: Arc<Manifest>,
    pub schema: Arc<serde_json::Value>,
    pub origin: Origin,
    pub size: u64,
    pub uploaded_at: Timestamp,
    pub uploaded_by: String,
    /// Detached signature, base64.
    pub signature: Option<String>,
    /// The version that a bare name means.
    pub active: bool,
}

/// Plugins by the name they were given.
#[derive(Debug, Default)]
pub struct Registry(RwLock<BTreeMap<String, Vec<Version>>>);

impl Registry {
    /// Adds a version under `name`; an active one takes over.
    pub fn add(&self, name: &str, version: Version) {
        let mut all = self.0.write();
        let versions = all.entry(name.to_owned()).or_default();
        versions.retain(|old| old.digest != version.digest);
        if version.active {
            versions.iter_mut().for_each(|old| old.active = false);
        }
        versions.push(version);
    }

    /// Makes `digest` what the bare name means. False where there is none.
    pub fn activate(&self, name: &str, digest: &Digest) -> bool {
        let mut all = self.0.write();
        let Some(versions) = all.get_mut(name) else {
            return false;
        };
        if !versions.iter().any(|version| version.digest == *digest) {
            return false;
        }
        versions
            .iter_mut()
            .for_each(|version| version.active = version.digest == *digest);
        true
    }

    /// Removes one version, or all of them; returns what was removed.
    pub fn remove(&self, name: &str, digest: Option<&Digest>) -> Vec<Version> {
        let mut all = self.0.write();
        let Some(versions) = all.get_mut(name) else {
            return Vec::new();
        };
        let (removed, kept): (Vec<_>, Vec<_>) = std::mem::take(versions)
            .into_iter()
            .partition(|version| digest.is_none_or(|digest| version.digest == *digest));
        if kept.is_empty() {
            all.remove(name);
        } else {
            *versions = kept;
        }
        removed
    }

    /// Versions under a name.
    pub fn versions(&self, name: &str) -> Vec<Version> {
        self.0.read().get(name).cloned().unwrap_or_default()
    }

    /// Whether the bytes are in use under any name.
    pub fn holds(&self, digest: &Digest) -> bool {
        self.0
            .read()
            .values()
            .flatten()
            .any(|version| version.digest == *digest)
    }

    /// All plugins with their versions.
    pub fn all(&self) -> BTreeMap<String, Vec<Version>> {
        self.0.read().clone()
    }

    /// Forgets what the configuration file named. What was uploaded under the
    /// same name waits until somebody activates it.
    pub fn forget_file(&self) {
        let mut all = self.0.write();
        for versions in all.values_mut() {
            versions.retain(|one| one.origin != Origin::File);
        }
        all.retain(|_, versions| !versions.is_empty());
    }

    /// Takes over what the file names from a copy on which it was tried.
    pub fn take_file(&self, tried: &Self) {
        self.forget_file();
        for (name, versions) in tried.all() {
            for one in versions {
                if one.origin == Origin::File {
                    self.add(&name, one);
                }
            }
        }
    }

    /// A copy to try a change on, before it is committed.
    pub fn fork(&self) -> Self {
        Self(RwLock::new(self.all()))
    }
}

impl Version {
    /// A version as it was installed.
    pub fn new(installed: &Installed, origin: Origin, by: &str, at: Timestamp) -> Self {
        Self {
            digest: installed.digest.clone(),
            kind: installed.kind,
            schema: Arc::new(installed.manifest.config_schema.clone()),
            manifest: installed.manifest.clone(),
            origin,
            size: installed.size,
            uploaded_at: at,
            uploaded_by: by.to_owned(),
            signature: None,
            active: true,
        }
    }

    fn facts(&self, name: &str) -> PluginFacts {
        PluginFacts {
            name: name.into(),
            version: self.manifest.version.as_str().into(),
            digest: self.digest.clone(),
            kind: self.kind.into(),
            config_schema: self.schema.clone(),
            first_party: self.origin == Origin::Builtin,
        }
    }
}

impl PluginLookup for Registry {
    fn find(&self, reference: &str) -> Option<PluginFacts> {
        let all = self.0.read();
        if let Some(digest) = reference.strip_prefix("sha256:") {
            return all.iter().find_map(|(name, versions)| {
                let version = versions
                    .iter()
                    .find(|version| &*version.digest.0 == digest)?;
                Some(version.facts(name))
            });
        }
        let (name, wanted) = match reference.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (reference, None),
        };
        let versions = all.get(name)?;
        let version = match wanted {
            Some(wanted) => {
                let known = versions.iter();
                let known = known.map(|one| (one.manifest.version.as_str(), one.active));
                versions.get(reference::choose(wanted, known)?)?
            }
            None => versions.iter().find(|version| version.active)?,
        };
        Some(version.facts(name))
    }

    fn names(&self) -> Vec<String> {
        self.0.read().keys().cloned().collect()
    }
}
