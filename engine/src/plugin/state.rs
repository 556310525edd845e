//! `state`: small values between the runs of one series. A run sees a copy and
//! its own writes; the writes leave with the outcome.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bindings::bellwether::plugin::state::{Entry, Error, Host};
use super::run::RunData;
use super::watch::{Answer, bytes};
use crate::check::outcome::{PluginState, StateEntry};

/// Keys and values of one series, in bytes.
pub const QUOTA: usize = 64 << 10;
const MAX_KEY: usize = 128;

/// State as one run sees it.
#[derive(Debug)]
pub(super) struct StateView {
    before: Option<Arc<PluginState>>,
    /// Absent entries are deletions of what was there before the run.
    writes: BTreeMap<String, Option<StateEntry>>,
    /// Bytes of all keys and values.
    size: usize,
    granted: bool,
}

fn size_of(key: &str, entry: Option<&StateEntry>) -> usize {
    entry.map_or(0, |entry| key.len() + entry.value.len())
}

impl StateView {
    pub fn new(before: Option<Arc<PluginState>>, granted: bool) -> Self {
        let entries = before.iter().flat_map(|state| &state.0);
        let size = entries.map(|(key, entry)| size_of(key, Some(entry))).sum();
        Self {
            before,
            writes: BTreeMap::new(),
            size,
            granted,
        }
    }

    fn before(&self, key: &str) -> Option<&StateEntry> {
        self.before.as_ref()?.0.get(key)
    }

    fn get(&self, key: &str) -> Option<&StateEntry> {
        match self.writes.get(key) {
            Some(entry) => entry.as_ref(),
            None => self.before(key),
        }
    }

    /// Bytes of all keys and values, without `key`.
    fn size_without(&self, key: &str) -> usize {
        self.size.saturating_sub(size_of(key, self.get(key)))
    }

    fn put(&mut self, key: String, entry: Option<StateEntry>) {
        self.size = self.size_without(&key) + size_of(&key, entry.as_ref());
        if entry.is_none() && self.before(&key).is_none() {
            // Nobody knows of it: there is nothing to delete.
            self.writes.remove(&key);
        } else {
            self.writes.insert(key, entry);
        }
    }

    fn set(&mut self, key: String, value: Vec<u8>, expected: Option<u64>) -> Result<u64, Error> {
        self.check(&key)?;
        let current = self.get(&key).map(|entry| entry.version);
        if current != expected {
            return Err(Error::Conflict);
        }
        let size = self.size_without(&key) + key.len() + value.len();
        if size > QUOTA {
            return Err(Error::Quota(QUOTA as u64));
        }
        let version = current.unwrap_or(0) + 1;
        self.put(key, Some(StateEntry { value, version }));
        Ok(version)
    }

    fn delete(&mut self, key: String, expected: u64) -> Result<(), Error> {
        self.check(&key)?;
        if self.get(&key).map(|entry| entry.version) != Some(expected) {
            return Err(Error::Conflict);
        }
        self.put(key, None);
        Ok(())
    }

    fn check(&self, key: &str) -> Result<(), Error> {
        if !self.granted {
            return Err(Error::Invalid(
                "denied: `state` is not granted to this plugin".into(),
            ));
        }
        if key.is_empty() || key.len() > MAX_KEY || key.chars().any(char::is_control) {
            return Err(Error::Invalid(format!(
                "expected a key of 1 to {MAX_KEY} bytes without control characters, found {} bytes",
                key.len()
            )));
        }
        Ok(())
    }

    /// Bytes of all keys and values.
    pub fn size(&self) -> usize {
        self.size
    }

    /// What the run changed.
    pub fn into_writes(self) -> Vec<(String, Option<StateEntry>)> {
        self.writes.into_iter().collect()
    }
}

impl RunData {
    fn note_state_denial(&mut self) {
        if !self.state.granted {
            self.log.push("warning", "denied: state");
        }
    }
}

