//! What the pipeline needs of a configuration, resolved once per generation.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::quarantine::{Blocked, PluginName};
use crate::alert::expr::QuerySet;
use crate::alert::rules::RuleDef;
use crate::check::outcome::{Digest, NodeInfo, RunLimits};
use crate::config::spec::{EnvelopeSpec, GrantsSpec, Severity};

/// Checks, rules, contacts and remediations with every name resolved.
#[derive(Debug, Default)]
pub struct Policy {
    pub checks: HashMap<Arc<str>, CheckPolicy>,
    pub rules: Vec<RulePolicy>,
    /// Log queries that the rules count.
    pub queries: Arc<QuerySet>,
    pub remedies: HashMap<String, RemedyPolicy>,
    /// Contact and mailbox of everyone who hears of engine faults.
    pub fault_contacts: Vec<Recipient>,
    /// Nodes that each node is reached through; those without have no entry.
    pub parents: HashMap<Arc<str>, Vec<Arc<str>>>,
    /// Versions that checks, remediations and log sources use.
    pub plugins: HashMap<Digest, PluginName>,
    /// Versions that must not run.
    pub blocked: BTreeMap<Digest, Blocked>,
}

#[derive(Clone, Debug)]
pub struct CheckPolicy {
    /// Failures in a row until a state is hard.
    pub attempts: u32,
    /// Nodes it selects, by name.
    pub nodes: BTreeMap<Arc<str>, Arc<NodeInfo>>,
    /// Indices of the per-result rules that can be true for this check.
    pub rules: Vec<usize>,
    /// What it runs on.
    pub plugin: Digest,
    /// Its schedule is held, so its states grow old.
    pub paused: bool,
}

#[derive(Clone, Debug)]
pub struct RulePolicy {
    pub name: Arc<str>,
    /// As written, for mails.
    pub expression: Arc<str>,
    pub def: Arc<RuleDef>,
    /// One alert per series; else one per rule.
    pub per_series: bool,
    pub hold: Duration,
    pub severity: Severity,
    pub labels: BTreeMap<String, String>,
    pub recipients: Vec<Recipient>,
    pub remediate: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    pub contact: String,
    pub mailbox: String,
}

#[derive(Debug)]
pub struct RemedyPolicy {
    pub envelope: EnvelopeSpec,
    pub plugin: Digest,
    pub config: Arc<str>,
    pub grants: Arc<GrantsSpec>,
    pub limits: RunLimits,
}
