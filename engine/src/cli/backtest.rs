//! `rule backtest`: what a rule would have fired, by a running engine or by a
//! data folder.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::out::say;
use super::{Server, client};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::spec::Severity;
use crate::config::units::Span;
use crate::engine::backtest::{Bounds, run, spec_of};
use crate::http::backtest::{BacktestAlert, BacktestAsk, BacktestReport};
use crate::store::past;

/// What to evaluate, over what.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Rule of the configuration
    #[arg(required_unless_present = "when")]
    rule: Option<String>,
    /// CEL expression, in the place of the rule's
    #[arg(long)]
    when: Option<String>,
    /// How long it must stay true, such as 30s
    #[arg(long = "for")]
    hold: Option<Span>,
    /// info, warning or critical
    #[arg(long, value_parser = severity)]
    severity: Option<Severity>,
    /// How far back, such as 6h
    #[arg(long, default_value = "24h", conflicts_with = "from")]
    last: Span,
    /// Begin, such as 2026-11-23T06:00:00Z
    #[arg(long, value_parser = time)]
    from: Option<Timestamp>,
    /// End; now where absent
    #[arg(long, value_parser = time)]
    to: Option<Timestamp>,
    /// Read this data folder instead of asking a running engine
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Configuration file or folder, beside --data-dir
    #[arg(long, env = "BELLWETHER_CONFIG")]
    config: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Address of a running engine
    #[arg(long, default_value = "http://127.0.0.1:8480", env = "BELLWETHER_URL")]
    url: String,
    /// API token
    #[arg(long, env = "BELLWETHER_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

fn severity(text: &str) -> Result<Severity, String> {
    match text {
        "info" => Ok(Severity::Info),
        "warning" => Ok(Severity::Warning),
        "critical" => Ok(Severity::Critical),
        _ => Err("expected info, warning or critical".into()),
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    chrono::DateTime::parse_from_rfc3339(text)
        .map(|time| Timestamp(time.timestamp_micros()))
        .map_err(|error| format!("expected a time such as 2026-11-23T06:00:00Z: {error}"))
}

/// Evaluates and prints. A wrong expression is an exit code of 1.
pub async fn backtest(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let now = SystemClock.now();
    let to = arguments.to.unwrap_or(now).min(now);
    let from = arguments.from.unwrap_or(to - arguments.last.0);
    let ask = BacktestAsk {
        rule: arguments.rule,
        when: arguments.when,
        hold: arguments.hold,
        severity: arguments.severity,
        from: Some(from.micros()),
        to: Some(to.micros()),
    };
    let report = match &arguments.data_dir {
        Some(folder) => {
            let mut conn = past::open(folder)
                .await
                .with_context(|| format!("expected a data folder at {}", folder.display()))?;
            let spec = spec_of(&mut conn, arguments.config.as_deref()).await?;
            run(&mut conn, &spec, &ask, now, Bounds::COMMAND).await?
        }
        None => {
            let Some(token) = arguments.token else {
                bail!(
                    "expected --token for a running engine, or --data-dir for a folder; found neither"
                );
            };
            let server = Server {
                url: arguments.url,
                token,
            };
            let body = serde_json::to_string(&ask)?;
            let path = "/api/v1/rules/backtest";
            let text = client::json(&server, "POST", path, body).await?;
            serde_json::from_str(&text).context("the engine's answer")?
        }
    };
    if arguments.json {
        say!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(match report.ok {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn print(report: &BacktestReport) {
    for field in &report.fields {
        say!("{}: {}", field.path, field.message);
        if let Some(suggestion) = &field.suggestion {
            say!("  did you mean {suggestion}?");
        }
    }
    if !report.ok {
        return;
    }
    let hold = report.hold.unwrap_or(Span::secs(0));
    say!("{}, for {hold}", report.when);
    say!(
        "{} to {}: {} results, {} log records",
        second(report.from),
        second(report.to),
        report.results,
        report.log_records
    );
    if let Some(cut) = &report.cut {
        say!("cut: {cut}; ask for a shorter range or name a check in the rule");
    }
    say!(
        "fired {}, true for less than {hold} {}, pending at the end {}",
        report.fired,
        report.cancelled,
        report.pending
    );
    for alert in &report.alerts {
        say!("{}", line(alert));
    }
    let more = report.fired - report.alerts.len() as u64;
    if more > 0 {
        say!("and {more} more, which are not listed");
    }
}

fn line(alert: &BacktestAlert) -> String {
    let span = |from: i64, to: i64| {
        let length = Timestamp(to).since(Timestamp(from));
        Span(std::time::Duration::from_secs(length.as_secs()))
    };
    let length = match alert.ended_at {
        Some(end) => format!("for {}", span(alert.fired_at, end)),
        None => "and still fires".into(),
    };
    let place = match (&alert.check, &alert.node) {
        (Some(check), Some(node)) => format!("{check} on {node}: "),
        _ => String::new(),
    };
    format!(
        "{} fired {length}, pending {} before: {place}{}",
        second(alert.fired_at),
        span(alert.pending_at, alert.fired_at),
        alert.summary
    )
}

fn second(micros: i64) -> String {
    Timestamp(micros)
        .to_utc()
        .format("%Y-%m-%d %H:%M:%S UTC")
        .to_string()
}
