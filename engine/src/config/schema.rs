//! The part of JSON Schema that plugin configurations use.
//!
//! Known: type, enum, const, required, properties, patternProperties,
//! additionalProperties, items, anyOf, oneOf, allOf, not, minimum, maximum,
//! their exclusive forms, minLength, maxLength, minItems, maxItems, uniqueItems,
//! pattern, format (`regex` and `uri`), and `$ref` into the same document.
//! Other keywords do not refuse anything: the plugin itself has the last word.
//!
//! Schemas are not trusted: every step is paid for from a [`Budget`].

mod budget;
mod marks;

use std::collections::HashSet;

use serde_json::{Map, Value};

use self::budget::Budget;
pub(super) use self::marks::{bracketed, target};
pub use self::marks::{marked, targets};
use super::load::describe;
use super::problem::{Problem, closest};

/// A plugin's schema must not make validation recurse for ever.
const MAX_DEPTH: usize = 64;
/// Most problems that are found in one value.
const MAX_PROBLEMS: usize = 100;
const TOO_COMPLEX: &str = "the plugin's schema is too complex to be checked";

/// Checks `value` against `schema`; paths of problems begin with `path`.
pub fn check(schema: &Value, value: &Value, path: &str) -> Vec<Problem> {
    let budget = Budget::new();
    let mut checker = Checker {
        root: schema,
        budget: &budget,
        problems: Vec::new(),
    };
    checker.check(schema, value, path, 0);
    if budget.is_spent() {
        // What was found until then may not be so.
        return vec![Problem::new(path, TOO_COMPLEX)];
    }
    checker.problems
}

/// True where not even an empty object can be checked against the schema.
pub fn is_too_complex(schema: &Value) -> bool {
    check(schema, &Value::Object(Map::new()), "")
        .iter()
        .any(|problem| problem.message == TOO_COMPLEX)
}

struct Checker<'a, 'b> {
    root: &'a Value,
    budget: &'b Budget<'a>,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a, '_> {
    fn wrong(&mut self, path: &str, message: String) {
        self.add(Problem::new(path, message));
    }

    fn add(&mut self, problem: Problem) {
        let size = problem.path.len() + problem.message.len();
        if self.budget.spend_text(size) && self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    /// True where more would not be worth finding, or was not paid for.
    fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS || self.budget.is_spent()
    }

    fn passes(&self, schema: &'a Value, value: &Value, depth: usize) -> Vec<Problem> {
        let mut checker = Checker {
            problems: Vec::new(),
            ..*self
        };
        checker.check(schema, value, "", depth);
        checker.problems
    }

