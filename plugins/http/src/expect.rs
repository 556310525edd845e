//! Expectations of a body: patterns and JSON values.

use bellwether_plugin::ProbeError;
use bellwether_plugin::http::shorten;
use regex_lite::Regex;
use serde_json::Value;

use crate::config::Assertion;

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
    let shown = if pointer.is_empty() {
        "the document"
    } else {
        pointer
    };
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
        (
            assertion.gt,
            "above",
            (|found, bound| found > bound) as fn(f64, f64) -> bool,
        ),
        (assertion.ge, "at least", |found, bound| found >= bound),
        (assertion.lt, "below", |found, bound| found < bound),
        (assertion.le, "at most", |found, bound| found <= bound),
    ];
    for (bound, word, holds) in bounds {
        if let Some(bound) = bound {
            match value.as_f64() {
                Some(found) if holds(found, bound) => {}
                _ => {
                    return Ok(Some(format!(
                        "{shown} is {}, expected {word} {bound}",
                        short(value)
                    )));
                }
            }
        }
    }
    if let Some(expected) = &assertion.equals
        && !equal(value, expected)
    {
        return Ok(Some(format!(
            "{shown} is {}, expected {}",
            short(value),
            short(expected)
        )));
    }
    if let Some(other) = &assertion.not_equals
        && equal(value, other)
    {
        return Ok(Some(format!(
            "{shown} is {}, expected another value",
            short(value)
        )));
    }
    if let Some((regex, text)) = matches {
        let found = match value {
            Value::String(found) => found.clone(),
            other => other.to_string(),
        };
        if !regex.is_match(&found) {
            return Ok(Some(format!(
                "{shown} is {}, expected to match {text}",
                short(value)
            )));
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
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| equal(left, right))
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
