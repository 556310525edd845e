//! What programs print by the monitoring-plugins convention, read: a line of
//! text, performance data behind `|`, further lines of text.
//!
//! ```text
//! TEXT | 'label'=value[unit];[warn];[crit];[min];[max] …
//! LONG TEXT
//! LONG TEXT | MORE PERFORMANCE DATA
//! MORE PERFORMANCE DATA
//! ```
//! Pure: any bytes in, never a panic. What does not fit the convention is left
//! out and counted. Source: the Monitoring Plugins Development Guidelines and
//! the plugin API of Nagios Core 4; units as Icinga 2 reads them.

use std::collections::HashSet;
use std::sync::Arc;

use super::manifest::is_metric_name;
use crate::check::outcome::{Metric, State};

/// Longest label that is kept, in bytes; metric names are no longer.
const MAX_NAME: usize = 128;
/// Longest unit, in bytes.
const MAX_UNIT: usize = 16;

/// What a program said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// The first line without its performance data.
    pub summary: String,
    /// The lines behind it.
    pub details: String,
    pub perfdata: Vec<Perfdata>,
    /// Pieces of performance data that do not fit the convention.
    pub malformed: usize,
}

/// One value of the performance data, in its base unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Perfdata {
    pub label: String,
    /// Absent for `U`: the program could not measure it.
    pub value: Option<f64>,
    /// `s`, `B`, `%`, `c` (counter), empty, or what the program wrote.
    pub unit: String,
    pub warning: Option<Range>,
    pub critical: Option<Range>,
    pub min: Option<f64>,
    pub max: Option<f64>,
}

/// A threshold: values that it alerts on are outside of `start..=end`, or inside
/// where it was written with `@`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub start: f64,
    pub end: f64,
    pub inside: bool,
}

impl Range {
    /// `10`, `10:`, `~:10`, `10:20` or `@10:20`; absent where it is none of them.
    pub fn parse(text: &str) -> Option<Self> {
        let (inside, text) = match text.strip_prefix('@') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (start, end) = match text.split_once(':') {
            Some((start, end)) => (start, Some(end)),
            None => ("", Some(text).filter(|text| !text.is_empty())),
        };
        let start = match start {
            "" => 0.0,
            "~" => f64::NEG_INFINITY,
            number => whole_number(number)?,
        };
        let end = match end? {
            "" => f64::INFINITY,
            number => whole_number(number)?,
        };
        (start <= end).then_some(Self { start, end, inside })
    }

    /// Whether the threshold alerts on this value.
    pub fn alerts(&self, value: f64) -> bool {
        (self.start..=self.end).contains(&value) == self.inside
    }
}

impl Perfdata {
    /// The name under which rules and charts know the value: the label with
    /// whatever names cannot carry replaced by `_`. Absent for an empty label.
    pub fn metric_name(&self) -> Option<String> {
        let mut name = String::with_capacity(self.label.len().min(MAX_NAME));
        for c in self.label.chars() {
            if name.len() >= MAX_NAME {
                break;
            }
            let fits = c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-');
            if name.is_empty() && fits && !c.is_ascii_alphabetic() && c != '_' {
                name.push('_');
            }
            if fits {
                name.push(c);
            } else if !name.ends_with('_') {
                name.push('_');
            }
        }
        name.truncate(MAX_NAME);
        is_metric_name(&name).then_some(name)
    }
}

impl Output {
    /// At most `most` metrics of the performance data, and how many values were
    /// left out: unknown, not finite, of the same name as an earlier one, or
    /// too many.
    pub fn metrics(&self, most: usize) -> (Vec<Metric>, usize) {
        let mut seen = HashSet::new();
        let mut metrics = Vec::with_capacity(self.perfdata.len().min(most));
        let mut dropped = 0;
        for one in &self.perfdata {
            let value = one.value.filter(|value| value.is_finite());
            match (one.metric_name(), value) {
                (Some(name), Some(value)) if metrics.len() < most => {
                    let name: Arc<str> = Arc::from(name);
                    if seen.insert(Arc::clone(&name)) {
                        metrics.push(Metric { name, value });
                    } else {
                        dropped += 1;
                    }
                }
                _ => dropped += 1,
            }
        }
        (metrics, dropped)
    }
}

/// Reads what a program printed.
pub fn parse(bytes: &[u8]) -> Output {
    let text = String::from_utf8_lossy(bytes);
    let mut output = Output::default();
    let mut details: Vec<&str> = Vec::new();
    let mut lines = text.lines().skip_while(|line| line.trim().is_empty());
    if let Some(first) = lines.next() {
        let (summary, perfdata) = split(first);
        output.summary = summary.trim().to_owned();
        perfdata.into_iter().for_each(|part| output.read(part));
    }
    let mut in_perfdata = false;
    for line in lines {
        if in_perfdata {
            output.read(line);
            continue;
        }
        let (text, perfdata) = split(line);
        if let Some(part) = perfdata {
            in_perfdata = true;
            output.read(part);
            if text.trim().is_empty() {
                continue;
            }
        }
        details.push(text.trim_end());
    }
    while details.last().is_some_and(|line| line.is_empty()) {
        details.pop();
    }
    output.details = details.join("\n");
    output
}

fn split(line: &str) -> (&str, Option<&str>) {
    match line.split_once('|') {
        Some((text, perfdata)) => (text, Some(perfdata)),
        None => (line, None),
    }
}

