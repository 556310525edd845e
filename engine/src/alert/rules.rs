//! A rule: its text and its compiled expression.

use std::sync::Arc;

use super::expr::{ExprError, Facts, QuerySet, ResultView, RuleExpr, Windows};
use crate::config::spec::RuleSpec;

/// A rule that is ready to be evaluated.
#[derive(Clone, Debug)]
pub struct RuleDef {
    pub spec: Arc<RuleSpec>,
    pub expr: RuleExpr,
}

impl RuleDef {
    /// Compiles a rule; its log queries are entered into `queries`.
    ///
    /// # Errors
    /// The first mistake in `when`, with its position.
    pub fn compile(spec: Arc<RuleSpec>, queries: &mut QuerySet) -> Result<Self, ExprError> {
        let expr = RuleExpr::compile(&spec.when, queries)?;
        Ok(Self { spec, expr })
    }

    /// The rule's name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// A check that a result must be of for the rule to hold: lets the pipeline
    /// look at the rules of one check only.
    pub fn check_filter(&self) -> Option<&str> {
        self.expr.facts().check_filter.as_deref()
    }

    /// True where each (check, node) has an alert of its own, false where the
    /// rule has one alert.
    pub fn per_result(&self) -> bool {
        self.expr.facts().per_result
    }

    /// What the rule needs from windows and logs.
    pub fn facts(&self) -> &Facts {
        self.expr.facts()
    }

    /// Whether the rule holds for a result.
    pub fn holds(&self, result: &ResultView<'_>, windows: &dyn Windows) -> bool {
        self.expr.eval(result, windows)
    }

    /// Whether a rule with one alert holds.
    pub fn holds_globally(&self, windows: &dyn Windows) -> bool {
        self.expr.eval_global(windows)
    }
}
