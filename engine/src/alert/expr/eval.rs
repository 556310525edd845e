//! The compiled form. `None` is CEL's error: a missing label or metric, an
//! overflow, a division by zero.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::{Agg, Windows};
use crate::check::outcome::{Metric, NodeInfo, State};

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

/// What a rule sees of one result.
#[derive(Clone, Copy, Debug)]
pub struct ResultView<'a> {
    pub check: &'a str,
    pub node: &'a str,
    pub labels: &'a BTreeMap<String, String>,
    /// The hard state after this result.
    pub state: State,
    /// The state before this result.
    pub last_state: State,
    pub attempt: u32,
    pub metrics: &'a [Metric],
    pub summary: &'a str,
    pub duration_ms: f64,
}

impl ResultView<'_> {
    /// Stands in where a rule reads no result.
    pub const NONE: ResultView<'static> = ResultView {
        check: "",
        node: "",
        labels: &NO_LABELS,
        state: State::Unknown,
        last_state: State::Unknown,
        attempt: 0,
        metrics: &[],
        summary: "",
        duration_ms: 0.0,
    };
}

/// Windows without any sample, for selectors and dry evaluation.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWindows;

impl Windows for NoWindows {
    fn aggregate(
        &self,
        f: Agg,
        _metric: &str,
        _window: Duration,
        _check: Option<&str>,
        _node: Option<&str>,
    ) -> Option<f64> {
        (f == Agg::Count).then_some(0.0)
    }

    fn log_count(&self, _query: usize, _window: Duration) -> u64 {
        0
    }
}

/// Values of the variables during one evaluation.
#[derive(Clone, Copy)]
pub(super) struct Env<'a> {
    result: ResultView<'a>,
    address: &'a str,
    windows: &'a dyn Windows,
    /// Value of the variable of the comprehension around.
    item: &'a str,
}

impl<'a> Env<'a> {
    pub(super) fn of_result(result: &ResultView<'a>, windows: &'a dyn Windows) -> Self {
        Self {
            result: *result,
            address: "",
            windows,
            item: "",
        }
    }

