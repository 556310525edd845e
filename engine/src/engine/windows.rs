//! The past of rules' windows, read from what was stored: at the start before the
//! first result arrives, and in the background for rules that are added later.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Core, resolve};
use crate::alert::window::LogCounters;
use crate::check::outcome::SeriesId;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::pipeline::Input;
use crate::store::{StoreError, logs, results};

/// Longer windows than this fill up as time goes on. A window that is short of
/// its past says "nothing came" when something did, so what people write is
/// read whole, and a start with such a rule takes its time.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);
/// Log records read at most.
const RECORDS: u32 = 1_000_000;
/// Longest time for which a rule that was added waits for its past.
const PATIENCE: Duration = Duration::from_secs(300);
/// Samples put in place at a time: the recorder waits meanwhile.
const SAMPLES: usize = 2_000;

impl Core {
    /// Reads the samples and log records that rules look back on.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn preload_windows(&self, config: &Config) -> Result<(), StoreError> {
        let policy = resolve::policy(config, Default::default());
        let (needs, names) = {
            let mut snapshot = self.snapshot.lock();
            snapshot.prepare_windows(&policy);
            (snapshot.window_needs(), snapshot.metric_names())
        };
        let now = self.clock.now();
        let mut reader = self.store.reader().await?;
        if let Some(longest) = needs.iter().map(|(_, window)| *window).max() {
            let wanted: HashMap<u32, &str> = names
                .iter()
                .filter(|(_, name)| needs.iter().any(|(need, _)| **need == ***name))
                .map(|(id, name)| (*id, &**name))
                .collect();
            let mut snapshot = self.snapshot.lock_arc();
            let from = now - longest.min(LONGEST);
            let take = |row: crate::pipeline::changes::ResultRow| {
                if row.verdict.is_err() {
                    return;
                }
                let duration = f64::from(row.duration_us) / 1000.0;
                snapshot.preload_sample(row.series, "duration_ms", row.ts, duration);
                for (id, value) in &row.metrics {
                    if let Some(name) = wanted.get(id) {
                        snapshot.preload_sample(row.series, name, row.ts, *value);
                    }
                }
            };
            results::each_since(&mut reader, from, take).await?;
        }
        if let Some(longest) = policy.queries.list().iter().map(|query| query.window).max() {
            let mut snapshot = self.snapshot.lock_arc();
            let from = now - longest.min(LONGEST);
            logs::each_since(&mut reader, from, RECORDS, |row| {
                snapshot.preload_log(&policy, &row.source, &row.record);
            })
            .await?;
        }
        Ok(())
    }

    /// Fills the windows of rules that a configuration added; they are judged
    /// from then on. What takes too long is left out.
    pub(super) async fn fill_windows(&self, generation: u64, config: &Config, rules: &[Arc<str>]) {
        let work = tokio::time::timeout(PATIENCE, self.read_past(generation, config, rules));
        let ended = tokio::select! {
            () = self.stop.cancelled() => return,
            ended = work => ended,
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, ?rules, "the past of rules cannot be read; their windows begin empty");
            }
            Err(_) => {
                tracing::warn!(
                    ?rules,
                    "reading the past of rules takes too long; their windows begin with a part of it"
                );
            }
        }
        // A stopped recorder judges nothing.
        let _ = self
            .recorder
            .submit(Input::WindowsFilled { generation })
            .await;
    }

    async fn read_past(
        &self,
        generation: u64,
        config: &Config,
        rules: &[Arc<str>],
    ) -> Result<(), StoreError> {
        let policy = resolve::policy(config, Default::default());
        let added = || {
            policy
                .rules
                .iter()
                .filter(|rule| rules.contains(&rule.name))
        };
        let now = self.clock.now();
        let queries: Vec<_> = added()
            .flat_map(|rule| &rule.def.facts().queries)
            .filter_map(|(number, _)| policy.queries.list().get(*number))
            .collect();
        if let Some(longest) = queries.iter().map(|query| query.window).max() {
            let texts: Vec<Arc<str>> = queries.iter().map(|query| query.text.clone()).collect();
            let snapshot = self.snapshot.clone();
            // Between two batches: every record that was counted is stored, and
            // none that is not. So the count begins anew exactly here.
            let last = self
                .recorder
                .write(move |conn| {
                    let (snapshot, texts) = (snapshot.clone(), texts.clone());
                    Box::pin(async move {
                        let last = logs::newest_id(conn).await?;
                        snapshot.lock().restart_logs(&texts, generation);
                        Ok(last)
                    })
                })
                .await?;
            let mut past = LogCounters::new(&policy.queries);
            let mut reader = self.store.reader().await?;
            let from = now - longest.min(LONGEST);
            logs::each_since(&mut reader, from, RECORDS, |row| {
                if row.id <= last {
                    past.add(&policy.queries, &row.record, &row.source);
                }
            })
            .await?;
            self.snapshot.lock().fill_logs(&past, generation);
        }
        let mut needs: HashMap<&str, Duration> = HashMap::new();
        for need in added().flat_map(|rule| &rule.def.facts().metrics) {
            let longest = needs.entry(&need.metric).or_default();
            *longest = (*longest).max(need.window);
        }
        let Some(longest) = needs.values().copied().max() else {
            return Ok(());
        };
        let names = self.snapshot.lock().metric_names();
        let wanted: HashMap<u32, &str> = names
            .iter()
            .filter(|(_, name)| needs.contains_key(&***name))
            .map(|(id, name)| (*id, &**name))
            .collect();
        let durations = needs.contains_key("duration_ms");
        let mut samples: Vec<(SeriesId, &str, Timestamp, f64)> = Vec::with_capacity(SAMPLES);
        let put = |samples: &mut Vec<(SeriesId, &str, Timestamp, f64)>| {
            let mut snapshot = self.snapshot.lock();
            for (series, metric, at, value) in samples.drain(..) {
                snapshot.preload_sample(series, metric, at, value);
            }
        };
        let mut reader = self.store.reader().await?;
        let from = now - longest.min(LONGEST);
        results::each_since(&mut reader, from, |row| {
            if row.verdict.is_err() {
                return;
            }
            if durations {
                let duration = f64::from(row.duration_us) / 1000.0;
                samples.push((row.series, "duration_ms", row.ts, duration));
            }
            for (id, value) in &row.metrics {
                if let Some(name) = wanted.get(id) {
                    samples.push((row.series, name, row.ts, *value));
                }
            }
            if samples.len() >= SAMPLES {
                put(&mut samples);
            }
        })
        .await?;
        put(&mut samples);
        Ok(())
    }
}
