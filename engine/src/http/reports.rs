//! Jobs that report: a URL per series, with a secret in it, that a job calls
//! when it starts and ends. What is told lands in the state of the series, where
//! the plugin `heartbeat`, or one of your own, finds it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

use super::commands::{Command, Commands};
use super::error::{Error, Result};
use super::extract::{Operator, Path};
use super::state::{ConfigHandle, ConfigView, Settings};
use crate::auth::{NewSecret, hash_secret};
use crate::check::outcome::SeriesId;
use crate::clock::{SharedClock, Timestamp};
use crate::store::{Store, meta};

/// What the secret of a report URL begins with, so that scanners recognise it.
const PREFIX: &str = "bwr_";
/// How much of a message is kept, in bytes.
const MAX_MESSAGE: usize = 2048;
/// How much of a body is read.
const MAX_BODY: usize = 1 << 20;
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Reports of one series in [`WINDOW`].
const LIMIT: usize = 60;
const WINDOW: Duration = Duration::from_secs(60);

/// Where a job reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportUrl {
    /// POST to it when the job is done; `/start`, `/fail` or `/` and an exit
    /// status behind it tell more. Shown this once.
    pub url: String,
}

/// Make the URL that a job reports to
///
/// An earlier one of this series no longer works.
#[utoipa::path(
    post, path = "/series/{check}/{node}/report-url", operation_id = "make_report_url",
    tag = "series", params(("check" = String, Path), ("node" = String, Path)),
    responses((status = 201, body = ReportUrl)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn make_url(
    Operator(caller): Operator,
    State(config): State<ConfigHandle>,
    State(settings): State<Arc<Settings>>,
    State(commands): State<Commands>,
    Path((check, node)): Path<(String, String)>,
) -> Result<(StatusCode, Json<ReportUrl>)> {
    find(&config, &check, &node)?;
    let secret = NewSecret::generate(PREFIX)
        .map_err(|error| Error::internal(anyhow::anyhow!("no randomness: {error}")))?;
    let mut url = settings.public_url.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty();
        path.extend(["report", &check, &node, &secret.text]);
    }
    commands
        .ask(|reply| Command::ReportKey {
            check,
            node,
            key: Some(secret.hash),
            actor: caller.actor(),
            reply,
        })
        .await?;
    let url = ReportUrl { url: url.into() };
    Ok((StatusCode::CREATED, Json(url)))
}

