//! Expectations of a body: patterns and JSON values.

pub use regex_lite::Regex;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::ProbeError;
use crate::http::shorten;

/// One thing that a JSON body must hold.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// JSON Pointer to the value.
    pub pointer: String,
    /// True: must be there; false: must not.
    pub exists: Option<bool>,
    /// Must be this value. Present with `null` demands a JSON null.
    #[serde(default, deserialize_with = "present")]
    pub equals: Option<Value>,
    /// Must be another value.
    #[serde(default, deserialize_with = "present")]
    pub not_equals: Option<Value>,
    /// Must be a number above this.
    pub gt: Option<f64>,
    /// Must be a number of at least this.
    pub ge: Option<f64>,
    /// Must be a number below this.
    pub lt: Option<f64>,
    /// Must be a number of at most this.
    pub le: Option<f64>,
    /// Must match this pattern, as text.
    pub matches: Option<String>,
}

fn present<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(reader).map(Some)
}

/// JSON Schema of an [`Assertion`].
#[macro_export]
macro_rules! assertion_schema {
    () => {
        r##"{"type":"object","additionalProperties":false,"required":["pointer"],"properties":{"pointer":{"type":"string","description":"JSON Pointer to the value"},"exists":{"type":"boolean","description":"true: must be there; false: must not"},"equals":{"description":"must be this value"},"not_equals":{"description":"must be another value"},"gt":{"type":"number","description":"must be above"},"ge":{"type":"number","description":"must be at least"},"lt":{"type":"number","description":"must be below"},"le":{"type":"number","description":"must be at most"},"matches":{"type":"string","format":"regex","description":"must match, as text"}}}"##
    };
}

/// Compiles a pattern of the configuration.
pub fn pattern(pointer: &str, text: &str) -> Result<Regex, ProbeError> {
    Regex::new(text).map_err(|error| {
        ProbeError::config(pointer, format!("expected a regular expression: {error}"))
    })
}

/// A pattern that may be absent.
pub fn optional_pattern(pointer: &str, text: Option<&str>) -> Result<Option<Regex>, ProbeError> {
    text.map(|text| pattern(pointer, text)).transpose()
}

/// What an assertion finds wrong, if anything. `at` is the JSON Pointer of the
/// assertion in the configuration.
pub fn broken(assertion: &Assertion, at: &str, body: &Value) -> Result<Option<String>, ProbeError> {
    let pointer = assertion.pointer.as_str();
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(ProbeError::config(
            format!("{at}/pointer"),
            format!("expected a JSON Pointer like \"/status\", found \"{pointer}\""),
        ));
    }
    let matches = match &assertion.matches {
        Some(text) => Some((pattern(&format!("{at}/matches"), text)?, text)),
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
