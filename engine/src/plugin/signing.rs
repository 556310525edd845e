//! Detached ed25519 signatures (RFC 8032) over a plugin's digest.
//!
//! What is signed is a line that says what it is for, and the SHA-256 of the
//! file, so that a signature means nothing elsewhere and can be checked without
//! the file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::check::outcome::Digest;
use crate::config::spec::SigningSpec;

fn message(digest: &Digest) -> Vec<u8> {
    format!("bellwether plugin signature v1\nsha256:{}\n", digest.0).into_bytes()
}

fn decode<const N: usize>(what: &str, text: &str) -> Result<[u8; N], String> {
    let expected = || format!("expected {what} of {N} bytes in base64");
    let bytes = STANDARD
        .decode(text.trim())
        .map_err(|error| format!("{}: {error}", expected()))?;
    let found = bytes.len();
    bytes
        .try_into()
        .map_err(|_| format!("{}, found {found} bytes", expected()))
}

/// A new key pair: secret and public key, both base64.
///
/// # Errors
/// Where the system has no randomness.
pub fn generate() -> Result<(String, String), String> {
    let mut secret = [0_u8; 32];
    getrandom::fill(&mut secret).map_err(|error| format!("no randomness: {error}"))?;
    let key = SigningKey::from_bytes(&secret);
    Ok((
        STANDARD.encode(secret),
        STANDARD.encode(key.verifying_key().as_bytes()),
    ))
}

/// The signature of a plugin, base64.
///
/// # Errors
/// Where `secret` is no secret key.
pub fn sign(secret: &str, digest: &Digest) -> Result<String, String> {
    let key = SigningKey::from_bytes(&decode("a secret key", secret)?);
    let signature: Signature = key.sign(&message(digest));
    Ok(STANDARD.encode(signature.to_bytes()))
}

/// A public key as written in a configuration.
///
/// # Errors
/// What was expected of it.
pub fn public_key(text: &str) -> Result<VerifyingKey, String> {
    let bytes = decode("an ed25519 public key", text)?;
    VerifyingKey::from_bytes(&bytes)
        .map_err(|error| format!("expected an ed25519 public key: {error}"))
}

/// Whether the holder of `public` signed the plugin.
///
/// # Errors
/// Where key or signature are not what they should be.
pub fn verify(public: &str, digest: &Digest, signature: &str) -> Result<bool, String> {
    let signature = Signature::from_bytes(&decode("an ed25519 signature", signature)?);
    let key = public_key(public)?;
    Ok(key.verify_strict(&message(digest), &signature).is_ok())
}

/// Name of the configured key that signed the plugin.
pub fn signer<'a>(spec: &'a SigningSpec, digest: &Digest, signature: &str) -> Option<&'a str> {
    let signed = |key: &str| verify(key, digest, signature).unwrap_or(false);
    spec.keys
        .iter()
        .find(|key| signed(&key.public_key))
        .map(|key| key.name.as_str())
}

/// True where the configuration revokes the version.
pub fn is_revoked(spec: &SigningSpec, digest: &Digest) -> bool {
    let plain = |text: &String| text.strip_prefix("sha256:").unwrap_or(text) == &*digest.0;
    spec.revoked.iter().any(plain)
}

/// Whether the policy takes a plugin that did not come with the engine.
///
/// # Errors
/// Why not, and what to do.
pub fn admit(spec: &SigningSpec, digest: &Digest, signature: Option<&str>) -> Result<(), String> {
    if let Some(signature) = signature {
        decode::<64>("a signature", signature)
            .map_err(|error| format!("{error}: make one with `bellwether plugin sign`"))?;
    }
    if !spec.require {
        return Ok(());
    }
    let keys = match spec.keys.as_slice() {
        [] => "signing.keys is empty".to_owned(),
        keys => {
            let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
            format!("signing.keys has {}", names.join(", "))
        }
    };
    match signature {
        None => Err(format!(
            "the plugin is not signed, and signing.require demands it: sign it with `bellwether plugin sign` and a key that the configuration trusts ({keys})"
        )),
        Some(signature) if signer(spec, digest, signature).is_none() => Err(format!(
            "the signature fits none of the trusted keys ({keys}), or another file: sign this very file with one of them"
        )),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::SigningKeySpec;

    fn spec(public: &str) -> SigningSpec {
        SigningSpec {
            require: true,
            keys: vec![SigningKeySpec {
                name: "release".into(),
                public_key: public.into(),
            }],
            revoked: vec![format!("sha256:{}", "b".repeat(64))],
        }
    }

    #[test]
    fn only_the_key_and_the_file_that_were_meant() {
        let (secret, public) = generate().unwrap();
        let (_, other) = generate().unwrap();
        let (digest, another) = (Digest("a".repeat(64).into()), Digest("c".repeat(64).into()));
        let signature = sign(&secret, &digest).unwrap();
        assert_eq!(verify(&public, &digest, &signature), Ok(true));
        assert_eq!(verify(&public, &another, &signature), Ok(false));
        assert_eq!(verify(&other, &digest, &signature), Ok(false));
        assert!(
            verify(&public, &digest, "AAAA")
                .unwrap_err()
                .contains("3 bytes")
        );
        assert!(sign("?", &digest).is_err());
    }

    #[test]
    fn the_policy_says_what_is_missing() {
        let (secret, public) = generate().unwrap();
        let digest = Digest("a".repeat(64).into());
        let mut spec = spec(&public);
        let unsigned = admit(&spec, &digest, None).unwrap_err();
        assert!(unsigned.contains("not signed") && unsigned.contains("release"));
        let (stranger, _) = generate().unwrap();
        let foreign = sign(&stranger, &digest).unwrap();
        assert!(
            admit(&spec, &digest, Some(&foreign))
                .unwrap_err()
                .contains("none of")
        );
        let signature = sign(&secret, &digest).unwrap();
        assert_eq!(admit(&spec, &digest, Some(&signature)), Ok(()));
        assert_eq!(signer(&spec, &digest, &signature), Some("release"));
        spec.require = false;
        assert_eq!(admit(&spec, &digest, None), Ok(()));
        assert!(admit(&spec, &digest, Some("no")).is_err());
        assert!(!is_revoked(&spec, &digest));
        assert!(is_revoked(&spec, &Digest("b".repeat(64).into())));
    }
}
