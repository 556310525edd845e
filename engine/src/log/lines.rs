//! Bytes of one file into lines, without I/O.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Longest line that is kept, in bytes; the rest is dropped.
pub const MAX_LINE: usize = 64 << 10;

/// Bytes at the beginning of a file that tell it from another.
pub const HEAD: usize = 1 << 10;

/// One line and where it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Without its line break; bytes that are not UTF-8 are replaced. A line
    /// that was too long ends in a marker with the number of bytes dropped.
    pub text: String,
    /// Offset in the file behind its line break.
    pub end: u64,
    /// Bytes that were dropped because the line was too long.
    pub dropped: u64,
}

/// Cuts a file's bytes into lines. Holds the last, unfinished one back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineReader {
    /// Offset behind the last whole line.
    start: u64,
    /// Beginning of the unfinished line.
    partial: Vec<u8>,
    /// Bytes of the unfinished line that were dropped.
    dropped: u64,
}

impl LineReader {
    /// A reader that begins at `offset`, which is the beginning of a line.
    pub fn at(offset: u64) -> Self {
        Self {
            start: offset,
            ..Self::default()
        }
    }

    /// Offset of the next byte to be pushed.
    pub fn next_byte(&self) -> u64 {
        self.start + self.partial.len() as u64 + self.dropped
    }

    /// Offset behind the last whole line: where a restart begins again.
    pub fn position(&self) -> u64 {
        self.start
    }

    /// Takes bytes from [`next_byte`](Self::next_byte) on and appends at most
    /// `max` lines to `out`. Returns how many bytes were used.
    pub fn push(&mut self, bytes: &[u8], max: usize, out: &mut Vec<Line>) -> usize {
        let (mut used, mut left) = (0, max);
        while left > 0 && used < bytes.len() {
            let rest = &bytes[used..];
            match rest.iter().position(|b| *b == b'\n') {
                Some(at) => {
                    self.extend(&rest[..at]);
                    used += at + 1;
                    out.push(self.cut(1));
                    left -= 1;
                }
                None => {
                    self.extend(rest);
                    used = bytes.len();
                }
            }
        }
        used
    }

    /// The unfinished line, where there is one: nothing will follow it.
    pub fn finish(&mut self) -> Option<Line> {
        (self.next_byte() > self.start).then(|| self.cut(0))
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.partial.len();
        let kept = bytes.len().min(room);
        self.partial.extend_from_slice(&bytes[..kept]);
        self.dropped += (bytes.len() - kept) as u64;
    }

    fn cut(&mut self, line_break: u64) -> Line {
        let end = self.next_byte() + line_break;
        let mut bytes = self.partial.as_slice();
        if self.dropped == 0 {
            bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        }
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        if self.dropped > 0 {
            text.push_str(&format!(" [{} bytes dropped: line too long]", self.dropped));
        }
        let line = Line {
            text,
            end,
            dropped: self.dropped,
        };
        *self = Self::at(end);
        line
    }
}

/// What the first bytes of a file were: tells a file from another that got its
/// inode, and from itself after it was truncated and written again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Bytes that were hashed, at most [`HEAD`].
    len: usize,
    hash: String,
}

impl Fingerprint {
    /// The fingerprint of a file that begins with `head`.
    pub fn of(head: &[u8]) -> Self {
        let head = &head[..head.len().min(HEAD)];
        Self {
            len: head.len(),
            hash: hex::encode(&Sha256::digest(head)[..8]),
        }
    }

    /// True where a file that begins with `head` can be the same file, grown.
    pub fn matches(&self, head: &[u8]) -> bool {
        head.len() >= self.len && Self::of(&head[..self.len]).hash == self.hash
    }

    /// True where more bytes would say more.
    pub fn is_short(&self) -> bool {
        self.len < HEAD
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(chunks: &[&[u8]]) -> Vec<Line> {
        let (mut reader, mut out) = (LineReader::default(), Vec::new());
        for chunk in chunks {
            assert_eq!(reader.push(chunk, usize::MAX, &mut out), chunk.len());
        }
        out
    }

    #[test]
    fn a_line_is_held_back_until_its_break() {
        let mut reader = LineReader::at(100);
        let mut out = Vec::new();
        reader.push(b"one\r\ntw", 10, &mut out);
        assert_eq!(
            (out.len(), reader.position(), reader.next_byte()),
            (1, 105, 107)
        );
        assert_eq!((out[0].text.as_str(), out[0].end), ("one", 105));
        reader.push(b"o\n", 10, &mut out);
        assert_eq!((out[1].text.as_str(), out[1].end), ("two", 109));
        assert_eq!(reader.finish(), None);
        reader.push(b"rest", 10, &mut out);
        assert_eq!(
            reader.finish().map(|l| (l.text, l.end)),
            Some(("rest".into(), 113))
        );
    }

    #[test]
    fn a_long_line_is_cut_with_a_marker_and_does_not_touch_the_next() {
        let long = vec![b'x'; MAX_LINE + 10];
        let lines = read(&[&long, b"yy\nnext\n"]);
        assert_eq!(lines[0].dropped, 12);
        assert!(
            lines[0]
                .text
                .ends_with("x [12 bytes dropped: line too long]")
        );
        assert_eq!(lines[0].end, long.len() as u64 + 3);
        assert_eq!(lines[1].text, "next");
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(read(&[b"a\xff\xfeb\n"])[0].text, "a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn a_fingerprint_knows_a_file_that_grew() {
        let short = Fingerprint::of(b"abc");
        assert!(short.matches(b"abcdef") && short.is_short());
        assert!(!short.matches(b"ab") && !short.matches(b"abX"));
        assert!(Fingerprint::of(b"").matches(b"anything"));
        assert!(!Fingerprint::of(&[b'a'; 5_000]).is_short());
    }

    proptest! {
        #[test]
        fn cutting_anywhere_gives_the_same_lines(
            text in "[a-c\n\r]{0,200}",
            cuts in prop::collection::vec(1usize..20, 1..40),
            max in 1usize..5,
        ) {
            let whole = read(&[text.as_bytes()]);
            let (mut reader, mut out, mut rest) = (LineReader::default(), Vec::new(), text.as_bytes());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let chunk = &rest[..rest.len().min(*cut)];
                let used = reader.push(chunk, max, &mut out);
                prop_assert_eq!(reader.next_byte() as usize, text.len() - rest.len() + used);
                rest = &rest[used..];
            }
            prop_assert_eq!(out, whole);
        }
    }
}
