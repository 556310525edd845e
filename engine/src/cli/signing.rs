//! Keys and signatures of plugins.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::out::say;
use crate::check::outcome::Digest;
use crate::plugin::{digest, signing};

/// Where the signature of a file is kept.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

fn digest_of(file: &Path) -> anyhow::Result<Digest> {
    let bytes =
        std::fs::read(file).with_context(|| format!("expected a plugin at {}", file.display()))?;
    Ok(digest::of(&bytes))
}

/// `plugin keygen`: a secret key that only its owner can read.
pub fn keygen(file: &Path) -> anyhow::Result<ExitCode> {
    let (secret, public) = signing::generate().map_err(anyhow::Error::msg)?;
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .with_context(|| format!("expected a new file for the key at {}", file.display()))?;
    writeln!(out, "{secret}")?;
    say!("secret key: {} (keep it to yourself)", file.display());
    say!("public key: {public}");
    say!("for the configuration:");
    say!("signing: {{ require: true, keys: [{{ name: NAME, public_key: \"{public}\" }}] }}");
    Ok(ExitCode::SUCCESS)
}

/// `plugin sign`: writes FILE.sig.
pub fn sign(file: &Path, key: &Path) -> anyhow::Result<ExitCode> {
    let digest = digest_of(file)?;
    let secret = std::fs::read_to_string(key)
        .with_context(|| format!("expected a secret key at {}", key.display()))?;
    let signature = signing::sign(&secret, &digest)
        .map_err(|error| anyhow::anyhow!("{}: {error}", key.display()))?;
    let out = beside(file);
    std::fs::write(&out, format!("{signature}\n"))
        .with_context(|| format!("the signature cannot be written to {}", out.display()))?;
    say!("signed sha256:{} into {}", digest.0, out.display());
    Ok(ExitCode::SUCCESS)
}

/// `plugin verify`.
pub fn verify(file: &Path, public_key: &str, signature: Option<&Path>) -> anyhow::Result<ExitCode> {
    let digest = digest_of(file)?;
    let path = signature.map_or_else(|| beside(file), Path::to_owned);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("expected a signature at {}", path.display()))?;
    if !signing::verify(public_key, &digest, &text).map_err(anyhow::Error::msg)? {
        bail!(
            "{} does not fit {} and this key: another key signed it, or another file",
            path.display(),
            file.display()
        );
    }
    say!("good signature of sha256:{}", digest.0);
    Ok(ExitCode::SUCCESS)
}