    pub(super) fn of_node(node: &'a NodeInfo) -> Self {
        let result = ResultView {
            node: &node.name,
            labels: &node.labels,
            ..ResultView::NONE
        };
        Self {
            result,
            address: &node.address,
            windows: &NoWindows,
            item: "",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Cmp {
    fn holds(self, ordering: Option<Ordering>) -> bool {
        match ordering {
            // NaN: unequal to everything, not ordered.
            None => self == Cmp::Ne,
            Some(o) => match self {
                Cmp::Eq => o.is_eq(),
                Cmp::Ne => o.is_ne(),
                Cmp::Lt => o.is_lt(),
                Cmp::Le => o.is_le(),
                Cmp::Gt => o.is_gt(),
                Cmp::Ge => o.is_ge(),
            },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

/// The two maps of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Map {
    Labels,
    Metrics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantifier {
    Exists,
    All,
    One,
}

#[derive(Clone, Debug)]
pub(super) enum Bool {
    Const(bool),
    Not(Box<Bool>),
    And(Vec<Bool>),
    Or(Vec<Bool>),
    If(Box<(Bool, Bool, Bool)>),
    Same(bool, Box<(Bool, Bool)>),
    /// `check == "…"`.
    CheckIs(Box<str>),
    /// `state == "…"` or with `!=`; the set as bits.
    StateIn(u8),
    Text(Cmp, Box<(Text, Text)>),
    Ints(Cmp, Box<(Int, Int)>),
    Numbers(Cmp, Box<(Num, Num)>),
    TextIn(Box<Text>, Vec<Text>),
    NumberIn(Box<Num>, Vec<Num>),
    Has(Map, Box<Text>),
    Contains(Box<(Text, Text)>),
    StartsWith(Box<(Text, Text)>),
    EndsWith(Box<(Text, Text)>),
    Matches(Box<Text>, Box<regex::Regex>),
    Over(Quantifier, Map, Box<Bool>),
}

#[derive(Clone, Debug)]
pub(super) enum Text {
    Const(Box<str>),
    Check,
    Node,
    Address,
    Summary,
    State,
    LastState,
    Item,
    Label(Box<Text>),
    Join(Box<(Text, Text)>),
    If(Box<(Bool, Text, Text)>),
}

#[derive(Clone, Debug)]
pub(super) enum Int {
    Const(i64),
    Attempt,
    Length(Box<Text>),
    Size(Map),
    Neg(Box<Int>),
    Calc(Op, Box<(Int, Int)>),
    If(Box<(Bool, Int, Int)>),
}

#[derive(Clone, Debug)]
pub(super) enum Num {
    Const(f64),
    Int(Box<Int>),
    DurationMs,
    Metric(Box<Text>),
    Window {
        f: Agg,
        metric: Box<str>,
        window: Duration,
        check: Option<Box<str>>,
        node: Option<Box<str>>,
    },
    LogCount {
        query: usize,
        window: Duration,
    },
    Neg(Box<Num>),
    Calc(Op, Box<(Num, Num)>),
    If(Box<(Bool, Num, Num)>),
}

impl Bool {
    pub(super) fn eval(&self, env: &Env<'_>) -> Option<bool> {
        Some(match self {
            Bool::Const(value) => *value,
            Bool::Not(inner) => !inner.eval(env)?,
            Bool::And(parts) => return all(parts.iter().map(|part| part.eval(env))),
            Bool::Or(parts) => return any(parts.iter().map(|part| part.eval(env))),
            Bool::If(parts) => {
                return if parts.0.eval(env)? {
                    parts.1.eval(env)
                } else {
                    parts.2.eval(env)
                };
            }
            Bool::Same(same, pair) => (pair.0.eval(env)? == pair.1.eval(env)?) == *same,
            Bool::CheckIs(name) => env.result.check == &**name,
            Bool::StateIn(set) => set & (1 << env.result.state as u8) != 0,
            Bool::Text(cmp, pair) => {
                let (a, b) = (pair.0.eval(env)?, pair.1.eval(env)?);
                cmp.holds(Some((*a).cmp(&*b)))
            }
            Bool::Ints(cmp, pair) => cmp.holds(Some(pair.0.eval(env)?.cmp(&pair.1.eval(env)?))),
            Bool::Numbers(cmp, pair) => {
                cmp.holds(pair.0.eval(env)?.partial_cmp(&pair.1.eval(env)?))
            }
            Bool::TextIn(text, list) => {
                let text = text.eval(env)?;
                return each(list.iter().map(|item| Some(*item.eval(env)? == *text)));
            }
            Bool::NumberIn(number, list) => {
                let number = number.eval(env)?;
                return each(list.iter().map(|item| Some(item.eval(env)? == number)));
            }
            Bool::Has(map, key) => {
                let key = key.eval(env)?;
                match map {
                    Map::Labels => env.result.labels.contains_key(&*key),
                    Map::Metrics => env.result.metrics.iter().any(|m| *m.name == *key),
                }
            }
            Bool::Contains(pair) => pair.0.eval(env)?.contains(&*pair.1.eval(env)?),
            Bool::StartsWith(pair) => pair.0.eval(env)?.starts_with(&*pair.1.eval(env)?),
            Bool::EndsWith(pair) => pair.0.eval(env)?.ends_with(&*pair.1.eval(env)?),
            Bool::Matches(text, regex) => regex.is_match(&text.eval(env)?),
            Bool::Over(quantifier, map, body) => {
                return match map {
                    Map::Labels => over(
                        *quantifier,
                        body,
                        env,
                        env.result.labels.keys().map(String::as_str),
                    ),
                    Map::Metrics => over(
                        *quantifier,
                        body,
                        env,
                        env.result.metrics.iter().map(|m| &*m.name),
                    ),
                };
            }
        })
    }
}

/// CEL's `&&`: one false decides, whatever failed before it.
fn all(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut outcome = Some(true);
    for part in parts {
        match part {
            Some(false) => return Some(false),
            Some(true) => {}
            None => outcome = None,
        }
    }
    outcome
}

/// CEL's `||`: one true decides, whatever failed before it.
fn any(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut outcome = Some(false);
    for part in parts {
        match part {
            Some(true) => return Some(true),
            Some(false) => {}
            None => outcome = None,
        }
    }
    outcome
}

/// Membership in a list literal, whose items are all worked out first.
fn each(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut found = false;
    for part in parts {
        found |= part?;
    }
    Some(found)
}

fn over<'a>(
    quantifier: Quantifier,
    body: &Bool,
    env: &Env<'a>,
    items: impl Iterator<Item = &'a str>,
) -> Option<bool> {
    let mut results = items.map(|item| body.eval(&Env { item, ..*env }));
    match quantifier {
        Quantifier::Exists => any(results),
        Quantifier::All => all(results),
        Quantifier::One => {
            let mut found = 0;
            results.try_for_each(|result| {
                found += u32::from(result?);
                Some(())
            })?;
            Some(found == 1)
        }
    }
}

impl Text {
    fn eval<'a>(&'a self, env: &Env<'a>) -> Option<Cow<'a, str>> {
        Some(Cow::Borrowed(match self {
            Text::Const(text) => text,
            Text::Check => env.result.check,
            Text::Node => env.result.node,
            Text::Address => env.address,
            Text::Summary => env.result.summary,
            Text::State => env.result.state.as_str(),
            Text::LastState => env.result.last_state.as_str(),
            Text::Item => env.item,
            Text::Label(key) => env.result.labels.get(&*key.eval(env)?)?,
            Text::Join(pair) => {
                return Some(pair.0.eval(env)? + pair.1.eval(env)?);
            }
            Text::If(parts) => {
                return if parts.0.eval(env)? {
                    parts.1.eval(env)
                } else {
                    parts.2.eval(env)
                };
            }
        }))
    }
}

impl Int {
    fn eval(&self, env: &Env<'_>) -> Option<i64> {
        Some(match self {
            Int::Const(number) => *number,
            Int::Attempt => i64::from(env.result.attempt),
            Int::Length(text) => text.eval(env)?.chars().count() as i64,
            Int::Size(Map::Labels) => env.result.labels.len() as i64,
            Int::Size(Map::Metrics) => env.result.metrics.len() as i64,
            Int::Neg(inner) => return inner.eval(env)?.checked_neg(),
            Int::Calc(op, pair) => {
                let (a, b) = (pair.0.eval(env)?, pair.1.eval(env)?);
                return match op {
                    Op::Add => a.checked_add(b),
                    Op::Sub => a.checked_sub(b),
                    Op::Mul => a.checked_mul(b),
                    Op::Div => a.checked_div(b),
                    Op::Rem => a.checked_rem(b),
                };
            }
            Int::If(parts) => {
                return if parts.0.eval(env)? {
                    parts.1.eval(env)
                } else {
                    parts.2.eval(env)
                };
            }
        })
    }
}

impl Num {
    fn eval(&self, env: &Env<'_>) -> Option<f64> {
        Some(match self {
            Num::Const(number) => *number,
            Num::Int(int) => int.eval(env)? as f64,
            Num::DurationMs => env.result.duration_ms,
            Num::Metric(name) => {
                let name = name.eval(env)?;
                env.result.metrics.iter().find(|m| *m.name == *name)?.value
            }
            Num::Window {
                f,
                metric,
                window,
                check,
                node,
            } => {
                return env.windows.aggregate(
                    *f,
                    metric,
                    *window,
                    check.as_deref(),
                    node.as_deref(),
                );
            }
            Num::LogCount { query, window } => env.windows.log_count(*query, *window) as f64,
            Num::Neg(inner) => -inner.eval(env)?,
            Num::Calc(op, pair) => {
                let (a, b) = (pair.0.eval(env)?, pair.1.eval(env)?);
                match op {
                    Op::Add => a + b,
                    Op::Sub => a - b,
                    Op::Mul => a * b,
                    Op::Div => a / b,
                    Op::Rem => a % b,
                }
            }
            Num::If(parts) => {
                return if parts.0.eval(env)? {
                    parts.1.eval(env)
                } else {
                    parts.2.eval(env)
                };
            }
        })
    }
}