/// Take a report URL back
#[utoipa::path(
    delete, path = "/series/{check}/{node}/report-url", operation_id = "remove_report_url",
    tag = "series", params(("check" = String, Path), ("node" = String, Path)),
    responses((status = 204)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn remove_url(
    Operator(caller): Operator,
    State(commands): State<Commands>,
    Path((check, node)): Path<(String, String)>,
) -> Result<StatusCode> {
    commands
        .ask(|reply| Command::ReportKey {
            check,
            node,
            key: None,
            actor: caller.actor(),
            reply,
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reports of the last minute, by series.
#[derive(Debug, Default)]
pub struct ReportLimiter(Mutex<HashMap<SeriesId, VecDeque<Timestamp>>>);

impl ReportLimiter {
    /// Counts a report; `Err` with the time to wait where there were too many.
    fn admit(&self, series: SeriesId, now: Timestamp) -> std::result::Result<(), Duration> {
        let mut all = self.0.lock();
        let times = all.entry(series).or_default();
        while times.front().is_some_and(|at| now.since(*at) >= WINDOW) {
            times.pop_front();
        }
        if times.len() >= LIMIT {
            let oldest = times.front().copied().unwrap_or(now);
            return Err(WINDOW.saturating_sub(now.since(oldest)));
        }
        times.push_back(now);
        Ok(())
    }
}

/// What a plugin finds of a report, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Told<'a> {
    /// Microseconds since the Unix epoch.
    at: i64,
    /// `start`, `ok` or `fail`.
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_status: Option<u8>,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

/// Takes a report without an event: the job is done.
pub async fn done(
    config: State<ConfigHandle>,
    store: State<Store>,
    commands: State<Commands>,
    limiter: State<Arc<ReportLimiter>>,
    clock: State<SharedClock>,
    Path((check, node, key)): Path<(String, String, String)>,
    body: Body,
) -> Result<StatusCode> {
    let path = Path((check, node, key, "0".to_owned()));
    told(config, store, commands, limiter, clock, path, body).await
}

/// Takes a report. Whoever has the URL may send one: it gives no other right.
pub async fn told(
    State(config): State<ConfigHandle>,
    State(store): State<Store>,
    State(commands): State<Commands>,
    State(limiter): State<Arc<ReportLimiter>>,
    State(clock): State<SharedClock>,
    Path((check, node, key, event)): Path<(String, String, String, String)>,
    body: Body,
) -> Result<StatusCode> {
    let slot = meta::report_key(&check, &node);
    let stored = meta::get(&mut *store.reader().await?, &slot).await?;
    let hash = hex::encode(hash_secret(&key));
    let known = stored.is_some_and(|stored| stored.as_bytes().ct_eq(hash.as_bytes()).into());
    // The same answer whether the series, its URL or this secret is unknown.
    let series = find(&config, &check, &node)
        .ok()
        .filter(|_| known)
        .ok_or_else(|| Error::not_found("report URL", "this one"))?;
    let (event, exit_status) = match event.as_str() {
        "start" => ("start", None),
        "ok" => ("ok", None),
        "fail" => ("fail", None),
        status => match status.parse::<u8>() {
            Ok(0) => ("ok", Some(0)),
            Ok(status) => ("fail", Some(status)),
            Err(_) => {
                return Err(Error::field(
                    "event",
                    format!(
                        "expected start, ok, fail or an exit status from 0 to 255, found {status:?}"
                    ),
                ));
            }
        },
    };
    let now = clock.now();
    limiter.admit(series, now).map_err(|wait| {
        let message = format!("expected at most {LIMIT} reports a minute of one series");
        Error::too_many(message, wait)
    })?;
    let message = message(&beginning(body).await);
    let told = Told {
        at: now.micros(),
        event,
        exit_status,
        message: &message,
    };
    let value = serde_json::to_vec(&told).map_err(Error::internal)?;
    let slot = if event == "start" {
        "started"
    } else {
        "report"
    };
    commands
        .ask(|reply| Command::Report {
            series,
            entries: vec![(slot.to_owned(), value)],
            reply,
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The plugin that judges reports.
const PLUGIN: &str = "heartbeat";

/// Whether a check's plugin judges reports, as far as the engine knows.
pub(super) fn is_awaited(config: &ConfigView, check: &str) -> bool {
    let check = config.spec.checks.iter().find(|one| one.name == check);
    check.is_some_and(|one| one.plugin.split('@').next() == Some(PLUGIN))
}

fn find(config: &ConfigHandle, check: &str, node: &str) -> Result<SeriesId> {
    let config = config.get();
    let one = config.find_series(check, node);
    one.map(|one| one.id)
        .ok_or_else(|| Error::not_found("series", &format!("{check}/{node}")))
}

/// What is kept of a body. The rest is read and dropped, within bounds: a job
/// that sends its whole log has reported all the same.
async fn beginning(body: Body) -> Vec<u8> {
    let (mut kept, mut read) = (Vec::new(), 0);
    let mut chunks = body.into_data_stream();
    let reading = async {
        while read < MAX_BODY
            && let Some(Ok(chunk)) = chunks.next().await
        {
            read += chunk.len();
            let room = MAX_MESSAGE - kept.len();
            kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
    };
    // What came in time counts.
    let _ = tokio::time::timeout(BODY_WITHIN, reading).await;
    kept
}

/// The beginning of what was sent, as one text without control characters.
fn message(body: &[u8]) -> String {
    let start = &body[..body.len().min(MAX_MESSAGE)];
    let text = String::from_utf8_lossy(start);
    let clean = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
    text.chars()
        .map(clean)
        .collect::<String>()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_takes_so_many_reports_of_one_series() {
        let limiter = ReportLimiter::default();
        let at = |seconds: i64| Timestamp::from_secs(1_000 + seconds);
        for _ in 0..LIMIT {
            assert_eq!(limiter.admit(SeriesId(1), at(0)), Ok(()));
        }
        assert_eq!(
            limiter.admit(SeriesId(1), at(20)),
            Err(Duration::from_secs(40))
        );
        assert_eq!(limiter.admit(SeriesId(2), at(20)), Ok(()));
        assert_eq!(limiter.admit(SeriesId(1), at(60)), Ok(()));
    }

    #[test]
    fn messages_are_cut_and_cleaned() {
        assert_eq!(message(b" 3 rows\r\x1b[1m\xff\n"), "3 rows  [1m\u{fffd}");
        assert_eq!(message(&[b'a'; 5_000]).len(), MAX_MESSAGE);
    }
}
