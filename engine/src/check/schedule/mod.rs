//! When a check is due: pure arithmetic over slots.
//!
//! A series with an interval has a fixed grid of slots whose phase is a stable
//! hash of its name, so slots never drift, survive restarts and spread load.
//! `jitter` says over which share of the interval the phases spread; without
//! it they spread over the whole interval.

mod cron_text;
#[cfg(test)]
mod tests;

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::clock::Timestamp;
use crate::config::units::Percent;

/// A check that never ran does not wait longer than this for its first slot,
/// however long its interval.
const FIRST_LOOK: Duration = Duration::from_secs(60);
/// A slot that follows a retry or a first look within this adds nothing.
const SOON: Duration = Duration::from_secs(5);

/// Missed cron slots are counted up to here.
const MAX_COUNTED: u64 = 10_000;

/// When a check runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// Every `every`, from a phase within `spread` of the interval.
    Every {
        every: Duration,
        spread: Percent,
        retry: Option<Duration>,
    },
    /// At the slots of a crontab line.
    Cron {
        cron: Box<CronTable>,
        retry: Option<Duration>,
    },
}

/// The next run of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The slot. In the past where the run is overdue: it runs at once, and
    /// once only.
    pub at: Timestamp,
    /// Slots before `at` that passed without a run.
    pub missed: u64,
}

