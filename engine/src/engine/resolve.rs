//! From a validated configuration to what the parts run on: the pipeline's
//! policy, the scheduler's plans, the grants of every run.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::check::outcome::{Digest, JobSpec, PluginState, RunLimits, SeriesId};
use crate::check::schedule::series_hash;
use crate::check::scheduler::Plan;
use crate::config::model::DEFAULT_MEMORY;
use crate::config::schema;
use crate::config::spec::GrantsSpec;
use crate::config::{CheckDef, Config, PluginFacts, RemediationDef};
use crate::notify::Notifier;
use crate::pipeline::changes::ActiveSeries;
use crate::pipeline::policy::{CheckPolicy, Grouping, Policy, Recipient, RemedyPolicy, RulePolicy};
use crate::pipeline::quarantine::{Blocked, PluginName};

/// `group_interval` where absent.
const GATHER: Duration = Duration::from_secs(300);
/// `timeout` of a contact's plugin where absent.
const NOTIFY: Duration = Duration::from_secs(10);

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
        filling: Vec::new(),
        queries: config.queries.clone(),
        remedies,
        fault_contacts: recipients(config, &config.spec.faults.notify),
        log_sources: config
            .log_sources
            .values()
            .map(|def| (def.spec.name.as_str().into(), def.plugin.digest.clone()))
            .collect(),
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
    let contacts = config.contacts.values();
    let contacts = contacts.filter_map(|one| one.plugin.as_ref());
    checks
        .chain(remedies)
        .chain(sources)
        .chain(contacts)
        .map(|facts| {
            let name = PluginName {
                name: facts.name.to_string(),
                version: facts.version.to_string(),
            };
            (facts.digest.clone(), name)
        })
        .collect()
}

/// Everyone of these contacts, each address once, however often it is named.
fn recipients(config: &Config, contacts: &[String]) -> Vec<Recipient> {
    let mut told = HashSet::new();
    contacts
        .iter()
        .filter_map(|name| config.contacts.get(name))
        .flat_map(|contact| {
            let group = contact.spec.group_by.as_ref().map(|by| {
                Arc::new(Grouping {
                    by: by.clone(),
                    wait: contact
                        .spec
                        .group_wait
                        .map_or(Duration::ZERO, |span| span.0),
                    interval: contact.spec.group_interval.map_or(GATHER, |span| span.0),
                })
            });
            let name = &contact.spec.name;
            let notifier = contact.plugin.as_ref().map(|_| Recipient::notifier(name));
            let mailboxes = contact.mailboxes.iter().map(ToString::to_string);
            mailboxes.chain(notifier).map(move |mailbox| Recipient {
                contact: contact.spec.name.clone(),
                mailbox,
                group: group.clone(),
            })
        })
        .filter(|recipient: &Recipient| told.insert(address(&recipient.mailbox)))
        .collect()
}

/// The address in a mailbox, which may have a name in front.
fn address(mailbox: &str) -> String {
    let address = mailbox
        .rsplit_once('<')
        .map_or(mailbox, |(_, address)| address.trim_end_matches('>'));
    address.to_lowercase()
}

/// The notifiers of contacts, by the recipient in the outbox.
pub fn notifiers(config: &Config) -> HashMap<String, Arc<Notifier>> {
    let mut notifiers = HashMap::new();
    for contact in config.contacts.values() {
        let Some(plugin) = &contact.plugin else {
            continue;
        };
        let mut grants = operator_grants(config, plugin);
        let value = serde_json::Value::Object(contact.spec.config.clone());
        if plugin.first_party {
            grants.net.extend(contact.targets());
            grants.secrets.extend(config.spec.secrets.keys().cloned());
            grant_marked(&mut grants, plugin, &value);
        }
        let notifier = Notifier {
            plugin: plugin.digest.clone(),
            config: value.to_string().into(),
            grants: Arc::new(grants),
            limits: RunLimits {
                memory: DEFAULT_MEMORY,
                timeout: contact.spec.timeout.map_or(NOTIFY, |span| span.0),
            },
        };
        let recipient = Recipient::notifier(&contact.spec.name);
        notifiers.insert(recipient, Arc::new(notifier));
    }
    notifiers
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
    probe_grants(config, &check.plugin, rendered)
}

/// Everything that a run of `plugin` as a check may do, whether a check says so
/// or somebody tries it out.
pub fn probe_grants(
    config: &Config,
    plugin: &PluginFacts,
    rendered: &serde_json::Value,
) -> GrantsSpec {
    let mut grants = operator_grants(config, plugin);
    if plugin.first_party {
        let node = ["node", "udp:node", "icmp:node"];
        grants.net.extend(node.map(str::to_owned));
        grants
            .net
            .extend(schema::targets(&plugin.config_schema, rendered));
        grants.secrets.extend(config.spec.secrets.keys().cloned());
        grants.state = true;
        grants.system = true;
        grant_marked(&mut grants, plugin, rendered);
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
