//! The WebAssembly host: loads plugins, runs them under grants and limits.
//!
//! - [`host`] is the way in; [`catalogue`] maps digests to compiled plugins.
//! - `compile` runs the compiler in a child process, `cache` keeps its code.
//! - `run` holds what one run is made of and how its end is read: the line
//!   between a target that is down and a fault.
//! - `program` and its neighbours run command plugins: WASI programs without a
//!   manifest, in the role in which they are referenced.
//! - one file per interface of the contract; every connection of a guest goes
//!   through `egress::connect`.

mod action;
pub mod address;
mod backtrace;
mod bindings;
mod blocking;
mod cache;
pub mod catalogue;
mod command;
pub mod compile;
mod cost;
mod crash;
mod descriptors;
pub mod digest;
mod dns_message;
mod egress;
pub mod engine;
mod files;
#[doc(hidden)]
pub mod fuzz;
pub mod grants;
mod guests;
pub mod host;
pub mod kind;
mod limiter;
mod log;
pub mod manifest;
mod net;
mod net_dns;
mod net_http;
mod net_icmp;
mod net_tcp;
mod net_udp;
pub mod notifier;
pub mod oci;
pub mod output;
pub mod parser;
mod probe;
mod procfs;
mod program;
mod program_action;
mod program_check;
mod program_input;
mod program_lines;
mod quarantine;
pub mod replay;
pub mod resolve;
mod run;
mod secrets;
pub mod signing;
mod state;
mod system;
mod tls;
mod types;
mod waited;
mod wasi;
mod wasi_http;
pub mod watch;

pub use catalogue::{InstallError, InstallPhase, Installed};
pub use command::validate_argv;
pub use compile::{CompilerConfig, compile_child_main};
pub use cost::{CostFigures, Costs};
pub use crash::{CrashNode, CrashRequest, CrashState, Crashes};
pub use files::validate_root;
pub use host::{Host, HostConfig, Settings};
pub use kind::Kind;
pub use manifest::{Manifest, MetricSpec};
pub use parser::{ParserInstance, SourceParser};
pub use state::QUOTA as STATE_QUOTA;
