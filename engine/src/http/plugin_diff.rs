//! What a version of a plugin changes against another one.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::error::{Error, Result};
use super::extract::{Path, Viewer};
use super::plugins::{MetricView, wanted};
use super::shadow::ShadowVersion as Version;
use crate::check::outcome::Digest;
use crate::store::Store;
use crate::store::plugins::{self as stored, Plugin as PluginRow};

/// From the version in use to another one.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct VersionDiff {
    pub from: Version,
    pub to: Version,
    pub added_capabilities: Vec<String>,
    pub removed_capabilities: Vec<String>,
    pub added_metrics: Vec<MetricView>,
    pub removed_metrics: Vec<MetricView>,
    /// Metrics of the same name and another unit, as they are in `to`.
    pub changed_metrics: Vec<MetricView>,
    /// Keys of the configuration, by path.
    pub config: Vec<ConfigChange>,
}

/// A key of the configuration that is not what it was.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ConfigChange {
    /// As in `limits.max`; `[]` stands for the items of a list.
    pub path: String,
    /// Its JSON Schema in `from`; absent for a new key.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    /// Its JSON Schema in `to`; absent for a key that is gone.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
    pub required_before: bool,
    pub required_after: bool,
    /// A configuration that was valid may be refused.
    pub may_break: bool,
}

