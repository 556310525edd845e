//! The web server: REST API, live events, the UI.
//!
//! Handlers read the store and the live view, write accounts through the
//! recorder, and ask the engine by [`commands`] for everything else. Routes and
//! the OpenAPI document come from the same annotations; each operation names
//! the role it needs as `x-role`, and a test holds every one of them to it.

mod alerts;
mod audit;
pub mod backtest;
mod checks;
pub mod commands;
mod config;
mod contacts;
mod demo;
pub mod error;
mod events;
mod extract;
mod history;
mod lifecycle;
mod log_sources;
mod logs;
mod meta;
mod nodes;
mod objects;
mod outbox;
mod overview;
mod patient;
mod plugin_diff;
mod plugins;
mod pull;
mod remediations;
mod reports;
mod rules;
mod schedule;
mod security;
mod series;
mod serve;
mod session;
mod sessions;
pub mod setup;
pub mod shadow;
pub mod state;
mod tokens;
mod tools;
mod ui;
mod upload;
pub mod uploads;
mod users;
pub mod view;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::Response;
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use self::error::Error;
use self::extract::{MAX_JSON, Operator, Path, Viewer};
use self::state::{App, Deps};

pub use self::serve::serve;

/// Where the versioned API begins.
pub const BASE: &str = "/api/v1";

/// The whole web server.
///
/// Hand it to [`serve()`], which tells it the address of each client: that bounds
/// how often a password can be guessed.
pub fn router(deps: Deps) -> Router {
    let app = App::from(deps);
    let (api, document) = api().split_for_parts();
    let document = openapi_json(document);
    let authenticated = middleware::from_fn_with_state(app.clone(), sessions::authenticate);
    Router::new()
        .route("/metrics", get(meta::metrics))
        .merge(api)
        .layer(authenticated)
        .route(
            "/api/openapi.json",
            get(move || {
                let document = Arc::clone(&document);
                async move {
                    let kind = [(axum::http::header::CONTENT_TYPE, "application/json")];
                    (kind, document.as_bytes().to_vec())
                }
            }),
        )
        .route("/report/{check}/{node}/{key}", post(reports::done))
        .route("/report/{check}/{node}/{key}/{event}", post(reports::told))
        .route("/healthz", get(meta::healthz))
        .route("/readyz", get(meta::readyz))
        .fallback(ui::serve)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_JSON))
        .layer(middleware::from_fn_with_state(
            app.clone(),
            security::origin,
        ))
        .layer(middleware::from_fn_with_state(app.clone(), security::host))
        // Fast rather than small: most of what is sent is made for one answer.
        // Event streams are left alone by the layer.
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(
            app.clone(),
            security::headers,
        ))
        .with_state(app)
}

/// The OpenAPI document of the API, as `/api/openapi.json` serves it.
pub fn openapi() -> String {
    openapi_json(api().split_for_parts().1).to_string()
}

fn openapi_json(document: OpenApi) -> Arc<str> {
    match document.to_pretty_json() {
        Ok(json) => format!("{json}\n").into(),
        Err(error) => unreachable!("the document is made of plain values: {error}"),
    }
}

fn api() -> OpenApiRouter<App> {
    let info = InfoBuilder::new()
        .title("Bellwether")
        .version("v1")
        .description(Some(
            "Times are microseconds since the Unix epoch, UTC. Log in with POST /session (cookie) \
             or send `Authorization: Bearer bw_…`. `x-role` of an operation is the lowest role \
             that may use it.",
        ))
        .build();
    let resources = OpenApiRouter::default()
        .merge(account_routes())
        .merge(object_routes())
        .merge(history_routes())
        .merge(plugin_routes())
        .merge(tool_routes());
    OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info).build()).nest(
        BASE,
        resources
            .route("/nodes/select", node_select())
            .route("/rules/test", rule_named("test"))
            .route("/rules/backtest", rule_named("backtest"))
            .route("/plugins/pull", plugin_pull()),
    )
}

/// A node may be called `select`: what is not the tool's is the node's.
fn node_select() -> MethodRouter<App> {
    let name = || Path("select".to_owned());
    let read = move |a: Viewer, b, c, d| nodes::get(a, b, c, d, name());
    let write = move |a: Operator, b, c, query, headers, body| {
        nodes::replace(a, b, c, name(), query, headers, body)
    };
    let remove = move |a: Operator, b, c, headers| nodes::remove(a, b, c, name(), headers);
    get(read).put(write).delete(remove)
}

