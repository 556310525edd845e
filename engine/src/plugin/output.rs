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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> Option<Perfdata> {
        let output = parse(format!("OK | {text}").as_bytes());
        assert_eq!(output.perfdata.len() + output.malformed, 1, "{text}");
        output.perfdata.into_iter().next()
    }

    #[test]
    fn text_and_perfdata_over_several_lines() {
        let output = parse(
            b"DISK OK - free space: / 3326 MB (56%); | /=2643MB;5948;5958;0;5968\n/ 15272 MB (77%);\n/boot 68 MB (69%);\n/home 69357 MB (27%); | /boot=68MB;88;93;0;98\n/home=69357MB;253404;253409;0;253414\n",
        );
        assert_eq!(output.summary, "DISK OK - free space: / 3326 MB (56%);");
        assert_eq!(
            output.details,
            "/ 15272 MB (77%);\n/boot 68 MB (69%);\n/home 69357 MB (27%);"
        );
        let labels: Vec<&str> = output.perfdata.iter().map(|p| p.label.as_str()).collect();
        assert_eq!(labels, ["/", "/boot", "/home"]);
        assert_eq!(output.perfdata[1].value, Some(68e6));
        assert_eq!(output.malformed, 0);
    }

    #[test]
    fn texts() {
        let cases: [(&str, &str, &str); 9] = [
            ("", "", ""),
            ("\n\n", "", ""),
            ("OK", "OK", ""),
            ("OK\r\n", "OK", ""),
            ("\n  OK  \nmore\n\n", "OK", "more"),
            ("OK\n\nmore", "OK", "\nmore"),
            ("| a=1", "", ""),
            ("OK\n| a=1", "OK", ""),
            ("OK\n  indented\n|", "OK", "  indented"),
        ];
        for (text, summary, details) in cases {
            let output = parse(text.as_bytes());
            assert_eq!(
                (output.summary.as_str(), output.details.as_str()),
                (summary, details),
                "{text:?}"
            );
        }
        assert_eq!(parse(b"\xff ok").summary, "\u{fffd} ok");
    }

    #[test]
    fn labels() {
        let cases: [(&str, Option<&str>, Option<&str>); 14] = [
            ("time=1", Some("time"), Some("time")),
            ("'free space'=1", Some("free space"), Some("free_space")),
            ("'it''s'=1", Some("it's"), Some("it_s")),
            ("'a=b'=1", Some("a=b"), Some("a_b")),
            ("''''=1", Some("'"), Some("_")),
            ("''=1", Some(""), None),
            ("/=1", Some("/"), Some("_")),
            ("/var/log=1", Some("/var/log"), Some("_var_log")),
            ("5min=1", Some("5min"), Some("_5min")),
            ("'% über 9'=1", Some("% über 9"), Some("_ber_9")),
            ("a.b:c-d=1", Some("a.b:c-d"), Some("a.b:c-d")),
            ("-a=1", Some("-a"), Some("_-a")),
            ("=1", None, None),
            ("word", None, None),
        ];
        for (text, label, name) in cases {
            let found = one(text);
            assert_eq!(found.as_ref().map(|p| p.label.as_str()), label, "{text}");
            let metric = found.and_then(|p| p.metric_name());
            assert_eq!(metric.as_deref(), name, "{text}");
        }
        let long = one(&format!("{}=1", "x".repeat(400))).unwrap();
        assert_eq!(long.metric_name().unwrap().len(), MAX_NAME);
        let long = one(&format!("{}ä=1", "1".repeat(127))).unwrap();
        assert!(long.metric_name().unwrap().len() <= MAX_NAME);
    }

    #[test]
    fn values_and_units() {
        let cases: [(&str, Option<(Option<f64>, &str)>); 27] = [
            ("a=1", Some((Some(1.0), ""))),
            ("a=-1.5", Some((Some(-1.5), ""))),
            ("a=+.5", Some((Some(0.5), ""))),
            ("a=5.", Some((Some(5.0), ""))),
            ("a=1,5s", Some((Some(1.5), "s"))),
            ("a=1e3", Some((Some(1000.0), ""))),
            ("a=1.5E-3s", Some((Some(0.0015), "s"))),
            ("a=12ms", Some((Some(0.012), "s"))),
            ("a=1500us", Some((Some(0.0015), "s"))),
            ("a=1500µs", Some((Some(0.0015), "s"))),
            ("a=7ns", Some((Some(7e-9), "s"))),
            ("a=56%", Some((Some(56.0), "%"))),
            ("a=3B", Some((Some(3.0), "B"))),
            ("a=3KB", Some((Some(3e3), "B"))),
            ("a=2643MB", Some((Some(2643e6), "B"))),
            ("a=1GB", Some((Some(1e9), "B"))),
            ("a=1TB", Some((Some(1e12), "B"))),
            ("a=2KiB", Some((Some(2048.0), "B"))),
            ("a=1MiB", Some((Some(1_048_576.0), "B"))),
            ("a=99c", Some((Some(99.0), "c"))),
            ("a=4lines", Some((Some(4.0), "lines"))),
            ("a=1e", Some((Some(1.0), "e"))),
            ("a=U", Some((None, ""))),
            ("a=", None),
            ("a=x", None),
            ("a=1.2.3", None),
            ("a=nan", None),
        ];
        for (text, expected) in cases {
            let found = one(text);
            let found = found.as_ref().map(|p| (p.value, p.unit.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn thresholds() {
        const INF: f64 = f64::INFINITY;
        // range, start, end, inside, a value it alerts on, one it does not
        let cases: [(&str, f64, f64, bool, f64, f64); 7] = [
            ("10", 0.0, 10.0, false, 11.0, 10.0),
            ("10:", 10.0, INF, false, 9.0, 1e9),
            ("~:10", -INF, 10.0, false, 10.5, -1e9),
            ("10:20", 10.0, 20.0, false, 21.0, 15.0),
            ("@10:20", 10.0, 20.0, true, 10.0, 9.0),
            (":5", 0.0, 5.0, false, -1.0, 3.0),
            ("-5:-1", -5.0, -1.0, false, 0.0, -2.0),
        ];
        for (text, start, end, inside, alerts, quiet) in cases {
            let range = Range::parse(text).unwrap();
            assert_eq!(range, Range { start, end, inside }, "{text}");
            assert!(range.alerts(alerts) && !range.alerts(quiet), "{text}");
        }
        for bad in ["", "@", "~", "20:10", "a", "1:b", "1:2:3", "10s"] {
            assert_eq!(Range::parse(bad), None, "{bad}");
        }
        let disk = one("/=2643MB;5948;@0:5958MB;0;5968").unwrap();
        assert_eq!(
            disk.warning.map(|r| (r.end, r.inside)),
            Some((5948e6, false))
        );
        assert_eq!(
            disk.critical.map(|r| (r.end, r.inside)),
            Some((5958e6, true))
        );
        assert_eq!((disk.min, disk.max), (Some(0.0), Some(5968e6)));
        // Thresholds that are none leave the value alone.
        let odd = one("a=1;x;;;9").unwrap();
        assert_eq!(
            (odd.value, odd.warning, odd.max),
            (Some(1.0), None, Some(9.0))
        );
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let output = parse(b"OK | a=1 junk b=x 'c d'=2 'open=3 e=4");
        let labels: Vec<&str> = output.perfdata.iter().map(|p| p.label.as_str()).collect();
        assert_eq!((labels, output.malformed), (vec!["a", "c d"], 3));

        let output = parse(b"OK | a=1 a=2 'a b'=3 a_b=4 c=U d=5 e=6");
        let (metrics, dropped) = output.metrics(3);
        let names: Vec<&str> = metrics.iter().map(|metric| &*metric.name).collect();
        assert_eq!((names, dropped), (vec!["a", "a_b", "d"], 4));
    }

    #[test]
    fn states() {
        let cases = [
            ("OK - fine", Some(State::Ok)),
            ("WARNING: late", Some(State::Warning)),
            ("DISK CRITICAL - full", Some(State::Critical)),
            ("UNKNOWN", Some(State::Unknown)),
            ("critical failure", None),
            ("it is OK", None),
            ("OKAY", None),
            ("", None),
        ];
        for (text, state) in cases {
            assert_eq!(leading_state(text), state, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let output = parse(&bytes);
            let (metrics, dropped) = output.metrics(1_000);
            prop_assert_eq!(metrics.len() + dropped, output.perfdata.len());
            prop_assert!(metrics.iter().all(|metric| is_metric_name(&metric.name)));
            prop_assert!(!output.summary.contains('\n'));
        }

        #[test]
        fn no_text_panics(text in "[a-c='| \\n;:@~,.0-9eUµ%MsB-]{0,120}") {
            let output = parse(text.as_bytes());
            let (metrics, _) = output.metrics(1_000);
            prop_assert!(metrics.iter().all(|metric| metric.value.is_finite()));
        }

        #[test]
        fn what_was_written_is_read(label in "[a-zA-Z ='|/]{1,20}", value in -1e12..1e12_f64) {
            // A bar in a label of the first line ends nothing.
            let quoted = label.replace('\'', "''");
            let output = parse(format!("OK | '{quoted}'={value}").as_bytes());
            prop_assert_eq!(output.malformed, 0);
            prop_assert_eq!(&output.perfdata[0].label, &label);
            prop_assert_eq!(output.perfdata[0].value, Some(value));
        }
    }
}