/// Compare a version with the one in use
#[utoipa::path(
    get, path = "/plugins/{name}/versions/{digest}/diff", operation_id = "diff_plugin_version",
    tag = "plugins", params(("name" = String, Path), ("digest" = String, Path)),
    responses((status = 200, body = VersionDiff)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn diff(
    _: Viewer,
    State(store): State<Store>,
    Path((plugin, digest)): Path<(String, Digest)>,
) -> Result<Json<VersionDiff>> {
    let rows = stored::list(&mut *store.reader().await?).await?;
    let versions: Vec<&PluginRow> = rows.iter().filter(|row| row.name == plugin).collect();
    let to = versions
        .iter()
        .find(|row| row.digest == digest)
        .ok_or_else(|| Error::not_found("plugin version", &digest.0))?;
    let from = versions
        .iter()
        .find(|row| row.active)
        .ok_or_else(|| Error::not_found("version in use of plugin", &plugin))?;
    Ok(Json(compare(from, to)))
}

fn compare(from: &PluginRow, to: &PluginRow) -> VersionDiff {
    let version = |row: &PluginRow| Version {
        digest: row.digest.clone(),
        version: row.version.clone(),
    };
    let (old, new) = (wanted(&from.manifest), wanted(&to.manifest));
    let without = |all: &[String], others: &[String]| {
        let missing = all.iter().filter(|one| !others.contains(one));
        missing.cloned().collect::<Vec<_>>()
    };
    let (was, is) = (metrics(&from.manifest), metrics(&to.manifest));
    let only = |all: &BTreeMap<String, MetricView>, others: &BTreeMap<String, MetricView>| {
        let missing = all.iter().filter(|(name, _)| !others.contains_key(*name));
        missing.map(|(_, metric)| metric.clone()).collect()
    };
    VersionDiff {
        from: version(from),
        to: version(to),
        added_capabilities: without(&new, &old),
        removed_capabilities: without(&old, &new),
        added_metrics: only(&is, &was),
        removed_metrics: only(&was, &is),
        changed_metrics: is
            .iter()
            .filter(|(name, metric)| was.get(*name).is_some_and(|old| old.unit != metric.unit))
            .map(|(_, metric)| metric.clone())
            .collect(),
        config: config_changes(schema(&from.manifest), schema(&to.manifest)),
    }
}

fn schema(manifest: &Value) -> &Value {
    manifest.get("config_schema").unwrap_or(&Value::Null)
}

fn metrics(manifest: &Value) -> BTreeMap<String, MetricView> {
    let metrics = manifest.get("metrics").cloned().unwrap_or_default();
    let metrics: Vec<MetricView> = serde_json::from_value(metrics).unwrap_or_default();
    metrics
        .into_iter()
        .map(|metric| (metric.name.clone(), metric))
        .collect()
}

/// A key: its schema without what is below it, and whether it must be there.
type Keys = BTreeMap<String, (Value, bool)>;

/// Levels of a schema that are looked at.
const MAX_DEPTH: usize = 8;
/// What is said to people and judges nothing.
const WORDS: [&str; 4] = ["description", "title", "examples", "$comment"];

fn config_changes(from: &Value, to: &Value) -> Vec<ConfigChange> {
    let (mut before, mut after) = (Keys::new(), Keys::new());
    collect(from, "", 0, &mut before);
    collect(to, "", 0, &mut after);
    let mut paths: Vec<&String> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    let changes = paths.into_iter().filter_map(|path| {
        let (was, is) = (before.get(path), after.get(path));
        if was == is {
            return None;
        }
        let required_before = was.is_some_and(|(_, required)| *required);
        let required_after = is.is_some_and(|(_, required)| *required);
        let bounds = |schema: &Value| {
            let mut bounds = schema.clone();
            if let Some(bounds) = bounds.as_object_mut() {
                bounds.retain(|key, _| key != "default" && !key.starts_with("x-"));
            }
            bounds
        };
        let may_break = match (was, is) {
            (_, None) => true,
            (None, Some(_)) => required_after,
            (Some((old, _)), Some((new, _))) => {
                (required_after && !required_before) || bounds(old) != bounds(new)
            }
        };
        Some(ConfigChange {
            path: path.clone(),
            before: was.map(|(schema, _)| schema.clone()),
            after: is.map(|(schema, _)| schema.clone()),
            required_before,
            required_after,
            may_break,
        })
    });
    changes.collect()
}

fn collect(schema: &Value, path: &str, depth: usize, keys: &mut Keys) {
    if depth >= MAX_DEPTH {
        return;
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let required = schema.get("required").and_then(Value::as_array);
        for (name, below) in properties {
            let path = match path {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            let must = required
                .is_some_and(|list| list.iter().any(|one| one.as_str() == Some(name.as_str())));
            keys.insert(path.clone(), (own(below), must));
            collect(below, &path, depth + 1, keys);
        }
    }
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        let path = format!("{path}[]");
        keys.insert(path.clone(), (own(items), false));
        collect(items, &path, depth + 1, keys);
    }
}

/// A key's schema without words and without what has paths of its own.
fn own(schema: &Value) -> Value {
    let Some(all) = schema.as_object() else {
        return schema.clone();
    };
    let kept: Map<String, Value> = all
        .iter()
        .filter(|(key, _)| {
            !WORDS.contains(&key.as_str())
                && !["properties", "required", "items"].contains(&key.as_str())
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    Value::Object(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn changes(from: Value, to: Value) -> Vec<(String, bool)> {
        let schema = |properties: Value| json!({"type": "object", "required": ["url"], "properties": properties});
        config_changes(&schema(from), &schema(to))
            .into_iter()
            .map(|change| (change.path, change.may_break))
            .collect()
    }

    #[test]
    fn keys_are_compared_by_path() {
        let url = json!({"type": "string", "description": "page"});
        let cases = [
            // Words change nothing.
            (
                json!({"url": url}),
                json!({"url": {"type": "string"}}),
                vec![],
            ),
            // A new key that may be left out.
            (
                json!({}),
                json!({"text": {"type": "string"}}),
                vec![("text", false)],
            ),
            // One that may not.
            (
                json!({}),
                json!({"url": {"type": "string"}}),
                vec![("url", true)],
            ),
            (json!({"text": {}}), json!({}), vec![("text", true)]),
            (
                json!({"ms": {"type": "number", "default": 1}}),
                json!({"ms": {"type": "number", "default": 2}}),
                vec![("ms", false)],
            ),
            (
                json!({"ms": {"type": "number"}}),
                json!({"ms": {"type": "string"}}),
                vec![("ms", true)],
            ),
            (
                json!({"list": {"type": "array", "items": {"properties": {"a": {"type": "string"}}}}}),
                json!({"list": {"type": "array", "items": {"properties": {"a": {"type": "number"}}}}}),
                vec![("list[].a", true)],
            ),
        ];
        for (from, to, expected) in cases {
            let expected: Vec<(String, bool)> = expected
                .into_iter()
                .map(|(path, may_break)| (path.to_owned(), may_break))
                .collect();
            assert_eq!(changes(from.clone(), to.clone()), expected, "{from} {to}");
        }
    }
}