    fn check(&mut self, schema: &'a Value, value: &Value, path: &str, depth: usize) {
        if self.is_full() || !self.budget.spend(1) {
            return;
        }
        if depth > MAX_DEPTH {
            return self.budget.exhaust();
        }
        let schema = match schema {
            Value::Bool(false) => return self.wrong(path, "expected no value here".into()),
            Value::Object(schema) => schema,
            _ => return,
        };
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str)
            && self.budget.spend_text(reference.len())
            && let Some(target) = reference
                .strip_prefix('#')
                .and_then(|p| self.root.pointer(p))
        {
            self.check(target, value, path, depth + 1);
        }
        if let Some(expected) = schema.get("type") {
            let choices = expected.as_array().map_or(1, Vec::len);
            if !self.budget.spend(choices) {
                return;
            }
            if !has_type(expected, value) {
                let names = type_names(expected);
                return self.wrong(path, format!("expected {names}, found {}", describe(value)));
            }
        }
        if let Some(Value::Array(allowed)) = schema.get("enum")
            && self.budget.spend(allowed.len())
            && !allowed.contains(value)
        {
            let list: Vec<String> = allowed.iter().map(Value::to_string).collect();
            let message = format!(
                "expected one of {}, found {}",
                list.join(", "),
                describe(value)
            );
            let near = value
                .as_str()
                .and_then(|found| closest(found, allowed.iter().filter_map(Value::as_str)));
            self.add(Problem::new(path, message).suggest(near));
        }
        if let Some(only) = schema.get("const")
            && only != value
        {
            self.wrong(path, format!("expected {only}, found {}", describe(value)));
        }
        self.combine(schema, value, path, depth);
        match value {
            Value::Number(number) => self.number(schema, number.as_f64().unwrap_or(0.0), path),
            Value::String(text) => self.text(schema, text, path),
            Value::Array(items) => self.list(schema, items, path, depth),
            Value::Object(map) => self.object(schema, map, path, depth),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn combine(&mut self, schema: &'a Map<String, Value>, value: &Value, path: &str, depth: usize) {
        if let Some(Value::Array(all)) = schema.get("allOf") {
            for part in all {
                self.check(part, value, path, depth + 1);
            }
        }
        for key in ["anyOf", "oneOf"] {
            let Some(Value::Array(choices)) = schema.get(key) else {
                continue;
            };
            let results: Vec<Vec<Problem>> = choices
                .iter()
                .map(|choice| self.passes(choice, value, depth + 1))
                .collect();
            let right = results
                .iter()
                .filter(|problems| problems.is_empty())
                .count();
            if right == 0 {
                let mut texts: Vec<String> =
                    results.into_iter().flatten().map(|p| p.message).collect();
                texts.dedup();
                self.wrong(path, texts.join("; or "));
            } else if key == "oneOf" && right > 1 {
                self.wrong(
                    path,
                    format!("expected a value of one shape, found one of {right}"),
                );
            }
        }
        if let Some(not) = schema.get("not")
            && self.passes(not, value, depth + 1).is_empty()
        {
            self.wrong(
                path,
                format!("expected another value, found {}", describe(value)),
            );
        }
    }

    fn list(&mut self, schema: &'a Map<String, Value>, items: &[Value], path: &str, depth: usize) {
        self.count(schema, "Items", "items", items.len(), path);
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) && self.budget.spend(items.len()) {
            let mut seen = HashSet::new();
            for (i, item) in items.iter().enumerate() {
                if !seen.insert(item) {
                    self.wrong(&format!("{path}[{i}]"), "expected each item once".into());
                }
            }
        }
        if let Some(each) = schema.get("items") {
            for (i, item) in items.iter().enumerate() {
                if self.is_full() {
                    return;
                }
                self.check(each, item, &format!("{path}[{i}]"), depth + 1);
            }
        }
    }

    fn number(&mut self, schema: &Map<String, Value>, found: f64, path: &str) {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        if let Some(min) = bound("minimum").filter(|min| found < *min) {
            self.wrong(path, format!("expected at least {min}, found {found}"));
        }
        if let Some(max) = bound("maximum").filter(|max| found > *max) {
            self.wrong(path, format!("expected at most {max}, found {found}"));
        }
        if let Some(min) = bound("exclusiveMinimum").filter(|min| found <= *min) {
            self.wrong(path, format!("expected more than {min}, found {found}"));
        }
        if let Some(max) = bound("exclusiveMaximum").filter(|max| found >= *max) {
            self.wrong(path, format!("expected less than {max}, found {found}"));
        }
    }

    fn text(&mut self, schema: &'a Map<String, Value>, text: &str, path: &str) {
        if !self.budget.spend_text(text.len()) {
            return;
        }
        self.count(schema, "Length", "characters", text.chars().count(), path);
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && self.matches(pattern, text) == Some(false)
        {
            self.wrong(
                path,
                format!("expected a text that matches {pattern}, found {text:?}"),
            );
        }
        match schema.get("format").and_then(Value::as_str) {
            Some("regex") => {
                if self.budget.spend_pattern(text)
                    && let Err(e) = regex::RegexBuilder::new(text).size_limit(1 << 20).build()
                {
                    let why = e.to_string();
                    let why = why.lines().last().unwrap_or("not a pattern").trim();
                    let why = why.strip_prefix("error: ").unwrap_or(why);
                    self.wrong(
                        path,
                        format!("expected a regular expression, found {text:?}: {why}"),
                    );
                }
            }
            Some("uri") => {
                if let Err(e) = url::Url::parse(text) {
                    self.wrong(path, format!("expected a URL, found {text:?}: {e}"));
                }
            }
            _ => {}
        }
    }

