//! Checks: when they run, what they said, what state they are in.

pub mod outcome;
pub mod schedule;
pub mod state;
