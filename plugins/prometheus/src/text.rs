//! The text exposition format, version 0.0.4.

use std::borrow::Cow;

/// Most labels of a sample. A line with more is none: 8 MiB of the shortest
/// labels would take more memory than a plugin has.
const MAX_LABELS: usize = 1_000;

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// Name of the metric.
    pub name: &'a str,
    /// Names and values of the labels, in order.
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
    /// May be NaN or infinite.
    pub value: f64,
}

impl Sample<'_> {
    /// The value of a label; empty where it is absent, as in Prometheus.
    pub fn label(&self, name: &str) -> &str {
        let mut labels = self.labels.iter();
        let found = labels.find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// Reads a line. None is a line that is no sample; comments and empty lines are
/// the caller's to skip.
pub fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim();
    let end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let (name, rest) = line.split_at(end);
    if !is_name(name, true) {
        return None;
    }
    let rest = rest.trim_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    // A time stamp, or an exemplar of OpenMetrics, may follow.
    let value = number(rest.split_ascii_whitespace().next()?)?;
    Some(Sample {
        name,
        labels,
        value,
    })
}

fn is_name(name: &str, colons: bool) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (colons && byte == b':');
    name.bytes().next().is_some_and(letter)
        && name
            .bytes()
            .all(|byte| letter(byte) || byte.is_ascii_digit())
}

type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Reads labels up to the closing brace; returns what is behind it.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, behind) = rest.split_once('=')?;
        let name = name.trim();
        if !is_name(name, false) {
            return None;
        }
        let (value, behind) = quoted(behind.trim_start().strip_prefix('"')?)?;
        if labels.len() == MAX_LABELS {
            return None;
        }
        labels.push((name, value));
        rest = behind.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(behind) => behind,
            None if rest.starts_with('}') => rest,
            None => return None,
        };
    }
}

/// Reads text up to a quotation mark; returns what is behind it.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text.as_bytes()[end] == b'"' {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = text[..end].to_owned();
    let mut letters = text[end..].char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((Cow::Owned(value), &text[end + at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

/// A number as Go reads it.
fn number(text: &str) -> Option<f64> {
    // Rust reads `NaN`, `inf` and `+Inf` in any case, and `infinity`, as Go does.
    text.parse().ok()
}
