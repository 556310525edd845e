//! Secrets: read where they are used, and taken out of whatever leaves a run.

use std::borrow::Cow;

use super::bindings::bellwether::plugin::secrets::{Error, Host};
use super::run::{RunData, Stop};
use crate::config::spec::SecretSource;

/// Greatest size of a secret, in bytes.
const MAX_SECRET: u64 = 64 << 10;

/// Reads a secret.
///
/// # Errors
/// Names the source, never a value.
pub(super) async fn read(source: &SecretSource) -> Result<String, String> {
    let value = match source {
        SecretSource::Env(name) => std::env::var(name)
            .map_err(|_| format!("the environment variable {name} is not set or not UTF-8"))?,
        SecretSource::File(path) => {
            let cannot = |error: String| format!("the file {path} cannot be read: {error}");
            let meta = tokio::fs::metadata(path)
                .await
                .map_err(|error| cannot(error.to_string()))?;
            if !meta.is_file() || meta.len() > MAX_SECRET {
                return Err(cannot(format!(
                    "expected a file of at most {MAX_SECRET} bytes"
                )));
            }
            let text = tokio::fs::read_to_string(path)
                .await
                .map_err(|error| cannot(error.to_string()))?;
            text.strip_suffix('\n')
                .map(|text| text.strip_suffix('\r').unwrap_or(text))
                .unwrap_or(&text)
                .to_owned()
        }
    };
    if value.is_empty() {
        Err("it is empty".into())
    } else {
        Ok(value)
    }
}

/// Secret values that a run has used.
#[derive(Default)]
pub(super) struct Redactor(Vec<String>);

impl Redactor {
    /// Remembers a value for this run.
    pub fn add(&mut self, value: &str) {
        if !self.0.iter().any(|known| known == value) {
            self.0.push(value.to_owned());
            // Longest first, so that a secret within another leaves no rest.
            self.0.sort_by_key(|value| std::cmp::Reverse(value.len()));
        }
    }

    /// True where the run used no secret.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True where a value is among these bytes.
    pub fn finds(&self, bytes: &[u8]) -> bool {
        self.0
            .iter()
            .any(|value| find(bytes, value.as_bytes()).is_some())
    }

    /// A text without the values.
    pub fn text(&self, text: String) -> String {
        let mut text = text;
        for value in &self.0 {
            if text.contains(value.as_str()) {
                text = text.replace(value.as_str(), "***");
            }
        }
        text
    }

    /// Bytes with each value overwritten by asterisks of the same length.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let mut bytes = Cow::Borrowed(bytes);
        for value in &self.0 {
            let value = value.as_bytes();
            let mut from = 0;
            while let Some(at) = find(&bytes[from..], value) {
                let at = from + at;
                bytes.to_mut()[at..at + value.len()].fill(b'*');
                from = at + value.len();
            }
        }
        bytes
    }
}

impl RunData {
    /// Reads a configured secret, which then is taken out of whatever the run
    /// says. Grants are the caller's.
    pub(super) async fn secret(&mut self, name: &str) -> Result<String, String> {
        let settings = self.shared.settings();
        let source = settings
            .secrets
            .get(name)
            .ok_or_else(|| format!("the secret {name} is not configured under secrets"))?;
        let value = read(source)
            .await
            .map_err(|error| format!("the secret {name} cannot be read: {error}"))?;
        self.redactor.add(&value);
        Ok(value)
    }
}

impl Host for RunData {
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<String, Error>> {
        if !self.grants.read_secrets.contains(&name) {
            let what = format!(
                "reading the secret {name} is not granted; a grant would be read_secrets: [{name}]"
            );
            self.log.push("warning", &format!("denied: {what}"));
            return Ok(Err(Error::Denied(what)));
        }
        let waits = self.waits;
        match tokio::time::timeout_at(waits.deadline, self.secret(&name)).await {
            Ok(result) => Ok(result.map_err(Error::Unavailable)),
            Err(_) => Err(Stop::Waiting("a secret", waits.length).into()),
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_out() {
        let mut redactor = Redactor::default();
        redactor.add("abc");
        redactor.add("abcdef");
        assert_eq!(redactor.text("x abcdef y abc".into()), "x *** y ***");
        assert_eq!(&*redactor.bytes(b"xabcdefxabc"), b"x******x***");
        assert!(matches!(redactor.bytes(b"nothing"), Cow::Borrowed(_)));
    }
}
