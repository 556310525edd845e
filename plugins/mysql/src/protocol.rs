//! The connection phase of the MySQL protocol and its two shortest commands
//! (MySQL Internals Manual, "Connection Phase").

use bellwether_plugin::net::{Connection, Error};
use bellwether_plugin::wire::{read_exact, unexpected};

/// Longest packet that is read, in bytes.
const MAX_PACKET: usize = 64 * 1024;

const LONG_PASSWORD: u32 = 0x1;
const PROTOCOL_41: u32 = 0x200;
const SSL: u32 = 0x800;
const TRANSACTIONS: u32 = 0x2000;
const SECURE_CONNECTION: u32 = 0x8000;
const PLUGIN_AUTH: u32 = 0x8_0000;

/// `utf8mb4_general_ci`, known since MySQL 5.5.
const CHARSET: u8 = 45;

/// A packet: its number in the exchange and what it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    /// Counts up within an exchange.
    pub sequence: u8,
    /// Without the header.
    pub payload: Vec<u8>,
}

/// Reads one packet.
pub fn read_packet(connection: &dyn Connection, expected: &str) -> Result<Packet, Error> {
    let header = read_exact(connection, 4, expected)?;
    let length = header[..3]
        .iter()
        .rev()
        .fold(0, |length: usize, byte| length << 8 | usize::from(*byte));
    if !(1..=MAX_PACKET).contains(&length) {
        let mut found = header;
        // What came with it says who is talking.
        found.extend(connection.read(256).unwrap_or_default());
        return Err(unexpected(expected, &found));
    }
    Ok(Packet {
        sequence: header[3],
        payload: read_exact(connection, length, expected)?,
    })
}

/// A packet with its header.
pub fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    [&length[..3], &[sequence], payload].concat()
}

/// What a server refuses with.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// MySQL's own number.
    pub code: u16,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// Reads an ERR packet.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (code, rest) = payload.strip_prefix(b"\xff")?.split_first_chunk::<2>()?;
        // Once both sides know each other a state of five characters precedes
        // the message.
        let message = match rest.strip_prefix(b"#") {
            Some(rest) => rest.get(5..)?,
            None => rest,
        };
        Some(Refusal {
            code: u16::from_le_bytes(*code),
            message: String::from_utf8_lossy(message).into_owned(),
        })
    }

    /// True where the server takes sessions, only not this one: wrong user or
    /// password (1045, 1698), expired password (1820, 1862), no right to the
    /// database (1044), locked account (3118, 4151), unknown method (1251).
    pub fn is_about_the_login(&self) -> bool {
        matches!(
            self.code,
            1044 | 1045 | 1251 | 1698 | 1820 | 1862 | 3118 | 4151
        )
    }

    /// True where the server does not talk to this address at all (1130).
    pub fn is_about_the_host(&self) -> bool {
        self.code == 1130
    }
}

/// What a server says first.
#[derive(Debug, Clone, PartialEq)]
pub struct Greeting {
    /// As the server writes it, without MariaDB's prefix for old replicas.
    pub version: String,
    capabilities: u32,
    /// The challenge that a password is proved with.
    pub scramble: Vec<u8>,
    /// How the server wants that done; a user's own method may differ.
    pub method: String,
}

impl Greeting {
    /// Reads a handshake of protocol version 10.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let rest = payload.strip_prefix(b"\x0a")?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        let version = String::from_utf8_lossy(&rest[..end]).into_owned();
        let version = version
            .strip_prefix("5.5.5-")
            .unwrap_or(&version)
            .to_owned();
        // Connection id, first part of the challenge, filler.
        let rest = rest.get(end + 1 + 4..)?;
        let (start, rest) = rest.split_first_chunk::<8>()?;
        let rest = rest.get(1..)?;
        let (low, rest) = rest.split_first_chunk::<2>()?;
        // Character set and status.
        let high = rest
            .get(3..5)
            .map_or(0, |high| u32::from(u16::from_le_bytes([high[0], high[1]])));
        // Length of the challenge and ten reserved bytes; its second part has at
        // least 13 bytes, the last of which is none of it.
        let rest = rest.get(3 + 2 + 1 + 10..).unwrap_or_default();
        let (second, name) = rest.split_at_checked(13).unwrap_or_default();
        let second = second.split_last().map_or(second, |(_, second)| second);
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Greeting {
            version,
            scramble: [start, second].concat(),
            method: String::from_utf8_lossy(name).into_owned(),
            capabilities: u32::from(u16::from_le_bytes(*low)) | high << 16,
        })
    }

    /// True where the server offers TLS.
    pub fn offers_tls(&self) -> bool {
        self.capabilities & SSL != 0
    }
}

fn response_head(tls: bool) -> Vec<u8> {
    let mut flags = LONG_PASSWORD | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
    if tls {
        flags |= SSL;
    }
    let mut head = flags.to_le_bytes().to_vec();
    head.extend((1_u32 << 24).to_le_bytes());
    head.push(CHARSET);
    head.extend([0; 23]);
    head
}

/// Asks for TLS.
pub fn ssl_request(sequence: u8) -> Vec<u8> {
    packet(sequence, &response_head(true))
}

/// Logs in with a proof of a password by a method; an empty one without a
/// password.
pub fn login(sequence: u8, user: &str, tls: bool, method: &str, proof: &[u8]) -> Vec<u8> {
    let mut payload = response_head(tls);
    payload.extend(user.as_bytes());
    payload.push(0);
    // Proofs have 20 or 32 bytes.
    payload.push(proof.len() as u8);
    payload.extend(proof);
    payload.extend(method.as_bytes());
    payload.push(0);
    packet(sequence, &payload)
}

/// Numbers of COM_STATISTICS: `Uptime: 12  Threads: 1  Questions: 3 …`.
pub fn statistic(text: &str, name: &str) -> Option<f64> {
    let behind = text.split_once(&format!("{name}: "))?.1;
    let end = behind
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(behind.len());
    behind[..end].parse().ok().filter(|n: &f64| n.is_finite())
}
