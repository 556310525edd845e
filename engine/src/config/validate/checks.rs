//! Checks: schedule, selection, configuration of the plugin.

use std::sync::Arc;
use std::time::Duration;

use super::Validator;
use crate::alert::expr::NodeExpr;
use crate::check::outcome::NodeInfo;
use crate::check::schedule::{CronTable, Schedule};
use crate::config::model::{CheckDef, Config, DEFAULT_MEMORY};
use crate::config::plugins::{PluginFacts, PluginKind};
use crate::config::problem::{Problem, closest};
use crate::config::spec::{CheckSpec, JsonObject};
use crate::config::templates::{Renderer, has_templates};
use crate::config::units::Percent;

const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(366 * 86_400);

impl Validator<'_> {
    pub(super) fn checks(&mut self, config: &mut Config) {
        let spec = self.spec;
        let all: Vec<Arc<NodeInfo>> = config.nodes.values().map(|n| Arc::clone(&n.info)).collect();
        for (i, check) in spec.checks.iter().enumerate() {
            let path = format!("checks[{i}]");
            let schedule = self.schedule(&path, check);
            let memory = self.limits(&path, check);
            let selector = match &check.nodes {
                None => Some(None),
                Some(text) => match NodeExpr::compile(text) {
                    Ok(selector) => Some(Some(selector)),
                    Err(e) => {
                        let message = e.to_string();
                        let problem =
                            Problem::new(format!("{path}.nodes"), message).suggest(e.suggestion);
                        self.problems.push(problem);
                        None
                    }
                },
            };
            let plugin = self.plugin(&format!("{path}.plugin"), &check.plugin, PluginKind::Probe);
            let (Some(plugin), Some(selector)) = (plugin, selector) else {
                continue;
            };
            let nodes: Vec<Arc<NodeInfo>> = match &selector {
                None => all.clone(),
                Some(selector) => all
                    .iter()
                    .filter(|n| selector.matches(n))
                    .cloned()
                    .collect(),
            };
            if nodes.is_empty() {
                self.warn(
                    format!(
                        "{path}.{}",
                        if check.nodes.is_some() {
                            "nodes"
                        } else {
                            "name"
                        }
                    ),
                    format!("the check {:?} selects no node and never runs", check.name),
                );
            }
            self.check_config(&path, check, &plugin, &nodes);
            self.check_input(&path, check, &plugin, &nodes);
            let Some(schedule) = schedule else { continue };
            let def = CheckDef {
                spec: Arc::new(check.clone()),
                schedule,
                selector,
                plugin,
                nodes,
                memory,
            };
            config.checks.insert(check.name.clone(), Arc::new(def));
        }
    }

    fn span(&mut self, path: String, found: Duration, min: Duration, max: Duration) {
        let text = |d| crate::config::units::Span(d).to_string();
        if found < min {
            self.wrong(
                path,
                format!("expected at least {}, found {}", text(min), text(found)),
            );
        } else if found > max {
            self.wrong(
                path,
                format!("expected at most {}, found {}", text(max), text(found)),
            );
        }
    }

    fn schedule(&mut self, path: &str, check: &CheckSpec) -> Option<Schedule> {
        let retry = check.retry_every.map(|span| span.0);
        if let Some(retry) = retry {
            self.span(format!("{path}.retry_every"), retry, SECOND, YEAR);
        }
        match (check.every, &check.cron) {
            (None, None) => {
                self.wrong(
                    path,
                    "expected one of the keys \"every\" and \"cron\", found neither",
                );
                None
            }
            (Some(_), Some(_)) => {
                self.wrong(
                    format!("{path}.cron"),
                    "expected one of the keys \"every\" and \"cron\", found both",
                );
                None
            }
            (Some(every), None) => {
                self.span(format!("{path}.every"), every.0, SECOND, YEAR);
                if check.tz.is_some() {
                    self.wrong(
                        format!("{path}.tz"),
                        "expected tz beside cron only, found it beside every",
                    );
                }
                let spread = check.jitter.unwrap_or(Percent(10_000));
                Some(Schedule::Every {
                    every: every.0,
                    spread,
                    retry,
                })
            }
            (None, Some(cron)) => {
                if check.jitter.is_some() {
                    self.warn(
                        format!("{path}.jitter"),
                        "jitter has no effect beside cron, whose slots are exact",
                    );
                }
                let tz = match &check.tz {
                    None => chrono_tz::Tz::UTC,
                    Some(name) => match name.parse() {
                        Ok(tz) => tz,
                        Err(_) => {
                            let near =
                                closest(name, chrono_tz::TZ_VARIANTS.iter().map(|tz| tz.name()));
                            let message = format!(
                                "expected a time zone such as Europe/Berlin or UTC, found {name:?}"
                            );
                            self.problems
                                .push(Problem::new(format!("{path}.tz"), message).suggest(near));
                            return None;
                        }
                    },
                };
                match CronTable::parse(cron, tz) {
                    Ok(cron) => Some(Schedule::Cron {
                        cron: Box::new(cron),
                        retry,
                    }),
                    Err(message) => {
                        self.wrong(format!("{path}.cron"), message);
                        None
                    }
                }
            }
        }
    }

    fn limits(&mut self, path: &str, check: &CheckSpec) -> u64 {
        self.span(
            format!("{path}.timeout"),
            check.timeout.0,
            Duration::from_millis(1),
            Duration::from_secs(3_600),
        );
        if !(1..=1_000).contains(&check.attempts) {
            self.wrong(
                format!("{path}.attempts"),
                format!("expected 1 to 1000, found {}", check.attempts),
            );
        }
        let greatest = self.spec.engine.max_memory;
        match check.limits.memory {
            Some(memory) => {
                if memory.0 < 1 << 20 || memory > greatest {
                    self.wrong(
                        format!("{path}.limits.memory"),
                        format!("expected 1MiB to {greatest} (engine.max_memory), found {memory}"),
                    );
                }
                memory.0
            }
            None => DEFAULT_MEMORY.min(greatest.0),
        }
    }

    /// As for the configuration: every node fills in the templates, the first
    /// one's result is looked at.
    fn check_input(
        &mut self,
        path: &str,
        check: &CheckSpec,
        plugin: &PluginFacts,
        nodes: &[Arc<NodeInfo>],
    ) {
        let Some(input) = &check.input else { return };
        let path = format!("{path}.input");
        if plugin.kind != PluginKind::Command {
            let message = format!(
                "expected input beside a plugin of kind command only, found {:?} of kind {}, which asks its target itself",
                check.plugin,
                plugin.kind.as_str()
            );
            self.problems.push(Problem::new(path, message).on_key());
            return;
        }
        let secrets = self.spec.secrets.keys().map(String::as_str);
        for secret in input.secrets() {
            let path = format!("{path}.http.secret_headers");
            self.reference(&path, "secret", secret, secrets.clone());
        }
        if let Some(folder) = input.folder() {
            let folders = self.spec.files.keys().map(String::as_str);
            let path = format!("{path}.file.folder");
            self.reference(&path, "folder", folder, folders);
        }
        let renderer = Renderer::new(&check.name, &plugin.name);
        for (i, node) in nodes.iter().enumerate() {
            match input.render(&renderer, node) {
                Ok(input) if i == 0 => self.problems.extend(input.problems(&path)),
                Ok(_) => {}
                Err((inner, message)) => {
                    return self.wrong(
                        format!("{path}.{inner}"),
                        format!("{message} (for the node {:?})", node.name),
                    );
                }
            }
        }
    }

    /// Every selected node must fill in the templates, and what comes of it must
    /// fit the plugin's schema.
    fn check_config(
        &mut self,
        path: &str,
        check: &CheckSpec,
        plugin: &PluginFacts,
        nodes: &[Arc<NodeInfo>],
    ) {
        let path = format!("{path}.config");
        if !check.config.values().any(has_templates) {
            return self.plugin_config(&path, plugin, &check.config);
        }
        let renderer = Renderer::new(&check.name, &plugin.name);
        let found = self.problems.len();
        // Most nodes of a check share one result.
        let mut seen: Vec<JsonObject> = Vec::new();
        for node in nodes {
            match renderer.render(&check.config, node) {
                Ok(config) if seen.last() == Some(&config) => {}
                Ok(config) => {
                    self.plugin_config(&path, plugin, &config);
                    if self.problems.len() > found {
                        if !seen.is_empty() {
                            let place = format!(" (for the node {:?})", node.name);
                            for problem in &mut self.problems[found..] {
                                problem.message.push_str(&place);
                            }
                        }
                        return;
                    }
                    seen = vec![config];
                }
                Err((inner, message)) => {
                    return self.wrong(
                        format!("{path}.{inner}"),
                        format!("{message} (for the node {:?})", node.name),
                    );
                }
            }
        }
    }
}
