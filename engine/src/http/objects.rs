//! Objects of the configuration: the same five requests for each kind.
//!
//! Handlers check what can be told without the engine (form of the object,
//! whose it is, its version); the engine checks it all again, in order, and
//! everything that depends on other objects.

use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::commands::{Actor, Command, Commands, Expect, ObjectChange, ObjectKind, fields};
use super::error::{Error, Result};
use super::state::{ConfigHandle, ConfigView, Origin};
use super::view::StateCounts;
use crate::config::spec::{
    CheckSpec, ContactSpec, LogSourceSpec, NodeSpec, RemediationSpec, RuleSpec, Spec,
};
use crate::pipeline::faults::SourceFault;

/// Series listed on the page of a check or node; `/series` pages through all.
pub const SERIES_SHOWN: usize = 1000;

/// Whose an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OriginKind {
    /// In the configuration file: read-only here.
    File,
    /// Made in the UI or over the API.
    Ui,
}

/// An object of the configuration.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Item<S> {
    /// As in the configuration file.
    pub spec: S,
    pub origin: OriginKind,
    /// The file, for `file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// For `If-Match`; 0 for objects of the file.
    pub version: i64,
    pub summary: Summary,
}

/// What a list shows beside an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Summary {
    /// States of its series, for nodes and checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<StateCounts>,
    /// Open alerts, for nodes, checks and rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firing: Option<u64>,
    /// Faults of a log source that have not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<SourceFault>,
    /// Objects that refer to it, as `rule homepage-down`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
}

/// A list of objects; configured objects come in one answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Items<S> {
    pub items: Vec<S>,
    pub next: Option<String>,
}

impl<S> Items<S> {
    /// A list in one answer.
    pub fn all(items: Vec<S>) -> Self {
        Self { items, next: None }
    }
}

/// What accepting a change led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Saved {
    /// Version of the object now, for the next `If-Match`.
    pub version: i64,
    /// Generation of the configuration that holds it.
    pub generation: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct WriteQuery {
    /// Only validates.
    pub dry_run: bool,
}

/// A kind of object with a name of its own in the API.
pub trait Object: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    const KIND: ObjectKind;

    /// Its name.
    fn name(&self) -> &str;

    /// All of its kind.
    fn all(spec: &Spec) -> &[Self];

    /// Objects that refer to `name`.
    fn used_by(spec: &Spec, name: &str) -> Vec<String>;
}

macro_rules! object {
    ($type:ty, $kind:ident, $list:ident, |$spec:ident, $name:ident| $used_by:expr) => {
        impl Object for $type {
            const KIND: ObjectKind = ObjectKind::$kind;

            fn name(&self) -> &str {
                &self.name
            }

            fn all(spec: &Spec) -> &[Self] {
                &spec.$list
            }

            fn used_by($spec: &Spec, $name: &str) -> Vec<String> {
                $used_by
            }
        }
    };
}

object!(NodeSpec, Node, nodes, |spec, name| {
    let children = spec
        .nodes
        .iter()
        .filter(|n| n.parents.iter().any(|p| p == name));
    children.map(|n| format!("node {}", n.name)).collect()
});
object!(CheckSpec, Check, checks, |spec, name| {
    let verifies = spec
        .remediations
        .iter()
        .filter(|r| r.limits.verify.as_deref() == Some(name));
    verifies
        .map(|r| format!("remediation {}", r.name))
        .collect()
});
object!(RuleSpec, Rule, rules, |_spec, _name| Vec::new());
object!(ContactSpec, Contact, contacts, |spec, name| {
    let rules = spec
        .rules
        .iter()
        .filter(|r| r.notify.iter().any(|c| c == name));
    let mut users: Vec<String> = rules.map(|r| format!("rule {}", r.name)).collect();
    if spec.faults.notify.iter().any(|c| c == name) {
        users.push("faults.notify".into());
    }
    users
});
object!(RemediationSpec, Remediation, remediations, |spec, name| {
    let rules = spec
        .rules
        .iter()
        .filter(|r| r.remediate.iter().any(|c| c == name));
    rules.map(|r| format!("rule {}", r.name)).collect()
});
object!(LogSourceSpec, LogSource, log_sources, |_spec, _name| {
    Vec::new()
});

