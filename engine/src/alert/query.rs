//! The log query language: `level:error checkout -test "exact words"`.
//!
//! A query is terms that must all match. A word or a quoted text matches where
//! the message contains it, whatever its case; `field:value` where that field
//! has that value, whatever its case; `-` before a term turns it round. An
//! empty query matches everything.

use std::fmt;

use crate::check::outcome::{LogLevel, LogRecord};

/// Longest query in bytes.
const MAX_LENGTH: usize = 2_000;
/// Greatest number of terms.
const MAX_TERMS: usize = 50;

/// A parsed log query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogQuery {
    /// All of these must match.
    pub terms: Vec<Term>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    /// True where the condition must not hold.
    pub negated: bool,
    pub what: Match,
}

/// What a term looks at. All texts are in lower case already.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Match {
    /// The message contains this.
    Message(String),
    /// The record's level is this one.
    Level(LogLevel),
    /// The source's name is this.
    Source(String),
    /// The field `name` (its case counts) has this value.
    Field { name: String, value: String },
}

/// Why a query was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryError {
    /// Character of the query, counted from 1.
    pub column: usize,
    pub message: String,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "character {}: {}", self.column, self.message)
    }
}

impl std::error::Error for QueryError {}

const LEVELS: [(&str, LogLevel); 18] = [
    ("trace", LogLevel::Trace),
    ("debug", LogLevel::Debug),
    ("info", LogLevel::Info),
    ("information", LogLevel::Info),
    ("informational", LogLevel::Info),
    ("notice", LogLevel::Notice),
    ("warning", LogLevel::Warning),
    ("warn", LogLevel::Warning),
    ("error", LogLevel::Error),
    ("err", LogLevel::Error),
    ("critical", LogLevel::Critical),
    ("crit", LogLevel::Critical),
    ("fatal", LogLevel::Critical),
    ("alert", LogLevel::Critical),
    ("emergency", LogLevel::Critical),
    ("emerg", LogLevel::Critical),
    ("panic", LogLevel::Critical),
    ("none", LogLevel::Unset),
];

impl LogQuery {
    /// Parses a query.
    ///
    /// # Errors
    /// An open quotation, a term without a value or an unknown level.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.len() > MAX_LENGTH {
            let message = format!("expected at most {MAX_LENGTH} bytes, found {}", text.len());
            return Err(QueryError { column: 1, message });
        }
        let mut parser = Parser {
            chars: text.chars().collect(),
            at: 0,
        };
        let mut terms = Vec::new();
        while let Some(term) = parser.term()? {
            if terms.len() == MAX_TERMS {
                return Err(parser.error(parser.at, format!("expected at most {MAX_TERMS} terms")));
            }
            terms.push(term);
        }
        Ok(Self { terms })
    }

    /// Whether a record of the source named `source` matches.
    pub fn matches(&self, record: &LogRecord, source: &str) -> bool {
        self.terms
            .iter()
            .all(|term| term.what.matches(record, source) != term.negated)
    }
}

impl Match {
    fn matches(&self, record: &LogRecord, source: &str) -> bool {
        match self {
            Match::Message(text) => contains_folded(&record.message, text),
            Match::Level(level) => record.level == *level,
            Match::Source(name) => equals_folded(source, name),
            Match::Field { name, value } => record
                .fields
                .iter()
                .any(|(key, found)| **key == **name && equals_folded(found, value)),
        }
    }
}

fn equals_folded(text: &str, lower: &str) -> bool {
    if text.is_ascii() && lower.is_ascii() {
        text.eq_ignore_ascii_case(lower)
    } else {
        text.to_lowercase() == lower
    }
}

/// Whether `text` contains `lower`, which is in lower case.
fn contains_folded(text: &str, lower: &str) -> bool {
    let (hay, needle) = (text.as_bytes(), lower.as_bytes());
    let Some((first, rest)) = needle.split_first() else {
        return true;
    };
    if !(text.is_ascii() && lower.is_ascii()) {
        return text.to_lowercase().contains(lower);
    }
    if hay.len() < needle.len() {
        return false;
    }
    (0..=hay.len() - needle.len()).any(|i| {
        hay[i].to_ascii_lowercase() == *first
            && hay[i + 1..i + needle.len()].eq_ignore_ascii_case(rest)
    })
}

struct Parser {
    chars: Vec<char>,
    at: usize,
}

