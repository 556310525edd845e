//! The table of functions: over texts and over time.

use std::time::Duration;

use cel::IdedExpr;

use super::ExprError;
use super::compile::{Checked, Compiler, Scope, Typed, push_new};
use super::eval::{Bool, Int, Num, Text};
use super::facts::{Agg, MetricNeed};
use crate::config::problem::closest;
use crate::config::units::Span;

const TEXT_FUNCTIONS: [&str; 6] = [
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "size",
    "has",
];

/// Longest window of a function over time.
const MAX_WINDOW: Duration = Duration::from_secs(7 * 86_400);

/// Greatest size of a compiled pattern in bytes.
const MAX_PATTERN: usize = 1 << 20;

impl Compiler<'_> {
    pub(super) fn size(&mut self, value: &IdedExpr) -> Checked<Typed> {
        Ok(Typed::Int(match self.typed(value)? {
            Typed::Text(text) => Int::Length(Box::new(text)),
            Typed::Map(map) => Int::Size(map),
            Typed::List(items) => Int::Const(items.len() as i64),
            other => return self.expected(value, "a string, list, labels or metrics", &other),
        }))
    }

    pub(super) fn method(
        &mut self,
        node: &IdedExpr,
        name: &str,
        target: &IdedExpr,
        args: &[IdedExpr],
    ) -> Checked<Typed> {
        let count = match name {
            "size" => 0,
            "contains" | "startsWith" | "endsWith" | "matches" => 1,
            _ => return Err(self.unknown_function(node, name, true)),
        };
        if args.len() != count {
            let message = format!("expected {count} arguments of {name}, found {}", args.len());
            return Err(self.error(node, message));
        }
        let [arg] = args else {
            return self.size(target);
        };
        let text = self.text_of(target)?;
        if name == "matches" {
            return self.matches(text, arg);
        }
        let pair = Box::new((text, self.text_of(arg)?));
        Ok(Typed::Bool(match name {
            "contains" => Bool::Contains(pair),
            "startsWith" => Bool::StartsWith(pair),
            _ => Bool::EndsWith(pair),
        }))
    }

    pub(super) fn matches(&mut self, text: Text, arg: &IdedExpr) -> Checked<Typed> {
        let Text::Const(pattern) = self.text_of(arg)? else {
            return Err(self.error(arg, "expected a literal pattern, found an expression"));
        };
        let regex = regex::RegexBuilder::new(&pattern)
            .size_limit(MAX_PATTERN)
            .build()
            .map_err(|e| {
                let why = e.to_string();
                let why = why.lines().last().unwrap_or_default().trim();
                let why = why.strip_prefix("error: ").unwrap_or(why);
                self.error(
                    arg,
                    format!("expected a regular expression, found {pattern:?}: {why}"),
                )
            })?;
        Ok(Typed::Bool(Bool::Matches(Box::new(text), Box::new(regex))))
    }

    pub(super) fn unknown_function(&self, node: &IdedExpr, name: &str, method: bool) -> ExprError {
        let mut known: Vec<&str> = TEXT_FUNCTIONS.to_vec();
        if self.scope == Scope::Rule {
            known.extend(Agg::ALL.map(|(name, _)| name));
            known.push("log_count");
        }
        known.extend(["exists", "all", "exists_one"]);
        let shown = name.trim_start_matches('@');
        if method && Agg::ALL.iter().any(|(known, _)| *known == name) {
            return self.error(
                node,
                format!("expected {name} as {name}(\"metric\", \"5m\"), found it after a dot"),
            );
        }
        let message = if known.contains(&name) {
            format!("expected the function {shown} in another form; see the list of functions")
        } else {
            format!(
                "unknown function {shown:?}, expected one of {}",
                known.join(", ")
            )
        };
        let mut error = self.error(node, message);
        error.suggestion = closest(shown, known).map(str::to_owned);
        error
    }

    /// The functions over time.
    pub(super) fn function(
        &mut self,
        node: &IdedExpr,
        name: &str,
        args: &[IdedExpr],
    ) -> Checked<Typed> {
        if name == "matches"
            && let [text, pattern] = args
        {
            let text = self.text_of(text)?;
            return self.matches(text, pattern);
        }
        let agg = Agg::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, agg)| *agg);
        if self.scope == Scope::Node || (agg.is_none() && name != "log_count") {
            return Err(self.unknown_function(node, name, false));
        }
        let Some(f) = agg else {
            let [query, window] = args else {
                let message = format!(
                    "expected log_count(\"query\", \"5m\"), found {} arguments",
                    args.len()
                );
                return Err(self.error(node, message));
            };
            let (text, window) = (self.constant(query, "a log query")?, self.window(window)?);
            let number = self
                .queries
                .intern(&text, window)
                .map_err(|e| self.error(query, format!("in the log query at {e}")))?;
            push_new(&mut self.facts.queries, (number, window));
            return Ok(Typed::Num(Num::LogCount {
                query: number,
                window,
            }));
        };
        if !(2..=4).contains(&args.len()) {
            let message = format!(
                "expected {name}(\"metric\", \"5m\"), then a check and a node where another series is meant, found {} arguments",
                args.len()
            );
            return Err(self.error(node, message));
        }
        let metric = self.constant(&args[0], "a metric's name")?;
        let window = self.window(&args[1])?;
        let check = args
            .get(2)
            .map(|a| self.constant(a, "a check's name"))
            .transpose()?;
        let node_name = args
            .get(3)
            .map(|a| self.constant(a, "a node's name"))
            .transpose()?;
        match &check {
            None => self.facts.per_result = true,
            Some(check) => push_new(&mut self.facts.checks, (**check).into()),
        }
        if let Some(node) = &node_name {
            push_new(&mut self.facts.nodes, (**node).into());
        }
        let need = MetricNeed {
            metric: (*metric).into(),
            window,
            check: check.as_deref().map(Into::into),
            node: node_name.as_deref().map(Into::into),
        };
        push_new(&mut self.facts.metrics, need);
        Ok(Typed::Num(Num::Window {
            f,
            metric,
            window,
            check,
            node: node_name,
        }))
    }

    pub(super) fn constant(&mut self, node: &IdedExpr, what: &str) -> Checked<Box<str>> {
        match self.typed(node)? {
            Typed::Text(Text::Const(text)) => Ok(text),
            Typed::Text(_) => Err(self.error(
                node,
                format!("expected {what} as a literal string, found an expression"),
            )),
            other => self.expected(node, what, &other),
        }
    }

    pub(super) fn window(&mut self, node: &IdedExpr) -> Checked<Duration> {
        let text = self.constant(node, "a duration such as \"5m\"")?;
        let span: Span = text.parse().map_err(|e: String| self.error(node, e))?;
        if span.0 < Duration::from_secs(1) || span.0 > MAX_WINDOW {
            return Err(self.error(
                node,
                format!("expected a window from 1s to 7d, found {text:?}"),
            ));
        }
        Ok(span.0)
    }
}
