//! The configuration as a whole.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::commands::{Command, Commands, Reloaded};
use super::error::Result;
use super::extract::{Operator, Text, Viewer};
use super::objects::Items;
use super::state::ConfigHandle;
use crate::config::{Problem, export_yaml};

/// The configuration in use as YAML
///
/// Secrets are references, never values.
#[utoipa::path(
    get, path = "/config/export", operation_id = "export_config", tag = "config",
    responses((status = 200, body = String, content_type = "application/yaml")),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn export(_: Operator, State(config): State<ConfigHandle>) -> Response {
    let yaml = export_yaml(&config.get().spec);
    let headers = [
        (header::CONTENT_TYPE, "application/yaml; charset=utf-8"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"bellwether.yaml\"",
        ),
    ];
    (headers, yaml).into_response()
}

/// What a configuration was found to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Validation {
    pub ok: bool,
    pub problems: Vec<ConfigProblem>,
}

/// A mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigProblem {
    /// Counted from 1; 0 where it has no place in the text.
    pub line: u32,
    pub column: u32,
    /// Such as `checks[0].every`.
    pub path: String,
    pub message: String,
    pub suggestion: Option<String>,
}

impl From<Problem> for ConfigProblem {
    fn from(problem: Problem) -> Self {
        let (line, column) = problem
            .place
            .map_or((0, 0), |place| (place.line, place.column));
        Self {
            line,
            column,
            path: problem.path,
            message: problem.message,
            suggestion: problem.suggestion,
        }
    }
}

/// Check a whole configuration in YAML, using nothing of it
#[utoipa::path(
    post, path = "/config/validate", operation_id = "validate_config", tag = "config",
    request_body(content = String, content_type = "application/yaml"),
    responses((status = 200, body = Validation)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn validate(
    _: Operator,
    State(commands): State<Commands>,
    Text(text): Text,
) -> Result<Json<Validation>> {
    let problems = commands
        .ask(|reply| Command::ValidateConfig { text, reply })
        .await?;
    Ok(Json(Validation {
        ok: problems.is_empty(),
        problems: problems.into_iter().map(ConfigProblem::from).collect(),
    }))
}

/// Read the configuration file again
///
/// A few keys hold only after a restart; those that changed are named.
#[utoipa::path(
    post, path = "/config/reload", operation_id = "reload_config", tag = "config",
    responses((status = 200, body = Reloaded)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn reload(
    Operator(caller): Operator,
    State(commands): State<Commands>,
) -> Result<Json<Reloaded>> {
    let actor = caller.actor();
    commands
        .ask(|reply| Command::Reload { actor, reply })
        .await
        .map(Json)
}

/// Names of the commands that the file defines
#[utoipa::path(
    get, path = "/commands", operation_id = "list_commands", tag = "config",
    responses((status = 200, body = Items<String>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn commands(_: Viewer, State(config): State<ConfigHandle>) -> Json<Items<String>> {
    Json(Items::all(
        config.get().spec.commands.keys().cloned().collect(),
    ))
}

/// Names of the secrets that the file defines
#[utoipa::path(
    get, path = "/secrets", operation_id = "list_secrets", tag = "config",
    responses((status = 200, body = Items<String>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn secrets(_: Viewer, State(config): State<ConfigHandle>) -> Json<Items<String>> {
    Json(Items::all(
        config.get().spec.secrets.keys().cloned().collect(),
    ))
}
