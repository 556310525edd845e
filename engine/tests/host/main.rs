//! The plugin host against real components and real servers on loopback.

mod egress;
mod faults;
mod install;
mod kinds;
mod support;
