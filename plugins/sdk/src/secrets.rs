//! Values of secrets. Where [`SecretHeader`](crate::net::SecretHeader) will do,
//! use that: the plugin then never holds the secret.

pub use crate::bindings::host::bellwether::plugin::secrets::Error;

/// Reads secrets; [`Host`] on the real host, a fake in tests.
pub trait Secrets {
    /// The value of a secret that the run may read.
    fn get(&self, name: &str) -> Result<String, Error>;
}

/// The engine's secrets.
pub struct Host;

impl Secrets for Host {
    fn get(&self, name: &str) -> Result<String, Error> {
        crate::bindings::host::bellwether::plugin::secrets::get(name)
    }
}

impl From<Error> for crate::ProbeError {
    fn from(error: Error) -> Self {
        match error {
            Error::Denied(what) => crate::ProbeError::Denied(what),
            Error::Unavailable(text) => crate::ProbeError::Failed(text),
        }
    }
}
