//! A document to a [`Spec`]: every wrong key and value of it at once.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::document::Document;
use super::problem::{Origins, Problem, closest};
use super::spec::Spec;

/// A configuration that has the right shape; its meaning is not checked yet.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub spec: Spec,
    /// Where each value stood.
    pub origins: Origins,
    /// Folder that relative paths count from.
    pub base: PathBuf,
}

/// Reads a configuration file or folder.
///
/// # Errors
/// Every problem found, with file, line and column.
pub fn load(path: &Path) -> Result<Loaded, Vec<Problem>> {
    let document = Document::read(path)?;
    let base = if path.is_dir() {
        path.to_path_buf()
    } else {
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        }
    };
    from_document(document, base)
}

/// Reads a configuration from text; `name` stands in errors.
///
/// # Errors
/// Every problem found, with line and column.
pub fn load_str(name: &str, text: &str, base: &Path) -> Result<Loaded, Vec<Problem>> {
    from_document(Document::parse(name, text)?, base.to_path_buf())
}

fn from_document(document: Document, base: PathBuf) -> Result<Loaded, Vec<Problem>> {
    match parse_spec(document.value) {
        Ok(spec) => Ok(Loaded {
            spec,
            origins: document.origins,
            base,
        }),
        Err(problems) => Err(document.origins.locate(problems)),
    }
}

/// Reads a whole configuration from JSON.
///
/// # Errors
/// Every problem found, with its path.
pub fn parse_spec(value: Value) -> Result<Spec, Vec<Problem>> {
    let mut reader = Reader {
        map: expect_map(value).map_err(|p| vec![p])?,
        problems: Vec::new(),
    };
    let spec = Spec {
        public_url: reader.one("public_url"),
        smtp: reader.one("smtp"),
        commands: reader.one("commands"),
        files: reader.one("files"),
        secrets: reader.one("secrets"),
        retention: reader.one("retention"),
        faults: reader.one("faults"),
        egress: reader.one("egress"),
        engine: reader.one("engine"),
        web: reader.one("web"),
        signing: reader.one("signing"),
        registries: reader.list("registries"),
        plugins: reader.list("plugins"),
        nodes: reader.list("nodes"),
        checks: reader.list("checks"),
        rules: reader.list("rules"),
        contacts: reader.list("contacts"),
        remediations: reader.list("remediations"),
        log_sources: reader.list("log_sources"),
    };
    reader.refuse_the_rest();
    if reader.problems.is_empty() {
        Ok(spec)
    } else {
        Err(reader.problems)
    }
}

/// Reads one object, such as a check sent over the API. Paths in errors begin
/// with `path`, or are those inside the object where it is empty.
///
/// # Errors
/// The first wrong key or value.
pub fn parse_object<T: DeserializeOwned>(path: &str, value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|e| {
        let inner = e.path().to_string();
        let path = match (path, inner.as_str()) {
            (_, ".") => path.to_owned(),
            ("", _) => inner,
            _ if inner.starts_with('[') => format!("{path}{inner}"),
            _ => format!("{path}.{inner}"),
        };
        explain(path, &e.into_inner().to_string())
    })
}

const KEYS: [&str; 19] = [
    "public_url",
    "smtp",
    "commands",
    "files",
    "secrets",
    "retention",
    "faults",
    "egress",
    "engine",
    "web",
    "signing",
    "registries",
    "plugins",
    "nodes",
    "checks",
    "rules",
    "contacts",
    "remediations",
    "log_sources",
];

struct Reader {
    map: Map<String, Value>,
    problems: Vec<Problem>,
}