impl Host for RunData {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<Entry>> {
        self.note_state_denial();
        if !self.state.granted {
            return Ok(None);
        }
        let watching = self.watch("state.get", || key.clone());
        let entry = self.state.get(&key);
        watching.answered(|| {
            Answer::ok(match entry {
                Some(entry) => format!("{}, version {}", bytes(entry.value.len()), entry.version),
                None => "nothing is kept".into(),
            })
        });
        Ok(entry.map(|entry| Entry {
            value: entry.value.clone(),
            version: entry.version,
        }))
    }

    fn set(
        &mut self,
        key: String,
        value: Vec<u8>,
        expected: Option<u64>,
    ) -> wasmtime::Result<Result<u64, Error>> {
        self.note_state_denial();
        let watching = self.watch("state.set", || format!("{key}, {}", bytes(value.len())));
        // What is kept ends in the database and in its backups.
        let result = if self.redactor.finds(key.as_bytes()) || self.redactor.finds(&value) {
            Err(Error::Invalid(
                "the key or the value holds a secret, which is not kept".into(),
            ))
        } else {
            self.state.set(key, value, expected)
        };
        watching.answered(|| Answer::of(&result, |version| format!("version {version}")));
        Ok(result)
    }

    fn delete(&mut self, key: String, expected: u64) -> wasmtime::Result<Result<(), Error>> {
        self.note_state_denial();
        let watching = self.watch("state.delete", || key.clone());
        let result = self.state.delete(key, expected);
        watching.answered(|| Answer::of(&result, |()| "deleted".into()));
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(entries: &[(&str, &str)]) -> StateView {
        let entry = |value: &str| StateEntry {
            value: value.into(),
            version: 1,
        };
        let state = entries
            .iter()
            .map(|(k, v)| ((*k).to_owned(), entry(v)))
            .collect();
        StateView::new(Some(Arc::new(PluginState(state))), true)
    }

    #[test]
    fn compare_and_swap() {
        let mut state = view(&[("a", "old")]);
        assert!(matches!(
            state.set("a".into(), b"x".to_vec(), None),
            Err(Error::Conflict)
        ));
        assert!(matches!(
            state.set("b".into(), b"x".to_vec(), Some(1)),
            Err(Error::Conflict)
        ));
        assert_eq!(state.set("a".into(), b"new".to_vec(), Some(1)).unwrap(), 2);
        assert_eq!(state.get("a").unwrap().value, b"new");
        state.delete("a".into(), 2).unwrap();
        assert!(state.get("a").is_none());
        assert_eq!(state.set("a".into(), b"again".to_vec(), None).unwrap(), 1);
        assert_eq!(state.into_writes().len(), 1);
    }

    #[test]
    fn quota_counts_what_is_kept() {
        let mut state = view(&[("a", "x")]);
        let most = QUOTA - 2 - 1;
        assert_eq!(state.set("b".into(), vec![0; most], None).unwrap(), 1);
        assert!(matches!(
            state.set("c".into(), vec![], None),
            Err(Error::Quota(_))
        ));
        state.delete("a".into(), 1).unwrap();
        assert_eq!(state.set("c".into(), vec![0], None).unwrap(), 1);
    }

    #[test]
    fn what_comes_and_goes_within_a_run_leaves_nothing() {
        let mut state = view(&[("a", "x")]);
        for n in 0..50_000 {
            let key = format!("key-{n}");
            assert_eq!(state.set(key.clone(), vec![0; 100], None).unwrap(), 1);
            state.delete(key, 1).unwrap();
        }
        assert_eq!(state.size_without(""), 2);
        state.delete("a".into(), 1).unwrap();
        assert_eq!(state.into_writes(), [("a".to_owned(), None)]);
    }

    #[test]
    fn without_a_grant_nothing_is_written() {
        let mut state = StateView::new(None, false);
        let error = state.set("a".into(), vec![], None).unwrap_err();
        assert!(matches!(error, Error::Invalid(text) if text.contains("not granted")));
        assert!(state.into_writes().is_empty());
    }
}
