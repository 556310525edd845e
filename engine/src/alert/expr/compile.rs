//! The checker: CEL's tree to the typed tree of [`super::eval`].

use std::sync::Arc;

use cel::IdedExpr;
use cel::common::ast::{Expr, LiteralValue, SelectExpr, SourceInfo};
use cel::parser::Parser;

use super::eval::{Bool, Int, Map, Num, Text};
use super::facts::{Facts, QuerySet};
use super::operators::lookup;
use super::{ExprError, MAX_LENGTH, MAX_NODES};
use crate::check::outcome::State;
use crate::config::problem::closest;

/// Which table of variables and functions counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Node,
    Rule,
}

const NODE_VARS: [&str; 3] = ["name", "address", "labels"];
const RULE_VARS: [&str; 9] = [
    "check",
    "node",
    "labels",
    "state",
    "last_state",
    "attempt",
    "metrics",
    "summary",
    "duration_ms",
];
pub(super) const STATES: [State; 4] = [State::Ok, State::Warning, State::Critical, State::Unknown];

pub(super) type Checked<T> = Result<T, ExprError>;

/// An expression with its type.
pub(super) enum Typed {
    Bool(Bool),
    Text(Text),
    Int(Int),
    Num(Num),
    Map(Map),
    List(Vec<Typed>),
}

impl Typed {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Typed::Bool(_) => "a bool",
            Typed::Text(_) => "a string",
            Typed::Int(_) => "an int",
            Typed::Num(_) => "a double",
            Typed::Map(_) => "a map",
            Typed::List(_) => "a list",
        }
    }
}

pub(super) struct Compiler<'a> {
    pub(super) scope: Scope,
    text: &'a str,
    info: SourceInfo,
    pub(super) nodes: usize,
    pub(super) queries: &'a mut QuerySet,
    pub(super) facts: Facts,
    /// Variable of the comprehension around.
    pub(super) item: Option<String>,
}

/// Words and signs of an expression that has as many nodes as are allowed. The
/// parser recurses once for each link of `a.b.c` and `1 + 1 + 1`, so a longer
/// one must not reach it: the stack of a thread has no room for it.
const MAX_TOKENS: usize = 8 * MAX_NODES;

/// Words and signs. Those inside strings count as well: what skips strings can be
/// misled about where they end.
fn tokens(text: &str) -> usize {
    let (mut count, mut in_word) = (0, false);
    for c in text.chars() {
        let of_word = c.is_alphanumeric() || c == '_';
        let goes_on = of_word && in_word;
        count += usize::from(!(c.is_whitespace() || goes_on));
        in_word = of_word;
    }
    count
}

pub(super) fn compile(text: &str, scope: Scope, queries: &mut QuerySet) -> Checked<(Bool, Facts)> {
    let at_start = |message: String| ExprError {
        line: 1,
        column: 1,
        message,
        suggestion: None,
    };
    if text.trim().is_empty() {
        return Err(at_start("expected an expression, found nothing".into()));
    }
    if text.len() > MAX_LENGTH {
        return Err(at_start(format!(
            "expected at most {MAX_LENGTH} bytes, found {}",
            text.len()
        )));
    }
    if tokens(text) > MAX_TOKENS {
        return Err(at_start(format!(
            "expected at most {MAX_NODES} nodes; split the expression"
        )));
    }
    let (tree, info) = Parser::new()
        .parse_with_source_info(text)
        .map_err(|errors| {
            let Some(first) = errors.errors.first() else {
                return at_start("expected a CEL expression".into());
            };
            let message = first.msg.lines().next().unwrap_or_default();
            let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
            // The list of every token that could follow helps nobody.
            let message = message.split(" expecting ").next().unwrap_or(message);
            let message = message
                .replace("'<EOF>'", "the end")
                .replace("<EOF>", "the end");
            ExprError {
                line: first.pos.0.max(1) as u32,
                column: first.pos.1.max(1) as u32,
                message: format!("expected a CEL expression, found a syntax error: {message}"),
                suggestion: None,
            }
        })?;
    let mut compiler = Compiler {
        scope,
        text,
        info,
        nodes: 0,
        queries,
        facts: Facts::default(),
        item: None,
    };
    let root = match compiler.typed(&tree)? {
        Typed::Bool(root) => root,
        other => {
            let message = format!("expected a condition (a bool), found {}", other.name());
            return Err(compiler.error(&tree, message));
        }
    };
    let mut facts = compiler.facts;
    facts.check_filter = filter(&root);
    Ok((root, facts))
}

/// The check that has to be the result's for `root` to hold.
fn filter(root: &Bool) -> Option<Arc<str>> {
    match root {
        Bool::CheckIs(name) => Some((**name).into()),
        Bool::And(parts) => parts.iter().find_map(filter),
        _ => None,
    }
}

pub(super) fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

pub(super) fn number(typed: Typed) -> Result<Num, Typed> {
    match typed {
        Typed::Num(num) => Ok(num),
        Typed::Int(Int::Const(n)) => Ok(Num::Const(n as f64)),
        Typed::Int(int) => Ok(Num::Int(Box::new(int))),
        other => Err(other),
    }
}

