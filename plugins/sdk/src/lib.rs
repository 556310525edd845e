//! Write Bellwether plugins in Rust.
//!
//! Implement one of [`Probe`], [`LogParser`], [`Action`] or [`Notifier`], name
//! the type in the matching `export_…!` macro, build the crate as a `cdylib`
//! for `wasm32-unknown-unknown` and turn it into a component
//! (`plugins/build.sh` does both). See `plugins/README.md` for a whole one.
//!
//! Everything also compiles for the host, where host calls are absent: keep
//! judgement in functions that take a `&dyn` [`net::Net`] and test them with
//! [`fake::FakeNet`].

#[expect(missing_docs, reason = "generated; the WIT text documents it")]
pub mod bindings;

mod action;
pub mod alloc;
pub mod command;
pub mod config;
pub mod datagrams;
pub mod endpoint;
pub mod expect;
pub mod fake;
pub mod files;
pub mod findings;
mod glue;
pub mod greeting;
pub mod http;
pub mod log;
pub mod login;
mod manifest;
pub mod net;
mod notifier;
mod parser;
mod probe;
pub mod secrets;
pub mod state;
pub mod system;
pub mod text;
pub mod time;
pub mod wire;

pub use action::{Action, ActionContext, ActionError, ActionReport};
pub use bindings::host::bellwether::plugin::types::{
    ConfigProblem, Level, Manifest, Metric, MetricSpec, Node, State, Timestamp,
};
pub use notifier::{Notification, NotificationKind, Notifier, NotifyError, Receipt, Retry};
pub use parser::{
    Batch, EntryBuilder, Lines, LogParser, ParseError, RawEntry, RawField, RawRecords, RawSpan,
    Records,
};
pub use probe::{Probe, ProbeError, Report, Request};

// A program that brings an allocator of its own turns this one off by building
// the SDK without its feature.
#[cfg(all(target_arch = "wasm32", feature = "arena"))]
#[global_allocator]
static ALLOCATOR: alloc::ArenaFirst = alloc::ArenaFirst::new();

#[doc(hidden)]
pub use glue::{Parsing, act, check, notify, prepare};
