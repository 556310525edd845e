//! Expectations: status codes and JSON values.

use bellwether_plugin::ProbeError;
use regex_lite::Regex;
use serde_json::Value;

use crate::config::{Assertion, Status};

/// Codes that are right.
pub struct Statuses {
    ranges: Vec<(u16, u16)>,
    text: String,
}

impl Statuses {
    /// Reads codes, ranges and classes.
    pub fn read(list: &[Status]) -> Result<Self, ProbeError> {
        let mut ranges = Vec::new();
        let mut words = Vec::new();
        for (index, status) in list.iter().enumerate() {
            let range = match status {
                Status::Code(code) => {
                    words.push(code.to_string());
                    Some((*code, *code))
                }
                Status::Range(text) => {
                    words.push(text.clone());
                    range(text)
                }
            };
            ranges.push(range.ok_or_else(|| {
                ProbeError::config(
                    format!("/expect_status/{index}"),
                    "expected a code like 200, a range like \"200-299\" or a class like \"2xx\"",
                )
            })?);
        }
        if ranges.is_empty() {
            return Err(ProbeError::config("/expect_status", "expected at least one status code"));
        }
        Ok(Statuses { ranges, text: words.join(", ") })
    }

    /// True where the code is right.
    pub fn contain(&self, code: u16) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&code))
    }

    /// As the operator wrote them.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let text = text.trim();
    if let Some(class) = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX")) {
        let class: u16 = class.parse().ok().filter(|class| (1..=9).contains(class))?;
        return Some((class * 100, class * 100 + 99));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some((first, last))
}

/// Compiles a pattern of the configuration.
pub fn pattern(pointer: &str, text: &str) -> Result<Regex, ProbeError> {
    Regex::new(text).map_err(|error| {
        ProbeError::config(pointer, format!("expected a regular expression: {error}"))
    })
}

/// What an assertion finds wrong, if anything. `index` is its place in the
/// configuration.
pub fn broken(
    assertion: &Assertion,
    index: usize,
    body: &Value,
) -> Result<Option<String>, ProbeError> {
    let pointer = assertion.pointer.as_str();
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(ProbeError::config(
            format!("/json/{index}/pointer"),
            format!("expected a JSON Pointer like \"/status\", found \"{pointer}\""),
        ));
    }
    let matches = match &assertion.matches {
        Some(text) => Some((pattern(&format!("/json/{index}/matches"), text)?, text)),
        None => None,
    };
    let shown = if pointer.is_empty() { "the document" } else { pointer };
    let Some(value) = body.pointer(pointer) else {
        return Ok(match assertion.exists {
            Some(false) => None,
            _ => Some(format!("{shown} is missing")),
        });
    };
    if assertion.exists == Some(false) {
        return Ok(Some(format!("{shown} is {}, expected none", short(value))));
    }
    let bounds = [
        (assertion.gt, "above", (|found, bound| found > bound) as fn(f64, f64) -> bool),
        (assertion.ge, "at least", |found, bound| found >= bound),
        (assertion.lt, "below", |found, bound| found < bound),
        (assertion.le, "at most", |found, bound| found <= bound),
    ];
    for (bound, word, holds) in bounds {
        if let Some(bound) = bound {
            match value.as_f64() {
                Some(found) if holds(found, bound) => {}
                _ => return Ok(Some(format!("{shown} is {}, expected {word} {bound}", short(value)))),
            }
        }
    }
    if let Some(expected) = &assertion.equals
        && !equal(value, expected)
    {
        return Ok(Some(format!("{shown} is {}, expected {}", short(value), short(expected))));
    }
    if let Some(other) = &assertion.not_equals
        && equal(value, other)
    {
        return Ok(Some(format!("{shown} is {}, expected another value", short(value))));
    }
    if let Some((regex, text)) = matches {
        let found = match value {
            Value::String(found) => found.clone(),
            other => other.to_string(),
        };
        if !regex.is_match(&found) {
            return Ok(Some(format!("{shown} is {}, expected to match {text}", short(value))));
        }
    }
    Ok(None)
}

/// Equality that counts 1 and 1.0 as the same number, at any depth.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || left.as_f64() == right.as_f64()
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, value)| right.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => left == right,
    }
}

fn short(value: &Value) -> String {
    shorten(&value.to_string(), 80)
}

/// At most `max` characters, with a sign that more were there.
pub fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
