//! Runs that are not recorded: a plugin against a node, and a crash again.

use std::sync::Arc;
use std::time::Duration;

use super::super::{Core, resolve};
use super::{Answer, store_error};
use crate::check::outcome::{Cause, Digest, Job, JobSpec, NodeInfo, RunLimits, SeriesId};
use crate::config::model::DEFAULT_MEMORY;
use crate::config::spec::JsonObject;
use crate::config::templates::Renderer;
use crate::config::{InputSpec, PluginKind, PluginLookup, Problem};
use crate::http::commands::{CommandError, DryRunReport};
use crate::plugin::watch::{Beside, Watch};
use crate::store::crashes;

impl Core {
    pub(super) async fn dry_run(
        &self,
        plugin: String,
        node: Option<String>,
        config: JsonObject,
        input: Option<InputSpec>,
        timeout: Option<Duration>,
    ) -> Answer<DryRunReport> {
        let facts = self
            .registry
            .find(&plugin)
            .ok_or_else(|| CommandError::NotFound(format!("plugin {plugin}")))?;
        let node = node.ok_or_else(|| {
            let text = "expected the node to run against, found none";
            CommandError::Invalid(vec![Problem::new("node", text)])
        })?;
        let current = self.config.read().clone();
        let node: Arc<NodeInfo> = current
            .nodes
            .get(&node)
            .map(|def| def.info.clone())
            .ok_or_else(|| CommandError::NotFound(format!("node {node}")))?;
        let renderer = Renderer::new("dry-run", &plugin);
        let config = renderer.render(&config, &node).map_err(|(path, text)| {
            CommandError::Invalid(vec![Problem::new(format!("config.{path}"), text)])
        })?;
        let input = input.map(|input| input.render(&renderer, &node));
        let input = input.transpose().map_err(|(path, text)| {
            CommandError::Invalid(vec![Problem::new(format!("input.{path}"), text)])
        })?;
        let value = serde_json::Value::Object(config);
        let mut problems = crate::config::schema::check(&facts.config_schema, &value, "config");
        if let Some(input) = &input {
            problems.extend(input.problems("input"));
            if facts.kind != PluginKind::Command {
                let text = "expected input for plugins of kind command only";
                problems.push(Problem::new("input", text));
            }
        }
        if !problems.is_empty() {
            return Err(CommandError::Invalid(problems));
        }
        let grants = resolve::probe_grants(&current, &facts, &value);
        self.host
            .load(&facts.digest)
            .await
            .map_err(|error| CommandError::Unavailable(error.to_string()))?;
        let spec = JobSpec {
            series: SeriesId(0),
            check: "dry-run".into(),
            node,
            plugin: facts.digest.clone(),
            config: value.to_string().into(),
            input: input.map(Arc::new),
            grants: Arc::new(grants),
            limits: RunLimits {
                memory: DEFAULT_MEMORY,
                timeout: timeout
                    .unwrap_or(Duration::from_secs(5))
                    .min(Duration::from_secs(60)),
            },
        };
        let job = Job {
            spec: Arc::new(spec),
            scheduled: self.clock.now(),
            attempt: 1,
            cause: Cause::RunNow,
            state: Arc::default(),
        };
        Ok(self.look_on(job).await)
    }

    /// Runs a stored crash again, by the version that crashed or by another of
    /// the same plugin. Without commands, which change things, and with those of
    /// its secrets that the plugin is granted now.
    pub(super) async fn replay_crash(
        &self,
        plugin: String,
        id: i64,
        digest: Option<Digest>,
    ) -> Answer<DryRunReport> {
        let unknown = || CommandError::NotFound(format!("crash {id} of plugin {plugin}"));
        let mut reader = self.store.reader().await.map_err(store_error)?;
        let found = crashes::get(&mut reader, id).await.map_err(store_error)?;
        drop(reader);
        let request = found.ok_or_else(unknown)?;
        let versions = self.registry.versions(&plugin);
        let known = |digest: &Digest| versions.iter().find(|facts| facts.digest == *digest);
        if known(&request.digest).is_none() {
            return Err(unknown());
        }
        let digest = digest.unwrap_or_else(|| request.digest.clone());
        if known(&digest).is_none() {
            let text = format!("version {} of plugin {plugin}", digest.0);
            return Err(CommandError::NotFound(text));
        }
        self.host
            .load(&digest)
            .await
            .map_err(|error| CommandError::Unavailable(error.to_string()))?;
        let mut job = request.job(digest, self.clock.now());
        let named = self.registry.find(&plugin).ok_or_else(unknown)?;
        let spec = Arc::make_mut(&mut job.spec);
        let config = serde_json::from_str(&spec.config).unwrap_or_default();
        let now = resolve::probe_grants(&self.config.read().clone(), &named, &config);
        let grants = Arc::make_mut(&mut spec.grants);
        grants.commands.clear();
        grants.secrets.retain(|name| now.secrets.contains(name));
        grants
            .read_secrets
            .retain(|name| now.read_secrets.contains(name));
        Ok(self.look_on(job).await)
    }

    /// A run with somebody who looks on.
    async fn look_on(&self, job: Job) -> DryRunReport {
        let watch = Watch::default();
        let beside = Beside {
            replay: None,
            watch: Some(watch.clone()),
        };
        let outcome = self.host.rehearse(job, beside).await;
        let duration_us = u64::try_from(outcome.duration().as_micros()).unwrap_or(u64::MAX);
        let (calls, used) = watch.seen();
        let report = DryRunReport {
            log: outcome.log,
            duration_us,
            calls,
            used,
            ..DryRunReport::default()
        };
        match outcome.verdict {
            Ok(said) => DryRunReport {
                state: Some(said.state),
                summary: said.summary,
                details: said.details,
                metrics: said.metrics,
                ..report
            },
            Err(fault) => DryRunReport {
                summary: fault.text.clone(),
                fault: Some(fault),
                ..report
            },
        }
    }
}
