//! CEL expressions of rules and node selectors: checked once, evaluated often.
//!
//! The `cel` crate parses; this module knows the closed table of variables and
//! functions with their types, refuses everything else with its position, and
//! turns the rest into a small tree that is evaluated without allocation. What
//! it accepts means the same as in CEL, with two liberties: whole numbers mix
//! with doubles in arithmetic, and an error (a missing label or metric, a
//! division by zero) makes the whole expression false unless `&&` or `||`
//! decides without it.

mod compile;
mod eval;
mod facts;
mod functions;
mod operators;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

pub use eval::{NoWindows, ResultView};
pub use facts::{Agg, Facts, MetricNeed, QuerySet, QueryUse, Windows};

use crate::check::outcome::NodeInfo;

/// Greatest number of nodes of an expression.
pub const MAX_NODES: usize = 500;
/// Longest expression in bytes.
pub const MAX_LENGTH: usize = 16 << 10;

/// Why an expression was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExprError {
    /// Line in the expression, from 1.
    pub line: u32,
    /// Character in the line, from 1.
    pub column: u32,
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for ExprError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "at {}:{} of the expression: {}",
            self.line, self.column, self.message
        )
    }
}

impl std::error::Error for ExprError {}

/// The `when` of a rule.
#[derive(Clone, Debug)]
pub struct RuleExpr {
    root: eval::Bool,
    facts: Facts,
    text: Arc<str>,
}

impl RuleExpr {
    /// Checks and compiles `text`. Log queries are entered into `queries`,
    /// whose numbers [`Windows::log_count`] gets.
    ///
    /// # Errors
    /// The first mistake, with its position.
    pub fn compile(text: &str, queries: &mut QuerySet) -> Result<Self, ExprError> {
        let (root, facts) = compile::compile(text, compile::Scope::Rule, queries)?;
        Ok(Self {
            root,
            facts,
            text: text.into(),
        })
    }

    /// Whether the rule holds for a result.
    pub fn eval(&self, result: &ResultView<'_>, windows: &dyn Windows) -> bool {
        self.root
            .eval(&eval::Env::of_result(result, windows))
            .unwrap_or(false)
    }

    /// Whether a rule that reads nothing of a single result holds.
    pub fn eval_global(&self, windows: &dyn Windows) -> bool {
        self.eval(&ResultView::NONE, windows)
    }

    /// What the expression reads.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The text it was made from.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The `nodes` of a check: CEL over `name`, `address` and `labels`.
#[derive(Clone, Debug)]
pub struct NodeExpr {
    root: eval::Bool,
}

impl NodeExpr {
    /// Checks and compiles `text`.
    ///
    /// # Errors
    /// The first mistake, with its position.
    pub fn compile(text: &str) -> Result<Self, ExprError> {
        let mut none = QuerySet::default();
        let (root, _) = compile::compile(text, compile::Scope::Node, &mut none)?;
        Ok(Self { root })
    }

    /// Whether the node is selected.
    pub fn matches(&self, node: &NodeInfo) -> bool {
        self.root.eval(&eval::Env::of_node(node)).unwrap_or(false)
    }
}