/// The state that a text begins with, as `CRITICAL - …` or `DISK WARNING: …`.
pub fn leading_state(summary: &str) -> Option<State> {
    summary.split_whitespace().take(2).find_map(|word| {
        match word.trim_end_matches([':', '-', ',', ';', '.']) {
            "OK" => Some(State::Ok),
            "WARNING" => Some(State::Warning),
            "CRITICAL" => Some(State::Critical),
            "UNKNOWN" => Some(State::Unknown),
            _ => None,
        }
    })
}

impl Output {
    /// Adds what one line holds.
    fn read(&mut self, line: &str) {
        let mut rest = line.trim_start();
        while !rest.is_empty() {
            let Some((label, behind)) = label(rest) else {
                // A quote that never closes takes the line with it.
                self.malformed += 1;
                rest = match rest.strip_prefix('\'') {
                    Some(_) => "",
                    None => word(rest).1,
                };
                continue;
            };
            let (fields, behind) = word(behind);
            match perfdata(label, fields) {
                Some(one) => self.perfdata.push(one),
                None => self.malformed += 1,
            }
            rest = behind;
        }
    }
}

/// The text up to white space, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, rest.trim_start())
}

/// A label and what stands behind its `=`.
fn label(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('\'') else {
        let (word, _) = word(text);
        let at = word.find('=').filter(|at| *at > 0)?;
        return Some((text.get(..at)?.to_owned(), text.get(at + 1..)?));
    };
    let mut label = String::new();
    loop {
        let (part, behind) = rest.split_once('\'')?;
        label.push_str(part);
        match behind.strip_prefix('\'') {
            // Two quotes are one.
            Some(more) => {
                label.push('\'');
                rest = more;
            }
            None => return Some((label, behind.strip_prefix('=')?)),
        }
    }
}

/// `value[unit];[warn];[crit];[min];[max]`.
fn perfdata(label: String, fields: &str) -> Option<Perfdata> {
    let mut fields = fields.split(';');
    let first = fields.next()?;
    let (value, unit) = if first == "U" {
        (None, "")
    } else {
        let (value, unit) = number(first)?;
        (Some(value), unit)
    };
    let fits = unit.len() <= MAX_UNIT
        && !unit
            .chars()
            .any(|c| c.is_ascii_digit() || c.is_control() || "'\"=".contains(c));
    if !fits {
        return None;
    }
    let (base, factor) = base(unit);
    // Some programs repeat the unit behind a threshold.
    let mut next = || {
        let field = fields.next().unwrap_or("");
        field.strip_suffix(unit).unwrap_or(field)
    };
    let mut range = || {
        let range = Range::parse(next())?;
        Some(Range {
            start: factor.of(range.start),
            end: factor.of(range.end),
            inside: range.inside,
        })
    };
    let (warning, critical) = (range(), range());
    let mut bound = || whole_number(next()).map(|value| factor.of(value));
    let (min, max) = (bound(), bound());
    Some(Perfdata {
        label,
        value: value.map(|value| factor.of(value)),
        unit: base.to_owned(),
        warning,
        critical,
        min,
        max,
    })
}

/// From a unit to its base unit.
#[derive(Clone, Copy)]
enum Factor {
    Times(f64),
    /// Dividing by a thousand rounds right, multiplying by 0.001 does not.
    Over(f64),
}

impl Factor {
    fn of(self, value: f64) -> f64 {
        match self {
            Factor::Times(by) => value * by,
            Factor::Over(by) => value / by,
        }
    }
}

/// Seconds and bytes whatever the program counted in; other units as they are.
/// `KB` is 1000 bytes and `KiB` 1024.
fn base(unit: &str) -> (&str, Factor) {
    use Factor::{Over, Times};
    let over = match unit {
        "s" => 1.0,
        "ms" => 1e3,
        "us" | "µs" | "μs" => 1e6,
        "ns" => 1e9,
        _ => 0.0,
    };
    if over > 0.0 {
        return ("s", Over(over));
    }
    let kibi = 1024_f64;
    let times = match unit {
        "B" => 1.0,
        "KB" | "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "PB" => 1e15,
        "KiB" => kibi,
        "MiB" => kibi.powi(2),
        "GiB" => kibi.powi(3),
        "TiB" => kibi.powi(4),
        "PiB" => kibi.powi(5),
        _ => return (unit, Times(1.0)),
    };
    ("B", Times(times))
}

/// A number with nothing behind it.
fn whole_number(text: &str) -> Option<f64> {
    number(text)
        .filter(|(_, rest)| rest.is_empty())
        .map(|n| n.0)
}

/// The number at the beginning, and what follows it. A comma counts as a point:
/// programs under some locales write one.
fn number(text: &str) -> Option<(f64, &str)> {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        bytes
            .iter()
            .skip(from)
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let mut end = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let mut count = digits(end);
    end += count;
    if matches!(bytes.get(end), Some(b'.' | b',')) {
        let decimals = digits(end + 1);
        count += decimals;
        end += 1 + decimals;
    }
    if count == 0 {
        return None;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    let (number, rest) = text.split_at_checked(end)?;
    let value: f64 = number.replace(',', ".").parse().ok()?;
    Some((value, rest))
}

#[cfg(test)]
mod tests;
