//! Trying a rule on what is known now, before it is saved.

use std::sync::Arc;

use super::Core;
use crate::alert::expr::QuerySet;
use crate::alert::rules::RuleDef;
use crate::check::outcome::Metric;
use crate::config::spec::RuleSpec;
use crate::http::commands::{CommandError, RuleTestReport, RuleTestResult};
use crate::http::error::FieldError;
use crate::store::results;

/// Series shown.
const SHOWN: usize = 20;
/// Series evaluated.
const EVALUATED: usize = 1_000;

impl Core {
    /// Evaluates `when` for the newest result of each series, or once where it
    /// reads no result.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn test_rule(
        &self,
        when: &str,
        check: Option<&str>,
        node: Option<&str>,
    ) -> Result<RuleTestReport, CommandError> {
        let spec = RuleSpec {
            name: "test".into(),
            when: when.to_owned(),
            hold: None,
            severity: crate::config::spec::Severity::Info,
            labels: Default::default(),
            notify: Vec::new(),
            remediate: Vec::new(),
        };
        let mut queries = QuerySet::default();
        let def = match RuleDef::compile(Arc::new(spec), &mut queries) {
            Ok(def) => def,
            Err(error) => {
                let field = FieldError {
                    path: "when".into(),
                    message: error.to_string(),
                    suggestion: error.suggestion,
                };
                return Ok(RuleTestReport {
                    fields: vec![field],
                    ..RuleTestReport::default()
                });
            }
        };
        let facts = def.facts();
        let reads = facts
            .metrics
            .iter()
            .map(|need| {
                format!(
                    "{} over {}",
                    need.metric,
                    crate::config::units::Span(need.window)
                )
            })
            .chain(
                queries
                    .list()
                    .iter()
                    .map(|query| format!("logs matching {}", query.text)),
            )
            .collect();
        let mut report = RuleTestReport {
            ok: true,
            reads,
            per_series: def.per_result(),
            ..RuleTestReport::default()
        };
        let now = self.clock.now();
        if !def.per_result() {
            let value = self
                .snapshot
                .lock()
                .try_rule(&def, &queries, None, &[], now);
            report.total = 1;
            report.matching = u64::from(value);
            report.results.push(RuleTestResult {
                check: None,
                node: None,
                value,
                error: None,
            });
            return Ok(report);
        }
        let view = self.view.borrow().clone();
        let concerned: Vec<_> = view
            .series()
            .iter()
            .filter(|one| check.is_none_or(|check| *one.check == *check))
            .filter(|one| node.is_none_or(|node| *one.node == *node))
            .filter(|one| {
                def.check_filter()
                    .is_none_or(|filter| filter == &*one.check)
            })
            .collect();
        report.total = concerned.len() as u64;
        let names = self.snapshot.lock().metric_names();
        let mut reader = self.store.reader().await.map_err(internal)?;
        for one in concerned.into_iter().take(EVALUATED) {
            let newest = results::recent(&mut reader, one.id, None, 1)
                .await
                .map_err(internal)?;
            let metrics: Vec<Metric> = newest
                .into_iter()
                .flat_map(|row| row.metrics)
                .filter_map(|(id, value)| {
                    Some(Metric {
                        name: names.get(&id)?.clone(),
                        value,
                    })
                })
                .collect();
            let value = self
                .snapshot
                .lock()
                .try_rule(&def, &queries, Some(one.id), &metrics, now);
            report.matching += u64::from(value);
            if report.results.len() < SHOWN {
                report.results.push(RuleTestResult {
                    check: Some(one.check.to_string()),
                    node: Some(one.node.to_string()),
                    value,
                    error: None,
                });
            }
        }
        Ok(report)
    }
}

fn internal(error: crate::store::StoreError) -> CommandError {
    CommandError::Internal(error.into())
}
