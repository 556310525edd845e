//! A configuration as YAML that loads back.

use serde_json::Value;

use super::spec::Spec;

/// Writes the configuration as YAML. Sections at their default are left out.
pub fn export_yaml(spec: &Spec) -> String {
    let value = serde_json::to_value(spec).unwrap_or_default();
    let default = serde_json::to_value(Spec::default()).unwrap_or_default();
    let mut out = String::new();
    if let Value::Object(map) = &value {
        for (key, section) in map {
            if default.get(key) != Some(section) {
                entry(&mut out, 0, key, section);
            }
        }
    }
    out
}

/// Writes any JSON value as a YAML document.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                entry(&mut out, 0, key, value);
            }
        }
        Value::Array(items) if !items.is_empty() => list(&mut out, 0, items),
        other => {
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
    out
}

fn entry(out: &mut String, depth: usize, key: &str, value: &Value) {
    indent(out, depth);
    out.push_str(&text(key));
    out.push(':');
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            for (key, value) in map {
                entry(out, depth + 1, key, value);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            list(out, depth + 1, items);
        }
        other => {
            out.push(' ');
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
}

fn list(out: &mut String, depth: usize, items: &[Value]) {
    for item in items {
        match item {
            Value::Object(map) if !map.is_empty() => {
                let mut inner = String::new();
                for (key, value) in map {
                    entry(&mut inner, depth + 1, key, value);
                }
                // The first key stands on the line of the dash.
                indent(out, depth);
                out.push_str("- ");
                out.push_str(inner.trim_start_matches(' '));
            }
            Value::Array(inner) if !inner.is_empty() => {
                indent(out, depth);
                out.push_str("-\n");
                list(out, depth + 1, inner);
            }
            other => {
                indent(out, depth);
                out.push_str("- ");
                out.push_str(&scalar(other));
                out.push('\n');
            }
        }
    }
}

fn indent(out: &mut String, depth: usize) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(s) => text(s),
        Value::Array(_) => "[]".into(),
        Value::Object(_) => "{}".into(),
        other => other.to_string(),
    }
}

/// Plain where nothing could take it for something else, else in double quotes,
/// whose escapes are those of JSON.
fn text(text: &str) -> String {
    let plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '@'))
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    let duration = text.starts_with(|c: char| c.is_ascii_digit())
        && text.parse::<super::units::Span>().is_ok();
    if plain || duration {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                quoted.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::{Document, load_str};
    use super::*;

    #[test]
    fn the_example_survives_export_and_load() {
        let text = include_str!("../../tests/config/example.yaml");
        let spec = load_str("example.yaml", text, Path::new(".")).unwrap().spec;
        let yaml = export_yaml(&spec);
        let again = load_str("export.yaml", &yaml, Path::new("."));
        assert_eq!(
            again.unwrap_or_else(|e| panic!("{}\n{yaml}", e[0])).spec,
            spec
        );
        assert_eq!(export_yaml(&Spec::default()), "");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9f64..1e9).prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            "[-:#{}\\[\\]&*!|>'\"%@`~?, \n\t0-9a-e]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[-:# a-c\\PC]{1,6}", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_value_survives(value in prop::collection::btree_map("[a-z]{1,4}", any_value(), 1..4)) {
            let value = Value::Object(value.into_iter().collect());
            let yaml = to_yaml(&value);
            let again = Document::parse("x.yaml", &yaml).map_err(|e| e[0].to_string());
            prop_assert_eq!(again.map(|d| d.value), Ok(value), "{}", yaml);
        }
    }
}
