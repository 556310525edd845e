//! Snapshot tests over broken configurations.
