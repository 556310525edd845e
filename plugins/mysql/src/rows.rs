//! Answers to queries, as text (MySQL Internals Manual, "Text Resultset").

use bellwether_plugin::net::{Connection, Error};
use bellwether_plugin::wire::unexpected;

use crate::protocol::{Refusal, packet, read_packet};

/// Most columns, and most rows that are counted.
const MAX_COLUMNS: u64 = 256;
const MAX_ROWS: usize = 10_000;

/// An answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// Names of the columns.
    pub names: Vec<String>,
    /// Columns of the first row, absent where they are NULL; none without rows.
    pub first: Vec<Option<String>>,
    /// How many rows came.
    pub count: usize,
}

impl Rows {
    /// A column of the first row, by the first of these names that there is.
    pub fn named(&self, names: [&str; 2]) -> Option<&str> {
        let at = names
            .iter()
            .find_map(|name| self.names.iter().position(|known| known == name))?;
        self.first.get(at)?.as_deref()
    }

    /// A number in a column of the first row.
    pub fn number(&self, at: usize) -> Option<f64> {
        number(self.first.get(at)?.as_deref()?)
    }
}

/// A finite number.
pub fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|n: &f64| n.is_finite())
}

/// Asks, and reads the answer.
pub fn ask(connection: &dyn Connection, text: &str) -> Result<Result<Rows, Refusal>, Error> {
    const EXPECTED: &str = "an answer to a query";
    connection.write(&packet(0, &[b"\x03", text.as_bytes()].concat()))?;
    let first = read_packet(connection, EXPECTED)?.payload;
    if let Some(refusal) = Refusal::read(&first) {
        return Ok(Err(refusal));
    }
    // OK: a statement without rows.
    if first.first() == Some(&0) {
        return Ok(Ok(Rows::default()));
    }
    let mut rows = Rows::default();
    match length(&first) {
        Some((Some(columns), _)) if columns <= MAX_COLUMNS => {
            for _ in 0..columns {
                let definition = read_packet(connection, EXPECTED)?.payload;
                let name = column_name(&definition);
                rows.names
                    .push(name.ok_or_else(|| unexpected("a column", &definition))?);
            }
        }
        _ => return Err(unexpected(EXPECTED, &first)),
    }
    let end = read_packet(connection, EXPECTED)?.payload;
    if !is_end(&end) {
        return Err(unexpected("the end of the columns", &end));
    }
    for _ in 0..=MAX_ROWS {
        let row = read_packet(connection, EXPECTED)?.payload;
        if is_end(&row) {
            return Ok(Ok(rows));
        }
        if let Some(refusal) = Refusal::read(&row) {
            return Ok(Err(refusal));
        }
        if rows.count == 0 {
            rows.first = columns(&row);
        }
        rows.count += 1;
    }
    Err(Error::Protocol(format!(
        "expected at most {MAX_ROWS} rows, found more"
    )))
}

fn is_end(payload: &[u8]) -> bool {
    payload.first() == Some(&0xfe) && payload.len() < 9
}

/// A length-encoded number, absent for NULL, and what is behind it.
fn length(bytes: &[u8]) -> Option<(Option<u64>, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let width = match first {
        0..=0xfa => return Some((Some(u64::from(*first)), rest)),
        0xfb => return Some((None, rest)),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        0xff => return None,
    };
    let (digits, rest) = rest.split_at_checked(width)?;
    let number = digits
        .iter()
        .rev()
        .fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    Some((Some(number), rest))
}

/// A length-encoded text, absent for NULL, and what is behind it.
fn text(bytes: &[u8]) -> Option<(Option<String>, &[u8])> {
    let (length, rest) = length(bytes)?;
    let Some(length) = length else {
        return Some((None, rest));
    };
    let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((Some(String::from_utf8_lossy(value).into_owned()), rest))
}

/// The fifth text of a column's definition.
fn column_name(definition: &[u8]) -> Option<String> {
    let mut rest = definition;
    for _ in 0..4 {
        rest = text(rest)?.1;
    }
    text(rest)?.0
}

/// The columns of a row, up to where it is cut.
pub fn columns(row: &[u8]) -> Vec<Option<String>> {
    let mut columns = Vec::new();
    let mut rest = row;
    while let Some((value, behind)) = text(rest) {
        columns.push(value);
        rest = behind;
    }
    columns
}
