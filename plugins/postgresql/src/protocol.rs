//! The part of the frontend/backend protocol 3.0 that a session and a simple
//! query need (PostgreSQL's documentation, "Message Formats").

use std::collections::BTreeMap;

use bellwether_plugin::net::{Connection, Error};
use bellwether_plugin::wire::{read_exact, unexpected};

/// Longest message that is read, in bytes.
const MAX_MESSAGE: usize = 1 << 20;
/// Most messages of one answer; a query's rows are one each.
const MAX_MESSAGES: usize = 10_000;

/// A message of the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its first byte.
    pub kind: u8,
    /// What is behind the length.
    pub body: Vec<u8>,
}

/// The start of a session, with run-time parameters.
pub fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for (name, value) in parameters {
        for text in [name, value] {
            body.extend(text.as_bytes());
            body.push(0);
        }
    }
    body.push(0);
    let length = body.len() as u32 + 4;
    [&length.to_be_bytes()[..], &body].concat()
}

/// A simple query.
pub fn query(text: &str) -> Vec<u8> {
    let length = text.len() as u32 + 5;
    [b"Q", &length.to_be_bytes()[..], text.as_bytes(), b"\0"].concat()
}

/// The end of a session.
pub const TERMINATE: &[u8] = b"X\0\0\0\x04";

/// Reads one message.
pub fn read_message(connection: &dyn Connection) -> Result<Message, Error> {
    const EXPECTED: &str = "a message of PostgreSQL";
    let header = read_exact(connection, 5, EXPECTED)?;
    let length = header[1..]
        .iter()
        .fold(0, |length: usize, byte| length << 8 | usize::from(*byte));
    if !header[0].is_ascii_alphanumeric() || !(4..=MAX_MESSAGE).contains(&length) {
        let mut found = header;
        // What came with it says who is talking.
        found.extend(connection.read(256).unwrap_or_default());
        return Err(unexpected(EXPECTED, &found));
    }
    let body = read_exact(connection, length - 4, EXPECTED)?;
    Ok(Message {
        kind: header[0],
        body,
    })
}

/// What the server refuses with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Refusal {
    /// SQLSTATE, five characters.
    pub code: String,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// Reads the fields of an ErrorResponse.
    pub fn read(body: &[u8]) -> Self {
        let mut refusal = Refusal::default();
        for field in body.split(|byte| *byte == 0) {
            let Some((kind, text)) = field.split_first() else {
                continue;
            };
            let text = String::from_utf8_lossy(text).into_owned();
            match kind {
                b'C' => refusal.code = text,
                b'M' => refusal.message = text,
                _ => {}
            }
        }
        refusal
    }

    /// True where the server takes sessions, only not this one: wrong role,
    /// password or database, or no line for us in `pg_hba.conf`. Like
    /// `pg_isready`, that is a server which is up.
    pub fn is_about_the_login(&self) -> bool {
        self.code.starts_with("28") || self.code == "3D000"
    }
}

/// Run-time parameters that are kept of those that the server reports; all of
/// them could be more than a plugin has memory for.
const PARAMETERS: [&str; 2] = ["server_version", "in_hot_standby"];

