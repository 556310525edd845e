//! How a notification looks as a mail.
//!
//! Everything that comes from outside (summaries, labels, results, action
//! output) is cut to one bounded line without control or direction-changing
//! characters before a template sees it; the HTML template escapes it once
//! more. Rendering cannot fail: should a template, a plain text takes its place,
//! because an ugly mail is better than none.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

use crate::clock::Timestamp;
use crate::config::spec::Severity;
use crate::pipeline::changes::{Notification, NotificationKind, ResultLine};

/// Greatest length of a subject, in characters.
pub const MAX_SUBJECT: usize = 200;
const MAX_SUMMARY: usize = 500;
const MAX_LINE: usize = 300;
const MAX_EXPRESSION: usize = 2_000;
const MAX_RESULTS: usize = 10;
const MAX_TRIED: usize = 20;
const MAX_LABELS: usize = 50;

/// Greatest size of a rendered body in bytes.
const MAX_OUTPUT: usize = 256 << 10;

/// Instructions a template may spend.
pub(super) const FUEL: u64 = 200_000;

/// A mail's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// One line without control characters, at most [`MAX_SUBJECT`] characters.
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// Turns notifications into mails. Built once.
#[derive(Debug)]
pub struct Renderer {
    env: Environment<'static>,
}

impl Default for Renderer {
    fn default() -> Self {
        Self::new()
    }
}

impl Renderer {
    /// A renderer with the built-in templates; nothing can be loaded later.
    pub fn new() -> Self {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_fuel(Some(FUEL));
        env.set_auto_escape_callback(html_only);
        for (name, source) in [
            ("mail.txt", include_str!("templates/mail.txt")),
            ("mail.html", include_str!("templates/mail.html")),
        ] {
            env.add_template(name, source)
                .expect("a template of the engine parses");
        }
        Self { env }
    }

    /// The mail for `n`; `public_url` is what links start with.
    pub fn render(&self, n: &Notification, public_url: &str) -> Rendered {
        let subject = subject(n);
        let view = View::new(n, public_url);
        let plain = |error: &dyn std::fmt::Display| {
            tracing::error!(alert = n.alert, %error, "a mail template failed; sending plain text");
            format!("{subject}\n\n{}", view.link)
        };
        let mut text = self
            .fill("mail.txt", &view, Value::from(view.link.clone()))
            .unwrap_or_else(|e| plain(&e));
        // The engine of the templates drops the last line break.
        text.push('\n');
        let html_link = Value::from_safe_string(escape(&view.link));
        let html = self
            .fill("mail.html", &view, html_link)
            .unwrap_or_else(|e| format!("<!doctype html><pre>{}</pre>", escape(&plain(&e))));
        Rendered {
            subject,
            text,
            html,
        }
    }

    fn fill(&self, name: &str, view: &View, link: Value) -> Result<String, minijinja::Error> {
        fill(&self.env, name, view.context(link))
    }
}

/// HTML is escaped, plain text is not.
pub(super) fn html_only(name: &str) -> AutoEscape {
    match name.ends_with(".html") {
        true => AutoEscape::Html,
        false => AutoEscape::None,
    }
}

/// Fills a template, within bounds.
pub(super) fn fill(
    env: &Environment<'static>,
    name: &str,
    context: Value,
) -> Result<String, minijinja::Error> {
    let mut out = Capped(Vec::new());
    env.get_template(name)?
        .render_captured_to(context, &mut out)?;
    Ok(String::from_utf8_lossy(&out.0).into_owned())
}

/// The subject line: `[FIRING] <rule> on <node>: <summary>` and its likes.
pub fn subject(n: &Notification) -> String {
    let mut s = format!("[{}] {}", tag(n.kind), subject_name(n));
    let summary = one_line(&n.summary, MAX_SUMMARY);
    if !summary.is_empty() {
        s.push_str(": ");
        s.push_str(&summary);
    }
    one_line(&s, MAX_SUBJECT)
}

pub(super) fn tag(kind: NotificationKind) -> &'static str {
    match kind {
        NotificationKind::Firing => "FIRING",
        NotificationKind::Resolved | NotificationKind::FaultResolved => "RESOLVED",
        NotificationKind::RepairFailed => "REPAIR FAILED",
        NotificationKind::Fault => "FAULT",
    }
}