/// And a rule may be called `test` or `backtest`.
fn rule_named(name: &'static str) -> MethodRouter<App> {
    let name = move || Path(name.to_owned());
    let read = move |a: Viewer, b, c| rules::get(a, b, c, name());
    let write = move |a: Operator, b, c, query, headers, body| {
        rules::replace(a, b, c, name(), query, headers, body)
    };
    let remove = move |a: Operator, b, c, headers| rules::remove(a, b, c, name(), headers);
    get(read).put(write).delete(remove)
}

/// And a plugin may be called `pull`.
fn plugin_pull() -> MethodRouter<App> {
    let name = || Path("pull".to_owned());
    let read = move |a: Viewer, b, c, d| plugins::get(a, b, c, d, name());
    let remove = move |a: Operator, b, c, d| plugins::remove(a, b, c, d, name());
    get(read).delete(remove)
}

fn account_routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(session::get, session::log_in, session::log_out))
        .routes(routes!(session::log_in_with_link))
        .routes(routes!(session::set_password))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::change, users::remove))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::remove))
        .routes(routes!(audit::list))
}

fn object_routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(nodes::list, nodes::create))
        .routes(routes!(nodes::get, nodes::replace, nodes::remove))
        .routes(routes!(checks::list, checks::create))
        .routes(routes!(checks::get, checks::replace, checks::remove))
        .routes(routes!(checks::run))
        .routes(routes!(checks::pause))
        .routes(routes!(checks::resume))
        .routes(routes!(rules::list, rules::create))
        .routes(routes!(rules::get, rules::replace, rules::remove))
        .routes(routes!(contacts::list, contacts::create))
        .routes(routes!(contacts::get, contacts::replace, contacts::remove))
        .routes(routes!(remediations::list, remediations::create))
        .routes(routes!(
            remediations::get,
            remediations::replace,
            remediations::remove
        ))
        .routes(routes!(log_sources::list, log_sources::create))
        .routes(routes!(
            log_sources::get,
            log_sources::replace,
            log_sources::remove
        ))
}

fn history_routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(overview::overview))
        .routes(routes!(series::list))
        .routes(routes!(series::get))
        .routes(routes!(history::list))
        .routes(routes!(history::chart))
        .routes(routes!(history::strip))
        .routes(routes!(series::timeline))
        .routes(routes!(reports::make_url, reports::remove_url))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::get))
        .routes(routes!(alerts::decide))
        .routes(routes!(outbox::list))
        .routes(routes!(outbox::retry))
        .routes(routes!(logs::list))
        .routes(routes!(logs::sources))
        .routes(routes!(events::events))
}

fn plugin_routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(plugins::list))
        // Bounded by its own, larger limit while it arrives.
        .routes(routes!(upload::receive_plugin).layer(DefaultBodyLimit::disable()))
        .routes(routes!(upload::status))
        .routes(routes!(plugins::get, plugins::remove))
        .routes(routes!(plugins::grant))
        .routes(routes!(plugins::activate))
        .routes(routes!(pull::pull))
        .routes(routes!(shadow::get, shadow::start, shadow::end))
        .routes(routes!(plugin_diff::diff))
        .routes(routes!(lifecycle::release))
        .routes(routes!(lifecycle::crashes))
        .routes(routes!(lifecycle::replay))
        .routes(routes!(plugins::remove_version))
        .routes(routes!(plugins::dry_run))
}

fn tool_routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(tools::select_nodes))
        .routes(routes!(tools::test_rule))
        .routes(routes!(backtest::backtest_rule))
        .routes(routes!(tools::preview_schedule))
        .routes(routes!(config::export))
        .routes(routes!(config::validate))
        .routes(routes!(config::reload))
        .routes(routes!(config::commands))
        .routes(routes!(config::secrets))
        .routes(routes!(demo::mailbox))
        .routes(routes!(demo::get, demo::set))
}

async fn method_not_allowed(request: Request) -> Error {
    Error::new(
        axum::http::StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!(
            "{} is not possible on {:?}",
            request.method(),
            request.uri().path()
        ),
    )
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response<axum::body::Body> {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no text")
        .to_owned();
    Error::internal(anyhow::anyhow!("a handler panicked: {text}")).into_response()
}
