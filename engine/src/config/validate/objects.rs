//! Plugins, nodes, contacts, remediations and log sources.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::Validator;
use crate::check::outcome::NodeInfo;
use crate::config::grants_syntax::{is_host, parse_net_grant};
use crate::config::model::{Config, LogSourceDef, NodeDef, PluginDef, RemediationDef};
use crate::config::plugins::PluginKind;
use crate::config::spec::NodeSpec;
use crate::remedy::envelope::LONGEST_LIMIT;

impl Validator<'_> {
    pub(super) fn plugins(&mut self, config: &mut Config) {
        let spec = self.spec;
        for (i, plugin) in spec.plugins.iter().enumerate() {
            let path = format!("plugins[{i}]");
            match self.plugins.find(&plugin.name) {
                Some(facts) => {
                    let def = PluginDef {
                        spec: plugin.clone(),
                        facts,
                    };
                    config.plugins.insert(plugin.name.clone(), Arc::new(def));
                }
                None => match &plugin.path {
                    Some(file) => self.wrong(
                        format!("{path}.path"),
                        format!("expected a WebAssembly plugin, found none that loads at {file:?}"),
                    ),
                    None => {
                        let names = self.plugins.names();
                        let known = names.iter().map(String::as_str);
                        self.reference(
                            &format!("{path}.name"),
                            "plugin that is built in or uploaded",
                            &plugin.name,
                            known,
                        );
                    }
                },
            }
            for (j, grant) in plugin.grants.net.iter().enumerate() {
                if let Err(message) = parse_net_grant(grant) {
                    self.wrong(format!("{path}.grants.net[{j}]"), message);
                }
            }
            let secrets = spec.secrets.keys().map(String::as_str);
            self.references(
                &format!("{path}.grants.secrets"),
                "secret",
                &plugin.grants.secrets,
                secrets,
            );
            let commands = spec.commands.keys().map(String::as_str);
            self.references(
                &format!("{path}.grants.commands"),
                "command",
                &plugin.grants.commands,
                commands,
            );
            let secrets = spec.secrets.keys().map(String::as_str);
            self.references(
                &format!("{path}.grants.read_secrets"),
                "secret",
                &plugin.grants.read_secrets,
                secrets,
            );
            let folders = spec.files.keys().map(String::as_str);
            self.references(
                &format!("{path}.grants.files"),
                "folder",
                &plugin.grants.files,
                folders,
            );
        }
    }

    pub(super) fn nodes(&mut self, config: &mut Config) {
        let spec = self.spec;
        let names: HashSet<&str> = spec.nodes.iter().map(|n| n.name.as_str()).collect();
        for (i, node) in spec.nodes.iter().enumerate() {
            let path = format!("nodes[{i}]");
            let address = &node.address;
            if address.parse::<IpAddr>().is_err() && !is_host(address) {
                let hint = if address.contains("://") || address.contains('/') {
                    "; a URL belongs into a check's config"
                } else if address
                    .rsplit_once(':')
                    .is_some_and(|(_, p)| p.parse::<u16>().is_ok())
                {
                    "; a port belongs into a check's config"
                } else {
                    ""
                };
                self.wrong(
                    format!("{path}.address"),
                    format!("expected a host name or IP address, found {address:?}{hint}"),
                );
            }
            self.labels(&format!("{path}.labels"), &node.labels);
            for (j, parent) in node.parents.iter().enumerate() {
                let path = format!("{path}.parents[{j}]");
                if *parent == node.name {
                    self.wrong(
                        path,
                        format!("expected another node, found {parent:?} itself"),
                    );
                } else if !names.contains(parent.as_str()) {
                    let known = spec.nodes.iter().map(|n| n.name.as_str());
                    self.reference(&path, "node", parent, known);
                }
            }
            let info = Arc::new(NodeInfo {
                name: node.name.clone(),
                address: node.address.clone(),
                labels: node.labels.clone(),
            });
            let def = NodeDef {
                info,
                parents: node.parents.clone(),
            };
            config.nodes.insert(node.name.clone(), Arc::new(def));
        }
        self.cycles(&spec.nodes);
    }

    pub(super) fn labels(&mut self, path: &str, labels: &BTreeMap<String, String>) {
        for (key, value) in labels {
            if key.is_empty() || key.len() > 128 || key.chars().any(char::is_control) {
                self.wrong(
                    path,
                    format!("expected a label of 1 to 128 characters, found {key:?}"),
                );
            }
            if value.len() > 1024 || value.chars().any(char::is_control) {
                self.wrong(
                    format!("{path}.{key}"),
                    "expected a value of at most 1024 bytes without control characters",
                );
            }
        }
    }

    /// Each cycle of parents is reported once, at its first node.
    fn cycles(&mut self, nodes: &[NodeSpec]) {
        let index: HashMap<&str, usize> = nodes
            .iter()
            .enumerate()
            .map(|(i, n)| (n.name.as_str(), i))
            .collect();
        // 0 unseen, 1 on the path, 2 done.
        let mut state = vec![0u8; nodes.len()];
        for start in 0..nodes.len() {
            // (node, next parent to look at); a stack, as chains may be long.
            let mut path: Vec<(usize, usize)> = Vec::new();
            if state[start] == 0 {
                state[start] = 1;
                path.push((start, 0));
            }
            while let Some((node, next)) = path.last().copied() {
                let Some(parent) = nodes[node].parents.get(next) else {
                    state[node] = 2;
                    path.pop();
                    continue;
                };
                if let Some(top) = path.last_mut() {
                    top.1 += 1;
                }
                let Some(&parent) = index.get(parent.as_str()).filter(|p| **p != node) else {
                    continue;
                };
                match state[parent] {
                    0 => {
                        state[parent] = 1;
                        path.push((parent, 0));
                    }
                    1 => {
                        let from = path.iter().position(|(n, _)| *n == parent).unwrap_or(0);
                        let mut names: Vec<&str> = path[from..]
                            .iter()
                            .map(|(n, _)| nodes[*n].name.as_str())
                            .collect();
                        names.push(&nodes[parent].name);
                        self.wrong(
                            format!("nodes[{parent}].parents"),
                            format!(
                                "expected parents without a cycle, found {}",
                                names.join(" → ")
                            ),
                        );
                    }
                    _ => {}
                }
            }
        }
    }

    pub(super) fn remediations(&mut self, config: &mut Config) {
        let spec = self.spec;
        for (i, remediation) in spec.remediations.iter().enumerate() {
            let path = format!("remediations[{i}]");
            let plugin = self.plugin(
                &format!("{path}.plugin"),
                &remediation.plugin,
                PluginKind::Action,
            );
            if remediation.timeout.0.is_zero() {
                self.wrong(format!("{path}.timeout"), "expected more than 0s, found 0s");
            }
            let limits = &remediation.limits;
            if let Some(check) = &limits.verify {
                let checks = spec.checks.iter().map(|c| c.name.as_str());
                self.reference(&format!("{path}.limits.verify"), "check", check, checks);
            }
            for (key, rate) in [("per_node", limits.per_node), ("overall", limits.overall)] {
                if rate.count == 0 {
                    self.wrong(format!("{path}.limits.{key}"), format!("expected a rate of at least one, found {rate}; remove the remediation from the rules instead"));
                }
                if rate.per > LONGEST_LIMIT {
                    self.wrong(
                        format!("{path}.limits.{key}"),
                        format!("expected a rate over at most 31d, found {rate}"),
                    );
                }
            }
            if limits.cooldown.0 > LONGEST_LIMIT {
                self.wrong(
                    format!("{path}.limits.cooldown"),
                    format!("expected at most 31d, found {}", limits.cooldown),
                );
            }
            if limits.max_share.is_some_and(|share| share.0 == 0) {
                self.wrong(
                    format!("{path}.limits.max_share"),
                    "expected more than 0%, found 0%",
                );
            }
            let Some(plugin) = plugin else { continue };
            self.plugin_config(&format!("{path}.config"), &plugin, &remediation.config);
            let def = RemediationDef {
                spec: Arc::new(remediation.clone()),
                plugin,
            };
            if let Some(command) = def.command().filter(|_| def.plugin.first_party) {
                let commands = spec.commands.keys().map(String::as_str);
                self.reference(
                    &format!("{path}.config.command"),
                    "command",
                    command,
                    commands,
                );
            }
            config
                .remediations
                .insert(remediation.name.clone(), Arc::new(def));
        }
    }

    pub(super) fn log_sources(&mut self, config: &mut Config) {
        let spec = self.spec;
        for (i, source) in spec.log_sources.iter().enumerate() {
            let path = format!("log_sources[{i}]");
            if let Err(message) = check_glob(&source.file) {
                self.wrong(format!("{path}.file"), message);
            }
            let parser = self.plugin(
                &format!("{path}.parser"),
                &source.parser,
                PluginKind::LogParser,
            );
            let Some(plugin) = parser else { continue };
            self.plugin_config(&format!("{path}.config"), &plugin, &source.config);
            let def = LogSourceDef {
                spec: Arc::new(source.clone()),
                plugin,
            };
            config
                .log_sources
                .insert(source.name.clone(), Arc::new(def));
        }
    }
}

/// A path whose file name may hold `*` and `?`.
fn check_glob(text: &str) -> Result<(), String> {
    let (folder, file) = text.rsplit_once('/').unwrap_or(("", text));
    if file.is_empty() || text.contains('\0') {
        return Err(format!(
            "expected the path of a file, * and ? allowed in its name, found {text:?}"
        ));
    }
    if folder.contains(['*', '?']) || file.contains("**") {
        return Err(format!(
            "expected * and ? in the file name only, found {text:?}; write one source for each folder"
        ));
    }
    if file.contains(['[', ']', '{', '}']) {
        return Err(format!(
            "expected only * and ? as wildcards, found {text:?}"
        ));
    }
    Ok(())
}