    /// Whether a text matches a pattern of the schema; absent where the pattern
    /// cannot be used.
    fn matches(&self, pattern: &'a str, text: &str) -> Option<bool> {
        let regex = self.budget.pattern(pattern)?;
        self.budget.spend_match(text).then(|| regex.is_match(text))
    }

    fn count(
        &mut self,
        schema: &Map<String, Value>,
        suffix: &str,
        what: &str,
        found: usize,
        path: &str,
    ) {
        let bound = |key: String| schema.get(&key).and_then(Value::as_u64);
        if let Some(min) = bound(format!("min{suffix}")).filter(|min| (found as u64) < *min) {
            self.wrong(
                path,
                format!("expected at least {min} {what}, found {found}"),
            );
        }
        if let Some(max) = bound(format!("max{suffix}")).filter(|max| found as u64 > *max) {
            self.wrong(
                path,
                format!("expected at most {max} {what}, found {found}"),
            );
        }
    }

    fn object(
        &mut self,
        schema: &'a Map<String, Value>,
        map: &Map<String, Value>,
        path: &str,
        depth: usize,
    ) {
        if let Some(Value::Array(required)) = schema.get("required")
            && self.budget.spend(required.len())
        {
            for key in required.iter().filter_map(Value::as_str) {
                if !map.contains_key(key) {
                    self.wrong(path, format!("expected the key {key:?}, found none"));
                }
            }
        }
        let part = |key: &str| schema.get(key).and_then(Value::as_object);
        let (properties, patterns) = (part("properties"), part("patternProperties"));
        for (key, value) in map {
            if self.is_full() || !self.budget.spend_text(path.len() + key.len()) {
                return;
            }
            let inner = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            let mut known = false;
            if let Some(schema) = properties.and_then(|properties| properties.get(key)) {
                known = true;
                self.check(schema, value, &inner, depth + 1);
            }
            for (pattern, schema) in patterns.into_iter().flatten() {
                match self.matches(pattern, key) {
                    Some(true) => {
                        known = true;
                        self.check(schema, value, &inner, depth + 1);
                    }
                    Some(false) => {}
                    // It may have been meant.
                    None => known = true,
                }
            }
            if known {
                continue;
            }
            match schema.get("additionalProperties") {
                Some(Value::Bool(false)) => {
                    let names: Vec<&str> = properties
                        .into_iter()
                        .flatten()
                        .map(|(name, _)| name.as_str())
                        .collect();
                    let expected = if names.is_empty() {
                        "expected none".to_owned()
                    } else {
                        format!("expected one of {}", names.join(", "))
                    };
                    let problem = Problem::new(inner, format!("unknown key {key:?}, {expected}"))
                        .suggest(closest(key, names))
                        .on_key();
                    self.add(problem);
                }
                Some(other) => self.check(other, value, &inner, depth + 1),
                None => {}
            }
        }
    }
}

fn has_type(expected: &Value, value: &Value) -> bool {
    match expected {
        Value::Array(any) => any
            .iter()
            .any(|one| one.is_string() && has_type(one, value)),
        Value::String(name) => match name.as_str() {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "number" => value.is_number(),
            "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => true,
        },
        _ => true,
    }
}

fn type_names(expected: &Value) -> String {
    match expected {
        Value::Array(any) => {
            let names = any.iter().filter(|one| one.is_string()).map(type_names);
            names.collect::<Vec<_>>().join(" or ")
        }
        Value::String(name) => match name.as_str() {
            "null" => "nothing".into(),
            "boolean" => "true or false".into(),
            "number" => "a number".into(),
            "integer" => "a whole number".into(),
            "string" => "a text".into(),
            "array" => "a list".into(),
            "object" => "a map".into(),
            other => other.into(),
        },
        _ => "another value".into(),
    }
}

#[cfg(test)]
mod tests;
