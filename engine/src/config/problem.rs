//! What is wrong with a configuration, and where.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// A place in a configuration file; line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    pub file: Arc<str>,
    pub line: u32,
    pub column: u32,
}

/// One mistake: where it is, what was expected and found, and a guess.
///
/// The same value answers a file (with `place`) and an API request (with `path`
/// alone).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// File, line and column, where the value came from a file.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Dotted path such as `checks[0].every`; empty for the whole document.
    pub path: String,
    /// What was expected and what was found, lower-case, no full stop.
    pub message: String,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// True where the key itself is wrong, not its value.
    #[serde(skip)]
    pub(super) on_key: bool,
}

impl Problem {
    /// A problem with the value at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            place: None,
            path: path.into(),
            message: message.into(),
            suggestion: None,
            on_key: false,
        }
    }

    /// The same with what was probably meant.
    pub fn suggest(mut self, suggestion: Option<impl Into<String>>) -> Self {
        self.suggestion = suggestion.map(Into::into);
        self
    }

    /// The same at a known place.
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.place = place.or(self.place);
        self
    }

    /// The same where the key is meant, not its value.
    pub(super) fn on_key(mut self) -> Self {
        self.on_key = true;
        self
    }

    /// The path below `prefix`, for an API that shows one object: `every` for
    /// `checks[0].every` under `checks[0]`. `None` where it lies elsewhere.
    pub fn path_within(&self, prefix: &str) -> Option<&str> {
        let rest = self.path.strip_prefix(prefix)?;
        match rest.as_bytes().first() {
            None => Some(""),
            Some(b'.') => Some(&rest[1..]),
            Some(b'[') => Some(rest),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { file, line, column }) = &self.place {
            write!(f, "{file}:{line}:{column}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean {suggestion:?}?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// Where every value of a loaded document came from.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    values: HashMap<String, Place>,
    keys: HashMap<String, Place>,
}

impl Origins {
    pub(super) fn insert(&mut self, path: String, key: Option<Place>, value: Place) {
        if let Some(key) = key {
            self.keys.insert(path.clone(), key);
        }
        self.values.insert(path, value);
    }

    /// The place of the value at `path`, or of the nearest object around it.
    pub fn place(&self, path: &str) -> Option<&Place> {
        nearest(&self.values, path)
    }

    /// The place of the key at `path`, or of the nearest object around it.
    pub fn key_place(&self, path: &str) -> Option<&Place> {
        self.keys.get(path).or_else(|| self.place(path))
    }

    /// Fills in the places of `problems` and puts them in document order.
    pub fn locate(&self, mut problems: Vec<Problem>) -> Vec<Problem> {
        for problem in &mut problems {
            if problem.place.is_none() {
                problem.place = if problem.on_key {
                    self.key_place(&problem.path).cloned()
                } else {
                    self.place(&problem.path).cloned()
                };
            }
        }
        problems.sort_by_key(|p| {
            p.place
                .as_ref()
                .map(|place| (Arc::clone(&place.file), place.line, place.column))
        });
        problems
    }
}

fn nearest<'a>(map: &'a HashMap<String, Place>, mut path: &str) -> Option<&'a Place> {
    loop {
        if let Some(place) = map.get(path) {
            return Some(place);
        }
        if path.is_empty() {
            return None;
        }
        path = &path[..path.rfind(['.', '[']).unwrap_or(0)];
    }
}

/// The candidate that `found` was probably meant to be.
pub fn closest<'a>(found: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = match found.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        6..=9 => 3,
        _ => 4,
    };
    let lower = found.to_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| *candidate != found)
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| {
            *distance <= allowed && *distance < candidate.chars().count().max(1)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
