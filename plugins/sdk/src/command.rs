//! Commands that the operator configured by name.

pub use crate::bindings::host::bellwether::plugin::command::{Error, Output};

/// Runs commands; [`Host`] on the real host, a fake in tests.
pub trait Commands {
    /// Runs the command of that name and waits for its end.
    fn run(&self, name: &str) -> Result<Output, Error>;
}

/// The engine's commands.
pub struct Host;

impl Commands for Host {
    fn run(&self, name: &str) -> Result<Output, Error> {
        crate::bindings::host::bellwether::plugin::command::run(name)
    }
}
