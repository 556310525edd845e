//! The checker's operators, calls and quantifiers.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, LiteralValue, operators};

use super::compile::{Checked, Compiler, STATES, Typed, number, push_new};
use super::eval::{Bool, Cmp, Int, Map, Num, Op, Quantifier, Text};
use crate::check::outcome::State;
use crate::config::problem::closest;

impl Compiler<'_> {
    pub(super) fn call(&mut self, node: &IdedExpr, call: &CallExpr) -> Checked<Typed> {
        let args: &[IdedExpr] = &call.args;
        if let Some(target) = &call.target {
            return self.method(node, &call.func_name, target, args);
        }
        match (call.func_name.as_str(), args) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [_, _]) => {
                let mut parts = Vec::new();
                self.flatten(&call.func_name, node, &mut parts)?;
                Ok(Typed::Bool(if call.func_name == operators::LOGICAL_AND {
                    Bool::And(parts)
                } else {
                    Bool::Or(parts)
                }))
            }
            (operators::LOGICAL_NOT, [inner]) => {
                Ok(Typed::Bool(Bool::Not(Box::new(self.bool(inner)?))))
            }
            (operators::NEGATE, [inner]) => match self.typed(inner)? {
                Typed::Int(int) => Ok(Typed::Int(Int::Neg(Box::new(int)))),
                Typed::Num(num) => Ok(Typed::Num(Num::Neg(Box::new(num)))),
                other => self.expected(inner, "a number after -", &other),
            },
            (operators::CONDITIONAL, [condition, yes, no]) => self.conditional(condition, yes, no),
            (operators::EQUALS, [a, b]) => self.compare(node, Cmp::Eq, a, b),
            (operators::NOT_EQUALS, [a, b]) => self.compare(node, Cmp::Ne, a, b),
            (operators::LESS, [a, b]) => self.compare(node, Cmp::Lt, a, b),
            (operators::LESS_EQUALS, [a, b]) => self.compare(node, Cmp::Le, a, b),
            (operators::GREATER, [a, b]) => self.compare(node, Cmp::Gt, a, b),
            (operators::GREATER_EQUALS, [a, b]) => self.compare(node, Cmp::Ge, a, b),
            (operators::ADD, [a, b]) => self.calculate(Op::Add, a, b),
            (operators::SUBSTRACT, [a, b]) => self.calculate(Op::Sub, a, b),
            (operators::MULTIPLY, [a, b]) => self.calculate(Op::Mul, a, b),
            (operators::DIVIDE, [a, b]) => self.calculate(Op::Div, a, b),
            (operators::MODULO, [a, b]) => self.calculate(Op::Rem, a, b),
            (operators::INDEX, [map, key]) => match self.typed(map)? {
                Typed::Map(map) => {
                    let key = self.text_of(key)?;
                    Ok(lookup(map, key))
                }
                other => self.expected(map, "labels or metrics before [", &other),
            },
            (operators::IN, [item, list]) => self.membership(item, list),
            ("size", [value]) => self.size(value),
            (name, args) => self.function(node, name, args),
        }
    }

    /// `a && b && c` as one list, however it nests.
    fn flatten(&mut self, operator: &str, node: &IdedExpr, parts: &mut Vec<Bool>) -> Checked<()> {
        match &node.expr {
            Expr::Call(call) if call.func_name == operator && call.target.is_none() => {
                self.nodes += 1;
                for arg in &call.args {
                    self.flatten(operator, arg, parts)?;
                }
            }
            _ => parts.push(self.bool(node)?),
        }
        Ok(())
    }

    fn conditional(
        &mut self,
        condition: &IdedExpr,
        yes: &IdedExpr,
        no: &IdedExpr,
    ) -> Checked<Typed> {
        let c = self.bool(condition)?;
        Ok(match (self.typed(yes)?, self.typed(no)?) {
            (Typed::Bool(a), Typed::Bool(b)) => Typed::Bool(Bool::If(Box::new((c, a, b)))),
            (Typed::Text(a), Typed::Text(b)) => Typed::Text(Text::If(Box::new((c, a, b)))),
            (Typed::Int(a), Typed::Int(b)) => Typed::Int(Int::If(Box::new((c, a, b)))),
            (a, b) => {
                let expected = a.name();
                match (number(a), number(b)) {
                    (Ok(a), Ok(b)) => Typed::Num(Num::If(Box::new((c, a, b)))),
                    (_, other) => {
                        let found = other.err().map_or("a number", |t| t.name());
                        let message =
                            format!("expected {expected} on both sides of :, found {found}");
                        return Err(self.error(no, message));
                    }
                }
            }
        })
    }

    fn compare(&mut self, node: &IdedExpr, cmp: Cmp, a: &IdedExpr, b: &IdedExpr) -> Checked<Typed> {
        let (left, right) = (self.typed(a)?, self.typed(b)?);
        let ordered = !matches!(cmp, Cmp::Eq | Cmp::Ne);
        Ok(Typed::Bool(match (left, right) {
            (Typed::Text(left), Typed::Text(right)) => {
                self.known_state(&left, &right, b)?;
                self.known_state(&right, &left, a)?;
                self.note_names(&left, &right);
                self.note_names(&right, &left);
                text_comparison(cmp, left, right)
            }
            (Typed::Bool(left), Typed::Bool(right)) if !ordered => {
                Bool::Same(cmp == Cmp::Eq, Box::new((left, right)))
            }
            (Typed::Int(left), Typed::Int(right)) => Bool::Ints(cmp, Box::new((left, right))),
            (left, right) => {
                let names = (left.name(), right.name());
                match (number(left), number(right)) {
                    (Ok(left), Ok(right)) => Bool::Numbers(cmp, Box::new((left, right))),
                    _ => {
                        let message = format!(
                            "expected two values of one type to compare, found {} and {}",
                            names.0, names.1
                        );
                        return Err(self.error(node, message));
                    }
                }
            }
        }))
    }

    /// `state == "critcal"` would be a rule that never fires.
    fn known_state(&self, var: &Text, value: &Text, node: &IdedExpr) -> Checked<()> {
        let (Text::State | Text::LastState, Text::Const(word)) = (var, value) else {
            return Ok(());
        };
        if STATES.iter().any(|state| state.as_str() == &**word) {
            return Ok(());
        }
        let mut error = self.error(
            node,
            format!("expected one of ok, warning, critical, unknown for a state, found {word:?}"),
        );
        error.suggestion = match word.to_lowercase().as_str() {
            "down" | "crit" | "error" | "failed" | "failing" => Some("critical".to_owned()),
            "up" | "healthy" | "passing" => Some("ok".to_owned()),
            word => closest(word, STATES.map(State::as_str)).map(str::to_owned),
        };
        Err(error)
    }

    fn note_names(&mut self, var: &Text, value: &Text) {
        match (var, value) {
            (Text::Check, Text::Const(name)) => push_new(&mut self.facts.checks, (**name).into()),
            (Text::Node, Text::Const(name)) => push_new(&mut self.facts.nodes, (**name).into()),
            _ => {}
        }
    }

    fn calculate(&mut self, op: Op, a: &IdedExpr, b: &IdedExpr) -> Checked<Typed> {
        let (left, right) = (self.typed(a)?, self.typed(b)?);
        Ok(match (left, right) {
            (Typed::Int(left), Typed::Int(right)) => {
                Typed::Int(Int::Calc(op, Box::new((left, right))))
            }
            (Typed::Text(left), Typed::Text(right)) if op == Op::Add => {
                Typed::Text(Text::Join(Box::new((left, right))))
            }
            (left, right) => match (number(left), number(right)) {
                (Ok(left), Ok(right)) if op != Op::Rem => {
                    Typed::Num(Num::Calc(op, Box::new((left, right))))
                }
                (Ok(_), Ok(_)) => return Err(self.error(b, "expected whole numbers around %")),
                (Err(found), _) => return self.expected(a, "a number", &found),
                (_, Err(found)) => return self.expected(b, "a number", &found),
            },
        })
    }

    fn membership(&mut self, item: &IdedExpr, list: &IdedExpr) -> Checked<Typed> {
        let left = self.typed(item)?;
        let right = match self.typed(list)? {
            Typed::Map(map) => {
                return match left {
                    Typed::Text(key) => Ok(Typed::Bool(Bool::Has(map, Box::new(key)))),
                    other => self.expected(item, "a string before in", &other),
                };
            }
            Typed::List(items) => items,
            other => return self.expected(list, "a list, labels or metrics after in", &other),
        };
        let Expr::List(nodes) = &list.expr else {
            return Err(self.error(list, "expected a list after in"));
        };
        match left {
            Typed::Text(left) => {
                let mut texts = Vec::with_capacity(right.len());
                for (typed, node) in right.into_iter().zip(&nodes.elements) {
                    match typed {
                        Typed::Text(text) => {
                            self.known_state(&left, &text, node)?;
                            self.note_names(&left, &text);
                            texts.push(text);
                        }
                        other => return self.expected(node, "a string", &other),
                    }
                }
                Ok(Typed::Bool(text_membership(left, texts)))
            }
            left => {
                let left = match number(left) {
                    Ok(left) => left,
                    Err(found) => {
                        return self.expected(item, "a string or number before in", &found);
                    }
                };
                let mut numbers = Vec::with_capacity(right.len());
                for (typed, node) in right.into_iter().zip(&nodes.elements) {
                    match number(typed) {
                        Ok(number) => numbers.push(number),
                        Err(found) => return self.expected(node, "a number", &found),
                    }
                }
                Ok(Typed::Bool(Bool::NumberIn(Box::new(left), numbers)))
            }
        }
    }

    /// `exists`, `all` and `exists_one`, as the parser spells them out.
    pub(super) fn comprehension(
        &mut self,
        node: &IdedExpr,
        inner: &ComprehensionExpr,
    ) -> Checked<Typed> {
        const FORMS: &str = "exists, all or exists_one";
        if self.item.is_some() {
            return Err(self.error(node, "expected no comprehension inside another"));
        }
        let map = match self.typed(&inner.iter_range)? {
            Typed::Map(map) => map,
            other => {
                return self.expected(node, &format!("labels or metrics before {FORMS}"), &other);
            }
        };
        let Expr::Call(step) = &inner.loop_step.expr else {
            return Err(self.error(node, format!("expected {FORMS}")));
        };
        let (quantifier, body) = match (step.func_name.as_str(), &step.args[..]) {
            (operators::LOGICAL_OR, [_, body]) => (Quantifier::Exists, body),
            (operators::LOGICAL_AND, [_, body]) => (Quantifier::All, body),
            (operators::CONDITIONAL, [body, ..])
                if matches!(inner.accu_init.expr, Expr::Literal(LiteralValue::Int(_))) =>
            {
                (Quantifier::One, body)
            }
            _ => return Err(self.error(node, format!("expected {FORMS}, found another macro"))),
        };
        if self.variables().contains(&inner.iter_var.as_str()) {
            let message = format!(
                "expected another name than {:?}, which is a variable",
                inner.iter_var
            );
            return Err(self.error(node, message));
        }
        self.item = Some(inner.iter_var.clone());
        let body = self.bool(body);
        self.item = None;
        Ok(Typed::Bool(Bool::Over(quantifier, map, Box::new(body?))))
    }
}

