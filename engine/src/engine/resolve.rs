//! From a validated configuration to what the parts run on: the pipeline's
//! policy, the scheduler's plans, the grants of every run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::check::outcome::{Digest, JobSpec, PluginState, RunLimits, SeriesId};
use crate::check::schedule::series_hash;
use crate::check::scheduler::Plan;
use crate::config::model::DEFAULT_MEMORY;
use crate::config::schema;
use crate::config::spec::GrantsSpec;
use crate::config::{CheckDef, Config, PluginFacts, RemediationDef};
use crate::pipeline::changes::ActiveSeries;
use crate::pipeline::policy::{CheckPolicy, Policy, Recipient, RemedyPolicy, RulePolicy};
use crate::pipeline::quarantine::{Blocked, PluginName};

/// What the pipeline needs of `config`; `blocked` must not run.
pub fn policy(config: &Config, blocked: BTreeMap<Digest, Blocked>) -> Policy {
    let rules: Vec<RulePolicy> = config
        .rules
        .values()
        .map(|def| RulePolicy {
            name: def.spec.name.as_str().into(),
            expression: def.spec.when.as_str().into(),
            def: def.clone(),
            per_series: def.per_result(),
            hold: def.spec.hold.map_or(Duration::ZERO, |span| span.0),
            severity: def.spec.severity,
            labels: def.spec.labels.clone(),
            recipients: recipients(config, &def.spec.notify),
            remediate: def.spec.remediate.clone(),
        })
        .collect();
    let checks = config
        .checks
        .values()
        .map(|check| {
            let concerned = |rule: &RulePolicy| {
                rule.per_series
                    && rule
                        .def
                        .check_filter()
                        .is_none_or(|filter| filter == check.spec.name)
            };
            let policy = CheckPolicy {
                attempts: check.spec.attempts,
                nodes: check
                    .nodes
                    .iter()
                    .map(|node| (node.name.as_str().into(), node.clone()))
                    .collect::<BTreeMap<Arc<str>, _>>(),
                rules: (0..rules.len())
                    .filter(|index| concerned(&rules[*index]))
                    .collect(),
                plugin: check.plugin.digest.clone(),
                paused: check.spec.paused,
            };
            (check.spec.name.as_str().into(), policy)
        })
        .collect::<HashMap<Arc<str>, _>>();
    let remedies = config
        .remediations
        .values()
        .map(|def| (def.spec.name.clone(), remedy(config, def)))
        .collect();
    Policy {
        checks,
        rules,
        queries: config.queries.clone(),
        remedies,
        fault_contacts: recipients(config, &config.spec.faults.notify),
        parents: parents(config),
        plugins: used_plugins(config),
        blocked,
    }
}

fn parents(config: &Config) -> HashMap<Arc<str>, Vec<Arc<str>>> {
    let with = config.nodes.values().filter(|def| !def.parents.is_empty());
    with.map(|def| {
        let parents = def.parents.iter().map(|name| name.as_str().into());
        (def.info.name.as_str().into(), parents.collect())
    })
    .collect()
}

fn used_plugins(config: &Config) -> HashMap<Digest, PluginName> {
    let checks = config.checks.values().map(|one| &one.plugin);
    let remedies = config.remediations.values().map(|one| &one.plugin);
    let sources = config.log_sources.values().map(|one| &one.plugin);
    checks
        .chain(remedies)
        .chain(sources)
        .map(|facts| {
            let name = PluginName {
                name: facts.name.to_string(),
                version: facts.version.to_string(),
            };
            (facts.digest.clone(), name)
        })
        .collect()
}

fn recipients(config: &Config, contacts: &[String]) -> Vec<Recipient> {
    contacts
        .iter()
        .filter_map(|name| config.contacts.get(name))
        .flat_map(|contact| {
            contact.mailboxes.iter().map(|mailbox| Recipient {
                contact: contact.spec.name.clone(),
                mailbox: mailbox.to_string(),
            })
        })
        .collect()
}

