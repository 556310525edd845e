//! Small values that a plugin keeps between the runs of one check on one node.

pub use crate::bindings::host::bellwether::plugin::state::{Entry, Error, delete, get, set};

/// Where values are kept; [`Host`] on the real host,
/// [`FakeStore`](crate::fake::FakeStore) in tests.
pub trait Store {
    /// The value of a key.
    fn get(&self, key: &str) -> Option<Entry>;

    /// Writes a value. `expected` is the version that was read; absent writes
    /// only where nothing is stored yet. Returns the new version.
    fn set(&self, key: &str, value: &[u8], expected: Option<u64>) -> Result<u64, Error>;
}

/// The engine's store.
pub struct Host;

impl Store for Host {
    fn get(&self, key: &str) -> Option<Entry> {
        get(key)
    }

    fn set(&self, key: &str, value: &[u8], expected: Option<u64>) -> Result<u64, Error> {
        set(key, value, expected)
    }
}
