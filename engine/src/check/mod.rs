//! Checks: when they run, what they said, what state they are in.

pub mod outcome;
pub mod runner;
pub mod schedule;
pub mod scheduler;
pub mod state;
