//! Recent samples and log counts, in memory, for rules over time.
//!
//! Only what some rule asks for is kept, and no longer than the longest window
//! asked for. The rings are rebuilt from the store at start.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::expr::{Agg, QuerySet};
use crate::check::outcome::{LogRecord, SeriesId};
use crate::clock::Timestamp;

/// Greatest number of samples kept for one metric of one series; beyond it the
/// oldest go, whatever the window.
pub const MAX_SAMPLES: usize = 20_000;

/// A record's own time counts unless it lies further ahead than this.
const MAX_AHEAD: Duration = Duration::from_secs(300);

/// The samples of the metrics that rules look at.
#[derive(Clone, Debug, Default)]
pub struct MetricRings {
    /// Number and longest window of each metric.
    needs: HashMap<Arc<str>, (u32, Duration)>,
    rings: HashMap<(SeriesId, u32), VecDeque<(Timestamp, f64)>>,
}

impl MetricRings {
    /// Rings for the given metrics with the longest window of each.
    pub fn new<'a>(needs: impl IntoIterator<Item = (&'a str, Duration)>) -> Self {
        let mut rings = Self::default();
        rings.set_needs(needs);
        rings
    }

    /// Takes over the needs of a new configuration; samples of metrics that are
    /// still needed stay.
    pub fn set_needs<'a>(&mut self, needs: impl IntoIterator<Item = (&'a str, Duration)>) {
        let mut next: HashMap<Arc<str>, (u32, Duration)> = HashMap::new();
        let mut fresh = self
            .needs
            .values()
            .map(|(number, _)| number + 1)
            .max()
            .unwrap_or(0);
        for (metric, window) in needs {
            if let Some((_, longest)) = next.get_mut(metric) {
                *longest = (*longest).max(window);
                continue;
            }
            let number = match self.needs.get(metric) {
                Some((number, _)) => *number,
                None => {
                    fresh += 1;
                    fresh - 1
                }
            };
            next.insert(metric.into(), (number, window));
        }
        let kept: Vec<u32> = next.values().map(|(number, _)| *number).collect();
        self.rings.retain(|(_, number), _| kept.contains(number));
        self.needs = next;
    }

    /// The longest window that any rule asks for, per metric.
    pub fn needs(&self) -> impl Iterator<Item = (&str, Duration)> {
        self.needs
            .iter()
            .map(|(metric, (_, window))| (&**metric, *window))
    }

    /// Whether any rule looks at this metric.
    pub fn wants(&self, metric: &str) -> bool {
        self.needs.contains_key(metric)
    }

    /// Whether samples of a metric are kept for as long as `window`.
    pub fn covers(&self, metric: &str, window: Duration) -> bool {
        self.needs
            .get(metric)
            .is_some_and(|(_, longest)| *longest >= window)
    }

    /// Takes a sample, once for each time of a series. Metrics that no rule looks
    /// at are dropped at once.
    pub fn push(&mut self, series: SeriesId, metric: &str, at: Timestamp, value: f64) {
        let Some((number, window)) = self.needs.get(metric) else {
            return;
        };
        let ring = self.rings.entry((series, *number)).or_default();
        // Samples of one series come in order; a late one is put in its place.
        let place = ring.iter().rev().take_while(|(t, _)| *t > at).count();
        let before = ring.len().checked_sub(place + 1);
        if before.is_some_and(|before| ring[before].0 == at) {
            return;
        }
        if place == 0 {
            ring.push_back((at, value));
        } else {
            ring.insert(ring.len() - place, (at, value));
        }
        let newest = ring.back().map_or(at, |(t, _)| *t);
        // The sample before the window is kept: counters grow from it.
        while ring.len() > 2 && newest.since(ring[1].0) > *window {
            ring.pop_front();
        }
        if ring.len() > MAX_SAMPLES {
            ring.pop_front();
        }
    }

    /// Forgets the series that are gone.
    pub fn retain(&mut self, stays: impl Fn(SeriesId) -> bool) {
        self.rings.retain(|(id, _), _| stays(*id));
    }

    /// Forgets samples from a time that is still to come: the clock was set back.
    pub fn forget_after(&mut self, now: Timestamp) {
        for ring in self.rings.values_mut() {
            let keep = ring.partition_point(|(t, _)| *t <= now);
            ring.truncate(keep);
        }
    }

    /// The aggregate over the samples of some series in `(now - window, now]`.
    /// For several series `rate` and `increase` add up, the rest looks at all
    /// samples together. Growth begins at the sample before the window, and `age`
    /// counts from the newest sample, however old.
    pub fn aggregate(
        &self,
        series: impl IntoIterator<Item = SeriesId>,
        f: Agg,
        metric: &str,
        window: Duration,
        now: Timestamp,
    ) -> Option<f64> {
        let number = match self.needs.get(metric) {
            Some((number, _)) => *number,
            None => return (f == Agg::Count).then_some(0.0),
        };
        // Silence goes on beyond the window: the newest sample is always kept.
        let from = match f {
            Agg::Age => Timestamp(i64::MIN),
            _ => now - window,
        };
        let samples = series.into_iter().filter_map(|id| {
            let ring = self.rings.get(&(id, number))?;
            let end = ring.partition_point(|(t, _)| *t <= now);
            let start = ring.partition_point(|(t, _)| *t <= from);
            // Counters grow from the sample before the window.
            let before = usize::from(matches!(f, Agg::Rate | Agg::Increase));
            (start < end).then(|| ring.range(start.saturating_sub(before)..end).copied())
        });
        match f {
            Agg::Rate | Agg::Increase => growth(samples, f),
            Agg::P50 => percentile(samples, 0.50),
            Agg::P95 => percentile(samples, 0.95),
            Agg::P99 => percentile(samples, 0.99),
            _ => simple(samples.flatten(), f, now),
        }
    }
}

