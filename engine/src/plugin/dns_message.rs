//! DNS messages in the words of the contract: what is asked, what came back.

use std::fmt::Write as _;
use std::str::FromStr as _;

use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::bindings::bellwether::plugin::net::{DnsFlags, DnsQuery, DnsRecord, Error};

/// Records kept of each section.
const MAX_RECORDS: usize = 1_000;
/// What a server may send in one datagram without being fragmented on most
/// ways (RFC 9715).
pub(super) const MAX_DATAGRAM: u16 = 1_232;

/// A question that was checked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    query: Query,
    recursion: bool,
    dnssec: bool,
    checking_disabled: bool,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub code: ResponseCode,
    pub flags: DnsFlags,
    pub answers: Vec<DnsRecord>,
    pub authorities: Vec<DnsRecord>,
    pub additionals: Vec<DnsRecord>,
}

impl Answer {
    /// The mnemonic of IANA's list.
    pub fn rcode(&self) -> String {
        rcode(self.code)
    }

    /// True where the server did not or could not look: another one may know.
    pub fn is_no_answer(&self) -> bool {
        matches!(
            self.code,
            ResponseCode::ServFail | ResponseCode::NotImp | ResponseCode::Refused
        )
    }
}

impl Question {
    /// Checks a guest's question.
    pub fn new(asked: &DnsQuery) -> Result<Self, Error> {
        let mut name = Name::from_str_relaxed(&asked.name).map_err(|error| {
            Error::Invalid(format!(
                "expected a domain name, found {:?}: {error}",
                asked.name
            ))
        })?;
        name.set_fqdn(true);
        let kind = record_type(&asked.record_type).ok_or_else(|| {
            Error::Invalid(format!(
                "expected a record type such as A, MX or TYPE65, found {:?}",
                asked.record_type
            ))
        })?;
        // A zone transfer is many messages.
        if matches!(kind, RecordType::AXFR | RecordType::IXFR) {
            return Err(Error::Invalid("zone transfers are not made".into()));
        }
        let class = asked.class.as_deref().unwrap_or("IN");
        let class = DNSClass::from_str(&class.to_ascii_uppercase()).map_err(|_| {
            Error::Invalid(format!(
                "expected a class such as IN or CH, found {class:?}"
            ))
        })?;
        let mut query = Query::query(name, kind);
        query.set_query_class(class);
        Ok(Self {
            query,
            recursion: asked.recursion,
            dnssec: asked.dnssec,
            checking_disabled: asked.checking_disabled,
        })
    }

    /// The name in lower case without its final dot, as grants have it.
    pub fn name(&self) -> String {
        let name = self.query.name().to_ascii().to_ascii_lowercase();
        name.strip_suffix('.').unwrap_or(&name).to_owned()
    }

    /// The message that asks.
    pub fn message(&self, id: u16) -> Result<Vec<u8>, Error> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = self.recursion;
        message.metadata.checking_disabled = self.checking_disabled;
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_DATAGRAM).set_version(0);
        edns.set_dnssec_ok(self.dnssec);
        message.set_edns(edns);
        message.add_query(self.query.clone());
        message
            .to_vec()
            .map_err(|error| Error::Invalid(format!("the question cannot be asked: {error}")))
    }

    /// Reads an answer. Absent where it answers something else: a late one, or
    /// a forged one.
    pub fn answer(&self, id: u16, bytes: &[u8]) -> Option<Result<Answer, Error>> {
        // Before anything is decoded.
        if bytes.get(..2) != Some(&id.to_be_bytes()) {
            return None;
        }
        let message = match Message::from_vec(bytes) {
            Ok(message) => message,
            Err(error) => {
                return Some(Err(Error::Protocol(format!(
                    "the answer cannot be read: {error}"
                ))));
            }
        };
        // Some servers repeat no question in their refusals.
        let same = match message.queries.as_slice() {
            [] => message.metadata.response_code != ResponseCode::NoError,
            [found] => {
                found.name() == self.query.name()
                    && found.query_type() == self.query.query_type()
                    && found.query_class() == self.query.query_class()
            }
            _ => false,
        };
        if message.metadata.message_type != MessageType::Response || !same {
            return None;
        }
        Some(Ok(Answer {
            code: message.metadata.response_code,
            flags: flags(&message),
            answers: records(&message.answers),
            authorities: records(&message.authorities),
            additionals: records(&message.additionals),
        }))
    }
}

fn record_type(text: &str) -> Option<RecordType> {
    let text = text.to_ascii_uppercase();
    let digits = text.strip_prefix("TYPE").unwrap_or(&text);
    match digits.parse::<u16>() {
        Ok(number) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(RecordType::from(number)),
        _ => RecordType::from_str(&text).ok(),
    }
}

fn flags(message: &Message) -> DnsFlags {
    let meta = &message.metadata;
    let mut flags = DnsFlags::empty();
    for (set, flag) in [
        (meta.authoritative, DnsFlags::AUTHORITATIVE),
        (meta.truncation, DnsFlags::TRUNCATED),
        (meta.recursion_desired, DnsFlags::RECURSION_DESIRED),
        (meta.recursion_available, DnsFlags::RECURSION_AVAILABLE),
        (meta.authentic_data, DnsFlags::AUTHENTIC_DATA),
        (meta.checking_disabled, DnsFlags::CHECKING_DISABLED),
    ] {
        if set {
            flags |= flag;
        }
    }
    flags
}

fn rcode(code: ResponseCode) -> String {
    let number = u16::from(code);
    // IANA's registry of DNS RCODEs.
    let name = match number {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        16 => "BADVERS",
        23 => "BADCOOKIE",
        _ => return format!("RCODE{number}"),
    };
    name.to_owned()
}

