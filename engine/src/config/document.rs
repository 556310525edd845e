//! YAML text to a JSON value that remembers where each part stood.
//!
//! Built on the parser's events, not on a ready tree: a tree drops duplicate
//! keys in silence and expands aliases without a bound.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use saphyr::Scalar;
use saphyr_parser::{Event, Marker, Parser};
use serde_json::{Map, Number, Value};

use super::problem::{Origins, Place, Problem};

/// Greatest size of one file in bytes.
const MAX_FILE: u64 = 16 << 20;
/// Greatest number of values in one file, aliases counted as often as used.
const MAX_NODES: usize = 500_000;
/// Greatest nesting.
const MAX_DEPTH: usize = 64;

/// A value with the place where it stood.
#[derive(Clone, Debug)]
struct Node {
    place: Place,
    /// Number of values in this one, itself included.
    size: usize,
    data: Data,
}

#[derive(Clone, Debug)]
enum Data {
    Leaf(Value),
    List(Vec<Node>),
    Map(Vec<(String, Place, Node)>),
}

/// A whole configuration, of one file or several.
#[derive(Clone, Debug)]
pub struct Document {
    pub value: Value,
    pub origins: Origins,
}

impl Document {
    /// Reads a file, or every `*.yaml` and `*.yml` of a folder in name order.
    ///
    /// # Errors
    /// Everything that is not readable as one document.
    pub fn read(path: &Path) -> Result<Document, Vec<Problem>> {
        let unreadable = |path: &Path, e: std::io::Error| {
            vec![Problem::new(
                "",
                format!("cannot read {}: {e}", path.display()),
            )]
        };
        let meta = std::fs::metadata(path).map_err(|e| unreadable(path, e))?;
        let mut files = Vec::new();
        if meta.is_dir() {
            for entry in std::fs::read_dir(path).map_err(|e| unreadable(path, e))? {
                let file = entry.map_err(|e| unreadable(path, e))?.path();
                let hidden = file
                    .file_name()
                    .is_some_and(|n| n.to_string_lossy().starts_with('.'));
                let yaml = file.extension().is_some_and(|e| e == "yaml" || e == "yml");
                if yaml && !hidden && file.is_file() {
                    files.push(file);
                }
            }
            files.sort();
            if files.is_empty() {
                let message = format!(
                    "expected *.yaml or *.yml files in {}, found none",
                    path.display()
                );
                return Err(vec![Problem::new("", message)]);
            }
        } else {
            files.push(path.to_path_buf());
        }
        let mut texts = Vec::with_capacity(files.len());
        for file in files {
            let size = std::fs::metadata(&file)
                .map_err(|e| unreadable(&file, e))?
                .len();
            if size > MAX_FILE {
                let message = format!(
                    "expected at most {MAX_FILE} bytes, found {size} in {}; split the file",
                    file.display()
                );
                return Err(vec![Problem::new("", message)]);
            }
            let bytes = std::fs::read(&file).map_err(|e| unreadable(&file, e))?;
            let text = String::from_utf8(bytes).map_err(|_| {
                vec![Problem::new(
                    "",
                    format!("expected UTF-8 text in {}", file.display()),
                )]
            })?;
            texts.push((file.display().to_string(), text));
        }
        Self::parse_all(
            texts
                .iter()
                .map(|(name, text)| (name.as_str(), text.as_str())),
        )
    }

    /// Parses one text; `name` stands in errors.
    ///
    /// # Errors
    /// Text that is not one YAML document.
    pub fn parse(name: &str, text: &str) -> Result<Document, Vec<Problem>> {
        Self::parse_all([(name, text)])
    }

    /// Parses several texts and merges them: lists are joined, maps too, and a
    /// key with a value in two of them is an error.
    ///
    /// # Errors
    /// All problems of all texts.
    pub fn parse_all<'a>(
        texts: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Document, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut merged: Option<Node> = None;
        for (name, text) in texts {
            match Builder::new(name).build(text) {
                Ok(None) => {}
                Ok(Some(node)) => match &mut merged {
                    None => merged = Some(node),
                    Some(into) => merge("", into, node, &mut problems),
                },
                Err(mut found) => problems.append(&mut found),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut origins = Origins::default();
        let value = match merged {
            None => Value::Object(Map::new()),
            Some(node) => flatten(String::new(), None, node, &mut origins),
        };
        Ok(Document { value, origins })
    }
}

fn kind(node: &Node) -> &'static str {
    match &node.data {
        Data::List(_) => "a list",
        Data::Map(_) => "a map",
        Data::Leaf(_) => "a value",
    }
}

