//! Schedules in words and in times, for people.

use super::error::{Error, Result};
use super::tools::{Schedule as Wanted, SchedulePreview};
use crate::check::schedule::{CronTable, Schedule, next_n};
use crate::clock::Timestamp;
use crate::config::spec::CheckSpec;
use crate::config::units::{Percent, Span};

/// The next five times in µs, without the spread of single series.
pub fn next(schedule: &Schedule, now: Timestamp) -> Vec<i64> {
    next_n(schedule, 0, now, 5)
        .into_iter()
        .map(Timestamp::micros)
        .collect()
}

/// The schedule of a check.
///
/// # Errors
/// Which field is wrong; a check in use has none that is.
pub fn of_check(check: &CheckSpec) -> Result<Schedule> {
    parse(check.every, check.cron.as_deref(), check.tz.as_deref())
}

/// The schedule of a check in words.
pub fn text(check: &CheckSpec) -> String {
    let mut text = words(check.every, check.cron.as_deref(), check.tz.as_deref());
    if let Some(jitter) = check.jitter.filter(|_| check.every.is_some()) {
        text.push_str(&format!(", spread over {jitter} of the interval"));
    }
    if let Some(retry) = check.retry_every {
        text.push_str(&format!("; every {retry} while a failure is not confirmed"));
    }
    if check.paused {
        text.push_str("; paused");
    }
    text
}

/// When a schedule that somebody types would run.
///
/// # Errors
/// Which field is wrong.
pub fn preview(wanted: &Wanted, now: Timestamp) -> Result<SchedulePreview> {
    let given = |text: &Option<String>| {
        text.as_deref()
            .map(str::trim)
            .filter(|t| !t.is_empty())
            .map(str::to_owned)
    };
    let (every, cron, tz) = (given(&wanted.every), given(&wanted.cron), given(&wanted.tz));
    let every = match every {
        Some(text) => Some(
            text.parse::<Span>()
                .map_err(|error| Error::field("every", error))?,
        ),
        None => None,
    };
    let schedule = parse(every, cron.as_deref(), tz.as_deref())?;
    Ok(SchedulePreview {
        text: words(every, cron.as_deref(), tz.as_deref()),
        next_runs: next(&schedule, now),
    })
}

fn parse(every: Option<Span>, cron: Option<&str>, tz: Option<&str>) -> Result<Schedule> {
    match (every, cron) {
        (Some(every), None) if every < Span::secs(1) => Err(Error::field(
            "every",
            format!("expected an interval of at least 1s, found {every}"),
        )),
        (Some(every), None) => Ok(Schedule::Every {
            every: every.0,
            spread: Percent(0),
            retry: None,
        }),
        (None, Some(cron)) => {
            let zone = tz.unwrap_or("UTC");
            let zone = zone.parse::<chrono_tz::Tz>().map_err(|_| {
                Error::field(
                    "tz",
                    format!("expected an IANA time zone such as Europe/Berlin, found {zone:?}"),
                )
            })?;
            let cron = CronTable::parse(cron, zone).map_err(|error| Error::field("cron", error))?;
            Ok(Schedule::Cron {
                cron: Box::new(cron),
                retry: None,
            })
        }
        (Some(_), Some(_)) => Err(Error::field(
            "cron",
            "expected either every or cron, found both",
        )),
        (None, None) => Err(Error::field(
            "every",
            "expected either every or cron, found neither",
        )),
    }
}

fn words(every: Option<Span>, cron: Option<&str>, tz: Option<&str>) -> String {
    match (every, cron) {
        (Some(every), _) => format!("every {every}"),
        (None, Some(cron)) => format!("cron {cron} ({})", tz.unwrap_or("UTC")),
        (None, None) => "never".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_has_five_times() {
        let now = Timestamp::from_secs(1_700_000_000);
        let wanted = Wanted {
            cron: Some("*/5 * * * *".into()),
            tz: Some("Europe/Berlin".into()),
            ..Wanted::default()
        };
        let shown = preview(&wanted, now).unwrap();
        assert_eq!(shown.next_runs.len(), 5);
        assert!(
            shown
                .next_runs
                .iter()
                .all(|at| at % 300_000_000 == 0 && *at > now.micros())
        );
        assert_eq!(shown.text, "cron */5 * * * * (Europe/Berlin)");
    }

    #[test]
    fn mistakes_are_refused() {
        let now = Timestamp::from_secs(0);
        for (every, cron, tz) in [
            (None, None, None),
            (Some("10s"), Some("* * * * *"), None),
            (Some("10ms"), None, None),
            (Some("ten"), None, None),
            (None, Some("61 * * * *"), None),
            (None, Some("* * * * *"), Some("Mars/Base")),
        ] {
            let wanted = Wanted {
                every: every.map(str::to_owned),
                cron: cron.map(str::to_owned),
                tz: tz.map(str::to_owned),
            };
            assert!(preview(&wanted, now).is_err(), "{wanted:?}");
        }
    }
}
