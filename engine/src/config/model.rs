//! The validated configuration: one immutable value that the engine runs on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use ipnet::IpNet;

use super::input::InputSpec;
use super::plugins::PluginFacts;
use super::problem::Problem;
use super::schema;
use super::spec::{
    CheckSpec, ContactSpec, LogSourceSpec, PluginSpec, RemediationSpec, SecretSource, Spec,
};
use super::templates::{self, Renderer};
use crate::alert::expr::{NodeExpr, QuerySet};
use crate::alert::rules::RuleDef;
use crate::check::outcome::{NodeInfo, RunLimits};
use crate::check::schedule::Schedule;
use crate::check::scheduler::share_in_flight;

/// Memory of a run where a check says nothing, in bytes.
pub const DEFAULT_MEMORY: u64 = 64 << 20;

/// Everything the engine was told, checked. Made by [`Config::build`].
#[derive(Clone, Debug)]
pub struct Config {
    /// What it was made from.
    pub spec: Arc<Spec>,
    pub public_url: Option<url::Url>,
    pub smtp: Option<Arc<SmtpDef>>,
    /// Networks that no grant opens.
    pub egress_deny: Arc<[IpNet]>,
    pub plugins: IndexMap<String, Arc<PluginDef>>,
    pub nodes: IndexMap<String, Arc<NodeDef>>,
    pub checks: IndexMap<String, Arc<CheckDef>>,
    pub rules: IndexMap<String, Arc<RuleDef>>,
    pub contacts: IndexMap<String, Arc<ContactDef>>,
    pub remediations: IndexMap<String, Arc<RemediationDef>>,
    pub log_sources: IndexMap<String, Arc<LogSourceDef>>,
    /// Log queries of all rules, by number.
    pub queries: Arc<QuerySet>,
    /// What is allowed and still looks wrong.
    pub warnings: Vec<Problem>,
}

/// A plugin that the configuration names under `plugins:`.
#[derive(Clone, Debug)]
pub struct PluginDef {
    pub spec: PluginSpec,
    pub facts: PluginFacts,
}

#[derive(Clone, Debug)]
pub struct NodeDef {
    pub info: Arc<NodeInfo>,
    /// Names of the nodes it is reached through.
    pub parents: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct CheckDef {
    pub spec: Arc<CheckSpec>,
    pub schedule: Schedule,
    /// Absent: every node.
    pub selector: Option<NodeExpr>,
    pub plugin: PluginFacts,
    /// The nodes selected, in the order of the configuration.
    pub nodes: Vec<Arc<NodeInfo>>,
    /// Memory of one run in bytes.
    pub memory: u64,
}

#[derive(Clone, Debug)]
pub struct ContactDef {
    pub spec: Arc<ContactSpec>,
    pub mailboxes: Vec<lettre::message::Mailbox>,
    /// The notifier.
    pub plugin: Option<PluginFacts>,
}

#[derive(Clone, Debug)]
pub struct RemediationDef {
    pub spec: Arc<RemediationSpec>,
    pub plugin: PluginFacts,
}

#[derive(Clone, Debug)]
pub struct LogSourceDef {
    pub spec: Arc<LogSourceSpec>,
    pub plugin: PluginFacts,
}

/// Where mail goes.
#[derive(Clone, Debug)]
pub struct SmtpDef {
    pub transport: SmtpTransport,
    pub from: lettre::message::Mailbox,
    pub user: Option<String>,
    pub password: Option<SecretSource>,
    pub ca_file: Option<PathBuf>,
    pub timeout: Duration,
}

/// What the `url` of `smtp:` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SmtpTransport {
    /// A mail server.
    Server {
        host: String,
        port: u16,
        tls: SmtpTls,
    },
    /// A folder that gets each mail as a file.
    Folder(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// STARTTLS where the server offers it.
    Offered,
    /// STARTTLS or no delivery.
    Required,
    /// TLS from the first byte (`smtps://`).
    Wrapped,
}

impl Config {
    /// A configuration without anything.
    pub fn empty() -> Self {
        Self {
            spec: Arc::default(),
            public_url: None,
            smtp: None,
            egress_deny: Arc::from([]),
            plugins: IndexMap::new(),
            nodes: IndexMap::new(),
            checks: IndexMap::new(),
            rules: IndexMap::new(),
            contacts: IndexMap::new(),
            remediations: IndexMap::new(),
            log_sources: IndexMap::new(),
            queries: Arc::default(),
            warnings: Vec::new(),
        }
    }

