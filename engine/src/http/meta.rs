//! Outside the versioned API: health, readiness, metrics, the document.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{Error, Result};
use super::extract::Caller;
use super::state::{Settings, StatusHandle};

/// Whether the engine can do its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// Answers as long as the process serves requests.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// 200 when ready, else 503 with the reasons.
pub async fn readyz(State(status): State<StatusHandle>) -> Response {
    let status = status.get();
    let code = if status.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = Readiness {
        ready: status.ready,
        reasons: status.reasons,
    };
    (code, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// Metrics in Prometheus' text format, with any token or where opened.
pub async fn metrics(
    State(settings): State<Arc<Settings>>,
    State(metrics): State<PrometheusHandle>,
    Caller(caller): Caller,
) -> Result<Response> {
    if !settings.open_metrics && caller.is_none() {
        return Err(Error::unauthorized(
            "send an API token, or set web.open_metrics in the configuration",
        ));
    }
    let text = metrics.render();
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