/// `name` of the kind `T`.
pub fn find<'a, T: Object>(config: &'a ConfigView, name: &str) -> Result<&'a T> {
    T::all(&config.spec)
        .iter()
        .find(|object| object.name() == name)
        .ok_or_else(|| Error::not_found(T::KIND.as_str(), name))
}

/// The object with whose it is.
pub fn item<T: Object>(config: &ConfigView, object: &T, mut summary: Summary) -> Item<T> {
    summary.used_by = T::used_by(&config.spec, object.name());
    let (origin, file, version) = match config.origin(T::KIND, object.name()) {
        Some(Origin::Ui { version }) => (OriginKind::Ui, None, *version),
        Some(Origin::File { file }) => (OriginKind::File, Some(file.to_string()), 0),
        None => (OriginKind::File, None, 0),
    };
    Item {
        spec: object.clone(),
        origin,
        file,
        version,
        summary,
    }
}

/// Reads an object from a body.
pub fn read<T: Object>(value: serde_json::Value) -> Result<(T, serde_json::Value)> {
    match crate::config::parse_object::<T>("", value.clone()) {
        Ok(object) => Ok((object, value)),
        Err(mut problem) => {
            // A form marks the field that is missing, not the whole object.
            let missing = problem.message.strip_prefix("expected the key \"");
            if let Some((key, _)) = missing.and_then(|rest| rest.split_once('"')) {
                problem.path = match problem.path.as_str() {
                    "" => key.to_owned(),
                    path => format!("{path}.{key}"),
                };
            }
            Err(Error::validation(fields(vec![problem])))
        }
    }
}

/// Refuses to change what the file owns.
fn must_be_writable(config: &ConfigView, kind: ObjectKind, name: &str) -> Result<()> {
    match config.origin(kind, name) {
        Some(Origin::File { file }) => Err(Error::conflict(
            "read_only",
            format!(
                "{} {name:?} is defined in {file}; change it there",
                kind.as_str()
            ),
        )),
        _ => Ok(()),
    }
}

/// `If-Match: 3` or `"3"`.
pub fn if_match(headers: &HeaderMap) -> Result<Expect> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(Expect::Present);
    };
    let text = value.to_str().unwrap_or("").trim();
    let number = text.trim_start_matches("W/").trim_matches('"');
    match (text, number.parse()) {
        ("*", _) => Ok(Expect::Present),
        (_, Ok(version)) => Ok(Expect::Version(version)),
        _ => Err(Error::bad_request(format!(
            "expected the object's version in If-Match, found {text:?}"
        ))),
    }
}

/// Creates or replaces an object.
pub async fn write<T: Object>(
    (config, commands): (&ConfigHandle, &Commands),
    actor: Actor,
    name: String,
    expect: Expect,
    spec: serde_json::Value,
    dry_run: bool,
) -> Result<Saved> {
    let kind = T::KIND;
    {
        let config = config.get();
        let exists = T::all(&config.spec)
            .iter()
            .any(|object| object.name() == name);
        match expect {
            Expect::Absent if exists => {
                return Err(Error::conflict(
                    "exists",
                    format!("there is a {} {name:?} already", kind.as_str()),
                ));
            }
            Expect::Absent => {}
            _ if !exists => return Err(Error::not_found(kind.as_str(), &name)),
            _ => must_be_writable(&config, kind, &name)?,
        }
    }
    let change = ObjectChange {
        kind,
        name: name.clone(),
        expect,
        spec: Some(spec),
    };
    let generation = apply(commands, vec![change], dry_run, actor).await?;
    let version = match config.get().origin(kind, &name) {
        Some(Origin::Ui { version }) => *version,
        _ => 0,
    };
    Ok(Saved {
        version,
        generation,
    })
}