    /// The configuration of a check for one node as JSON text, templates filled
    /// in.
    ///
    /// # Errors
    /// A template that does not work for this node, with its path.
    pub fn render_check_config(check: &CheckDef, node: &NodeInfo) -> Result<String, String> {
        let value = check.render_config(node)?;
        serde_json::to_string(&value).map_err(|e| e.to_string())
    }

    /// The `parents` of a node that exist, as definitions.
    pub fn parents<'a>(&'a self, node: &str) -> impl Iterator<Item = &'a Arc<NodeDef>> {
        let parents = self
            .nodes
            .get(node)
            .map(|def| def.parents.as_slice())
            .unwrap_or_default();
        parents.iter().filter_map(|parent| self.nodes.get(parent))
    }

    /// Longest window of every metric that rules look at, for
    /// [`MetricRings`](crate::alert::window::MetricRings).
    pub fn metric_needs(&self) -> Vec<(&str, Duration)> {
        let mut needs: IndexMap<&str, Duration> = IndexMap::new();
        for need in self.rules.values().flat_map(|rule| &rule.facts().metrics) {
            let longest = needs.entry(&need.metric).or_default();
            *longest = (*longest).max(need.window);
        }
        needs.into_iter().collect()
    }

    /// Runs that may be in flight if every target hangs at once, over all series.
    pub fn planned_in_flight(&self) -> f64 {
        self.checks
            .values()
            .filter(|check| !check.spec.paused)
            .map(|check| {
                let limits = RunLimits {
                    memory: check.memory,
                    timeout: check.spec.timeout.0,
                };
                check.nodes.len() as f64 * share_in_flight(&check.schedule, &limits)
            })
            // The sum of nothing is -0.
            .fold(0.0, |sum, one| sum + one)
    }
}

impl CheckDef {
    /// The configuration for one node, templates filled in.
    ///
    /// # Errors
    /// A template that does not work for this node, with its path.
    pub fn render_config(&self, node: &NodeInfo) -> Result<serde_json::Value, String> {
        let config = &self.spec.config;
        if !config.values().any(templates::has_templates) {
            return Ok(serde_json::Value::Object(config.clone()));
        }
        Renderer::new(&self.spec.name, &self.plugin.name)
            .render(config, node)
            .map(serde_json::Value::Object)
            .map_err(|(path, message)| format!("config.{path}: {message}"))
    }

    /// The input for one node, templates filled in.
    ///
    /// # Errors
    /// A template that does not work for this node, with its path.
    pub fn render_input(&self, node: &NodeInfo) -> Result<Option<Arc<InputSpec>>, String> {
        let Some(input) = &self.spec.input else {
            return Ok(None);
        };
        input
            .render(&Renderer::new(&self.spec.name, &self.plugin.name), node)
            .map(|input| Some(Arc::new(input)))
            .map_err(|(path, message)| format!("input.{path}: {message}"))
    }
}

impl ContactDef {
    /// Net grants for the hosts that the configuration names.
    pub fn targets(&self) -> Vec<String> {
        let Some(plugin) = &self.plugin else {
            return Vec::new();
        };
        let config = serde_json::Value::Object(self.spec.config.clone());
        schema::targets(&plugin.config_schema, &config)
    }
}

impl RemediationDef {
    /// Net grants for the hosts that the configuration names.
    pub fn targets(&self) -> Vec<String> {
        let config = serde_json::Value::Object(self.spec.config.clone());
        schema::targets(&self.plugin.config_schema, &config)
    }

    /// The command that the configuration names, which is granted by that.
    pub fn command(&self) -> Option<&str> {
        self.spec
            .config
            .get("command")
            .and_then(serde_json::Value::as_str)
    }
}
