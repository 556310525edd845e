//! Identification strings and the key exchange offer (RFC 4253).

use bellwether_plugin::net::{Connection, Error};
use bellwether_plugin::wire::{read_exact, read_line, unexpected};

/// Lines that a server may send before its identification (section 4.2).
const MAX_BANNER_LINES: usize = 50;

/// Greatest packet that every implementation takes (section 6.1).
const MAX_PACKET: usize = 35_000;

/// Most names in an offer; OpenSSH has some fifty.
const MAX_NAMES: usize = 1_000;

const MSG_DISCONNECT: u8 = 1;
const MSG_KEXINIT: u8 = 20;

/// `SSH-protoversion-softwareversion SP comments`.
#[derive(Debug, Clone, PartialEq)]
pub struct Identification {
    /// `2.0`, or `1.99` for a server that speaks the old one too.
    pub protocol: String,
    /// Software version, and the comment behind it.
    pub software: String,
}

/// Reads up to the identification string.
pub fn read_identification(connection: &dyn Connection) -> Result<Identification, Error> {
    const EXPECTED: &str = "an SSH identification (SSH-2.0-…)";
    let first = read_line(connection, EXPECTED)?;
    let mut line = first.clone();
    for _ in 0..MAX_BANNER_LINES {
        if line.starts_with(b"SSH-") {
            return identification(&line).ok_or_else(|| unexpected(EXPECTED, &line));
        }
        line = match read_line(connection, EXPECTED) {
            Ok(line) => line,
            // Somebody who said something else and then nothing.
            Err(Error::Timeout(_) | Error::Closed(_)) => break,
            Err(error) => return Err(error),
        };
    }
    Err(unexpected(EXPECTED, &first))
}

/// Parts of an identification string.
pub fn identification(line: &[u8]) -> Option<Identification> {
    let text = String::from_utf8_lossy(line.strip_prefix(b"SSH-")?).into_owned();
    let (protocol, software) = text.split_once('-')?;
    let number = |c: char| c.is_ascii_digit() || c == '.';
    (!protocol.is_empty() && protocol.chars().all(number)).then(|| Identification {
        protocol: protocol.to_owned(),
        software: software.trim().to_owned(),
    })
}

/// Reads the server's first packet, its offer.
pub fn read_offer(connection: &dyn Connection) -> Result<Vec<String>, Error> {
    const EXPECTED: &str = "an SSH key exchange offer (SSH_MSG_KEXINIT)";
    let header = read_exact(connection, 4, EXPECTED)?;
    let length = header
        .iter()
        .fold(0, |length: usize, byte| length << 8 | usize::from(*byte));
    if !(2..=MAX_PACKET).contains(&length) {
        return Err(unexpected(EXPECTED, &header));
    }
    let packet = read_exact(connection, length, EXPECTED)?;
    offer(&packet).ok_or_else(|| unexpected(EXPECTED, &packet))?
}

/// Names in an offer: the ten lists in one, each name once. An error where the
/// server says why it disconnects.
pub fn offer(packet: &[u8]) -> Option<Result<Vec<String>, Error>> {
    let (padding, rest) = packet.split_first()?;
    let payload = rest.get(..rest.len().checked_sub(usize::from(*padding))?)?;
    let (kind, mut rest) = payload.split_first()?;
    match *kind {
        MSG_KEXINIT => rest = rest.get(16..)?,
        MSG_DISCONNECT => {
            let (reason, _) = name_list(rest.get(4..)?)?;
            let reason = String::from_utf8_lossy(reason).into_owned();
            return Some(Err(Error::Closed(format!("the server says: {reason}"))));
        }
        _ => return None,
    }
    let mut names: Vec<String> = Vec::new();
    for _ in 0..10 {
        let (list, behind) = name_list(rest)?;
        rest = behind;
        for name in list.split(|byte| *byte == b',') {
            let name = String::from_utf8_lossy(name).into_owned();
            if name.is_empty() || names.contains(&name) {
                continue;
            }
            // Every name is looked for among those before it.
            if names.len() == MAX_NAMES {
                return None;
            }
            names.push(name);
        }
    }
    Some(Ok(names))
}

/// A length and so many bytes, then the rest.
fn name_list(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}