/// Deletes an object.
pub async fn delete<T: Object>(
    (config, commands): (&ConfigHandle, &Commands),
    actor: Actor,
    name: String,
    expect: Expect,
) -> Result<()> {
    {
        let config = config.get();
        find::<T>(&config, &name)?;
        must_be_writable(&config, T::KIND, &name)?;
        let users = T::used_by(&config.spec, &name);
        if !users.is_empty() {
            return Err(Error::conflict(
                "in_use",
                format!(
                    "{} {name:?} is used by {}",
                    T::KIND.as_str(),
                    users.join(", ")
                ),
            ));
        }
    }
    let change = ObjectChange {
        kind: T::KIND,
        name,
        expect,
        spec: None,
    };
    apply(commands, vec![change], false, actor).await?;
    Ok(())
}

async fn apply(
    commands: &Commands,
    changes: Vec<ObjectChange>,
    dry_run: bool,
    actor: Actor,
) -> Result<u64> {
    let applied = commands
        .ask(|reply| Command::ApplyObjects {
            changes,
            dry_run,
            actor,
            reply,
        })
        .await?;
    Ok(applied.generation)
}

/// The requests that are the same for every kind: create, replace, delete.
macro_rules! write_handlers {
    ($spec:ty, $path:literal, $one:literal, $word:literal) => {
        /// Create one
        #[utoipa::path(
            post, path = $path, operation_id = concat!("create_", $word), tag = "objects",
            params(WriteQuery), request_body = $spec,
            responses((status = 201, body = Saved), (status = 200, body = Saved)),
            extensions(("x-role" = json!("operator"))),
        )]
        pub async fn create(
            Operator(caller): Operator,
            State(config): State<ConfigHandle>,
            State(commands): State<Commands>,
            Query(query): Query<WriteQuery>,
            Body(body): Body<serde_json::Value>,
        ) -> Result<(StatusCode, Json<Saved>)> {
            let (object, body) = objects::read::<$spec>(body)?;
            let name = object.name().to_owned();
            let saved = objects::write::<$spec>(
                (&config, &commands),
                caller.actor(),
                name,
                Expect::Absent,
                body,
                query.dry_run,
            )
            .await?;
            let status = if query.dry_run { StatusCode::OK } else { StatusCode::CREATED };
            Ok((status, Json(saved)))
        }

        /// Replace one
        ///
        /// With `If-Match: VERSION` only if nobody changed it meanwhile.
        #[utoipa::path(
            put, path = $one, operation_id = concat!("replace_", $word), tag = "objects",
            params(
                WriteQuery,
                ("name" = String, Path),
                ("If-Match" = Option<i64>, Header, description = "Version that is replaced"),
            ),
            request_body = $spec,
            responses((status = 200, body = Saved)),
            extensions(("x-role" = json!("operator"))),
        )]
        pub async fn replace(
            Operator(caller): Operator,
            State(config): State<ConfigHandle>,
            State(commands): State<Commands>,
            Path(name): Path<String>,
            Query(query): Query<WriteQuery>,
            headers: HeaderMap,
            Body(body): Body<serde_json::Value>,
        ) -> Result<Json<Saved>> {
            let expect = objects::if_match(&headers)?;
            let (object, body) = objects::read::<$spec>(body)?;
            if object.name() != name {
                return Err($crate::http::error::Error::field(
                    "name",
                    format!("expected {name:?} as in the path, found {:?}", object.name()),
                ));
            }
            objects::write::<$spec>(
                (&config, &commands),
                caller.actor(),
                name,
                expect,
                body,
                query.dry_run,
            )
            .await
            .map(Json)
        }

        /// Delete one
        #[utoipa::path(
            delete, path = $one, operation_id = concat!("delete_", $word), tag = "objects",
            params(
                ("name" = String, Path),
                ("If-Match" = Option<i64>, Header, description = "Version that is deleted"),
            ),
            responses((status = 204)),
            extensions(("x-role" = json!("operator"))),
        )]
        pub async fn remove(
            Operator(caller): Operator,
            State(config): State<ConfigHandle>,
            State(commands): State<Commands>,
            Path(name): Path<String>,
            headers: HeaderMap,
        ) -> Result<StatusCode> {
            let expect = objects::if_match(&headers)?;
            objects::delete::<$spec>((&config, &commands), caller.actor(), name, expect).await?;
            Ok(StatusCode::NO_CONTENT)
        }
    };
}
pub(super) use write_handlers;