/// `<rule> on <node>`, the node left out where the alert has none.
pub(super) fn subject_name(n: &Notification) -> String {
    let name = one_line(&n.name, 100);
    match &n.node {
        Some(node) => format!("{name} on {}", one_line(&node.name, 100)),
        None => name,
    }
}

/// What the templates see.
pub(super) struct View {
    pub(super) tag: &'static str,
    pub(super) color: &'static str,
    pub(super) headline: String,
    pub(super) subject_name: String,
    pub(super) summary: String,
    pub(super) facts: Vec<Fact>,
    results: Vec<ResultView>,
    pub(super) tried: Vec<String>,
    labels: Vec<Label>,
    expression: String,
    alert: i64,
    pub(super) link: String,
}

pub(super) struct Fact {
    label: &'static str,
    pad: String,
    value: String,
}

struct Label {
    name: String,
    value: String,
}

struct ResultView {
    time: String,
    state: String,
    state_padded: String,
    color: &'static str,
    duration: String,
    duration_padded: String,
    summary: String,
}

impl View {
    pub(super) fn new(n: &Notification, public_url: &str) -> Self {
        let base = one_line(public_url, 2_000);
        let mut tried: Vec<String> = n
            .tried
            .iter()
            .rev()
            .take(MAX_TRIED)
            .map(|t| one_line(t, MAX_LINE))
            .collect();
        tried.reverse();
        Self {
            tag: tag(n.kind),
            color: color(n),
            headline: format!("{}: {}", tag(n.kind), subject_name(n)),
            subject_name: subject_name(n),
            summary: one_line(&n.summary, MAX_SUMMARY),
            facts: facts(n),
            results: n
                .last_results
                .iter()
                .take(MAX_RESULTS)
                .map(ResultView::new)
                .collect(),
            tried,
            labels: n
                .labels
                .iter()
                .take(MAX_LABELS)
                .map(|(name, value)| Label {
                    name: one_line(name, 100),
                    value: one_line(value, MAX_LINE),
                })
                .collect(),
            expression: one_line(&n.expression, MAX_EXPRESSION),
            alert: n.alert,
            link: format!("{}/alerts/{}", base.trim_end_matches('/'), n.alert),
        }
    }
}

impl View {
    fn context(&self, link: Value) -> Value {
        let facts: Vec<Value> = self.facts.iter().map(fact).collect();
        let results: Vec<Value> = self.results.iter().map(ResultView::context).collect();
        let labels: Vec<Value> = self
            .labels
            .iter()
            .map(|l| context! { name => &*l.name, value => &*l.value })
            .collect();
        context! {
            link, facts, results, labels,
            tag => self.tag,
            color => self.color,
            headline => &*self.headline,
            subject_name => &*self.subject_name,
            summary => &*self.summary,
            tried => self.tried.clone(),
            expression => &*self.expression,
            alert => self.alert,
        }
    }
}

/// A fact as templates see it.
pub(super) fn fact(fact: &Fact) -> Value {
    context! { label => fact.label, pad => &*fact.pad, value => &*fact.value }
}

impl ResultView {
    fn context(&self) -> Value {
        context! {
            time => &*self.time,
            state => &*self.state,
            state_padded => &*self.state_padded,
            color => self.color,
            duration => &*self.duration,
            duration_padded => &*self.duration_padded,
            summary => &*self.summary,
        }
    }

    fn new(r: &ResultLine) -> Self {
        let state = one_line(&r.state, 20);
        let duration = format_millis(r.duration_us);
        Self {
            time: format_time(r.ts),
            state_padded: format!("{state:<8}"),
            color: state_color(&state),
            state,
            duration_padded: format!("{duration:>9}"),
            duration,
            summary: one_line(&r.summary, MAX_LINE),
        }
    }
}