fn type_name(kind: RecordType) -> String {
    match kind {
        RecordType::Unknown(number) => format!("TYPE{number}"),
        kind => kind.to_string(),
    }
}

fn class_name(class: DNSClass) -> String {
    match class {
        DNSClass::Unknown(number) => format!("CLASS{number}"),
        class => class.to_string(),
    }
}

fn records(records: &[Record]) -> Vec<DnsRecord> {
    records
        .iter()
        // EDNS is about the message and is no record of the name.
        .filter(|record| record.record_type() != RecordType::OPT)
        .take(MAX_RECORDS)
        .map(|record| DnsRecord {
            name: record.name.to_ascii(),
            record_type: type_name(record.record_type()),
            class: class_name(record.dns_class),
            ttl: record.ttl,
            data: presentation(&record.data),
        })
        .collect()
}

/// Data as in a zone file; types that have no form of their own as in RFC 3597.
fn presentation(data: &RData) -> String {
    match data {
        RData::TXT(txt) => {
            let strings: Vec<String> = txt.txt_data.iter().map(|bytes| quoted(bytes)).collect();
            strings.join(" ")
        }
        RData::Unknown { rdata, .. } => generic(&rdata.anything),
        RData::NULL(null) => generic(&null.anything),
        RData::OPT(_) => String::new(),
        data => data.to_string(),
    }
}

fn generic(bytes: &[u8]) -> String {
    match bytes {
        [] => "\\# 0".to_owned(),
        bytes => format!("\\# {} {}", bytes.len(), hex::encode(bytes)),
    }
}

/// A character string in quotes (RFC 1035, 5.1).
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b' '..=b'~' => text.push(char::from(*byte)),
            // Writing into a text cannot fail.
            _ => drop(write!(text, "\\{byte:03}")),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::{MX, TXT};

    use super::super::bindings::bellwether::plugin::net::DnsTransport;
    use super::*;

    fn asked(name: &str, kind: &str) -> DnsQuery {
        DnsQuery {
            name: name.into(),
            record_type: kind.into(),
            class: None,
            server: None,
            port: None,
            transport: DnsTransport::Auto,
            recursion: true,
            dnssec: true,
            checking_disabled: false,
            attempts: 1,
        }
    }

    #[test]
    fn questions_are_checked_and_written() {
        let question = Question::new(&asked("WWW.Example.org", "mx")).unwrap();
        assert_eq!(question.name(), "www.example.org");
        let message = Message::from_vec(&question.message(7).unwrap()).unwrap();
        assert_eq!(message.metadata.id, 7);
        assert!(message.metadata.recursion_desired);
        assert_eq!(message.queries[0].query_type(), RecordType::MX);
        assert!(message.edns.unwrap().flags().dnssec_ok);
        assert_eq!(Question::new(&asked(".", "NS")).unwrap().name(), "");
        for (name, kind) in [
            ("a..b", "A"),
            (&"a".repeat(64), "A"),
            ("a.example", "NONSENSE"),
            ("a.example", "TYPE65536"),
            ("a.example", "+1"),
            ("a.example", "AXFR"),
        ] {
            let error = Question::new(&asked(name, kind)).unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{name} {kind}");
        }
        assert_eq!(record_type("TYPE28"), Some(RecordType::AAAA));
        assert_eq!(record_type("65280"), Some(RecordType::Unknown(65_280)));
    }

    fn answered(question: &Question, id: u16, data: Vec<RData>) -> Vec<u8> {
        let mut message = Message::new(id, MessageType::Response, OpCode::Query);
        message.metadata.authoritative = true;
        message.metadata.response_code = ResponseCode::NXDomain;
        message.add_query(question.query.clone());
        for data in data {
            message.add_answer(Record::from_rdata(question.query.name().clone(), 60, data));
        }
        message.to_vec().unwrap()
    }

    #[test]
    fn answers_are_read_as_a_zone_file_has_them() {
        let question = Question::new(&asked("example.org", "ANY")).unwrap();
        let mail = Name::from_ascii("mail.example.org.").unwrap();
        let data = vec![
            RData::MX(MX::new(10, mail)),
            RData::TXT(TXT::from_bytes(vec![b"v=spf1 \"-all\"\\", &[0xff, b'x']])),
        ];
        let bytes = answered(&question, 9, data);
        let answer = question.answer(9, &bytes).unwrap().unwrap();
        assert_eq!(answer.rcode(), "NXDOMAIN");
        assert_eq!(answer.flags, DnsFlags::AUTHORITATIVE);
        let texts: Vec<_> = answer
            .answers
            .iter()
            .map(|r| {
                format!(
                    "{} {} {} {} {}",
                    r.name, r.ttl, r.class, r.record_type, r.data
                )
            })
            .collect();
        assert_eq!(
            texts,
            [
                "example.org. 60 IN MX 10 mail.example.org.",
                r#"example.org. 60 IN TXT "v=spf1 \"-all\"\\" "\255x""#
            ]
        );
        assert_eq!(generic(&[1, 0xab]), "\\# 2 01ab");
        assert_eq!(rcode(ResponseCode::Unknown(3_841)), "RCODE3841");
    }

    #[test]
    fn what_answers_something_else_is_passed_over() {
        let question = Question::new(&asked("example.org", "A")).unwrap();
        let other = Question::new(&asked("other.example", "A")).unwrap();
        assert!(
            question
                .answer(9, &answered(&question, 8, vec![]))
                .is_none()
        );
        assert!(question.answer(9, &answered(&other, 9, vec![])).is_none());
        assert!(question.answer(9, &question.message(9).unwrap()).is_none());
        assert!(question.answer(9, &[]).is_none());
        let broken = question.answer(9, &[0, 9, 0x80]).unwrap();
        assert!(matches!(broken, Err(Error::Protocol(_))));
    }
}
