//! Names of plugins by content.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::check::outcome::Digest;

/// SHA-256 of the bytes, in lower-case hexadecimal.
pub fn of(bytes: &[u8]) -> Digest {
    Digest(Arc::from(hex::encode(Sha256::digest(bytes))))
}

/// True where the text can be a digest, and so a file name.
pub fn is_valid(digest: &Digest) -> bool {
    digest.0.len() == 64
        && digest
            .0
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