fn simple(samples: impl Iterator<Item = (Timestamp, f64)>, f: Agg, now: Timestamp) -> Option<f64> {
    let (mut count, mut sum) = (0u64, 0.0);
    let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
    let mut last: Option<(Timestamp, f64)> = None;
    for (t, value) in samples {
        count += 1;
        sum += value;
        min = min.min(value);
        max = max.max(value);
        if last.is_none_or(|(newest, _)| t >= newest) {
            last = Some((t, value));
        }
    }
    if f == Agg::Count {
        return Some(count as f64);
    }
    let (newest, value) = last?;
    Some(match f {
        Agg::Avg => sum / count as f64,
        Agg::Min => min,
        Agg::Max => max,
        Agg::Sum => sum,
        Agg::Age => now.since(newest).as_secs_f64(),
        _ => value,
    })
}

/// The value at a rank, by nearest rank: an actual sample, never a mean of two.
fn percentile<I: Iterator<Item = (Timestamp, f64)>>(
    samples: impl Iterator<Item = I>,
    share: f64,
) -> Option<f64> {
    let mut values: Vec<f64> = samples.flatten().map(|(_, value)| value).collect();
    if values.is_empty() {
        return None;
    }
    let rank = ((share * values.len() as f64).ceil() as usize).clamp(1, values.len()) - 1;
    Some(*values.select_nth_unstable_by(rank, f64::total_cmp).1)
}

/// Growth of counters inside the window. A value below the one before is a
/// reset, and counts from zero.
fn growth<I: Iterator<Item = (Timestamp, f64)>>(
    samples: impl Iterator<Item = I>,
    f: Agg,
) -> Option<f64> {
    let mut total = None;
    for mut one in samples {
        let Some((first, mut before)) = one.next() else {
            continue;
        };
        let (mut increase, mut last) = (0.0, first);
        for (t, value) in one {
            increase += if value >= before {
                value - before
            } else {
                value
            };
            before = value;
            last = t;
        }
        let seconds = last.since(first).as_secs_f64();
        // One sample says nothing of growth.
        if seconds > 0.0 {
            let grown = if f == Agg::Rate {
                increase / seconds
            } else {
                increase
            };
            total = Some(total.unwrap_or(0.0) + grown);
        }
    }
    total
}

/// Counts of log records per query and second.
#[derive(Clone, Debug, Default)]
pub struct LogCounters {
    counters: Vec<Counter>,
}

#[derive(Clone, Debug)]
struct Counter {
    text: Arc<str>,
    window: Duration,
    /// Records by second of their time.
    seconds: BTreeMap<i64, u32>,
    /// Its past is being read, for this purpose.
    filling: Option<u64>,
}

impl LogCounters {
    /// Counters for the queries of a configuration.
    pub fn new(queries: &QuerySet) -> Self {
        let mut counters = Self::default();
        counters.set_queries(queries);
        counters
    }