pub(super) fn lookup(map: Map, key: Text) -> Typed {
    match map {
        Map::Labels => Typed::Text(Text::Label(Box::new(key))),
        Map::Metrics => Typed::Num(Num::Metric(Box::new(key))),
    }
}

fn bit(word: &str) -> u8 {
    STATES
        .iter()
        .find(|s| s.as_str() == word)
        .map_or(0, |s| 1 << *s as u8)
}

/// The commonest comparisons have a form of their own.
fn text_comparison(cmp: Cmp, left: Text, right: Text) -> Bool {
    let (left, right) = match (left, right) {
        (constant @ Text::Const(_), other) if matches!(cmp, Cmp::Eq | Cmp::Ne) => (other, constant),
        pair => pair,
    };
    match (cmp, left, right) {
        (Cmp::Eq, Text::Check, Text::Const(name)) => Bool::CheckIs(name),
        (Cmp::Eq, Text::State, Text::Const(word)) => Bool::StateIn(bit(&word)),
        (Cmp::Ne, Text::State, Text::Const(word)) => Bool::StateIn(!bit(&word)),
        (cmp, left, right) => Bool::Text(cmp, Box::new((left, right))),
    }
}

fn text_membership(left: Text, list: Vec<Text>) -> Bool {
    let mut set = 0;
    let constant = list.iter().all(|item| match item {
        Text::Const(word) => {
            set |= bit(word);
            true
        }
        _ => false,
    });
    match left {
        Text::State if constant => Bool::StateIn(set),
        left => Bool::TextIn(Box::new(left), list),
    }
}