/// The proof that a server demands.
#[derive(Debug, Clone, PartialEq)]
pub enum Demand {
    /// The password itself.
    Clear,
    /// With this salt.
    Md5([u8; 4]),
    /// One of these methods of SASL.
    Sasl(Vec<String>),
    /// Something else.
    Other(&'static str),
}

impl Demand {
    /// What people call it.
    pub fn name(&self) -> &str {
        match self {
            Demand::Clear => "a password in clear",
            Demand::Md5(_) => "an MD5 password",
            Demand::Sasl(methods) => methods.first().map_or("SASL", String::as_str),
            Demand::Other(name) => name,
        }
    }
}

/// How a session began.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    /// With these of [`PARAMETERS`].
    Ready(BTreeMap<&'static str, String>),
    /// Not without proof of who we are.
    Login(Demand),
    /// Not at all.
    Refused(Refusal),
}

/// Reads up to where the server waits for a query.
pub fn read_start(connection: &dyn Connection) -> Result<Start, Error> {
    let mut parameters = BTreeMap::new();
    for _ in 0..MAX_MESSAGES {
        let message = read_message(connection)?;
        match message.kind {
            b'R' => match authentication(&message.body) {
                Some(None) => {}
                Some(Some(demand)) => return Ok(Start::Login(demand)),
                None => return Err(unexpected("a request to authenticate", &message.body)),
            },
            b'E' => return Ok(Start::Refused(Refusal::read(&message.body))),
            b'S' => {
                let mut texts = message.body.split(|byte| *byte == 0);
                let found = texts.next().unwrap_or_default();
                let known = PARAMETERS.into_iter().find(|name| name.as_bytes() == found);
                if let (Some(name), Some(value)) = (known, texts.next()) {
                    parameters.insert(name, String::from_utf8_lossy(value).into_owned());
                }
            }
            b'Z' => return Ok(Start::Ready(parameters)),
            // Key data, notices, version negotiation.
            b'K' | b'N' | b'v' => {}
            _ => return Err(unexpected("the start of a session", &[message.kind])),
        }
    }
    Err(too_many())
}

/// The proof that the server demands; none where it demands nothing.
fn authentication(body: &[u8]) -> Option<Option<Demand>> {
    let (method, rest) = body.split_first_chunk::<4>()?;
    Some(Some(match u32::from_be_bytes(*method) {
        0 => return Some(None),
        2 => Demand::Other("Kerberos"),
        3 => Demand::Clear,
        5 => Demand::Md5(*rest.first_chunk()?),
        7 | 9 => Demand::Other("GSSAPI or SSPI"),
        10 => {
            let methods = rest.split(|byte| *byte == 0);
            let methods = methods.filter(|name| !name.is_empty()).take(16);
            let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
            Demand::Sasl(methods.map(text).collect())
        }
        _ => Demand::Other("an unknown proof"),
    }))
}

/// The answer to a query.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// Columns of the first row, absent where they are NULL; none without rows.
    pub first: Vec<Option<String>>,
    /// How many rows came.
    pub count: usize,
}

/// Reads the answer to a simple query.
pub fn read_rows(connection: &dyn Connection) -> Result<Result<Rows, Refusal>, Error> {
    let mut rows = Rows::default();
    let mut refusal = None;
    for _ in 0..MAX_MESSAGES {
        let message = read_message(connection)?;
        match message.kind {
            b'D' => {
                if rows.count == 0 {
                    rows.first = columns(&message.body);
                }
                rows.count += 1;
            }
            b'E' => refusal = Some(Refusal::read(&message.body)),
            b'Z' => return Ok(refusal.map_or(Ok(rows), Err)),
            b'T' | b'C' | b'I' | b'N' | b'S' => {}
            _ => return Err(unexpected("an answer to a query", &[message.kind])),
        }
    }
    Err(too_many())
}

/// Most columns that are read of a row.
const MAX_COLUMNS: u16 = 64;

/// The columns of a DataRow, as text, up to where it is cut.
pub fn columns(body: &[u8]) -> Vec<Option<String>> {
    let Some((count, mut rest)) = body.split_first_chunk::<2>() else {
        return Vec::new();
    };
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count).min(MAX_COLUMNS) {
        let Some((length, behind)) = rest.split_first_chunk::<4>() else {
            break;
        };
        // NULL has the length -1.
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            rest = behind;
            columns.push(None);
            continue;
        };
        let Some((value, behind)) = behind.split_at_checked(length) else {
            break;
        };
        rest = behind;
        columns.push(Some(String::from_utf8_lossy(value).into_owned()));
    }
    columns
}

fn too_many() -> Error {
    Error::Protocol(format!(
        "expected an answer of at most {MAX_MESSAGES} messages, found more"
    ))
}