impl Reader {
    /// A key with nothing behind it counts as absent.
    fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key).filter(|value| !value.is_null())
    }

    fn one<T: DeserializeOwned + Default>(&mut self, key: &str) -> T {
        match self.take(key).map(|value| parse_object(key, value)) {
            None => T::default(),
            Some(Ok(value)) => value,
            Some(Err(problem)) => {
                self.problems.push(problem);
                T::default()
            }
        }
    }

    fn list<T: DeserializeOwned>(&mut self, key: &str) -> Vec<T> {
        let items = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                let message = format!("expected a list, found {}", describe(&other));
                self.problems.push(Problem::new(key, message));
                return Vec::new();
            }
        };
        let mut list = Vec::with_capacity(items.len());
        for (i, item) in items.into_iter().enumerate() {
            match parse_object(&format!("{key}[{i}]"), item) {
                Ok(value) => list.push(value),
                Err(problem) => self.problems.push(problem),
            }
        }
        list
    }

    fn refuse_the_rest(&mut self) {
        for key in self.map.keys() {
            let message = format!("unknown key {key:?}, expected one of {}", KEYS.join(", "));
            let problem = Problem::new(key, message)
                .suggest(closest(key, KEYS))
                .on_key();
            self.problems.push(problem);
        }
    }
}

fn expect_map(value: Value) -> Result<Map<String, Value>, Problem> {
    match value {
        Value::Object(map) => Ok(map),
        other => {
            let message = format!("expected a map of keys, found {}", describe(&other));
            Err(Problem::new("", message))
        }
    }
}

/// What a value is, in the words of an error.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(b) => format!("{b}"),
        Value::Number(n) => format!("the number {n}"),
        Value::String(s) => format!("the text {s:?}"),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a map".into(),
    }
}

/// Serde's message in our words: what was expected, what was found.
fn explain(path: String, message: &str) -> Problem {
    // Whoever writes a secret in clear here should not find it in a log as well.
    let registry = path.starts_with("registries[") && path.contains("].password");
    let secret = path.starts_with("secrets.") || path.starts_with("smtp.password") || registry;
    if secret && !message.starts_with("unknown field") && !message.starts_with("missing") {
        return Problem::new(
            path,
            "expected { env: NAME } or { file: PATH }, found something else",
        );
    }
    let quoted = |text: &str| -> Vec<String> {
        text.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let mut names = quoted(rest).into_iter();
        let found = names.next().unwrap_or_default();
        let known: Vec<String> = names.collect();
        let suggestion = closest(&found, known.iter().map(String::as_str)).map(str::to_owned);
        let message = if known.is_empty() {
            format!("unknown key {found:?}, expected none")
        } else {
            format!(
                "unknown key {found:?}, expected one of {}",
                known.join(", ")
            )
        };
        return Problem::new(path, message).suggest(suggestion).on_key();
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        let mut names = quoted(rest).into_iter();
        let found = names.next().unwrap_or_default();
        let known: Vec<String> = names.collect();
        let suggestion = closest(&found, known.iter().map(String::as_str)).map(str::to_owned);
        let message = format!("expected one of {}, found {found:?}", known.join(", "));
        return Problem::new(path, message).suggest(suggestion);
    }
    if message.starts_with("missing field ") {
        let key = quoted(message).into_iter().next().unwrap_or_default();
        return Problem::new(path, format!("expected the key {key:?}, found none"));
    }
    for prefix in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some((found, expected)) = message
            .strip_prefix(prefix)
            .and_then(|rest| rest.split_once(", expected "))
        {
            let found = match found {
                "null" => "nothing",
                "map" => "a map",
                "sequence" => "a list",
                other => other,
            };
            let found = found
                .replace("string ", "the text ")
                .replace("integer ", "the number ");
            let found = found.replace('`', "");
            let expected = match expected {
                "a string" => "a text",
                "a sequence" => "a list",
                "map with a single key" => "a map of one key",
                "u32" | "u64" | "usize" => "a whole number from 0",
                other if other.starts_with("struct ") => "a map of keys",
                other if other.starts_with("enum ") => "a map of one key",
                other => other,
            };
            return Problem::new(path, format!("expected {expected}, found {found}"));
        }
    }
    Problem::new(path, message)
}
