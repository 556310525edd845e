//! Bounded reading from a connection: lines, exact lengths, and the upgrades to
//! TLS in the middle of a conversation.

use crate::net::{Connection, Error};
use crate::text::quoted;

/// Longest line of a text protocol that is read, in bytes. RFC 5321 allows 512,
/// IMAP greetings with capabilities are longer.
pub const MAX_LINE: u32 = 8 * 1024;

/// Most lines of one answer.
pub const MAX_LINES: usize = 200;

/// The peer does not speak the protocol.
pub fn unexpected(expected: &str, found: &[u8]) -> Error {
    Error::Protocol(format!("expected {expected}, found {}", quoted(found)))
}

/// The peer hung up.
pub fn ended(expected: &str) -> Error {
    Error::Closed(format!("expected {expected}, found the end of the stream"))
}

/// One line without its line break. `expected` says what it should be, for the
/// error where no line comes.
pub fn read_line(connection: &dyn Connection, expected: &str) -> Result<Vec<u8>, Error> {
    match connection.read_until(b"\n", MAX_LINE) {
        Ok(mut line) => {
            while matches!(line.last(), Some(b'\n' | b'\r')) {
                line.pop();
            }
            Ok(line)
        }
        // What came is still there to be read; it says who is talking.
        Err(Error::TooLarge(_)) => Err(unexpected(expected, &connection.read(256)?)),
        Err(Error::Closed(reason)) => match connection.read(256) {
            Ok(found) if !found.is_empty() => Err(unexpected(expected, &found)),
            Ok(_) => Err(ended(expected)),
            Err(_) => Err(Error::Closed(format!("expected {expected}: {reason}"))),
        },
        Err(other) => Err(other),
    }
}

/// Exactly `count` bytes.
pub fn read_exact(
    connection: &dyn Connection,
    count: usize,
    expected: &str,
) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(count.min(64 * 1024));
    while bytes.len() < count {
        let missing = u32::try_from(count - bytes.len()).unwrap_or(u32::MAX);
        let chunk = connection.read(missing)?;
        if chunk.is_empty() {
            return Err(match bytes.as_slice() {
                [] => ended(expected),
                bytes => unexpected(expected, bytes),
            });
        }
        bytes.extend(chunk);
    }
    Ok(bytes)
}

/// An answer of SMTP or FTP: a code and the text of its lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// The text of each line, behind code and separator.
    pub lines: Vec<String>,
}

impl Reply {
    /// Code and text in one line.
    pub fn text(&self) -> String {
        let text = format!("{} {}", self.code, self.lines.join(" "));
        crate::http::shorten(&crate::text::printable(text.trim().as_bytes()), 120)
    }
}

/// Splits a line of a reply: code, whether more follow, text.
pub fn reply_line(line: &[u8]) -> Option<(u16, bool, String)> {
    let (code, rest) = line.split_at_checked(3)?;
    if !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = code
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let (more, text) = match rest {
        [] => (false, rest),
        [b' ', text @ ..] => (false, text),
        [b'-', text @ ..] => (true, text),
        _ => return None,
    };
    (200..600)
        .contains(&code)
        .then(|| (code, more, String::from_utf8_lossy(text).into_owned()))
}

/// Reads an answer of SMTP or FTP.
pub fn read_reply(connection: &dyn Connection, expected: &str) -> Result<Reply, Error> {
    let mut lines = Vec::new();
    for _ in 0..MAX_LINES {
        let line = read_line(connection, expected)?;
        let Some((code, more, text)) = reply_line(&line) else {
            return Err(unexpected(expected, &line));
        };
        lines.push(text);
        if !more {
            return Ok(Reply { code, lines });
        }
    }
    Err(Error::Protocol(format!(
        "expected an answer of at most {MAX_LINES} lines, found more"
    )))
}

/// Reads an answer that must have this code.
pub fn expect_reply(
    connection: &dyn Connection,
    code: u16,
    expected: &str,
) -> Result<Reply, Error> {
    let expected = format!("{expected} ({code})");
    let reply = read_reply(connection, &expected)?;
    if reply.code == code {
        return Ok(reply);
    }
    Err(unexpected(&expected, reply.text().as_bytes()))
}

/// Asks a PostgreSQL server for TLS. True where it agrees; the upgrade is next.
pub fn postgres_wants_tls(connection: &dyn Connection) -> Result<bool, Error> {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    const EXPECTED: &str = "PostgreSQL's answer to a request for TLS";
    connection.write(&SSL_REQUEST)?;
    match read_exact(connection, 1, EXPECTED)?.as_slice() {
        b"S" => Ok(true),
        b"N" => Ok(false),
        other => {
            let mut found = other.to_vec();
            // The rest of what came at once says who is talking; most wrong
            // servers have closed by now, so this does not wait.
            if let Ok(more) = connection.read(256) {
                found.extend(more);
            }
            Err(unexpected(EXPECTED, &found))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FakeConnection, mutations};

    #[test]
    fn lines_end_with_and_without_a_carriage_return() {
        let connection = FakeConnection::reading(&["a\r", "\nb\n", "rest"]);
        assert_eq!(read_line(&connection, "a line").unwrap(), b"a");
        assert_eq!(read_line(&connection, "a line").unwrap(), b"b");
        assert_eq!(
            read_line(&connection, "a line"),
            Err(Error::Protocol("expected a line, found \"rest\"".into()))
        );
        assert!(matches!(
            read_line(&connection, "a line"),
            Err(Error::Closed(_))
        ));
    }

    #[test]
    fn a_line_without_end_is_shown_and_not_kept() {
        let connection = FakeConnection::reading(&[&"x".repeat(100_000)]);
        let Err(Error::Protocol(text)) = read_line(&connection, "a greeting") else {
            panic!("expected a protocol error");
        };
        assert!(
            text.starts_with("expected a greeting, found \"xxx"),
            "{text}"
        );
        assert!(text.len() < 200, "{}", text.len());
    }

    #[test]
    fn replies_span_lines() {
        let connection =
            FakeConnection::reading(&["250-a.example\r\n250-SIZE 100\r\n250 HELP\r\n"]);
        assert_eq!(
            read_reply(&connection, "EHLO").unwrap(),
            Reply {
                code: 250,
                lines: ["a.example", "SIZE 100", "HELP"].map(String::from).to_vec()
            }
        );
        let endless = FakeConnection::reading(&[&"250-a\r\n".repeat(1_000)]);
        assert!(matches!(
            read_reply(&endless, "EHLO"),
            Err(Error::Protocol(_))
        ));
    }

    #[test]
    fn no_bytes_make_reading_panic() {
        for bytes in mutations(b"220-mail.example.org\r\n220 ESMTP ready\r\n") {
            let fresh = || FakeConnection::sending(&bytes);
            let _ = read_reply(&fresh(), "a greeting");
            let _ = read_line(&fresh(), "a line");
            let _ = read_exact(&fresh(), 40, "40 bytes");
            let _ = postgres_wants_tls(&fresh());
            let _ = reply_line(&bytes);
        }
    }

    #[test]
    fn exact_lengths_say_what_is_missing() {
        let connection = FakeConnection::reading(&["ab", "c"]);
        assert_eq!(read_exact(&connection, 3, "a header").unwrap(), b"abc");
        assert_eq!(
            read_exact(&connection, 1, "a header"),
            Err(Error::Closed(
                "expected a header, found the end of the stream".into()
            ))
        );
    }
}
