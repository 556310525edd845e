//! Messages of SNMP v1 and v2c: a GetRequest and its answer (RFC 3416).

use bellwether_plugin::text::{Number, printable};

use crate::ber::{Reader, element, integer, oid, oid_text, signed, tag, unsigned};
use crate::config::Version;

const GET_REQUEST: u8 = 0xa0;
const RESPONSE: u8 = 0xa2;

/// A request for these instances. Absent where one of them is no object
/// identifier.
pub fn get(version: Version, community: &str, id: i32, oids: &[&str]) -> Option<Vec<u8>> {
    let mut bindings = Vec::new();
    for text in oids {
        let binding = [oid(text)?, element(tag::NULL, &[])].concat();
        bindings.extend(element(tag::SEQUENCE, &binding));
    }
    let pdu = [
        integer(i64::from(id)),
        integer(0),
        integer(0),
        element(tag::SEQUENCE, &bindings),
    ]
    .concat();
    let message = [
        integer(match version {
            Version::V1 => 0,
            Version::V2c => 1,
        }),
        element(tag::OCTET_STRING, community.as_bytes()),
        element(GET_REQUEST, &pdu),
    ]
    .concat();
    Some(element(tag::SEQUENCE, &message))
}

/// What an instance holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Held {
    /// A whole number.
    Integer(i64),
    /// A counter of 32 bits.
    Counter32(u64),
    /// A counter of 64 bits.
    Counter64(u64),
    /// A number that goes up and down.
    Gauge(u64),
    /// Hundredths of a second.
    Ticks(u64),
    /// Text or bytes.
    Bytes(Vec<u8>),
    /// An object identifier or an address, as people write it.
    Text(String),
    /// Why there is none.
    Nothing(&'static str),
}

impl Held {
    fn read(tag: u8, content: &[u8]) -> Option<Self> {
        Some(match tag {
            tag::INTEGER => Held::Integer(signed(content)?),
            tag::OCTET_STRING | 0x44 => Held::Bytes(content.to_vec()),
            tag::NULL => Held::Nothing("no value"),
            tag::OID => Held::Text(oid_text(content)),
            0x40 => Held::Text(
                content
                    .iter()
                    .map(u8::to_string)
                    .collect::<Vec<_>>()
                    .join("."),
            ),
            0x41 => Held::Counter32(unsigned(content)? & u64::from(u32::MAX)),
            0x42 => Held::Gauge(unsigned(content)?),
            0x43 => Held::Ticks(unsigned(content)?),
            0x46 => Held::Counter64(unsigned(content)?),
            0x80 => Held::Nothing("no such object"),
            0x81 => Held::Nothing("no such instance"),
            0x82 => Held::Nothing("the end of what the agent shows"),
            _ => Held::Nothing("a type that is not known"),
        })
    }

    /// As a number; time ticks in seconds, text where it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Held::Integer(value) => Some(*value as f64),
            Held::Counter32(value) | Held::Counter64(value) | Held::Gauge(value) => {
                Some(*value as f64)
            }
            Held::Ticks(value) => Some(*value as f64 / 100.0),
            Held::Bytes(bytes) => {
                let text = std::str::from_utf8(bytes).ok()?;
                let number: f64 = text.trim().parse().ok()?;
                number.is_finite().then_some(number)
            }
            Held::Text(_) | Held::Nothing(_) => None,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        match self {
            Held::Bytes(bytes) => printable(bytes),
            Held::Text(text) => text.clone(),
            Held::Nothing(why) => (*why).to_owned(),
            number => match number.number() {
                Some(number) => Number(number).to_string(),
                None => String::new(),
            },
        }
    }
}

/// An agent's answer.
#[derive(Debug, PartialEq)]
pub struct Answer {
    /// The number of the request.
    pub id: i64,
    /// 0, or what was wrong.
    pub error: i64,
    /// Which of the instances it was, from 1 on.
    pub index: i64,
    /// Identifiers and what they hold, in the order of the request.
    pub held: Vec<(String, Held)>,
}

impl Answer {
    /// Reads a message; absent where it is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut message = Reader(Reader(bytes).take(tag::SEQUENCE)?);
        let version = message.integer()?;
        message.take(tag::OCTET_STRING)?;
        let mut pdu = Reader(message.take(RESPONSE)?);
        let (id, error, index) = (pdu.integer()?, pdu.integer()?, pdu.integer()?);
        let mut bindings = Reader(pdu.take(tag::SEQUENCE)?);
        let mut held = Vec::new();
        while let Some(binding) = bindings.take(tag::SEQUENCE) {
            let mut binding = Reader(binding);
            let name = oid_text(binding.take(tag::OID)?);
            let (tag, content) = binding.next()?;
            held.push((name, Held::read(tag, content)?));
        }
        let whole = bindings.0.is_empty() && (0..=1).contains(&version);
        whole.then_some(Answer {
            id,
            error,
            index,
            held,
        })
    }

    /// The word for what was wrong (RFC 3416).
    pub fn problem(&self) -> &'static str {
        match self.error {
            1 => "tooBig: ask for fewer values in one check",
            2 => "noSuchName",
            5 => "genErr",
            6 => "noAccess",
            13 => "resourceUnavailable",
            16 => "authorizationError",
            _ => "an error of the agent",
        }
    }
}
