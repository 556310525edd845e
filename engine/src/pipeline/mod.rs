//! The pure core: what a batch of inputs changes.

pub mod changes;