impl Compiler<'_> {
    /// Line and column of a node. A call is marked at its parenthesis by the
    /// parser; its name is what people look for.
    fn position(&self, node: &IdedExpr) -> (u32, u32) {
        let chars: Vec<char> = self.text.chars().collect();
        let mut at = self
            .info
            .offset_for(node.id)
            .map_or(0, |(start, _)| start as usize);
        at = at.min(chars.len());
        if chars.get(at) == Some(&'(') {
            while at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_') {
                at -= 1;
            }
        }
        let before = &chars[..at];
        let line = before.iter().filter(|c| **c == '\n').count() as u32 + 1;
        let column = before.iter().rev().take_while(|c| **c != '\n').count() as u32 + 1;
        (line, column)
    }

    pub(super) fn error(&self, node: &IdedExpr, message: impl Into<String>) -> ExprError {
        let (line, column) = self.position(node);
        ExprError {
            line,
            column,
            message: message.into(),
            suggestion: None,
        }
    }

    pub(super) fn expected<T>(&self, node: &IdedExpr, what: &str, found: &Typed) -> Checked<T> {
        Err(self.error(node, format!("expected {what}, found {}", found.name())))
    }

    pub(super) fn typed(&mut self, node: &IdedExpr) -> Checked<Typed> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.error(
                node,
                format!("expected at most {MAX_NODES} nodes; split the expression"),
            ));
        }
        match &node.expr {
            Expr::Literal(literal) => self.literal(node, literal),
            Expr::Ident(name) => self.variable(node, name),
            Expr::Select(select) => self.select(node, select),
            Expr::Call(call) => self.call(node, call),
            Expr::List(list) => {
                let items: Checked<Vec<Typed>> =
                    list.elements.iter().map(|item| self.typed(item)).collect();
                Ok(Typed::List(items?))
            }
            Expr::Comprehension(inner) => self.comprehension(node, inner),
            Expr::Map(_) | Expr::Struct(_) => {
                Err(self.error(node, "expected a condition, found a map or message literal"))
            }
            Expr::Unspecified => Err(self.error(node, "expected an expression, found nothing")),
        }
    }

    pub(super) fn bool(&mut self, node: &IdedExpr) -> Checked<Bool> {
        match self.typed(node)? {
            Typed::Bool(value) => Ok(value),
            other => self.expected(node, "a bool", &other),
        }
    }

    pub(super) fn text_of(&mut self, node: &IdedExpr) -> Checked<Text> {
        match self.typed(node)? {
            Typed::Text(value) => Ok(value),
            other => self.expected(node, "a string", &other),
        }
    }

    fn literal(&self, node: &IdedExpr, literal: &LiteralValue) -> Checked<Typed> {
        Ok(match literal {
            LiteralValue::Boolean(b) => Typed::Bool(Bool::Const(*b.inner())),
            LiteralValue::Int(i) => Typed::Int(Int::Const(*i.inner())),
            LiteralValue::UInt(i) => match i64::try_from(*i.inner()) {
                Ok(i) => Typed::Int(Int::Const(i)),
                Err(_) => return Err(self.error(node, "expected a smaller number")),
            },
            LiteralValue::Double(f) => Typed::Num(Num::Const(*f.inner())),
            LiteralValue::String(s) => Typed::Text(Text::Const(s.inner().into())),
            LiteralValue::Bytes(_) => {
                return Err(self.error(node, "expected a string, found bytes; remove the b"));
            }
            LiteralValue::Null => {
                return Err(
                    self.error(node, "expected a value, found null; ask with has(labels.x)")
                );
            }
        })
    }

    pub(super) fn variables(&self) -> &'static [&'static str] {
        if self.scope == Scope::Node {
            &NODE_VARS
        } else {
            &RULE_VARS
        }
    }

    fn variable(&mut self, node: &IdedExpr, name: &str) -> Checked<Typed> {
        if self.item.as_deref() == Some(name) {
            return Ok(Typed::Text(Text::Item));
        }
        if !self.variables().contains(&name) {
            let known = self.variables();
            let mut error = self.error(
                node,
                format!(
                    "unknown variable {name:?}, expected one of {}",
                    known.join(", ")
                ),
            );
            let words = ["ok", "warning", "critical", "unknown"];
            error.suggestion = if words.contains(&name) {
                Some(format!("\"{name}\""))
            } else {
                closest(name, known.iter().copied().chain(self.item.as_deref())).map(str::to_owned)
            };
            return Err(error);
        }
        if self.scope == Scope::Rule {
            self.facts.per_result = true;
        }
        Ok(match name {
            "check" => Typed::Text(Text::Check),
            "node" | "name" => Typed::Text(Text::Node),
            "address" => Typed::Text(Text::Address),
            "summary" => Typed::Text(Text::Summary),
            "state" => Typed::Text(Text::State),
            "last_state" => {
                self.facts.of_a_moment = true;
                Typed::Text(Text::LastState)
            }
            "attempt" => Typed::Int(Int::Attempt),
            "duration_ms" => Typed::Num(Num::DurationMs),
            "labels" => Typed::Map(Map::Labels),
            _ => {
                self.facts.of_a_moment = true;
                Typed::Map(Map::Metrics)
            }
        })
    }

    fn select(&mut self, node: &IdedExpr, select: &SelectExpr) -> Checked<Typed> {
        let map = match self.typed(&select.operand)? {
            Typed::Map(map) => map,
            other => return self.expected(node, "labels or metrics before the dot", &other),
        };
        let key = Text::Const(select.field.as_str().into());
        Ok(if select.test {
            Typed::Bool(Bool::Has(map, Box::new(key)))
        } else {
            lookup(map, key)
        })
    }
}
