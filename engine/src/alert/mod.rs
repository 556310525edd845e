//! Alerts: rules, the windows and queries they look at.

pub mod expr;
pub mod query;
pub mod rules;
pub mod state;
pub mod window;
