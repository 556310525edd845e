//! The plugin host against real components and real servers on loopback.

mod commands;
mod compat;
mod corpus;
mod datagrams;
mod egress;
mod faults;
mod fuzz;
mod install;
mod kinds;
mod machine;
mod slow;
mod support;
mod wasi_http;

#[path = "../support/random.rs"]
mod random;
#[path = "../support/wat.rs"]
mod wat;
