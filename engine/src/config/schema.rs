//! The part of JSON Schema that plugin configurations use.
//!
//! Known: type, enum, const, required, properties, patternProperties,
//! additionalProperties, items, anyOf, oneOf, allOf, not, minimum, maximum,
//! their exclusive forms, minLength, maxLength, minItems, maxItems, uniqueItems,
//! pattern, format (`regex` and `uri`), and `$ref` into the same document.
//! Other keywords do not refuse anything: the plugin itself has the last word.

use serde_json::Value;

use super::load::describe;
use super::problem::{Problem, closest};

/// Checks `value` against `schema`; paths of problems begin with `path`.
pub fn check(schema: &Value, value: &Value, path: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    Checker {
        root: schema,
        problems: &mut problems,
    }
    .check(schema, value, path, 0);
    problems
}

struct Checker<'a> {
    root: &'a Value,
    problems: &'a mut Vec<Problem>,
}

/// A plugin's schema must not make validation recurse for ever.
const MAX_DEPTH: usize = 64;

impl Checker<'_> {
    fn wrong(&mut self, path: &str, message: String) {
        self.problems.push(Problem::new(path, message));
    }

    fn passes(&self, schema: &Value, value: &Value, depth: usize) -> Vec<Problem> {
        let mut problems = Vec::new();
        Checker {
            root: self.root,
            problems: &mut problems,
        }
        .check(schema, value, "", depth);
        problems
    }

    fn check(&mut self, schema: &Value, value: &Value, path: &str, depth: usize) {
        if depth > MAX_DEPTH {
            return self.wrong(
                path,
                "expected a schema that does not refer to itself".into(),
            );
        }
        let schema = match schema {
            Value::Bool(false) => return self.wrong(path, "expected no value here".into()),
            Value::Object(schema) => schema,
            _ => return,
        };
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str)
            && let Some(target) = reference
                .strip_prefix('#')
                .and_then(|p| self.root.pointer(p))
        {
            self.check(target, value, path, depth + 1);
        }
        if let Some(expected) = schema.get("type")
            && !has_type(expected, value)
        {
            let names = type_names(expected);
            return self.wrong(path, format!("expected {names}, found {}", describe(value)));
        }
        if let Some(Value::Array(allowed)) = schema.get("enum")
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
            self.problems
                .push(Problem::new(path, message).suggest(near));
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
            Value::Array(items) => {
                self.count(schema, "Items", "items", items.len(), path);
                if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
                    for (i, item) in items.iter().enumerate() {
                        if items[..i].contains(item) {
                            self.wrong(&format!("{path}[{i}]"), "expected each item once".into());
                        }
                    }
                }
                if let Some(each) = schema.get("items") {
                    for (i, item) in items.iter().enumerate() {
                        self.check(each, item, &format!("{path}[{i}]"), depth + 1);
                    }
                }
            }
            Value::Object(map) => self.object(schema, map, path, depth),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn combine(
        &mut self,
        schema: &serde_json::Map<String, Value>,
        value: &Value,
        path: &str,
        depth: usize,
    ) {
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

    fn number(&mut self, schema: &serde_json::Map<String, Value>, found: f64, path: &str) {
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

    fn text(&mut self, schema: &serde_json::Map<String, Value>, text: &str, path: &str) {
        self.count(schema, "Length", "characters", text.chars().count(), path);
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && let Ok(regex) = regex::RegexBuilder::new(pattern)
                .size_limit(1 << 20)
                .build()
            && !regex.is_match(text)
        {
            self.wrong(
                path,
                format!("expected a text that matches {pattern}, found {text:?}"),
            );
        }
        match schema.get("format").and_then(Value::as_str) {
            Some("regex") => {
                if let Err(e) = regex::RegexBuilder::new(text).size_limit(1 << 20).build() {
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

    fn count(
        &mut self,
        schema: &serde_json::Map<String, Value>,
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
        schema: &serde_json::Map<String, Value>,
        map: &serde_json::Map<String, Value>,
        path: &str,
        depth: usize,
    ) {
        if let Some(Value::Array(required)) = schema.get("required") {
            for key in required.iter().filter_map(Value::as_str) {
                if !map.contains_key(key) {
                    self.wrong(path, format!("expected the key {key:?}, found none"));
                }
            }
        }
        let none = serde_json::Map::new();
        let properties = schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&none);
        let patterns: Vec<(regex::Regex, &Value)> = schema
            .get("patternProperties")
            .and_then(Value::as_object)
            .unwrap_or(&none)
            .iter()
            .filter_map(|(pattern, schema)| Some((regex::Regex::new(pattern).ok()?, schema)))
            .collect();
        for (key, value) in map {
            let inner = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            let mut known = false;
            if let Some(schema) = properties.get(key) {
                known = true;
                self.check(schema, value, &inner, depth + 1);
            }
            for (_, schema) in patterns.iter().filter(|(regex, _)| regex.is_match(key)) {
                known = true;
                self.check(schema, value, &inner, depth + 1);
            }
            if known {
                continue;
            }
            match schema.get("additionalProperties") {
                Some(Value::Bool(false)) => {
                    let names: Vec<&str> = properties.keys().map(String::as_str).collect();
                    let expected = if names.is_empty() {
                        "expected none".to_owned()
                    } else {
                        format!("expected one of {}", names.join(", "))
                    };
                    let problem = Problem::new(inner, format!("unknown key {key:?}, {expected}"))
                        .suggest(closest(key, names))
                        .on_key();
                    self.problems.push(problem);
                }
                Some(other) => self.check(other, value, &inner, depth + 1),
                None => {}
            }
        }
    }
}

fn has_type(expected: &Value, value: &Value) -> bool {
    match expected {
        Value::Array(any) => any.iter().any(|one| has_type(one, value)),
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
        Value::Array(any) => any.iter().map(type_names).collect::<Vec<_>>().join(" or "),
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

/// Net grants for the values of fields marked `"x-target"`: `host:port` for a
/// `url` or `host:port`, `host:*`, `udp:host:*` and `icmp:host` for a `host`,
/// `dns:name` for a `name` that is asked about.
pub fn targets(schema: &Value, value: &Value) -> Vec<String> {
    let mut grants = Vec::new();
    for (kind, _, text) in marked(schema, value, "x-target") {
        if let Some(kind) = kind.as_str() {
            target(kind, &text, &mut grants);
        }
    }
    grants.sort();
    grants.dedup();
    grants
}

/// Texts in fields whose schema carries `keyword`: the keyword's value, the path
/// inside the configuration and the text.
pub fn marked<'a>(
    schema: &'a Value,
    value: &Value,
    keyword: &str,
) -> Vec<(&'a Value, String, String)> {
    let mut found = Vec::new();
    collect(schema, schema, value, keyword, "", &mut found, 0);
    found
}

fn collect<'a>(
    root: &'a Value,
    schema: &'a Value,
    value: &Value,
    keyword: &str,
    path: &str,
    found: &mut Vec<(&'a Value, String, String)>,
    depth: usize,
) {
    let Value::Object(keywords) = schema else {
        return;
    };
    if depth > MAX_DEPTH {
        return;
    }
    let referred = keywords
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| root.pointer(reference.strip_prefix('#')?));
    let parts = ["anyOf", "oneOf", "allOf"]
        .into_iter()
        .filter_map(|key| keywords.get(key).and_then(Value::as_array))
        .flatten();
    for part in referred.into_iter().chain(parts) {
        collect(root, part, value, keyword, path, found, depth + 1);
    }
    match value {
        Value::String(text) => {
            if let Some(mark) = keywords.get(keyword) {
                found.push((mark, path.to_owned(), text.clone()));
            }
        }
        Value::Array(items) => {
            if let Some(each) = keywords.get("items") {
                for (i, item) in items.iter().enumerate() {
                    collect(
                        root,
                        each,
                        item,
                        keyword,
                        &format!("{path}[{i}]"),
                        found,
                        depth + 1,
                    );
                }
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                let inner = keywords
                    .get("properties")
                    .and_then(|p| p.get(key))
                    .or_else(|| keywords.get("additionalProperties"));
                if let Some(inner) = inner {
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    collect(root, inner, value, keyword, &path, found, depth + 1);
                }
            }
        }
        _ => {}
    }
}

/// A literal IPv6 address in brackets, anything else as it is.
pub(super) fn bracketed(host: &str) -> String {
    match host.parse::<std::net::Ipv6Addr>() {
        Ok(_) => format!("[{host}]"),
        Err(_) => host.to_owned(),
    }
}

/// Net grants for one marked value.
pub(super) fn target(kind: &str, text: &str, grants: &mut Vec<String>) {
    match kind {
        "url" => {
            let Ok(url) = url::Url::parse(text) else {
                return;
            };
            let port = url.port_or_known_default().or(match url.scheme() {
                "smtp" => Some(25),
                "smtps" => Some(465),
                "ldap" => Some(389),
                "ldaps" => Some(636),
                "postgres" | "postgresql" => Some(5432),
                "mysql" => Some(3306),
                "redis" => Some(6379),
                "mqtt" => Some(1883),
                _ => None,
            });
            if let (Some(host), Some(port)) = (url.host_str(), port) {
                grants.push(format!("{host}:{port}"));
            }
        }
        "host:port" => {
            let udp = text.strip_prefix("udp:");
            let plain = udp.unwrap_or(text);
            if let Some((host, port)) = plain.rsplit_once(':')
                && port.parse::<u16>().is_ok_and(|port| port > 0)
            {
                let host = bracketed(host.trim_start_matches('[').trim_end_matches(']'));
                grants.push(format!("{host}:{port}"));
                grants.push(format!("udp:{host}:{port}"));
            }
        }
        "host" => {
            let plain = text.trim_start_matches('[').trim_end_matches(']');
            if plain.is_empty() {
                return;
            }
            let host = bracketed(plain);
            grants.push(format!("{host}:*"));
            grants.push(format!("udp:{host}:*"));
            grants.push(format!("icmp:{host}"));
        }
        "name" => {
            let name = text.strip_suffix('.').unwrap_or(text);
            grants.push(format!("dns:{}", name.to_ascii_lowercase()));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
