//! Several notifications in one mail.

use minijinja::value::Value;
use minijinja::{Environment, UndefinedBehavior, context};

use super::render::{self, FUEL, MAX_SUBJECT, Rendered, View, escape, fill, html_only, one_line};
use crate::pipeline::changes::{Notification, NotificationKind};

/// Most notifications in one mail; more leave in another.
pub const MAX_TOGETHER: usize = 100;
/// Most repairs told of each.
const MAX_TRIED: usize = 3;

/// Turns groups of notifications into mails. Built once.
#[derive(Debug)]
pub struct GroupRenderer {
    env: Environment<'static>,
}

impl Default for GroupRenderer {
    fn default() -> Self {
        Self::new()
    }
}

impl GroupRenderer {
    /// A renderer with the built-in templates; nothing can be loaded later.
    pub fn new() -> Self {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_fuel(Some(FUEL));
        env.set_auto_escape_callback(html_only);
        for (name, source) in [
            ("group.txt", include_str!("templates/group.txt")),
            ("group.html", include_str!("templates/group.html")),
        ] {
            env.add_template(name, source)
                .expect("a template of the engine parses");
        }
        Self { env }
    }

    /// The mail for `all`, the most urgent first; `public_url` is what links
    /// start with.
    pub fn render(&self, all: &[&Notification], public_url: &str) -> Rendered {
        let mut all = all.to_vec();
        all.sort_by_key(|n| urgency(n.kind));
        let subject = subject(&all);
        let views: Vec<View> = all.iter().map(|n| View::new(n, public_url)).collect();
        let plain = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "a mail template failed; sending plain text");
            let lines = views
                .iter()
                .map(|view| format!("{}\n{}", view.headline, view.link));
            format!("{subject}\n\n{}", lines.collect::<Vec<_>>().join("\n"))
        };
        let context = |html: bool| {
            let items: Vec<Value> = views.iter().map(|view| item(view, html)).collect();
            context! { items, title => title(&all), color => views.first().map(|view| view.color) }
        };
        let mut text =
            fill(&self.env, "group.txt", context(false)).unwrap_or_else(|error| plain(&error));
        text.push('\n');
        let html = fill(&self.env, "group.html", context(true)).unwrap_or_else(|error| {
            format!("<!doctype html><pre>{}</pre>", escape(&plain(&error)))
        });
        Rendered {
            subject,
            text,
            html,
        }
    }
}

fn item(view: &View, html: bool) -> Value {
    let link = match html {
        true => Value::from_safe_string(escape(&view.link)),
        false => Value::from(view.link.clone()),
    };
    let facts: Vec<Value> = view.facts.iter().map(render::fact).collect();
    context! {
        link, facts,
        headline => &*view.headline,
        color => view.color,
        tag => view.tag,
        subject_name => &*view.subject_name,
        summary => &*view.summary,
        tried => view.tried.iter().rev().take(MAX_TRIED).rev().cloned().collect::<Vec<_>>(),
    }
}

/// What people have to see first.
pub(super) fn urgency(kind: NotificationKind) -> u8 {
    match kind {
        NotificationKind::Firing => 0,
        NotificationKind::RepairFailed => 1,
        NotificationKind::Fault => 2,
        NotificationKind::Resolved | NotificationKind::FaultResolved => 3,
    }
}

/// `3 firing, 1 resolved`.
fn title(all: &[&Notification]) -> String {
    let words = ["firing", "repair failed", "fault", "resolved"];
    let counts = words.iter().zip(0u8..).filter_map(|(word, rank)| {
        let count = all.iter().filter(|n| urgency(n.kind) == rank).count();
        (count > 0).then(|| format!("{count} {word}"))
    });
    counts.collect::<Vec<_>>().join(", ")
}

/// `[FIRING] 3 firing, 1 resolved: <rule> on <node>, …`.
fn subject(all: &[&Notification]) -> String {
    let tag = all.first().map_or("", |n| render::tag(n.kind));
    let names: Vec<String> = all.iter().map(|n| render::subject_name(n)).collect();
    let text = format!("[{tag}] {}: {}", title(all), names.join(", "));
    one_line(&text, MAX_SUBJECT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(kind: &str, name: &str, node: &str) -> Notification {
        serde_json::from_value(serde_json::json!({
            "kind": kind, "alert": 7, "name": name, "check": "homepage",
            "node": {"name": node, "address": "192.0.2.1", "labels": {}},
            "severity": "critical", "labels": {}, "summary": "it <b>said</b>\nno",
            "since": 0, "at": 90_000_000, "expression": "true", "last_results": [],
            "tried": ["restart: done"], "in_reply_to": null,
        }))
        .unwrap()
    }

    #[test]
    fn every_notification_is_told_the_urgent_first() {
        let all = [
            notification("resolved", "slow", "web-1"),
            notification("firing", "down", "web-2"),
            notification("firing", "down", "web-3"),
        ];
        let mail = GroupRenderer::new().render(&all.each_ref()[..], "https://b.example.org/");
        assert_eq!(
            mail.subject,
            "[FIRING] 2 firing, 1 resolved: down on web-2, down on web-3, slow on web-1"
        );
        let place = |text: &str| {
            mail.text
                .find(text)
                .unwrap_or_else(|| panic!("{}", mail.text))
        };
        assert!(place("FIRING: down on web-2") < place("FIRING: down on web-3"));
        assert!(place("FIRING: down on web-3") < place("RESOLVED: slow on web-1"));
        assert_eq!(
            mail.text.matches("https://b.example.org/alerts/7").count(),
            3
        );
        assert!(mail.text.contains("restart: done"));
        assert!(
            mail.html.contains("it &lt;b&gt;said&lt;&#x2f;b&gt; no"),
            "{}",
            mail.html
        );
        assert!(!mail.html.contains("<b>"));
        assert!(
            mail.html
                .contains("href=\"https://b.example.org/alerts/7\"")
        );
    }

    #[test]
    fn the_largest_group_still_has_a_template() {
        let all: Vec<Notification> = (0..MAX_TOGETHER)
            .map(|n| notification("firing", "down", &format!("node-{n:03}")))
            .collect();
        let all: Vec<&Notification> = all.iter().collect();
        let mail = GroupRenderer::new().render(&all, "https://b.example.org");
        assert!(mail.text.contains("node-099") && mail.html.contains("node-099"));
        assert!(
            mail.html.contains("<table"),
            "a template, not the plain text"
        );
        assert!(mail.subject.chars().count() <= MAX_SUBJECT);
    }
}
