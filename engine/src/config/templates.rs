//! `{{ }}` in a check's configuration: minijinja over `node` and `check`.

use minijinja::syntax::SyntaxConfig;
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

    /// The configuration with every text filled in for `node`.
    ///
    /// # Errors
    /// The path of the template inside the object and why it failed.
    pub fn render(
        &self,
        config: &JsonObject,
        node: &NodeInfo,
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
            out.insert(key.clone(), self.value(value, &context, key)?);
        }
        Ok(out)
    }

    fn value(&self, value: &Value, context: &Tv, path: &str) -> Result<Value, (String, String)> {
        Ok(match value {
            Value::String(text) if is_template(text) => {
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
                    .map(|(i, item)| self.value(item, context, &format!("{path}[{i}]")))
                    .collect();
                Value::Array(items?)
            }
            Value::Object(map) => {
                let mut out = JsonObject::new();
                for (key, value) in map {
                    out.insert(
                        key.clone(),
                        self.value(value, context, &format!("{path}.{key}"))?,
                    );
                }
                Value::Object(out)
            }
            other => other.clone(),
        })
    }
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
