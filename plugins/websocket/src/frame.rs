//! Frames (RFC 6455, section 5).

use bellwether_plugin::net::{Connection, Error};
use bellwether_plugin::wire::{read_exact, unexpected};

/// Longest frame and message that are read, in bytes.
const MAX_MESSAGE: usize = 1 << 20;

/// Types of frames.
pub mod opcode {
    /// More of a message.
    pub const CONTINUATION: u8 = 0;
    /// A message of text.
    pub const TEXT: u8 = 1;
    /// A message of bytes.
    pub const BINARY: u8 = 2;
    /// The end.
    pub const CLOSE: u8 = 8;
    /// A question for a sign of life.
    pub const PING: u8 = 9;
    /// A sign of life.
    pub const PONG: u8 = 10;
}

/// A frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The last one of its message.
    pub last: bool,
    /// Its type.
    pub opcode: u8,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// A whole client frame, masked as it must be.
pub fn encode(opcode: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

/// Reads one frame of a server.
pub fn read(connection: &dyn Connection, expected: &str) -> Result<Frame, Error> {
    let head = read_exact(connection, 2, expected)?;
    let (first, second) = (head[0], head[1]);
    // No extension was negotiated, and servers do not mask.
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err(unexpected("a WebSocket frame", &head));
    }
    let extended = match second & 0x7f {
        126 => read_exact(connection, 2, expected)?,
        127 => read_exact(connection, 8, expected)?,
        length => vec![length],
    };
    let length = extended
        .iter()
        .fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
    let opcode = first & 0x0f;
    let most = if opcode >= 8 { 125 } else { MAX_MESSAGE as u64 };
    if length > most {
        return Err(Error::Protocol(format!(
            "expected a frame of at most {most} bytes, found {length}"
        )));
    }
    Ok(Frame {
        last: first & 0x80 != 0,
        opcode,
        payload: read_exact(connection, length as usize, expected)?,
    })
}

/// Joins the frames of messages.
#[derive(Debug, Default)]
pub struct Assembler {
    parts: Vec<u8>,
    open: bool,
}

impl Assembler {
    /// Takes a data frame; returns a message that is whole now.
    pub fn push(&mut self, frame: Frame) -> Result<Option<Vec<u8>>, Error> {
        let continues = frame.opcode == opcode::CONTINUATION;
        if continues != self.open || frame.opcode > opcode::BINARY {
            let text = format!("a frame of type {} out of turn", frame.opcode);
            return Err(Error::Protocol(text));
        }
        if self.parts.len() + frame.payload.len() > MAX_MESSAGE {
            return Err(Error::TooLarge(MAX_MESSAGE as u64));
        }
        self.parts.extend(frame.payload);
        self.open = !frame.last;
        Ok(frame.last.then(|| std::mem::take(&mut self.parts)))
    }
}

/// Code and reason of a close frame; 1005 where there is none.
pub fn close_reason(payload: &[u8]) -> (u16, String) {
    match payload.split_first_chunk::<2>() {
        Some((code, reason)) => (
            u16::from_be_bytes(*code),
            String::from_utf8_lossy(reason).into_owned(),
        ),
        None => (1005, String::new()),
    }
}
