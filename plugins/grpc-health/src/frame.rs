//! Frames of HTTP/2 (RFC 9113), as far as one call needs them.

use bellwether_plugin::net::{Connection, Error};
use bellwether_plugin::wire::{read_exact, unexpected};

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest frame that a peer may send without being allowed more.
const MAX_FRAME: usize = 16 << 10;

/// Types of frames.
pub mod kind {
    /// A piece of a body.
    pub const DATA: u8 = 0;
    /// Headers or trailers.
    pub const HEADERS: u8 = 1;
    /// The end of a stream before its time.
    pub const RST_STREAM: u8 = 3;
    /// What a peer can take.
    pub const SETTINGS: u8 = 4;
    /// A stream that nobody asked for.
    pub const PUSH_PROMISE: u8 = 5;
    /// Are you there?
    pub const PING: u8 = 6;
    /// No more streams.
    pub const GOAWAY: u8 = 7;
    /// More of HEADERS.
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    /// The answer to SETTINGS or PING.
    pub const ACK: u8 = 0x1;
    /// The peer's last frame of a stream.
    pub const END_STREAM: u8 = 0x1;
    /// The last piece of the headers.
    pub const END_HEADERS: u8 = 0x4;
    /// Padding follows.
    pub const PADDED: u8 = 0x8;
    /// A priority precedes.
    pub const PRIORITY: u8 = 0x20;
}

/// A frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// One of [`kind`].
    pub kind: u8,
    /// Of [`flag`].
    pub flags: u8,
    /// 0 for the connection.
    pub stream: u32,
    /// What is behind the header.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame to send.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        Frame {
            kind,
            flags,
            stream,
            payload: payload.to_vec(),
        }
    }

    /// As it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let length = (self.payload.len() as u32).to_be_bytes();
        let stream = self.stream.to_be_bytes();
        [
            &length[1..],
            &[self.kind, self.flags],
            &stream,
            &self.payload,
        ]
        .concat()
    }

    /// True where a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload of DATA or HEADERS without padding and priority; absent where
    /// the padding is longer than the frame.
    pub fn content(&self) -> Option<&[u8]> {
        let mut content = self.payload.as_slice();
        let mut padding = 0;
        if self.has(flag::PADDED) {
            let (length, rest) = content.split_first()?;
            padding = usize::from(*length);
            content = rest;
        }
        if self.kind == kind::HEADERS && self.has(flag::PRIORITY) {
            content = content.get(5..)?;
        }
        content.get(..content.len().checked_sub(padding)?)
    }

    /// A number of 32 bits at that place of the payload.
    pub fn number(&self, at: usize) -> Option<u32> {
        let digits = self.payload.get(at..)?.first_chunk()?;
        Some(u32::from_be_bytes(*digits))
    }
}

/// Reads one frame. The first one must be SETTINGS; whoever speaks something
/// else is shown.
pub fn read_frame(connection: &dyn Connection, first: bool) -> Result<Frame, Error> {
    let expected = match first {
        true => "HTTP/2 (a SETTINGS frame)",
        false => "a frame of HTTP/2",
    };
    let header = read_exact(connection, 9, expected)?;
    let length = header[..3]
        .iter()
        .fold(0, |length: usize, byte| length << 8 | usize::from(*byte));
    if length > MAX_FRAME || (first && header[3] != kind::SETTINGS) {
        let mut found = header;
        found.extend(connection.read(256).unwrap_or_default());
        return Err(unexpected(expected, &found));
    }
    let stream = [header[5] & 0x7f, header[6], header[7], header[8]];
    Ok(Frame {
        kind: header[3],
        flags: header[4],
        stream: u32::from_be_bytes(stream),
        payload: read_exact(connection, length, expected)?,
    })
}

/// A header block without compression: literal fields that nobody remembers
/// (RFC 7541, 6.2.2).
pub fn header_block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits.
fn length(block: &mut Vec<u8>, length: usize) {
    if length < 0x7f {
        block.push(length as u8);
        return;
    }
    block.push(0x7f);
    let mut left = length - 0x7f;
    while left >= 0x80 {
        block.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    block.push(left as u8);
}
