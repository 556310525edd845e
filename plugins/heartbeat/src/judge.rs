use bellwether_plugin::findings::Findings;
use bellwether_plugin::state::Store;
use bellwether_plugin::text::Age;
use bellwether_plugin::{ProbeError, Report, Request, Timestamp};
use serde::Deserialize;

use crate::Config;

/// What the engine writes when a job reports.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
struct Told {
    /// Microseconds since the Unix epoch.
    at: Timestamp,
    event: String,
    exit_status: Option<u8>,
    #[serde(default)]
    message: String,
}

/// Where the engine puts the newest report of an end.
const REPORT: &str = "report";
/// And the newest one of a start.
const STARTED: &str = "started";
/// Since when this check waits for a first report: eight bytes, little-endian.
const SINCE: &str = "since";

fn told(store: &dyn Store, key: &str) -> Result<Option<Told>, ProbeError> {
    let Some(entry) = store.get(key) else {
        return Ok(None);
    };
    serde_json::from_slice(&entry.value)
        .map(Some)
        .map_err(|error| {
            ProbeError::Failed(format!(
                "expected a report of a job under the key {key}: {error}"
            ))
        })
}

/// Looks at what was reported and judges.
pub fn check(request: &Request, config: &Config, store: &dyn Store) -> Result<Report, ProbeError> {
    let now = request.now;
    let ended = told(store, REPORT)?;
    // The start of the run that goes on, or of the one that ended.
    let started = told(store, STARTED)?;
    let mut findings = Findings::default();

    let since = match &ended {
        Some(ended) => ended.at,
        None => waiting_since(now, store)?,
    };
    let age = seconds(since, now);
    let late = |limit: f64| format!("expected a report within {}", Age(limit));
    let grace = (config.grace_s > 0.0).then_some(config.within_s);
    let limit = config.within_s + config.grace_s;
    findings.exceeds(age, grace, Some(limit), |_| late(config.within_s));

    let mut duration = None;
    if let Some(started) = &started {
        let goes_on = ended.as_ref().is_none_or(|ended| ended.at < started.at);
        let took = match &ended {
            Some(ended) if !goes_on => seconds(started.at, ended.at),
            _ => seconds(started.at, now),
        };
        duration = (!goes_on).then_some(took);
        let text = |limit: f64| match goes_on {
            true => format!("runs for {}, longer than {}", Age(took), Age(limit)),
            false => format!("took {}, longer than {}", Age(took), Age(limit)),
        };
        findings.exceeds(
            took,
            config.warn_duration_s,
            config.critical_duration_s,
            text,
        );
    }

    let summary = match &ended {
        None => format!("waits for a first report, for {} now", Age(age)),
        Some(ended) => {
            judge_end(ended, config, &mut findings);
            let took = duration.map_or(String::new(), |took| format!(" after {}", Age(took)));
            let how = match ended.event.as_str() {
                "ok" => "done",
                _ => "failed",
            };
            format!("{how} {} ago{took}", Age(age))
        }
    };
    let mut report = findings
        .report(summary)
        .metric_if("age_s", ended.as_ref().map(|_| age))
        .metric_if("duration_s", duration)
        .metric_if(
            "exit_status",
            ended
                .as_ref()
                .and_then(|told| told.exit_status)
                .map(f64::from),
        );
    for (what, told) in [("start", &started), ("end", &ended)] {
        if let Some(told) = told
            && !told.message.is_empty()
        {
            report = report.detail(format!("{what}: {}", told.message));
        }
    }
    Ok(report)
}

fn judge_end(ended: &Told, config: &Config, findings: &mut Findings) {
    if ended.event == "ok" {
        return;
    }
    match ended.exit_status {
        Some(status) if config.warn_exit.contains(&status) => {
            findings.warning(format!("exit status {status}"));
        }
        Some(status) => findings.critical(format!("exit status {status}")),
        None => findings.critical("the job says that it failed"),
    }
}

/// When this check first ran: a job that never reports is late by that.
fn waiting_since(now: Timestamp, store: &dyn Store) -> Result<Timestamp, ProbeError> {
    if let Some(entry) = store.get(SINCE)
        && let Ok(bytes) = entry.value.as_slice().try_into()
    {
        return Ok(Timestamp::from_le_bytes(bytes));
    }
    let expected = store.get(SINCE).map(|entry| entry.version);
    match store.set(SINCE, &now.to_le_bytes(), expected) {
        Ok(_) => Ok(now),
        Err(error) => Err(ProbeError::Failed(format!(
            "cannot keep since when a report is awaited: {error:?}"
        ))),
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    // A clock that was set back makes nothing younger than now.
    to.saturating_sub(from).max(0) as f64 / 1e6
}
