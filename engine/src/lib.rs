//! Bellwether: a WebAssembly-pluggable check and alert engine.
//!
//! ARCHITECTURE.md at the top of the repository tells how the parts fit.

pub mod alert;
pub mod auth;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod engine;
pub mod http;
pub mod live;
pub mod log;
pub mod notify;
pub mod pipeline;
pub mod plugin;
pub mod recorder;
pub mod remedy;
pub mod store;
