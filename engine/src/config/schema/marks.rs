//! Fields that a schema marks: whom a check talks to, which secrets and folders
//! it uses.

use serde_json::Value;

use super::MAX_DEPTH;
use super::budget::Budget;

/// Net grants for the values of fields marked `"x-target"`: `host:port` for a
/// `url` or `host:port`, `host:*`, `udp:host:*` and `icmp:host` for a `host`,
/// `dns:name` for a `name` that is asked about.
pub fn targets(schema: &Value, value: &Value) -> Vec<String> {
    let mut grants = Vec::new();
    for (kind, _, text) in marked(schema, value, "x-target") {
        if let Some(kind) = kind.as_str() {
            target(kind, &text, &mut grants);
        }
    }
    grants.sort();
    grants.dedup();
    grants
}

/// Texts in fields whose schema carries `keyword`: the keyword's value, the path
/// inside the configuration and the text.
pub fn marked<'a>(schema: &'a Value, value: &Value, keyword: &str) -> Vec<Mark<'a>> {
    let mut collector = Collector {
        root: schema,
        keyword,
        budget: Budget::new(),
        found: Vec::new(),
    };
    collector.collect(schema, value, "", 0);
    collector.found
}

/// A mark's value, the path inside the configuration and the text.
type Mark<'a> = (&'a Value, String, String);

struct Collector<'a, 'b> {
    root: &'a Value,
    keyword: &'b str,
    budget: Budget<'a>,
    found: Vec<Mark<'a>>,
}

impl<'a> Collector<'a, '_> {
    /// What lies beyond the budget is not found, so it grants nothing.
    fn collect(&mut self, schema: &'a Value, value: &Value, path: &str, depth: usize) {
        let Value::Object(keywords) = schema else {
            return;
        };
        if depth > MAX_DEPTH || !self.budget.spend_text(path.len()) {
            return;
        }
        let referred = keywords
            .get("$ref")
            .and_then(Value::as_str)
            .filter(|reference| self.budget.spend_text(reference.len()))
            .and_then(|reference| self.root.pointer(reference.strip_prefix('#')?));
        let parts = ["anyOf", "oneOf", "allOf"]
            .into_iter()
            .filter_map(|key| keywords.get(key).and_then(Value::as_array))
            .flatten();
        for part in referred.into_iter().chain(parts) {
            if self.budget.is_spent() {
                return;
            }
            self.collect(part, value, path, depth + 1);
        }
        match value {
            Value::String(text) => {
                if let Some(mark) = keywords.get(self.keyword)
                    && self.budget.spend_text(path.len() + text.len())
                {
                    self.found.push((mark, path.to_owned(), text.clone()));
                }
            }
            Value::Array(items) => {
                if let Some(each) = keywords.get("items") {
                    for (i, item) in items.iter().enumerate() {
                        if self.budget.is_spent() {
                            return;
                        }
                        self.collect(each, item, &format!("{path}[{i}]"), depth + 1);
                    }
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    let inner = keywords
                        .get("properties")
                        .and_then(|p| p.get(key))
                        .or_else(|| keywords.get("additionalProperties"));
                    let Some(inner) = inner else {
                        continue;
                    };
                    if !self.budget.spend_text(path.len() + key.len()) {
                        return;
                    }
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    self.collect(inner, value, &path, depth + 1);
                }
            }
            _ => {}
        }
    }
}

/// A literal IPv6 address in brackets, anything else as it is.
pub(in crate::config) fn bracketed(host: &str) -> String {
    match host.parse::<std::net::Ipv6Addr>() {
        Ok(_) => format!("[{host}]"),
        Err(_) => host.to_owned(),
    }
}

/// Net grants for one marked value.
pub(in crate::config) fn target(kind: &str, text: &str, grants: &mut Vec<String>) {
    match kind {
        "url" => {
            let Ok(url) = url::Url::parse(text) else {
                return;
            };
            let port = url.port_or_known_default().or(match url.scheme() {
                "smtp" => Some(25),
                "smtps" => Some(465),
                "ldap" => Some(389),
                "ldaps" => Some(636),
                "postgres" | "postgresql" => Some(5432),
                "mysql" => Some(3306),
                "redis" => Some(6379),
                "mqtt" => Some(1883),
                _ => None,
            });
            if let (Some(host), Some(port)) = (url.host_str(), port) {
                grants.push(format!("{host}:{port}"));
            }
        }
        "host:port" => {
            let udp = text.strip_prefix("udp:");
            let plain = udp.unwrap_or(text);
            if let Some((host, port)) = plain.rsplit_once(':')
                && port.parse::<u16>().is_ok_and(|port| port > 0)
            {
                let host = bracketed(host.trim_start_matches('[').trim_end_matches(']'));
                grants.push(format!("{host}:{port}"));
                grants.push(format!("udp:{host}:{port}"));
            }
        }
        "host" => {
            let plain = text.trim_start_matches('[').trim_end_matches(']');
            if plain.is_empty() {
                return;
            }
            let host = bracketed(plain);
            grants.push(format!("{host}:*"));
            grants.push(format!("udp:{host}:*"));
            grants.push(format!("icmp:{host}"));
        }
        "name" => {
            let name = text.strip_suffix('.').unwrap_or(text);
            grants.push(format!("dns:{}", name.to_ascii_lowercase()));
        }
        _ => {}
    }
}
