//! Control packets of MQTT 3.1.1 and 5.0, as far as a round trip needs them.

use bellwether_plugin::net::{Connection, Error};
use bellwether_plugin::wire::{read_exact, unexpected};

use crate::config::Version;

/// Longest packet that is read, in bytes; a retained message may come first.
const MAX_PACKET: usize = 256 * 1024;

/// Seconds of silence that the broker allows.
const KEEP_ALIVE: u16 = 60;

/// A packet: type and flags, and what is behind the length.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    /// Type in the upper half, flags in the lower.
    pub head: u8,
    /// Variable header and payload.
    pub body: Vec<u8>,
}

impl Packet {
    /// The packet's type, 1 to 15.
    pub fn kind(&self) -> u8 {
        self.head >> 4
    }
}

/// Types of packets.
pub mod kind {
    /// Answer to CONNECT.
    pub const CONNACK: u8 = 2;
    /// A message.
    pub const PUBLISH: u8 = 3;
    /// Answer to SUBSCRIBE.
    pub const SUBACK: u8 = 9;
    /// The broker hangs up (5.0).
    pub const DISCONNECT: u8 = 14;
}

/// Reads one packet.
pub fn read_packet(connection: &dyn Connection, expected: &str) -> Result<Packet, Error> {
    let mut found = read_exact(connection, 1, expected)?;
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let byte = read_exact(connection, 1, expected)?[0];
        found.push(byte);
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            // The type must be a broker's: odd texts begin otherwise.
            if length > MAX_PACKET || !matches!(found[0] >> 4, 2..=15) {
                break;
            }
            let body = read_exact(connection, length, expected).map_err(|error| match error {
                // The beginning is gone; say it again.
                Error::Protocol(_) => unexpected(expected, &found),
                other => other,
            })?;
            return Ok(Packet {
                head: found[0],
                body,
            });
        }
    }
    found.extend(connection.read(256).unwrap_or_default());
    Err(unexpected(expected, &found))
}

fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![head];
    let mut left = body.len();
    loop {
        let byte = (left & 0x7f) as u8;
        left >>= 7;
        bytes.push(if left > 0 { byte | 0x80 } else { byte });
        if left == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

/// A length and so many bytes; what is too long for the length is cut.
fn text(bytes: &mut Vec<u8>, text: &str) {
    let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    bytes.extend((text.len() as u16).to_be_bytes());
    bytes.extend(text);
}

/// Properties of 5.0: none.
fn properties(bytes: &mut Vec<u8>, version: Version) {
    if version == Version::V5 {
        bytes.push(0);
    }
}

/// Asks for a clean session, with user and password where there are any.
pub fn connect(version: Version, client_id: &str, login: Option<(&str, &str)>) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.push(match version {
        Version::V3 => 4,
        Version::V5 => 5,
    });
    body.push(if login.is_some() { 0xc2 } else { 0x02 });
    body.extend(KEEP_ALIVE.to_be_bytes());
    properties(&mut body, version);
    text(&mut body, client_id);
    if let Some((user, password)) = login {
        text(&mut body, user);
        text(&mut body, password);
    }
    packet(0x10, &body)
}

/// Subscribes to a topic at QoS 0.
pub fn subscribe(version: Version, topic: &str) -> Vec<u8> {
    let mut body = vec![0, 1];
    properties(&mut body, version);
    text(&mut body, topic);
    body.push(0);
    packet(0x82, &body)
}

/// Publishes at QoS 0.
pub fn publish(version: Version, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, topic);
    properties(&mut body, version);
    body.extend(payload);
    packet(0x30, &body)
}

/// Says farewell.
pub const DISCONNECT: &[u8] = &[0xe0, 0];

/// The code of an answer to CONNECT; 0 is yes.
pub fn connack(body: &[u8]) -> Option<u8> {
    body.get(1).copied()
}

/// The code of an answer to SUBSCRIBE, the last byte; 128 and above is no.
pub fn suback(body: &[u8]) -> Option<u8> {
    match body {
        [_, _, .., code] => Some(*code),
        _ => None,
    }
}

/// True where a message ends with this payload.
pub fn carries(packet: &Packet, payload: &[u8]) -> bool {
    packet.kind() == kind::PUBLISH && packet.body.ends_with(payload)
}

/// What a refusal to connect means.
pub fn refusal(version: Version, code: u8) -> &'static str {
    match (version, code) {
        (Version::V3, 1) | (Version::V5, 0x84) => "protocol version not supported",
        (Version::V3, 2) | (Version::V5, 0x85) => "client identifier not valid",
        (Version::V3, 3) | (Version::V5, 0x88) => "server unavailable",
        (Version::V3, 4) | (Version::V5, 0x86) => "bad user name or password",
        (Version::V3, 5) | (Version::V5, 0x87) => "not authorized",
        (Version::V5, 0x89) => "server busy",
        (Version::V5, 0x8a) => "banned",
        (Version::V5, 0x97) => "quota exceeded",
        (Version::V5, 0x9c | 0x9d) => "use another server",
        (Version::V5, 0x9f) => "connection rate exceeded",
        _ => "refused",
    }
}

/// True where the broker asks for a login: it is up.
pub fn wants_login(version: Version, code: u8) -> bool {
    match version {
        Version::V3 => matches!(code, 4 | 5),
        Version::V5 => matches!(code, 0x86 | 0x87 | 0x8c),
    }
}
