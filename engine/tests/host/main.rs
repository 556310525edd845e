//! The plugin host against real components and real servers on loopback.

mod commands;
mod datagrams;
mod egress;
mod faults;
mod install;
mod kinds;
mod machine;
mod support;
mod wasi_http;

#[path = "../support/wat.rs"]
mod wat;
