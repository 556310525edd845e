//! The part of the Basic Encoding Rules (X.690) that SNMP uses: one-byte tags
//! and definite lengths.

/// Tags.
pub mod tag {
    /// A whole number.
    pub const INTEGER: u8 = 0x02;
    /// Bytes.
    pub const OCTET_STRING: u8 = 0x04;
    /// Nothing.
    pub const NULL: u8 = 0x05;
    /// An object identifier.
    pub const OID: u8 = 0x06;
    /// Several of these.
    pub const SEQUENCE: u8 = 0x30;
}

/// A tag, the length and the content.
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match content.len() {
        length @ 0..0x80 => bytes.push(length as u8),
        length => {
            let digits = (length as u32).to_be_bytes();
            let zeros = digits.iter().take_while(|byte| **byte == 0).count();
            bytes.push(0x80 | (4 - zeros) as u8);
            bytes.extend(&digits[zeros..]);
        }
    }
    bytes.extend(content);
    bytes
}

/// An INTEGER in the fewest bytes.
pub fn integer(value: i64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let mut start = 0;
    // A byte that only repeats the sign of the next one says nothing.
    while start < 7
        && ((bytes[start] == 0 && bytes[start + 1] < 0x80)
            || (bytes[start] == 0xff && bytes[start + 1] >= 0x80))
    {
        start += 1;
    }
    element(tag::INTEGER, &bytes[start..])
}

/// An object identifier as people write it; absent where it is none.
pub fn oid(text: &str) -> Option<Vec<u8>> {
    let mut arcs = Vec::new();
    for arc in text.strip_prefix('.').unwrap_or(text).split('.') {
        arcs.push(arc.parse::<u32>().ok()?);
    }
    let (first, rest) = arcs.split_first()?;
    let (second, rest) = rest.split_first()?;
    if *first > 2 || (*first < 2 && *second > 39) || arcs.len() > 128 {
        return None;
    }
    let mut content = Vec::new();
    for arc in [&[first.checked_mul(40)?.checked_add(*second)?], rest].concat() {
        let groups = [arc >> 28, arc >> 21, arc >> 14, arc >> 7, arc];
        let zeros = groups[..4].iter().take_while(|group| **group == 0).count();
        for (at, group) in groups.iter().enumerate().skip(zeros) {
            let more = if at < 4 { 0x80 } else { 0 };
            content.push((group & 0x7f) as u8 | more);
        }
    }
    Some(element(tag::OID, &content))
}

/// Reads elements one after another; every length is checked.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: tag and content. Absent at the end and where it is cut.
    pub fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let mut length = usize::from(*first);
        if length >= 0x80 {
            // At most four bytes; 0x80 alone would be an indefinite length.
            let (digits, behind) = rest.split_at_checked(length & 0x7f)?;
            if digits.is_empty() || digits.len() > 4 {
                return None;
            }
            length = digits
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = behind;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The next element, which must have this tag.
    pub fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(tag, _)| *tag == wanted)
            .map(|(_, content)| content)
    }

    /// The next element as a whole number.
    pub fn integer(&mut self) -> Option<i64> {
        signed(self.take(tag::INTEGER)?)
    }
}

/// The content of an INTEGER of at most eight bytes.
pub fn signed(content: &[u8]) -> Option<i64> {
    let (first, rest) = content.split_first()?;
    if rest.len() > 7 {
        return None;
    }
    let start = i64::from(*first as i8);
    Some(
        rest.iter()
            .fold(start, |value, byte| value << 8 | i64::from(*byte)),
    )
}

/// The content of a counter or gauge of at most 64 bits.
pub fn unsigned(content: &[u8]) -> Option<u64> {
    let digits = content.strip_prefix(&[0]).unwrap_or(content);
    if content.is_empty() || digits.len() > 8 {
        return None;
    }
    Some(
        digits
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)),
    )
}

/// An object identifier as people write it.
pub fn oid_text(content: &[u8]) -> String {
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc: u64 = 0;
    for byte in content.iter().take(1_000) {
        arc = arc << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.push(first);
                arc -= first * 40;
            }
            arcs.push(arc);
            arc = 0;
        }
    }
    let arcs: Vec<String> = arcs.iter().map(u64::to_string).collect();
    arcs.join(".")
}