impl Parser {
    fn error(&self, at: usize, message: impl Into<String>) -> QueryError {
        QueryError {
            column: at + 1,
            message: message.into(),
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn term(&mut self) -> Result<Option<Term>, QueryError> {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
        let start = self.at;
        let Some(mut first) = self.peek() else {
            return Ok(None);
        };
        let negated = first == '-';
        if negated {
            self.at += 1;
            first = match self.peek() {
                Some(c) if !c.is_whitespace() => c,
                _ => {
                    return Err(self.error(
                        start,
                        "expected a term after -, found none; quote a dash to search for it",
                    ));
                }
            };
        }
        if first == '"' {
            let text = self.quoted()?;
            return Ok(Some(Term {
                negated,
                what: Match::Message(text.to_lowercase()),
            }));
        }
        let word_start = self.at;
        let mut word = String::new();
        while let Some(c) = self.peek() {
            if c.is_whitespace() {
                break;
            }
            if c == ':' && is_field_name(&word) && !self.is_url() {
                self.at += 1;
                let value = match self.peek() {
                    Some('"') => self.quoted()?,
                    _ => self.bare(),
                };
                if value.is_empty() {
                    return Err(self.error(
                        word_start,
                        format!("expected a value after {word}:, found none; quote {word:?} with its colon to search for the text"),
                    ));
                }
                let what = self.field(word_start, word, &value)?;
                return Ok(Some(Term { negated, what }));
            }
            word.push(c);
            self.at += 1;
        }
        Ok(Some(Term {
            negated,
            what: Match::Message(word.to_lowercase()),
        }))
    }

    /// `http://…` is a word, not a field.
    fn is_url(&self) -> bool {
        self.chars.get(self.at + 1) == Some(&'/') && self.chars.get(self.at + 2) == Some(&'/')
    }

    fn bare(&mut self) -> String {
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|c| !c.is_whitespace()) {
            text.push(c);
            self.at += 1;
        }
        text
    }

    /// A text in quotes; `\"` and `\\` stand for themselves.
    fn quoted(&mut self) -> Result<String, QueryError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                '"' => return Ok(text),
                '\\' => match self.peek() {
                    Some(next @ ('"' | '\\')) => {
                        text.push(next);
                        self.at += 1;
                    }
                    _ => text.push('\\'),
                },
                c => text.push(c),
            }
        }
        Err(self.error(start, "expected a closing quotation mark, found none"))
    }

    fn field(&self, at: usize, name: String, value: &str) -> Result<Match, QueryError> {
        let value = value.to_lowercase();
        Ok(match name.as_str() {
            "level" | "severity" => match LEVELS.iter().find(|(word, _)| *word == value) {
                Some((_, level)) => Match::Level(*level),
                None => {
                    let near = crate::config::problem::closest(&value, LEVELS.map(|(w, _)| w));
                    let hint = near
                        .map(|n| format!("; did you mean {n}?"))
                        .unwrap_or_default();
                    return Err(self.error(
                        at,
                        format!("expected a level such as info, warning, error or critical, found {value:?}{hint}"),
                    ));
                }
            },
            "source" => Match::Source(value),
            "message" | "msg" => Match::Message(value),
            _ => Match::Field { name, value },
        })
    }
}

fn is_field_name(word: &str) -> bool {
    let mut chars = word.chars();
    chars
        .next()
        .is_some_and(|c| c.is_alphabetic() || c == '_' || c == '@')
        && chars.all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | '/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;

    fn record(level: LogLevel, message: &str, fields: &[(&str, &str)]) -> LogRecord {
        LogRecord {
            time: Timestamp(0),
            received: Timestamp(0),
            level,
            message: message.into(),
            fields: fields
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn all_terms_must_match() {
        let rec = record(
            LogLevel::Error,
            "Checkout failed: order 17, Straße gesperrt",
            &[("user", "Bob"), ("http.status", "500")],
        );
        for (query, expected) in [
            ("", true),
            ("checkout", true),
            ("CHECKOUT Failed", true),
            ("checkout missing", false),
            ("\"failed: order\"", true),
            ("\"order failed\"", false),
            ("-checkout", false),
            ("-test", true),
            ("-\"order 18\"", true),
            ("level:error", true),
            ("level:ERR", true),
            ("level:warn", false),
            ("-level:info checkout", true),
            ("source:app", true),
            ("source:App", true),
            ("source:web", false),
            ("user:bob", true),
            ("User:bob", false),
            ("user:bo", false),
            ("http.status:500", true),
            ("-http.status:500", false),
            ("user:\"bob\"", true),
            ("message:failed", true),
            ("STRASSE", false),
            ("straße", true),
            ("level:error checkout -test \"order 17\"", true),
        ] {
            let parsed = LogQuery::parse(query).unwrap();
            assert_eq!(parsed.matches(&rec, "app"), expected, "{query}");
        }
    }

    #[test]
    fn texts_with_colons_that_are_no_fields() {
        let rec = record(LogLevel::Info, "12:30:01 GET https://example.org/x", &[]);
        for query in ["12:30:01", "https://example.org/x", "\"GET https:\""] {
            assert!(
                LogQuery::parse(query).unwrap().matches(&rec, "s"),
                "{query}"
            );
        }
    }

    #[test]
    fn mistakes_have_a_position() {
        for (query, column, part) in [
            ("a \"b", 3, "closing quotation mark"),
            ("a -", 3, "after -"),
            ("a user:", 3, "value after user:"),
            ("a level:eror", 3, "did you mean error?"),
        ] {
            let error = LogQuery::parse(query).unwrap_err();
            assert_eq!(error.column, column, "{query}");
            assert!(error.message.contains(part), "{query}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_fails_without_a_panic(text in "\\PC{0,80}", message in "\\PC{0,40}") {
            if let Ok(query) = LogQuery::parse(&text) {
                query.matches(&record(LogLevel::Info, &message, &[("a", "b")]), "s");
            }
        }

        #[test]
        fn likely_texts_do_not_panic_either(text in "[-:\"\\\\ aLl/@.é]{0,40}") {
            let _ = LogQuery::parse(&text);
        }

        #[test]
        fn a_quoted_part_of_the_message_is_found(message in "[ -~]{1,60}", from in 0usize..60, len in 1usize..20) {
            let part: String = message.chars().skip(from).take(len).collect();
            let quoted = part.replace('\\', "\\\\").replace('"', "\\\"").to_uppercase();
            let query = LogQuery::parse(&format!("\"{quoted}\"")).unwrap();
            prop_assert!(query.matches(&record(LogLevel::Info, &message, &[]), "s"));
        }
    }
}