fn remedy(config: &Config, def: &RemediationDef) -> RemedyPolicy {
    let mut grants = operator_grants(config, &def.plugin);
    if def.plugin.first_party {
        grants.net.push("node".into());
        grants.net.extend(def.targets());
        grants.secrets.extend(config.spec.secrets.keys().cloned());
        let config = serde_json::Value::Object(def.spec.config.clone());
        grant_marked(&mut grants, &def.plugin, &config);
    }
    // A remediation that names a command grants that command to it.
    grants.commands.extend(def.command().map(str::to_owned));
    RemedyPolicy {
        envelope: def.spec.limits.clone(),
        plugin: def.plugin.digest.clone(),
        config: serde_json::Value::Object(def.spec.config.clone())
            .to_string()
            .into(),
        grants: Arc::new(grants),
        limits: RunLimits {
            memory: DEFAULT_MEMORY,
            timeout: def.spec.timeout.0,
        },
    }
}

/// What `plugins:` and the UI grant to a plugin.
pub fn operator_grants(config: &Config, plugin: &PluginFacts) -> GrantsSpec {
    config
        .plugins
        .get(&*plugin.name)
        .map(|def| def.spec.grants.clone())
        .unwrap_or_default()
}

/// Everything that a run of `check` may do, its configuration filled in.
pub fn run_grants(config: &Config, check: &CheckDef, rendered: &serde_json::Value) -> GrantsSpec {
    let mut grants = operator_grants(config, &check.plugin);
    if check.plugin.first_party {
        let node = ["node", "udp:node", "icmp:node"];
        grants.net.extend(node.map(str::to_owned));
        grants.net.extend(check.targets(rendered));
        grants.secrets.extend(config.spec.secrets.keys().cloned());
        grants.state = true;
        grants.system = true;
        grant_marked(&mut grants, &check.plugin, rendered);
    }
    grants
}

/// What a first-party plugin may do because its configuration names it: read a
/// secret in a field marked `"x-secret": "read"`, and a folder in one marked
/// `x-folder`.
fn grant_marked(grants: &mut GrantsSpec, plugin: &PluginFacts, rendered: &serde_json::Value) {
    for (kind, _, name) in schema::marked(&plugin.config_schema, rendered, "x-secret") {
        if kind.as_str() == Some("read") {
            grants.read_secrets.push(name);
        }
    }
    let folders = schema::marked(&plugin.config_schema, rendered, "x-folder");
    grants
        .files
        .extend(folders.into_iter().map(|(_, _, name)| name));
}

/// The scheduler's plans for the series that the configuration selects. A
/// series whose templates fail was refused when the configuration was built.
pub fn plans(config: &Config, series: &[ActiveSeries]) -> Vec<(SeriesId, Plan, Arc<PluginState>)> {
    let mut grants_by_check: HashMap<&str, (serde_json::Value, Arc<GrantsSpec>)> = HashMap::new();
    let mut plans = Vec::with_capacity(series.len());
    for one in series {
        let Some(check) = config.checks.get(&*one.check) else {
            continue;
        };
        let Some(node) = check.nodes.iter().find(|node| *node.name == *one.node) else {
            continue;
        };
        let rendered = match check.render_config(node) {
            Ok(rendered) => rendered,
            Err(error) => {
                tracing::error!(check = %one.check, node = %one.node, %error, "the check's configuration cannot be filled in");
                continue;
            }
        };
        let input = match check.render_input(node) {
            Ok(input) => input,
            Err(error) => {
                tracing::error!(check = %one.check, node = %one.node, %error, "the check's input cannot be filled in");
                continue;
            }
        };
        // Most nodes of a check share one rendered configuration's grants.
        let grants = match grants_by_check.get(check.spec.name.as_str()) {
            Some((known, grants)) if *known == rendered => grants.clone(),
            _ => {
                let grants = Arc::new(run_grants(config, check, &rendered));
                grants_by_check.insert(&check.spec.name, (rendered.clone(), grants.clone()));
                grants
            }
        };
        let job = JobSpec {
            series: one.id,
            check: check.spec.name.clone(),
            node: node.clone(),
            plugin: check.plugin.digest.clone(),
            config: rendered.to_string().into(),
            input,
            grants,
            limits: RunLimits {
                memory: check.memory,
                timeout: check.spec.timeout.0,
            },
        };
        let plan = Plan {
            job: Arc::new(job),
            schedule: Arc::new(check.schedule.clone()),
            hash: series_hash(&one.check, &one.node),
            paused: check.spec.paused,
        };
        plans.push((one.id, plan, one.plugin_state.clone()));
    }
    plans
}

/// The domain in Message-IDs: that of the sender.
pub fn mail_domain(config: &Config) -> String {
    config.smtp.as_ref().map_or_else(
        || "localhost".into(),
        |smtp| smtp.from.email.domain().to_owned(),
    )
}
