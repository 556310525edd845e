//! Secrets: read where they are used, and taken out of whatever leaves a run.

use std::borrow::Cow;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::fs::OFlags;

use super::bindings::bellwether::plugin::secrets::{Error, Host};
use super::log::clip;
use super::run::RunData;
use super::watch::Answer;
use crate::config::spec::SecretSource;

/// Greatest size of a secret, in bytes.
const MAX_SECRET: u64 = 64 << 10;

/// Reads a secret. Blocks on the file's disk.
///
/// # Errors
/// Names the source, never a value.
pub(super) fn read(source: &SecretSource) -> Result<String, String> {
    let value = match source {
        SecretSource::Env(name) => std::env::var(name)
            .map_err(|_| format!("the environment variable {name} is not set or not UTF-8"))?,
        SecretSource::File(path) => {
            let text = read_file(path)
                .map_err(|error| format!("the file {path} cannot be read: {error}"))?;
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

/// The text of a regular file of bounded size.
fn read_file(path: &str) -> std::io::Result<String> {
    let expected = || {
        std::io::Error::other(format!(
            "expected a regular file of at most {MAX_SECRET} bytes"
        ))
    };
    // Opening a pipe would wait for its writer.
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(expected());
    }
    let mut text = String::new();
    file.take(MAX_SECRET + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SECRET {
        return Err(expected());
    }
    Ok(text)
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

    /// At most `max` bytes of a text without the values. They are taken out
    /// first: half of one is not found any more.
    pub fn clip(&self, text: &str, max: usize) -> String {
        if self.is_empty() {
            return clip(text, max).to_owned();
        }
        clip(&self.text(text.to_owned()), max).to_owned()
    }

    /// A text that was cut off, without the values and without the beginning of
    /// one at its end. For texts that no guest gets back: where something is
    /// taken out, the value begins like that.
    pub fn whole(&self, text: String) -> String {
        let mut text = self.text(text);
        let end = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
        let begun = |value: &String| {
            let most = end.len().min(value.len().saturating_sub(1));
            (1..=most)
                .rev()
                .find_map(|length| end.strip_suffix(value.get(..length)?))
        };
        let rest = self.0.iter().filter_map(begun).map(str::len).min();
        if let Some(rest) = rest {
            text.truncate(rest);
        }
        text
    }

    /// Bytes of the longest value.
    pub fn longest(&self) -> usize {
        self.0.first().map_or(0, String::len)
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
    /// says. Grants are the caller's. Ends the run where the disk hangs: that is
    /// not the target's doing.
    pub(super) async fn secret(&mut self, name: &str) -> wasmtime::Result<Result<String, String>> {
        let settings = self.shared.settings();
        let Some(source) = settings.secrets.get(name).cloned() else {
            return Ok(Err(format!(
                "the secret {name} is not configured under secrets"
            )));
        };
        let value = match source {
            SecretSource::Env(_) => read(&source),
            SecretSource::File(_) => {
                let blocking = self.shared.blocking.clone();
                blocking
                    .run(self.waits, "a secret", move || read(&source))
                    .await?
            }
        };
        Ok(match value {
            Ok(value) => {
                self.redactor.add(&value);
                Ok(value)
            }
            Err(error) => Err(format!("the secret {name} cannot be read: {error}")),
        })
    }
}

impl Host for RunData {
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<String, Error>> {
        let watching = self.watch("secrets.get", || name.clone());
        if !self.grants.read_secrets.contains(&name) {
            let what = format!(
                "reading the secret {name} is not granted; a grant would be read_secrets: [{name}]"
            );
            self.log.push("warning", &format!("denied: {what}"));
            let result = Err(Error::Denied(what));
            watching.answered(|| Answer::of(&result, |_| String::new()));
            return Ok(result);
        }
        let result = self.secret(&name).await?.map_err(Error::Unavailable);
        watching.answered(|| Answer::of(&result, |_| "its value".into()));
        Ok(result)
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

    #[test]
    fn what_is_cut_off_shows_no_beginning_of_a_value() {
        let mut redactor = Redactor::default();
        redactor.add("abcdef");
        redactor.add("cd!");
        for (text, expected) in [
            ("xabcde", "x"),
            ("xabcde\u{fffd}", "x"),
            ("xab", "x"),
            ("xabcd", "x"),
            ("abcdefa", "***"),
            ("xabcdef", "x***"),
            ("x", "x"),
            ("", ""),
        ] {
            assert_eq!(redactor.whole(text.into()), expected);
        }
        assert_eq!(redactor.longest(), 6);
        // The end of a value that is there is no beginning of another.
        let mut twins = Redactor::default();
        twins.add("aXa");
        assert_eq!(twins.whole("-aXa".into()), "-***");
        assert_eq!(redactor.clip("x abcdef", 5), "x ***");
        assert_eq!(redactor.clip("x abcdef", 4), "x **");
        assert_eq!(Redactor::default().clip("x abcdef", 5), "x abc");
    }

    #[test]
    fn only_small_regular_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let source = SecretSource::File(path.display().to_string());
        std::fs::write(&path, "value\r\n").unwrap();
        assert_eq!(read(&source).unwrap(), "value");
        std::fs::write(&path, "x".repeat(MAX_SECRET as usize + 1)).unwrap();
        assert!(read(&source).unwrap_err().contains("at most 65536 bytes"));
        std::fs::remove_file(&path).unwrap();
        let kind = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
        assert!(read(&source).unwrap_err().contains("regular file"));
    }
}