/// A stable number for a check on a node, the same on every start and machine.
pub fn series_hash(check: &str, node: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in check.bytes().chain([0]).chain(node.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // FNV alone leaves the high bits of short texts alike.
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// `hash` as a share of `whole`, in microseconds.
fn share(hash: u64, whole: i64) -> i64 {
    ((u128::from(hash) * whole.max(0) as u128) >> 64) as i64
}

/// The next slot of a series.
///
/// `last` is the slot of the run before, `None` where it never ran. `soft` says
/// that the check failed and is not hard yet, so that `retry_every` counts.
/// `None` where a cron table has no further slot.
pub fn next_due(
    schedule: &Schedule,
    hash: u64,
    last: Option<Timestamp>,
    now: Timestamp,
    soft: bool,
) -> Option<Due> {
    let retry = match schedule {
        Schedule::Every { retry, .. } | Schedule::Cron { retry, .. } => *retry,
    };
    let regular = match schedule {
        Schedule::Every { every, spread, .. } => Some(interval(*every, *spread, hash, last, now)),
        Schedule::Cron { cron, .. } => cron.due(last, now),
    };
    match (retry.filter(|_| soft), last) {
        (Some(retry), Some(last)) => {
            let again = overdue(last + retry, retry, now);
            // A cron slot is not pushed back by the retries before it.
            match (schedule, regular) {
                (Schedule::Cron { .. }, Some(slot)) if slot.at < again.at => Some(slot),
                _ => Some(again),
            }
        }
        _ => regular,
    }
}

/// The first slot, or the latest one that passed, on a grid from `first`.
fn overdue(first: Timestamp, step: Duration, now: Timestamp) -> Due {
    let step = (step.as_micros() as i64).max(1);
    if first >= now {
        return Due {
            at: first,
            missed: 0,
        };
    }
    let missed = (now.0 - first.0) / step;
    Due {
        at: Timestamp(first.0 + missed * step),
        missed: missed as u64,
    }
}

fn interval(
    every: Duration,
    spread: Percent,
    hash: u64,
    last: Option<Timestamp>,
    now: Timestamp,
) -> Due {
    let step = (every.as_micros() as i64).max(1);
    let phase = share(hash, (step as f64 * spread.factor()) as i64).min(step - 1);
    // The first slot of the grid at or after `t`.
    let at_or_after = |t: i64| {
        let behind = (t - phase).rem_euclid(step);
        if behind == 0 { t } else { t + (step - behind) }
    };
    match last {
        None => {
            let slot = at_or_after(now.0);
            let first_look = FIRST_LOOK.as_micros() as i64;
            if slot - now.0 > first_look {
                let within = (first_look as f64 * spread.factor()) as i64;
                return Due {
                    at: Timestamp(now.0 + share(hash, within)),
                    missed: 0,
                };
            }
            Due {
                at: Timestamp(slot),
                missed: 0,
            }
        }
        // A clock that was set back must not silence the check until it catches
        // up with the old time.
        Some(last) if last.0 > now.0.saturating_add(step) => Due {
            at: Timestamp(at_or_after(now.0)),
            missed: 0,
        },
        Some(last) => {
            let on_grid = (last.0 - phase).rem_euclid(step) == 0;
            // After a retry or a first look, a slot that follows at once would
            // add nothing.
            let from = if on_grid {
                last.0 + 1
            } else {
                last.0 + (step / 2).min(SOON.as_micros() as i64)
            };
            overdue(Timestamp(at_or_after(from)), every, now)
        }
    }
}

/// The next `n` slots after `now`, for people to read.
pub fn next_n(schedule: &Schedule, hash: u64, now: Timestamp, n: usize) -> Vec<Timestamp> {
    let mut slots = Vec::with_capacity(n);
    let mut last = now;
    while slots.len() < n {
        let next = match schedule {
            Schedule::Every { every, spread, .. } => {
                let on_grid = interval(*every, *spread, hash, Some(Timestamp(last.0)), last);
                // An off-grid `now` skips half an interval in `interval`; here
                // the plain grid is wanted.
                let step = (every.as_micros() as i64).max(1);
                let earlier = on_grid.at.0 - step;
                if earlier > last.0 {
                    Timestamp(earlier)
                } else {
                    on_grid.at
                }
            }
            Schedule::Cron { cron, .. } => match cron.after(last) {
                Some(slot) => slot,
                None => break,
            },
        };
        slots.push(next);
        last = next;
    }
    slots
}

/// A crontab line in a time zone.
///
/// Slots are wall-clock times. One inside a daylight-saving gap runs at the
/// gap's end; one in the repeated hour runs once, the first time.
#[derive(Clone, Debug)]
pub struct CronTable {
    text: String,
    tz: Tz,
    table: cron::Schedule,
}

impl PartialEq for CronTable {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.tz == other.tz
    }
}

impl CronTable {
    /// Parses five fields as in crontab, six with leading seconds, or a word
    /// such as `@hourly`.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub fn parse(text: &str, tz: Tz) -> Result<Self, String> {
        let normal = cron_text::normalise(text)?;
        let table = normal
            .parse::<cron::Schedule>()
            .map_err(|e| format!("expected a cron expression, found {text:?}: {e}"))?;
        let table = Self {
            text: text.to_owned(),
            tz,
            table,
        };
        // Leap days come round within eight years.
        if table.after(Timestamp::from_secs(1_704_067_200)).is_none() {
            return Err(format!(
                "expected a cron expression that happens, found {text:?}, which never does"
            ));
        }
        Ok(table)
    }

    /// The text it was made from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first slot after `after`.
    pub fn after(&self, after: Timestamp) -> Option<Timestamp> {
        let local = self.local(after);
        // Slots are searched in wall-clock time; in the second pass of a
        // repeated hour they may lie in the past, so some are skipped.
        self.table
            .after(&local.and_utc())
            .map(|slot| self.instant(slot.naive_utc()))
            .find(|slot| *slot > after)
    }

    /// The last slot at or before `at`.
    fn at_or_before(&self, at: Timestamp) -> Option<Timestamp> {
        let local = self.local(at) + TimeDelta::seconds(1);
        self.table
            .after(&local.and_utc())
            .rev()
            .map(|slot| self.instant(slot.naive_utc()))
            .find(|slot| *slot <= at)
    }

    fn due(&self, last: Option<Timestamp>, now: Timestamp) -> Option<Due> {
        let Some(last) = last else {
            return self
                .after(Timestamp(now.0 - 1))
                .map(|at| Due { at, missed: 0 });
        };
        let first = self.after(last)?;
        if first >= now {
            // A clock that was set back: count from now on.
            if last > now {
                return self.after(now).map(|at| Due { at, missed: 0 });
            }
            return Some(Due {
                at: first,
                missed: 0,
            });
        }
        let at = self
            .at_or_before(now)
            .filter(|at| *at >= first)
            .unwrap_or(first);
        let mut missed = 0;
        let mut slot = first;
        while slot < at && missed < MAX_COUNTED {
            missed += 1;
            match self.after(slot) {
                Some(next) => slot = next,
                None => break,
            }
        }
        Some(Due { at, missed })
    }

    fn local(&self, at: Timestamp) -> NaiveDateTime {
        at.to_utc().with_timezone(&self.tz).naive_local()
    }

    /// The moment at which the wall clock first shows `local`, or the end of
    /// the gap that swallows it.
    fn instant(&self, local: NaiveDateTime) -> Timestamp {
        let moment = match self.tz.from_local_datetime(&local) {
            chrono::LocalResult::Single(t) | chrono::LocalResult::Ambiguous(t, _) => {
                t.with_timezone(&Utc)
            }
            chrono::LocalResult::None => self.end_of_gap(local),
        };
        Timestamp(moment.timestamp_micros())
    }

    fn end_of_gap(&self, local: NaiveDateTime) -> DateTime<Utc> {
        let offset = |at: DateTime<Utc>| {
            self.tz
                .offset_from_utc_datetime(&at.naive_utc())
                .fix()
                .local_minus_utc()
        };
        let mut before = local.and_utc() - TimeDelta::hours(26);
        let old = offset(before);
        // By the old offset `local` comes after the change.
        let mut after = local.and_utc() - TimeDelta::seconds(i64::from(old));
        while after - before > TimeDelta::seconds(1) {
            let middle = before + TimeDelta::seconds((after - before).num_seconds() / 2);
            if offset(middle) == old {
                before = middle
            } else {
                after = middle
            }
        }
        after
    }
}
