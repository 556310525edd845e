//! Configuration: read, validated once, handed out as one value.

pub mod spec;
pub mod units;
