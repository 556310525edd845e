//! Reading configuration.

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::ConfigProblem;

/// Reads a configuration object; the problem points at the value that is wrong.
/// An empty text counts as an empty object.
pub fn parse<T: DeserializeOwned>(json: &str) -> Result<T, ConfigProblem> {
    let json = if json.trim().is_empty() { "{}" } else { json };
    let mut reader = serde_json::Deserializer::from_str(json);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| ConfigProblem {
        pointer: pointer(error.path()),
        message: without_position(&error.inner().to_string()),
    })?;
    reader.end().map_err(|error| ConfigProblem {
        pointer: String::new(),
        message: format!("expected one JSON object, found more behind it: {error}"),
    })?;
    Ok(value)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Unknown => {}
        }
    }
    pointer
}

/// The operator wrote YAML or filled in a form: a line and column in the
/// engine's own JSON would mislead.
fn without_position(message: &str) -> String {
    match message.rfind(" at line ") {
        Some(end) => message[..end].to_owned(),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        list: Vec<Item>,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Item {
        #[serde(rename = "a/b")]
        value: u32,
    }

    #[test]
    fn a_problem_points_at_its_value() {
        let found = parse::<Config>(r#"{"list":[{"a/b":1},{"a/b":"x"}]}"#).unwrap_err();
        assert_eq!(found.pointer, "/list/1/a~1b");
        assert_eq!(found.message, "invalid type: string \"x\", expected u32");
        let found = parse::<Config>(r#"{"list":[],"lits":1}"#).unwrap_err();
        assert_eq!(found.pointer, "/lits");
        assert!(
            found.message.starts_with("unknown field `lits`"),
            "{}",
            found.message
        );
        let found = parse::<Config>("").unwrap_err();
        assert_eq!(
            (found.pointer.as_str(), found.message.as_str()),
            ("", "missing field `list`")
        );
        assert_eq!(
            parse::<Config>(r#"{"list":[{"a/b":7}]}"#).map(|c| c.list[0].value),
            Ok(7)
        );
    }
}
