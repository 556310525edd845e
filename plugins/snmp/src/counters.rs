//! Counters of the last run, from which rates come.

use std::collections::BTreeMap;

use bellwether_plugin::Timestamp;
use bellwether_plugin::log::warning;
use bellwether_plugin::state::Store;
use serde::{Deserialize, Serialize};

use crate::message::Held;

const KEY: &str = "counters";

/// What is kept between two runs.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    time: Timestamp,
    values: BTreeMap<String, u64>,
}

/// Counters of the last run and of this one.
pub struct Counters {
    before: Kept,
    now: Kept,
    version: Option<u64>,
    /// Microseconds between the runs; absent where the agent began anew.
    elapsed: Option<f64>,
}

impl Counters {
    /// Reads what was kept. `uptime` is the agent's, in seconds.
    pub fn load(store: &dyn Store, now: Timestamp, uptime: Option<f64>) -> Self {
        let entry = store.get(KEY);
        let version = entry.as_ref().map(|entry| entry.version);
        let before: Option<Kept> =
            entry.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        let elapsed = before
            .as_ref()
            .map(|before| now.saturating_sub(before.time) as f64)
            // Half a second for the way and the agent's hundredths.
            .filter(|elapsed| *elapsed > 0.0)
            .filter(|elapsed| uptime.is_none_or(|uptime| uptime + 0.5 >= elapsed / 1e6));
        Counters {
            before: before.unwrap_or_default(),
            now: Kept {
                time: now,
                values: BTreeMap::new(),
            },
            version,
            elapsed,
        }
    }

    /// Growth per second; absent in the first run, after a restart of the agent
    /// and where a counter of 64 bits fell. One of 32 bits that fell went round.
    pub fn rate(&mut self, name: &str, held: &Held) -> Option<f64> {
        let (value, round) = match held {
            Held::Counter32(value) => (*value, 1_u64 << 32),
            Held::Counter64(value) | Held::Gauge(value) | Held::Ticks(value) => (*value, 0),
            Held::Integer(value) => (u64::try_from(*value).ok()?, 0),
            Held::Bytes(_) | Held::Text(_) | Held::Nothing(_) => return None,
        };
        self.now.values.insert(name.to_owned(), value);
        let elapsed = self.elapsed?;
        let before = *self.before.values.get(name)?;
        let growth = value
            .checked_sub(before)
            .or_else(|| (value + round).checked_sub(before))?;
        Some(growth as f64 / elapsed * 1e6)
    }

    /// Keeps the counters of this run.
    pub fn save(self, store: &dyn Store) {
        if self.now.values.is_empty() {
            return;
        }
        let Ok(value) = serde_json::to_vec(&self.now) else {
            return;
        };
        if let Err(error) = store.set(KEY, &value, self.version) {
            warning(&format!("the counters were not kept: {error:?}"));
        }
    }
}
