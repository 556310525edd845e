//! Windows of rules after a restart: filled again from what was stored, before
//! the first result arrives.

use std::collections::HashMap;
use std::time::Duration;

use super::{Core, resolve};
use crate::config::Config;
use crate::store::{StoreError, logs, results};

/// Longer windows than this fill up as time goes on. A window that is short of
/// its past says "nothing came" when something did, so what people write is
/// read whole, and a start with such a rule takes its time.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);
/// Log records read at most.
const RECORDS: u32 = 1_000_000;

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
}
