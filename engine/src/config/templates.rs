//! `{{ }}` in a check's configuration: minijinja over `node` and `check`.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, UndefinedBehavior, Value as Tv};
use serde_json::Value;

use super::spec::JsonObject;
use crate::check::outcome::NodeInfo;

/// Steps that one template may take.
const FUEL: u64 = 20_000;
/// Longest text that one template may make, in bytes.
const MAX_OUTPUT: usize = 64 << 10;

/// Whether a text has anything for the template engine to do.
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

/// Whether any text inside has.
pub fn has_templates(value: &Value) -> bool {
    match value {
        Value::String(text) => is_template(text),
        Value::Array(items) => items.iter().any(has_templates),
        Value::Object(map) => map.values().any(has_templates),
        _ => false,
    }
}

/// Fills in templates for one check.
pub struct Renderer {
    env: Environment<'static>,
    check: Tv,
}

impl Renderer {
    /// A renderer for the check of this name and plugin.
    pub fn new(check: &str, plugin: &str) -> Self {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_fuel(Some(FUEL));
        // What is sent to a server often ends with a line break.
        if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
            env.set_syntax(syntax);
        }
        let check = Tv::from_pairs([("name", Tv::from(check)), ("plugin", Tv::from(plugin))]);
        Self { env, check }
    }

    /// The configuration with every text filled in for `node`. A text that is one
    /// `{{ … }}` and comes to a number or a truth value is that, as in
    /// `port: "{{ node.labels.port | int }}"`.
    ///
    /// # Errors
    /// The path of the template inside the object and why it failed.
    pub fn render(
        &self,
        config: &JsonObject,
        node: &NodeInfo,
    ) -> Result<JsonObject, (String, String)> {
        self.filled(config, node, true)
    }

    /// The same where every text stays a text.
    ///
    /// # Errors
    /// As [`Renderer::render`].
    pub fn render_texts(
        &self,
        texts: &JsonObject,
        node: &NodeInfo,
    ) -> Result<JsonObject, (String, String)> {
        self.filled(texts, node, false)
    }

    fn filled(
        &self,
        config: &JsonObject,
        node: &NodeInfo,
        numbers: bool,
    ) -> Result<JsonObject, (String, String)> {
        let labels = Tv::from_pairs(
            node.labels
                .iter()
                .map(|(k, v)| (k.as_str(), Tv::from(v.as_str()))),
        );
        let node = Tv::from_pairs([
            ("name", Tv::from(node.name.as_str())),
            ("address", Tv::from(node.address.as_str())),
            ("labels", labels),
        ]);
        let context = Tv::from_pairs([("node", node), ("check", self.check.clone())]);
        let mut out = JsonObject::new();
        for (key, value) in config {
            out.insert(key.clone(), self.value(value, &context, key, numbers)?);
        }
        Ok(out)
    }

    fn value(
        &self,
        value: &Value,
        context: &Tv,
        path: &str,
        numbers: bool,
    ) -> Result<Value, (String, String)> {
        Ok(match value {
            Value::String(text) if is_template(text) => {
                if numbers && let Some(number) = self.number(text, context) {
                    return Ok(number);
                }
                let rendered = self
                    .env
                    .render_str(text, context.clone())
                    .map_err(|e| (path.to_owned(), explain(&e)))?;
                if rendered.len() > MAX_OUTPUT {
                    let message = format!(
                        "expected at most {MAX_OUTPUT} bytes from a template, found {}",
                        rendered.len()
                    );
                    return Err((path.to_owned(), message));
                }
                Value::String(rendered)
            }
            Value::Array(items) => {
                let items: Result<Vec<Value>, _> = items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| self.value(item, context, &format!("{path}[{i}]"), numbers))
                    .collect();
                Value::Array(items?)
            }
            Value::Object(map) => {
                let mut out = JsonObject::new();
                for (key, value) in map {
                    out.insert(
                        key.clone(),
                        self.value(value, context, &format!("{path}.{key}"), numbers)?,
                    );
                }
                Value::Object(out)
            }
            other => other.clone(),
        })
    }

    /// The number or truth value that a text comes to, if it is one. What fails
    /// here fails as a text, with its reason.
    fn number(&self, text: &str, context: &Tv) -> Option<Value> {
        let expression = self.env.compile_expression(lone_expression(text)?).ok()?;
        let found = expression.eval(context.clone()).ok()?;
        match found.kind() {
            ValueKind::Bool => Some(Value::Bool(found.is_true())),
            ValueKind::Number => match i64::try_from(found.clone()) {
                Ok(whole) => Some(whole.into()),
                Err(_) => f64::try_from(found).ok().map(Value::from),
            },
            _ => None,
        }
    }
}

/// The expression of a text that is one `{{ … }}`.
fn lone_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{") && !inner.contains("}}")).then_some(inner)
}

fn explain(e: &minijinja::Error) -> String {
    use minijinja::ErrorKind;
    let detail = e.detail().map(|d| format!(": {d}")).unwrap_or_default();
    match e.kind() {
        ErrorKind::UndefinedError => {
            "expected a template over node.name, node.address, node.labels and check.name, found a value that is not there".into()
        }
        ErrorKind::SyntaxError => format!("expected a template, found a syntax error{detail}"),
        ErrorKind::OutOfFuel => format!("expected a template of at most {FUEL} steps"),
        kind => format!("expected a template that can be filled in, found: {kind}{detail}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_expression_may_be_a_number_and_everything_else_is_text() {
        let node = NodeInfo {
            name: "web-1".into(),
            address: "192.0.2.1".into(),
            labels: [("port".to_owned(), "8443".to_owned())].into(),
        };
        let config = json!({
            "port": "{{ node.labels.port | int }}",
            "tls": " {{ node.labels.port == '8443' }} ",
            "deep": [{ "half": "{{ (node.labels.port | int) / 2 }}" }],
            "text": "{{ node.labels.port }}",
            "url": "http://{{ node.address }}:{{ node.labels.port | int }}/",
        });
        let Value::Object(config) = config else {
            unreachable!("it is a map")
        };
        let renderer = Renderer::new("check", "tcp");
        assert_eq!(
            Value::Object(renderer.render(&config, &node).unwrap()),
            json!({
                "port": 8443, "tls": true, "deep": [{ "half": 4221.5 }],
                "text": "8443", "url": "http://192.0.2.1:8443/",
            })
        );
        let texts = renderer.render_texts(&config, &node).unwrap();
        assert_eq!(texts["port"], "8443");
        let missing = json!({ "port": "{{ node.labels.prt | int }}" });
        let Value::Object(missing) = missing else {
            unreachable!("it is a map")
        };
        let (path, message) = renderer.render(&missing, &node).unwrap_err();
        assert_eq!(path, "port");
        assert!(message.contains("a value that is not there"), "{message}");
    }

    #[test]
    fn an_expression_that_never_ends_is_an_error() {
        let node = NodeInfo {
            name: "n".into(),
            address: "192.0.2.1".into(),
            labels: Default::default(),
        };
        let renderer = Renderer::new("check", "tcp");
        let greedy = "{{ range(100000) | map('string') | list | length }}";
        let config = json!({ "port": greedy });
        let Value::Object(config) = config else {
            unreachable!("it is a map")
        };
        assert!(renderer.render(&config, &node).is_err());
    }
}
