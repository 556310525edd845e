//! The plugin host against real components and real servers on loopback.

mod commands;
mod compat;
mod corpus;
mod datagrams;
mod egress;
mod endings;
mod faults;
mod fuzz;
mod http2;
mod input_file;
mod install;
mod kinds;
mod long_compile;
mod machine;
mod slow;
mod support;
mod wasi_http;
mod watch;

#[path = "../support/random.rs"]
mod random;
#[path = "../support/wat.rs"]
mod wat;
