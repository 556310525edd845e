//! Plugins from registries.

use std::sync::Arc;

use super::super::Core;
use super::plugins::UploadName;
use crate::config::spec::RegistrySpec;
use crate::http::commands::Actor;
use crate::http::uploads::UploadPhase;
use crate::plugin::oci::{Reference, Registry};

impl Core {
    /// Pulls a plugin and installs it as an upload.
    pub(super) async fn pull(
        self: &Arc<Self>,
        upload: String,
        name: Option<String>,
        reference: &str,
        signature: Option<String>,
        actor: Actor,
    ) {
        let fail = |text: String| self.uploads.phase(&upload, UploadPhase::Failed, text);
        let reference = match Reference::parse(reference) {
            Ok(reference) => reference,
            Err(text) => return fail(text),
        };
        let spec = self.config.read().spec.clone();
        let known = spec
            .registries
            .iter()
            .find(|one| one.host == reference.host);
        let Some(known) = known else {
            return fail(format!(
                "the registry {} is not listed: add it to registries in the configuration file",
                reference.host
            ));
        };
        let registry = match registry(known) {
            Ok(registry) => registry,
            Err(text) => return fail(text),
        };
        let file_name = Some(reference.name().to_owned());
        let limit = spec.engine.max_plugin_size.0;
        // It is held in memory whole until it is installed, as an upload is.
        let Ok(place) = self.uploads.place().await else {
            return fail("the engine is shutting down".into());
        };
        let host = reference.host.clone();
        self.uploads.phase(
            &upload,
            UploadPhase::Received,
            format!("pulling from {host}"),
        );
        let pulled = self.host.pull(registry, reference, limit).await;
        let pulled = match pulled {
            Ok(pulled) => pulled,
            Err(text) => return fail(text),
        };
        tracing::info!(registry = %host, manifest = %pulled.manifest, "a plugin was pulled");
        let signature = signature.or(pulled.signature);
        let name = UploadName { name, file_name };
        self.install(upload, name, pulled.bytes.into(), signature, actor)
            .await;
        drop(place);
    }
}

fn registry(spec: &RegistrySpec) -> Result<Registry, String> {
    let login = match (&spec.username, &spec.password) {
        (Some(user), Some(password)) => {
            let password = super::super::configuration::read_secret(password)
                .map_err(|text| format!("registries: the password for {}: {text}", spec.host))?;
            Some((user.clone(), password))
        }
        _ => None,
    };
    Ok(Registry {
        host: spec.host.clone(),
        login,
        plain_http: spec.plain_http,
        also: spec.also.clone(),
    })
}
