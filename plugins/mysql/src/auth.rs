//! Proofs of a password: `mysql_native_password`, `caching_sha2_password` and,
//! over TLS, the password itself.

use bellwether_plugin::login::may_send;
use bellwether_plugin::net::{Connection, Error};
use bellwether_plugin::wire::unexpected;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use crate::protocol::{Packet, packet, read_packet};

/// The method of MariaDB and of MySQL before version 8.
pub const NATIVE: &str = "mysql_native_password";
/// The method of MySQL since version 8.
pub const CACHING_SHA2: &str = "caching_sha2_password";
const CLEAR: &str = "mysql_clear_password";

/// Bytes of the server's challenge.
pub const SCRAMBLE: usize = 20;

/// The proof for a challenge; absent where the method is not known here.
pub fn proof(method: &str, password: &str, scramble: &[u8]) -> Option<Vec<u8>> {
    let password = password.as_bytes();
    let scramble = scramble.get(..SCRAMBLE).unwrap_or(scramble);
    match method {
        NATIVE => {
            let hash = Sha1::digest(password);
            let stored = Sha1::digest(hash);
            let mask = Sha1::digest([scramble, &stored[..]].concat());
            Some(xor(&hash, &mask))
        }
        CACHING_SHA2 => {
            let hash = Sha256::digest(password);
            let stored = Sha256::digest(hash);
            let mask = Sha256::digest([&stored[..], scramble].concat());
            Some(xor(&hash, &mask))
        }
        _ => None,
    }
}

fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(a, b)| a ^ b).collect()
}

/// What the server wants in the middle of a login.
enum Wish {
    /// This method, with this challenge.
    Method(String, Vec<u8>),
    /// Nothing: the proof was right.
    Nothing,
    /// The password itself (`caching_sha2_password` has no proof of it stored).
    Password,
}

fn wish(payload: &[u8]) -> Option<Wish> {
    match payload.split_first()? {
        (0xfe, rest) => {
            let end = rest.iter().position(|byte| *byte == 0)?;
            let method = String::from_utf8_lossy(&rest[..end]).into_owned();
            Some(Wish::Method(method, rest[end + 1..].to_vec()))
        }
        (0x01, [0x03, ..]) => Some(Wish::Nothing),
        (0x01, [0x04, ..]) => Some(Wish::Password),
        _ => None,
    }
}

/// Answers the server's wishes until it says yes or no; that packet is returned.
/// [`Err`] of a text where the server wants what is not known here.
pub fn go_on(
    connection: &dyn Connection,
    mut answer: Packet,
    password: &str,
    tls: bool,
    allow_plaintext: Option<bool>,
) -> Result<Result<Packet, String>, Error> {
    const LOGIN: &str = "an answer to the login";
    // Another method, then its parts.
    for _ in 0..4 {
        if !matches!(answer.payload.first(), Some(0x01 | 0xfe)) {
            return Ok(Ok(answer));
        }
        let Some(wish) = wish(&answer.payload) else {
            // The method before MySQL 4.1 has no name.
            return Ok(Err("an old or unknown method".to_owned()));
        };
        let sequence = answer.sequence.wrapping_add(1);
        match wish {
            Wish::Nothing => {}
            Wish::Method(method, _) if method == CLEAR => {
                may_send(connection, allow_plaintext)?;
                connection.write(&packet(sequence, &[password.as_bytes(), b"\0"].concat()))?;
            }
            Wish::Method(method, scramble) => match proof(&method, password, &scramble) {
                Some(proof) => connection.write(&packet(sequence, &proof))?,
                None => return Ok(Err(method)),
            },
            // Without TLS it would be encrypted with a key that nobody vouches for.
            Wish::Password if !tls => {
                return Err(Error::Invalid(format!(
                    "expected tls: require, found none; {CACHING_SHA2} has no proof of the password stored yet and wants the password itself"
                )));
            }
            Wish::Password => {
                connection.write(&packet(sequence, &[password.as_bytes(), b"\0"].concat()))?;
            }
        }
        answer = read_packet(connection, LOGIN)?;
    }
    Err(unexpected("an end of the login", &answer.payload))
}