fn merge(path: &str, into: &mut Node, from: Node, problems: &mut Vec<Problem>) {
    if matches!(&from.data, Data::Leaf(Value::Null)) {
        return;
    }
    if matches!(&into.data, Data::Leaf(Value::Null)) {
        *into = from;
        return;
    }
    let (into_kind, from_kind) = (kind(into), kind(&from));
    match (&mut into.data, from.data) {
        (Data::List(into), Data::List(mut from)) => into.append(&mut from),
        (Data::Map(into), Data::Map(from)) => {
            for (key, place, node) in from {
                match into.iter_mut().find(|(k, _, _)| *k == key) {
                    Some((_, _, existing)) => merge(&join(path, &key), existing, node, problems),
                    None => into.push((key, place, node)),
                }
            }
        }
        _ => {
            let Place { file, line, .. } = &into.place;
            let message = if into_kind == from_kind {
                format!("expected one value, found another at {file}:{line}; remove one")
            } else {
                format!("expected {into_kind} as at {file}:{line}, found {from_kind}")
            };
            problems.push(Problem::new(path, message).at(Some(from.place)));
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn flatten(path: String, key: Option<Place>, node: Node, origins: &mut Origins) -> Value {
    let value = match node.data {
        Data::Leaf(value) => value,
        Data::List(items) => Value::Array(
            items
                .into_iter()
                .enumerate()
                .map(|(i, item)| flatten(format!("{path}[{i}]"), None, item, origins))
                .collect(),
        ),
        Data::Map(entries) => Value::Object(
            entries
                .into_iter()
                .map(|(key, place, node)| {
                    let value = flatten(join(&path, &key), Some(place), node, origins);
                    (key, value)
                })
                .collect(),
        ),
    };
    origins.insert(path, key, node.place);
    value
}

/// A list or map that is still open.
struct Open {
    anchor: usize,
    place: Place,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map {
        entries: Vec<(String, Place, Node)>,
        seen: HashMap<String, u32>,
        key: Option<(String, Place)>,
    },
}

struct Builder {
    file: Arc<str>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
    problems: Vec<Problem>,
}

impl Builder {
    fn new(name: &str) -> Self {
        Self {
            file: name.into(),
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            root: None,
            problems: Vec::new(),
        }
    }

    fn place(&self, mark: &Marker) -> Place {
        Place {
            file: Arc::clone(&self.file),
            line: mark.line() as u32,
            column: mark.col() as u32 + 1,
        }
    }

    /// The dotted path of the value that is about to be read.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match &open.items {
                Items::List(items) => path.push_str(&format!("[{}]", items.len())),
                Items::Map {
                    key: Some((key, _)),
                    ..
                } => path = join(&path, key),
                Items::Map { key: None, .. } => {}
            }
        }
        path
    }

    fn fail(&self, place: Place, message: impl Into<String>) -> Problem {
        Problem::new(self.path(), message).at(Some(place))
    }

    fn build(mut self, text: &str) -> Result<Option<Node>, Vec<Problem>> {
        match self.events(text) {
            Ok(()) if self.problems.is_empty() => Ok(self.root),
            Ok(()) => Err(self.problems),
            Err(problem) => {
                self.problems.push(problem);
                Err(self.problems)
            }
        }
    }

    fn events(&mut self, text: &str) -> Result<(), Problem> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|e| {
                let place = self.place(e.marker());
                let tab = text
                    .lines()
                    .nth(e.marker().line().saturating_sub(1))
                    .is_some_and(|l| l[..l.len() - l.trim_start().len()].contains('\t'));
                let hint = if tab {
                    "; indent with spaces, not with tabs"
                } else {
                    ""
                };
                self.fail(
                    place,
                    format!("expected YAML, found an error: {}{hint}", e.info()),
                )
            })?;
            let place = self.place(&span.start);
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(Problem::new(
                            "",
                            "expected one YAML document, found a second one; put it into a file of its own",
                        )
                        .at(Some(place)));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    if self.wants_key() {
                        self.key(text.into_owned(), place)?;
                        continue;
                    }
                    let scalar = Scalar::parse_from_cow_and_metadata(text, style, tag.as_ref())
                        .ok_or_else(|| {
                            self.fail(place.clone(), "expected a value that fits its tag")
                        })?;
                    let value = match scalar {
                        Scalar::Null => Value::Null,
                        Scalar::Boolean(b) => Value::Bool(b),
                        Scalar::Integer(i) => Value::Number(i.into()),
                        Scalar::FloatingPoint(f) => Number::from_f64(f.into_inner())
                            .map(Value::Number)
                            .ok_or_else(|| self.fail(place.clone(), "expected a finite number"))?,
                        Scalar::String(s) => Value::String(s.into_owned()),
                    };
                    self.close(
                        anchor,
                        Node {
                            place,
                            size: 1,
                            data: Data::Leaf(value),
                        },
                    )?;
                }
                Event::Alias(anchor) => {
                    let Some(node) = self.anchors.get(&anchor) else {
                        return Err(self.fail(place, "expected an anchor that is defined before"));
                    };
                    if self.wants_key() {
                        return Err(self.fail(place, "expected a plain key, found an alias"));
                    }
                    if self.nodes + node.size > MAX_NODES {
                        return Err(self.too_many(place));
                    }
                    let node = Node {
                        place,
                        ..node.clone()
                    };
                    self.nodes += node.size - 1;
                    self.close(0, node)?;
                }
                Event::SequenceStart(anchor, _) => {
                    self.open(anchor, place, Items::List(Vec::new()))?
                }
                Event::MappingStart(anchor, _) => {
                    let items = Items::Map {
                        entries: Vec::new(),
                        seen: HashMap::new(),
                        key: None,
                    };
                    self.open(anchor, place, items)?;
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    let Some(open) = self.open.pop() else {
                        continue;
                    };
                    let (size, data) = match open.items {
                        Items::List(items) => (
                            items.iter().map(|n| n.size).sum::<usize>(),
                            Data::List(items),
                        ),
                        Items::Map { entries, .. } => {
                            (entries.iter().map(|e| e.2.size).sum(), Data::Map(entries))
                        }
                    };
                    self.close(
                        open.anchor,
                        Node {
                            place: open.place,
                            size: size + 1,
                            data,
                        },
                    )?;
                }
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(())
    }

    fn wants_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                items: Items::Map { key: None, .. },
                ..
            })
        )
    }

    fn key(&mut self, text: String, place: Place) -> Result<(), Problem> {
        let path = self.path();
        let Some(Open {
            items: Items::Map { seen, key, .. },
            ..
        }) = self.open.last_mut()
        else {
            return Ok(());
        };
        if let Some(line) = seen.insert(text.clone(), place.line) {
            let message = format!(
                "expected each key once, found it again (first on line {line}); remove one"
            );
            let problem = Problem::new(join(&path, &text), message).at(Some(place.clone()));
            self.problems.push(problem);
        }
        *key = Some((text, place));
        Ok(())
    }

    fn open(&mut self, anchor: usize, place: Place, items: Items) -> Result<(), Problem> {
        if self.wants_key() {
            return Err(self.fail(
                place,
                "expected a plain key, found a list or map; quote a value that begins with { or [",
            ));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(self.fail(
                place,
                format!("expected at most {MAX_DEPTH} levels of nesting"),
            ));
        }
        self.open.push(Open {
            anchor,
            place,
            items,
        });
        Ok(())
    }

    fn close(&mut self, anchor: usize, node: Node) -> Result<(), Problem> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.too_many(node.place));
        }
        if anchor != 0 {
            // An anchored copy costs memory as well.
            self.nodes += node.size;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open {
                items: Items::List(items),
                ..
            }) => items.push(node),
            Some(Open {
                items: Items::Map { entries, key, .. },
                ..
            }) => {
                if let Some((key, place)) = key.take() {
                    entries.push((key, place, node));
                }
            }
        }
        Ok(())
    }

    fn too_many(&self, place: Place) -> Problem {
        self.fail(
            place,
            format!("expected at most {MAX_NODES} values, aliases expanded"),
        )
    }
}

#[cfg(test)]
mod tests;
