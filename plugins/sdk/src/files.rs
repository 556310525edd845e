//! Files below folders that the operator configured by name.

use crate::bindings::host::bellwether::plugin::files as wit;
pub use crate::bindings::host::bellwether::plugin::files::{
    Entry, Error, FileType, Listing, Metadata,
};

/// Reads files; [`Host`] on the real host, a fake in tests.
pub trait Files {
    /// What a path is; symbolic links are followed.
    fn stat(&self, root: &str, path: &str) -> Result<Metadata, Error>;
    /// Entries of a folder by name, `max` at most.
    fn list(&self, root: &str, path: &str, max: u32) -> Result<Listing, Error>;
    /// At most `length` bytes from `offset` on; empty at the end of the file.
    fn read(&self, root: &str, path: &str, offset: u64, length: u32) -> Result<Vec<u8>, Error>;
}

/// The engine's host.
pub struct Host;

impl Files for Host {
    fn stat(&self, root: &str, path: &str) -> Result<Metadata, Error> {
        wit::stat(root, path)
    }

    fn list(&self, root: &str, path: &str, max: u32) -> Result<Listing, Error> {
        wit::list(root, path, max)
    }

    fn read(&self, root: &str, path: &str, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
        wit::read(root, path, offset, length)
    }
}
