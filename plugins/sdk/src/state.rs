//! Small values that a plugin keeps between the runs of one check on one node.

pub use crate::bindings::host::bellwether::plugin::state::{Entry, Error, delete, get, set};