    /// Takes over the queries of a new configuration; counts of queries that
    /// stay are kept. Returns the numbers of the new ones, whose past the
    /// caller may fill in.
    pub fn set_queries(&mut self, queries: &QuerySet) -> Vec<usize> {
        let mut old = std::mem::take(&mut self.counters);
        let mut fresh = Vec::new();
        for (i, query) in queries.list().iter().enumerate() {
            let known = old
                .iter_mut()
                .find(|c| c.text == query.text && c.window >= query.window);
            let (seconds, filling) = match known {
                Some(counter) => (std::mem::take(&mut counter.seconds), counter.filling),
                None => {
                    fresh.push(i);
                    (BTreeMap::new(), None)
                }
            };
            let (text, window) = (Arc::clone(&query.text), query.window);
            self.counters.push(Counter {
                text,
                window,
                seconds,
                filling,
            });
        }
        fresh
    }

    /// Whether records of a query are counted for as long as `window`.
    pub fn covers(&self, text: &str, window: Duration) -> bool {
        self.counters
            .iter()
            .any(|one| *one.text == *text && one.window >= window)
    }

    /// Forgets records from a time that is still to come: the clock was set back.
    pub fn forget_after(&mut self, now: Timestamp) {
        let last = (now + MAX_AHEAD).0.div_euclid(1_000_000);
        for counter in &mut self.counters {
            counter.seconds.split_off(&(last + 1));
        }
    }

    /// Counts these queries from nothing: what was counted is read again, and
    /// [`fill`](Self::fill) adds it under the same `tag`.
    pub fn restart(&mut self, texts: &[Arc<str>], tag: u64) {
        for counter in &mut self.counters {
            if texts.contains(&counter.text) {
                counter.seconds.clear();
                counter.filling = Some(tag);
            }
        }
    }

    /// Adds the past of the queries that were restarted under `tag`.
    pub fn fill(&mut self, past: &Self, tag: u64) {
        for counter in self.counters.iter_mut().filter(|c| c.filling == Some(tag)) {
            counter.filling = None;
            let Some(old) = past.counters.iter().find(|old| old.text == counter.text) else {
                continue;
            };
            for (second, count) in &old.seconds {
                let slot = counter.seconds.entry(*second).or_default();
                *slot = slot.saturating_add(*count);
            }
        }
    }

    /// Counts a record of `source` under every query that it matches; returns
    /// their numbers.
    pub fn add(&mut self, queries: &QuerySet, record: &LogRecord, source: &str) -> Vec<usize> {
        let mut matched = Vec::new();
        for (i, known) in queries.list().iter().enumerate() {
            if known.query.matches(record, source) {
                self.add_matched(i, record);
                matched.push(i);
            }
        }
        matched
    }

    /// Counts a record that is known to match query number `query`.
    pub fn add_matched(&mut self, query: usize, record: &LogRecord) {
        let Some(counter) = self.counters.get_mut(query) else {
            return;
        };
        let at = counted_at(record);
        let slot = counter.seconds.entry(at.secs()).or_default();
        *slot = slot.saturating_add(1);
        let horizon = (record.received - counter.window).secs();
        while let Some(entry) = counter.seconds.first_entry().filter(|e| *e.key() < horizon) {
            entry.remove();
        }
    }

    /// Records of query number `query` in the last `window`, to the second.
    /// Records a little ahead of the clock count.
    pub fn count(&self, query: usize, window: Duration, now: Timestamp) -> u64 {
        let Some(counter) = self.counters.get(query) else {
            return 0;
        };
        let from = (now - window).secs();
        counter
            .seconds
            .range(from + 1..)
            .map(|(_, n)| u64::from(*n))
            .sum()
    }

    /// Drops what lies outside every window; called on the tick, so that a
    /// source that fell silent leaves nothing behind.
    pub fn expire(&mut self, now: Timestamp) {
        for counter in &mut self.counters {
            let horizon = (now - counter.window).secs();
            counter.seconds = counter.seconds.split_off(&horizon);
        }
    }
}

/// The time under which a record counts.
pub fn counted_at(record: &LogRecord) -> Timestamp {
    if record.time > record.received + MAX_AHEAD {
        record.received
    } else {
        record.time
    }
}

#[cfg(test)]
mod tests;