/// What, since when, how sure: the lines under the headline.
fn facts(n: &Notification) -> Vec<Fact> {
    let mut facts: Vec<(&'static str, String)> = Vec::new();
    facts.push(("Severity", n.severity.as_str().to_owned()));
    if let Some(node) = &n.node {
        let name = one_line(&node.name, 100);
        let address = one_line(&node.address, 100);
        let node = match address.is_empty() || address == name {
            true => name,
            false => format!("{name} ({address})"),
        };
        facts.push(("Node", node));
    }
    if let Some(check) = n.check.as_ref().filter(|check| **check != n.name) {
        facts.push(("Check", one_line(check, 100)));
    }
    let lasted = n.at.since(n.since);
    let began = format_time(n.since);
    match n.kind {
        NotificationKind::Resolved | NotificationKind::FaultResolved => {
            facts.push(("Since", format!("{began} UTC")));
            let ended = format_time(n.at);
            let lasted = format_span(lasted);
            facts.push(("Ended", format!("{ended} UTC, after {lasted}")));
        }
        _ if lasted < Duration::from_secs(1) => facts.push(("Since", format!("{began} UTC"))),
        _ => {
            let lasted = format_span(lasted);
            let at = format_time(n.at);
            facts.push(("Since", format!("{began} UTC ({lasted} when told at {at})")));
        }
    }
    if let Some(sure) = how_sure(&n.last_results) {
        facts.push(("Evidence", sure));
    }
    facts
        .into_iter()
        .map(|(label, value)| Fact {
            label,
            pad: " ".repeat(10usize.saturating_sub(label.len())),
            value,
        })
        .collect()
}

/// How many of the newest results agree.
fn how_sure(results: &[ResultLine]) -> Option<String> {
    let newest = one_line(&results.first()?.state, 20);
    let agreeing = results
        .iter()
        .take_while(|r| one_line(&r.state, 20) == newest)
        .count();
    let verb = if newest == "fault" {
        "ended in a"
    } else {
        "said"
    };
    let before: HashSet<_> = results[agreeing..]
        .iter()
        .map(|r| one_line(&r.state, 20))
        .collect();
    let mut text = match agreeing {
        1 => format!("the newest result {verb} {newest}"),
        n => format!("the newest {n} results in a row {verb} {newest}"),
    };
    if let Some(previous) = results.get(agreeing) {
        let rest = results.len() - agreeing;
        let previous = one_line(&previous.state, 20);
        text.push_str(&match (before.len(), rest) {
            (1, 1) => format!("; the one before was {previous}"),
            (1, _) => format!("; the {rest} before were {previous}"),
            _ => format!("; just before it was {previous}"),
        });
    }
    Some(text)
}

fn color(n: &Notification) -> &'static str {
    match (n.kind, n.severity) {
        (NotificationKind::Resolved | NotificationKind::FaultResolved, _) => "#2e7d32",
        (NotificationKind::RepairFailed, _) => "#7b1fa2",
        (NotificationKind::Fault, _) => "#546e7a",
        (NotificationKind::Firing, Severity::Critical) => "#c62828",
        (NotificationKind::Firing, Severity::Warning) => "#b45f06",
        (NotificationKind::Firing, Severity::Info) => "#1565c0",
    }
}

/// Colours that can be read on white and on near-black.
fn state_color(state: &str) -> &'static str {
    match state {
        "ok" => "#2f9e44",
        "warning" => "#d9730d",
        "critical" => "#e03131",
        _ => "#7a8590",
    }
}

fn format_time(t: Timestamp) -> String {
    t.to_utc().format("%Y-%m-%d %H:%M:%S").to_string()
}

fn format_millis(micros: u32) -> String {
    match micros {
        0..=9_999 => format!("{:.1} ms", f64::from(micros) / 1e3),
        10_000..=9_999_999 => format!("{} ms", micros / 1_000),
        _ => format!("{:.1} s", f64::from(micros) / 1e6),
    }
}

/// The two largest units: `45 s`, `3 min 12 s`, `2 h 5 min`, `3 d 4 h`.
fn format_span(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..=59 => format!("{s} s"),
        60..=3_599 => format!("{} min {} s", s / 60, s % 60),
        3_600..=86_399 => format!("{} h {} min", s / 3_600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

/// `text` as one line of at most `max` characters: white space runs become one
/// space, control characters and those that change the writing direction go,
/// and what is cut ends in `...`.
pub fn one_line(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    let (mut count, mut gap) = (0usize, false);
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            gap = true;
            continue;
        }
        if matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        {
            continue;
        }
        let needs = 1 + usize::from(gap && count > 0);
        if count + needs > max {
            let keep = max.saturating_sub(3);
            let cut = out.char_indices().nth(keep).map_or(out.len(), |(i, _)| i);
            out.truncate(cut);
            out.push_str(&"..."[..max.min(3)]);
            return out;
        }
        if gap && count > 0 {
            out.push(' ');
        }
        out.push(c);
        count += needs;
        gap = false;
    }
    out
}

/// HTML escaping that leaves slashes alone, for links.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Refuses more than [`MAX_OUTPUT`] bytes.
struct Capped(Vec<u8>);

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other("the mail is larger than 256 KiB"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
