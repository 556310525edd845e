//! One unary call over HTTP/2 (gRPC's "gRPC over HTTP2").

use bellwether_plugin::net::{Connection, Error};
use bellwether_plugin::text::quoted;
use fluke_hpack::Decoder;

use crate::frame::{Frame, PREFACE, flag, header_block, kind, read_frame};

/// Most frames of one answer.
const MAX_FRAMES: usize = 1_000;
/// Most bytes of headers, compressed. Codes of Huffman have five bits or more,
/// so the headers are hardly longer.
const MAX_HEADERS: usize = 16 << 10;
/// Most bytes of the answer; less than a peer may send unasked.
const MAX_BODY: usize = 32 << 10;

const STREAM: u32 = 1;

/// What to ask.
pub struct Call<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host and port.
    pub authority: &'a str,
    /// Milliseconds that the server may take.
    pub timeout_ms: u32,
    /// The message, as protocol buffers write it.
    pub message: &'a [u8],
}

/// What came back.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    /// Of HTTP.
    pub status: Option<u32>,
    /// Of gRPC; absent where the server does not speak it.
    pub grpc_status: Option<u32>,
    /// For people.
    pub grpc_message: String,
    /// Messages with their prefixes.
    pub body: Vec<u8>,
}

impl Call<'_> {
    fn frames(&self) -> Vec<u8> {
        // No header table: a few bytes could stand for megabytes. No push.
        let settings = [0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0];
        let timeout = format!("{}m", self.timeout_ms.min(99_999_999));
        let headers = header_block(&[
            (":method", "POST"),
            (":scheme", self.scheme),
            (":path", "/grpc.health.v1.Health/Check"),
            (":authority", self.authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "bellwether"),
            ("grpc-timeout", &timeout),
        ]);
        // Not compressed, then the length.
        let length = (self.message.len() as u32).to_be_bytes();
        let body = [&[0], &length[..], self.message].concat();
        [
            PREFACE.to_vec(),
            Frame::new(kind::SETTINGS, 0, 0, &settings).bytes(),
            Frame::new(kind::HEADERS, flag::END_HEADERS, STREAM, &headers).bytes(),
            Frame::new(kind::DATA, flag::END_STREAM, STREAM, &body).bytes(),
        ]
        .concat()
    }

    /// Calls.
    pub fn make(&self, connection: &dyn Connection) -> Result<Answer, Error> {
        connection.write(&self.frames())?;
        let mut decoder = Decoder::new();
        decoder.set_max_allowed_table_size(0);
        let mut answer = Answer::default();
        let mut headers = Vec::new();
        // True where CONTINUATION follows, and whether the stream ends then.
        let mut open = false;
        let mut ends = false;
        for count in 0..MAX_FRAMES {
            let frame = read_frame(connection, count == 0)?;
            if open && frame.kind != kind::CONTINUATION {
                return Err(broken("a CONTINUATION frame", &frame));
            }
            match frame.kind {
                kind::SETTINGS | kind::PING if !frame.has(flag::ACK) => {
                    let payload = match frame.kind {
                        kind::PING => frame.payload.as_slice(),
                        _ => &[],
                    };
                    connection.write(&Frame::new(frame.kind, flag::ACK, 0, payload).bytes())?;
                }
                kind::GOAWAY if frame.number(0).is_none_or(|last| last < STREAM) => {
                    let reason = frame.payload.get(8..).unwrap_or_default();
                    return Err(Error::Closed(format!(
                        "the server goes away: code {}, {}",
                        frame.number(4).unwrap_or_default(),
                        quoted(reason)
                    )));
                }
                kind::PUSH_PROMISE => return Err(broken("no PUSH_PROMISE", &frame)),
                kind::RST_STREAM if frame.stream == STREAM => {
                    // After a whole answer it only says that no more is read.
                    let code = frame.number(0).unwrap_or_default();
                    return Err(Error::Closed(format!(
                        "the server resets the call: code {code}"
                    )));
                }
                kind::HEADERS | kind::CONTINUATION if frame.stream == STREAM => {
                    let content = match frame.kind {
                        kind::HEADERS => {
                            ends = frame.has(flag::END_STREAM);
                            frame.content()
                        }
                        _ if open => Some(frame.payload.as_slice()),
                        _ => None,
                    };
                    let content = content.ok_or_else(|| broken("headers", &frame))?;
                    headers.extend_from_slice(content);
                    if headers.len() > MAX_HEADERS {
                        return Err(Error::TooLarge(MAX_HEADERS as u64));
                    }
                    open = !frame.has(flag::END_HEADERS);
                    if !open {
                        let block = std::mem::take(&mut headers);
                        let fields = decoder.decode(&block).map_err(|error| {
                            Error::Protocol(format!(
                                "expected headers of HTTP/2, found {}: {error:?}",
                                quoted(&block)
                            ))
                        })?;
                        answer.take(&fields);
                        if ends {
                            return Ok(answer);
                        }
                    }
                }
                kind::DATA if frame.stream == STREAM => {
                    let content = frame.content().ok_or_else(|| broken("data", &frame))?;
                    answer.body.extend_from_slice(content);
                    if answer.body.len() > MAX_BODY {
                        return Err(Error::TooLarge(MAX_BODY as u64));
                    }
                    if frame.has(flag::END_STREAM) {
                        return Ok(answer);
                    }
                }
                // Windows, priorities, acknowledgements, extensions.
                _ => {}
            }
        }
        Err(Error::Protocol(format!(
            "expected an answer of at most {MAX_FRAMES} frames, found more"
        )))
    }
}

fn broken(expected: &str, found: &Frame) -> Error {
    Error::Protocol(format!(
        "expected {expected}, found a frame of type {} with {} bytes",
        found.kind,
        found.payload.len()
    ))
}

impl Answer {
    fn take(&mut self, fields: &[(Vec<u8>, Vec<u8>)]) {
        for (name, value) in fields {
            let text = String::from_utf8_lossy(value);
            match name.as_slice() {
                b":status" => self.status = text.parse().ok(),
                b"grpc-status" => self.grpc_status = text.parse().ok(),
                b"grpc-message" => self.grpc_message = percent_decoded(&text),
                _ => {}
            }
        }
    }
}

/// Text as gRPC writes it in a header; what is no code stays.
pub fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let code = (*first == b'%')
            .then(|| behind.first_chunk::<2>())
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
