//! Rules: the expression and the names behind it.

use std::sync::Arc;

use super::Validator;
use crate::alert::expr::QuerySet;
use crate::alert::rules::RuleDef;
use crate::config::model::Config;
use crate::config::problem::{Problem, closest};

impl Validator<'_> {
    pub(super) fn rules(&mut self, config: &mut Config) {
        let spec = self.spec;
        let mut queries = QuerySet::default();
        for (i, rule) in spec.rules.iter().enumerate() {
            let path = format!("rules[{i}]");
            self.labels(&format!("{path}.labels"), &rule.labels);
            self.references(
                &format!("{path}.notify"),
                "contact",
                &rule.notify,
                spec.contacts.iter().map(|c| c.name.as_str()),
            );
            self.references(
                &format!("{path}.remediate"),
                "remediation",
                &rule.remediate,
                spec.remediations.iter().map(|r| r.name.as_str()),
            );
            let def = match RuleDef::compile(Arc::new(rule.clone()), &mut queries) {
                Ok(def) => def,
                Err(e) => {
                    let problem =
                        Problem::new(format!("{path}.when"), e.to_string()).suggest(e.suggestion);
                    self.problems.push(problem);
                    continue;
                }
            };
            // A rule may outlive the check that it names, so this is not an
            // error: its alerts end as `removed`.
            let checks = spec.checks.iter().map(|c| c.name.as_str());
            self.mentioned(&path, "check", &def.facts().checks, checks);
            let nodes = spec.nodes.iter().map(|n| n.name.as_str());
            self.mentioned(&path, "node", &def.facts().nodes, nodes);
            config.rules.insert(rule.name.clone(), Arc::new(def));
        }
        config.queries = Arc::new(queries);
    }

    fn mentioned<'n>(
        &mut self,
        path: &str,
        what: &str,
        names: &[Arc<str>],
        known: impl Iterator<Item = &'n str> + Clone,
    ) {
        for name in names {
            if !known.clone().any(|one| one == &**name) {
                let message = format!("the rule mentions the {what} {name:?}, which is none");
                let problem = Problem::new(format!("{path}.when"), message)
                    .suggest(closest(name, known.clone()));
                self.warnings.push(problem);
            }
        }
    }
}
