//! Between a recording's words and the contract's values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;

use super::super::bindings::bellwether::plugin::net::{
    Certificate, ChainCertificate, Datagram, DnsFlags, DnsQuery, DnsRecord, DnsResponse,
    DnsTransport, Error, Header, HttpRequest, HttpResponse, IcmpReply, IcmpRequest, IcmpResponse,
    Phase, Timings, TlsInfo, UdpRequest, UdpResponse,
};
use super::words::{
    Bytes, CertificateWords, ChainWords, DnsExchange, DnsRecordWords, DnsWords, ErrorWord,
    HttpExchange, HttpWords, IcmpExchange, PhaseWord, Step, TcpExchange, Times, TlsWords,
    UdpExchange, Values,
};

/// Longest piece of data in a text, in characters.
const SHOWN: usize = 120;

impl Bytes {
    /// The bytes; absent where the base64 is none.
    pub fn decode(&self) -> Option<Vec<u8>> {
        match self {
            Bytes::Text(text) => Some(text.clone().into_bytes()),
            Bytes::Raw { base64 } => STANDARD.decode(base64).ok(),
        }
    }

    /// As text where they are text.
    pub fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Bytes::Text(text.to_owned()),
            Err(_) => Bytes::Raw {
                base64: STANDARD.encode(bytes),
            },
        }
    }

    fn bytes(&self) -> Vec<u8> {
        // What a file holds was checked when it was read.
        self.decode().unwrap_or_default()
    }
}

/// Data as texts show it.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if text.chars().count() > SHOWN {
        let cut: String = text.chars().take(SHOWN).collect();
        return format!("{cut:?} and more");
    }
    format!("{text:?}")
}

impl Step {
    /// What is left to be sent, as texts show it.
    pub(super) fn to_send(&self) -> Option<String> {
        match self {
            Step::Send(bytes) => Some(shown(&bytes.bytes())),
            _ => None,
        }
    }
}

impl From<&ErrorWord> for Error {
    fn from(word: &ErrorWord) -> Self {
        match word.clone() {
            ErrorWord::Denied(text) => Error::Denied(text),
            ErrorWord::Timeout(phase) => Error::Timeout(phase.into()),
            ErrorWord::Resolve(text) => Error::Resolve(text),
            ErrorWord::Refused => Error::Refused,
            ErrorWord::Unreachable(text) => Error::Unreachable(text),
            ErrorWord::Closed(text) => Error::Closed(text),
            ErrorWord::Tls(text) => Error::Tls(text),
            ErrorWord::Protocol(text) => Error::Protocol(text),
            ErrorWord::TooLarge(limit) => Error::TooLarge(limit),
            ErrorWord::Invalid(text) => Error::Invalid(text),
        }
    }
}

impl From<&Error> for ErrorWord {
    fn from(error: &Error) -> Self {
        match error.clone() {
            Error::Denied(text) => ErrorWord::Denied(text),
            Error::Timeout(phase) => ErrorWord::Timeout(phase.into()),
            Error::Resolve(text) => ErrorWord::Resolve(text),
            Error::Refused => ErrorWord::Refused,
            Error::Unreachable(text) => ErrorWord::Unreachable(text),
            Error::Closed(text) => ErrorWord::Closed(text),
            Error::Tls(text) => ErrorWord::Tls(text),
            Error::Protocol(text) => ErrorWord::Protocol(text),
            Error::TooLarge(limit) => ErrorWord::TooLarge(limit),
            Error::Invalid(text) => ErrorWord::Invalid(text),
        }
    }
}

impl From<PhaseWord> for Phase {
    fn from(word: PhaseWord) -> Self {
        match word {
            PhaseWord::Resolve => Phase::Resolve,
            PhaseWord::Connect => Phase::Connect,
            PhaseWord::TlsHandshake => Phase::TlsHandshake,
            PhaseWord::Send => Phase::Send,
            PhaseWord::FirstByte => Phase::FirstByte,
            PhaseWord::Receive => Phase::Receive,
        }
    }
}

impl From<Phase> for PhaseWord {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Resolve => PhaseWord::Resolve,
            Phase::Connect => PhaseWord::Connect,
            Phase::TlsHandshake => PhaseWord::TlsHandshake,
            Phase::Send => PhaseWord::Send,
            Phase::FirstByte => PhaseWord::FirstByte,
            Phase::Receive => PhaseWord::Receive,
        }
    }
}

fn micros(ms: f64) -> u64 {
    // Negative and absurd numbers saturate.
    (ms * 1_000.0).round() as u64
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

impl From<&Times> for Timings {
    fn from(times: &Times) -> Self {
        Timings {
            resolve: times.resolve_ms.map(micros),
            connect: times.connect_ms.map(micros),
            tls: times.tls_ms.map(micros),
            first_byte: times.first_byte_ms.map(micros),
            total: micros(times.total_ms),
        }
    }
}

impl From<&Timings> for Times {
    fn from(timings: &Timings) -> Self {
        Times {
            resolve_ms: timings.resolve.map(millis),
            connect_ms: timings.connect.map(millis),
            tls_ms: timings.tls.map(millis),
            first_byte_ms: timings.first_byte.map(millis),
            total_ms: millis(timings.total),
        }
    }
}

impl From<&CertificateWords> for Certificate {
    fn from(words: &CertificateWords) -> Self {
        let words = words.clone();
        Certificate {
            subject: words.subject,
            issuer: words.issuer,
            names: words.names,
            not_before: words.not_before,
            not_after: words.not_after,
            sha256: words.sha256,
        }
    }
}

impl From<&Certificate> for CertificateWords {
    fn from(certificate: &Certificate) -> Self {
        let certificate = certificate.clone();
        CertificateWords {
            subject: certificate.subject,
            issuer: certificate.issuer,
            names: certificate.names,
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            sha256: certificate.sha256,
        }
    }
}

impl From<&TlsWords> for TlsInfo {
    fn from(words: &TlsWords) -> Self {
        TlsInfo {
            protocol: words.protocol.clone(),
            cipher_suite: words.cipher_suite.clone(),
            key_exchange: words.key_exchange.clone(),
            alpn: words.alpn.clone(),
            chain: words
                .chain
                .iter()
                .map(|one| ChainCertificate {
                    der: STANDARD.decode(&one.der).unwrap_or_default(),
                    certificate: one.certificate.as_ref().map(Into::into),
                })
                .collect(),
            problem: words.problem.clone(),
        }
    }
}

impl From<&TlsInfo> for TlsWords {
    fn from(info: &TlsInfo) -> Self {
        TlsWords {
            protocol: info.protocol.clone(),
            cipher_suite: info.cipher_suite.clone(),
            key_exchange: info.key_exchange.clone(),
            alpn: info.alpn.clone(),
            chain: info
                .chain
                .iter()
                .map(|one| ChainWords {
                    der: STANDARD.encode(&one.der),
                    certificate: one.certificate.as_ref().map(Into::into),
                })
                .collect(),
            problem: info.problem.clone(),
        }
    }
}

impl HttpExchange {
    /// How a request differs from the recorded one, which is then named with it.
    pub(super) fn differs(&self, request: &HttpRequest) -> Option<String> {
        let method = self.method.as_deref().unwrap_or(&request.method);
        if method != request.method || self.url != request.url {
            return Some(format!("http {method} {}", self.url));
        }
        let header = |name: &str| {
            let same = |header: &&Header| header.name.eq_ignore_ascii_case(name);
            request
                .headers
                .iter()
                .find(same)
                .map(|header| &header.value)
        };
        for (name, value) in &self.headers {
            if header(name) != Some(value) {
                let found = header(name).map_or("none".to_owned(), |found| format!("{found:?}"));
                return Some(format!(
                    "the same with the header {name}: {value:?}, found {found}"
                ));
            }
        }
        for (name, secret) in &self.secret_headers {
            let filled = request
                .secret_headers
                .iter()
                .any(|header| header.name.eq_ignore_ascii_case(name) && header.secret == *secret);
            if !filled {
                return Some(format!(
                    "the same with the secret {secret} in the header {name}"
                ));
            }
        }
        let wanted = self.body.as_ref()?.bytes();
        let found = request.body.as_deref().unwrap_or_default();
        (wanted != found).then(|| {
            let (wanted, found) = (shown(&wanted), shown(found));
            format!("the same with the body {wanted}, found {found}")
        })
    }

    pub(super) fn response(&self, request: &HttpRequest) -> Result<HttpResponse, Error> {
        if let Some(error) = &self.error {
            return Err(error.into());
        }
        let answer = self.answer.clone().unwrap_or_default();
        let mut body = answer.body.bytes();
        let kept = body.len().min(request.max_body as usize);
        let truncated = answer.truncated || kept < body.len();
        body.truncate(kept);
        let headers = answer.headers.into_iter().flat_map(|(name, values)| {
            let values = match values {
                Values::One(value) => vec![value],
                Values::All(values) => values,
            };
            values.into_iter().map(move |value| Header {
                name: name.to_ascii_lowercase(),
                value,
            })
        });
        Ok(HttpResponse {
            status: answer.status,
            version: answer.version,
            url: answer.url.unwrap_or_else(|| request.url.clone()),
            peer: answer.peer,
            headers: headers.collect(),
            body,
            truncated,
            timings: (&answer.timings).into(),
            certificate: answer.certificate.as_ref().map(Into::into),
        })
    }

    pub(in super::super) fn of(
        request: &HttpRequest,
        result: &Result<HttpResponse, Error>,
    ) -> Self {
        let secret_headers = request.secret_headers.iter();
        Self {
            method: Some(request.method.clone()),
            url: request.url.clone(),
            headers: request
                .headers
                .iter()
                // It says which version of the plugin asked.
                .filter(|header| !header.name.eq_ignore_ascii_case("user-agent"))
                .map(|header| (header.name.clone(), header.value.clone()))
                .collect(),
            secret_headers: secret_headers
                .map(|header| (header.name.clone(), header.secret.clone()))
                .collect(),
            body: request.body.as_deref().map(Bytes::of),
            error: result.as_ref().err().map(Into::into),
            answer: result.as_ref().ok().map(HttpWords::from),
        }
    }
}

impl From<&HttpResponse> for HttpWords {
    fn from(response: &HttpResponse) -> Self {
        let mut headers: IndexMap<String, Values> = IndexMap::new();
        for header in &response.headers {
            let value = header.value.clone();
            match headers.entry(header.name.clone()) {
                indexmap::map::Entry::Vacant(free) => {
                    free.insert(Values::One(value));
                }
                indexmap::map::Entry::Occupied(mut there) => match there.get_mut() {
                    Values::All(values) => values.push(value),
                    one @ Values::One(_) => {
                        let Values::One(first) = std::mem::replace(one, Values::All(Vec::new()))
                        else {
                            continue;
                        };
                        *one = Values::All(vec![first, value]);
                    }
                },
            }
        }
        Self {
            status: response.status,
            version: response.version.clone(),
            url: Some(response.url.clone()),
            peer: response.peer.clone(),
            headers,
            body: Bytes::of(&response.body),
            truncated: response.truncated,
            timings: (&response.timings).into(),
            certificate: response.certificate.as_ref().map(Into::into),
        }
    }
}

impl TcpExchange {
    /// Adds a step; data in the same direction is one.
    pub(super) fn add(&mut self, step: Step) {
        let joined = match (self.steps.last(), &step) {
            (Some(Step::Send(old)), Step::Send(new))
            | (Some(Step::Receive(old)), Step::Receive(new)) => {
                let mut bytes = old.bytes();
                bytes.extend(new.bytes());
                Some(Bytes::of(&bytes))
            }
            _ => None,
        };
        match (self.steps.last_mut(), joined) {
            (Some(Step::Send(old) | Step::Receive(old)), Some(bytes)) => *old = bytes,
            _ => self.steps.push(step),
        }
    }
}

impl UdpExchange {
    pub(super) fn differs(&self, request: &UdpRequest) -> Option<String> {
        if self.host != request.host || self.port != request.port {
            return Some(format!("udp {}:{}", self.host, self.port));
        }
        let wanted = self.send.as_ref()?.bytes();
        (wanted != request.data).then(|| {
            let (wanted, found) = (shown(&wanted), shown(&request.data));
            format!("the same with the data {wanted}, found {found}")
        })
    }

    pub(super) fn response(&self, request: &UdpRequest, now: i64) -> Result<UdpResponse, Error> {
        if let Some(error) = &self.error {
            return Err(error.into());
        }
        if self.replies.is_empty() && request.replies > 0 {
            return Err(Error::Timeout(Phase::FirstByte));
        }
        let timings = Timings::from(&self.timings);
        let after = timings.first_byte.unwrap_or(timings.total);
        let max = request.max_size as usize;
        let replies = self.replies.iter().take(request.replies as usize);
        Ok(UdpResponse {
            peer: self.peer.clone(),
            sent: 1,
            sent_at: now,
            replies: replies
                .map(|reply| {
                    let mut data = reply.bytes();
                    let truncated = data.len() > max;
                    data.truncate(max);
                    Datagram {
                        data,
                        truncated,
                        after,
                    }
                })
                .collect(),
            timings,
        })
    }

    pub(in super::super) fn of(request: &UdpRequest, result: &Result<UdpResponse, Error>) -> Self {
        let answer = result.as_ref().ok();
        let replies = answer.map(|answer| answer.replies.as_slice());
        Self {
            host: request.host.clone(),
            port: request.port,
            send: Some(Bytes::of(&request.data)),
            error: result.as_ref().err().map(Into::into),
            peer: answer.map(|answer| answer.peer.clone()).unwrap_or_default(),
            replies: replies
                .unwrap_or_default()
                .iter()
                .map(|reply| Bytes::of(&reply.data))
                .collect(),
            timings: answer
                .map(|answer| (&answer.timings).into())
                .unwrap_or_default(),
        }
    }
}

/// The contract's flags with their words.
const FLAGS: [(&str, DnsFlags); 6] = [
    ("authoritative", DnsFlags::AUTHORITATIVE),
    ("truncated", DnsFlags::TRUNCATED),
    ("recursion-desired", DnsFlags::RECURSION_DESIRED),
    ("recursion-available", DnsFlags::RECURSION_AVAILABLE),
    ("authentic-data", DnsFlags::AUTHENTIC_DATA),
    ("checking-disabled", DnsFlags::CHECKING_DISABLED),
];

impl DnsExchange {
    pub(super) fn differs(&self, query: &DnsQuery) -> Option<String> {
        let same = self.name == query.name
            && self.record_type.eq_ignore_ascii_case(&query.record_type)
            && self.server == query.server;
        (!same).then(|| super::Exchange::Dns(self.clone()).name())
    }

    pub(super) fn response(&self) -> Result<DnsResponse, Error> {
        if let Some(error) = &self.error {
            return Err(error.into());
        }
        let answer = self.answer.clone().unwrap_or_default();
        let mut flags = DnsFlags::empty();
        for (_, flag) in FLAGS
            .iter()
            .filter(|(word, _)| answer.flags.iter().any(|set| set == word))
        {
            flags |= *flag;
        }
        let records = |records: Vec<DnsRecordWords>| {
            let records = records.into_iter().map(|one| DnsRecord {
                name: one.name,
                record_type: one.record_type,
                class: one.class,
                ttl: one.ttl,
                data: one.data,
            });
            records.collect()
        };
        Ok(DnsResponse {
            rcode: answer.rcode,
            flags,
            answers: records(answer.answers),
            authorities: records(answer.authorities),
            additionals: records(answer.additionals),
            server: answer.server,
            transport: if answer.tcp {
                DnsTransport::Tcp
            } else {
                DnsTransport::Udp
            },
            size: answer.size,
            timings: (&answer.timings).into(),
        })
    }

    pub(in super::super) fn of(query: &DnsQuery, result: &Result<DnsResponse, Error>) -> Self {
        let records = |records: &[DnsRecord]| {
            let records = records.iter().map(|one| DnsRecordWords {
                name: one.name.clone(),
                record_type: one.record_type.clone(),
                class: one.class.clone(),
                ttl: one.ttl,
                data: one.data.clone(),
            });
            records.collect()
        };
        Self {
            name: query.name.clone(),
            record_type: query.record_type.clone(),
            server: query.server.clone(),
            error: result.as_ref().err().map(Into::into),
            answer: result.as_ref().ok().map(|answer| DnsWords {
                rcode: answer.rcode.clone(),
                flags: FLAGS
                    .iter()
                    .filter(|(_, flag)| (answer.flags & *flag) == *flag)
                    .map(|(word, _)| (*word).to_owned())
                    .collect(),
                answers: records(&answer.answers),
                authorities: records(&answer.authorities),
                additionals: records(&answer.additionals),
                server: answer.server.clone(),
                tcp: matches!(answer.transport, DnsTransport::Tcp),
                size: answer.size,
                timings: (&answer.timings).into(),
            }),
        }
    }
}

impl IcmpExchange {
    pub(super) fn response(&self, request: &IcmpRequest) -> Result<IcmpResponse, Error> {
        if let Some(error) = &self.error {
            return Err(error.into());
        }
        let replies = (0..).zip(&self.round_trips_ms);
        let replies: Vec<IcmpReply> = replies
            .filter_map(|(sequence, trip)| {
                Some(IcmpReply {
                    sequence,
                    round_trip: micros((*trip)?),
                })
            })
            .collect();
        if replies.is_empty() {
            return Err(Error::Timeout(Phase::FirstByte));
        }
        Ok(IcmpResponse {
            peer: self.peer.clone(),
            sent: self.sent.unwrap_or(request.count.max(1)),
            replies,
            resolve: self.resolve_ms.map(micros),
        })
    }

    pub(in super::super) fn of(
        request: &IcmpRequest,
        result: &Result<IcmpResponse, Error>,
    ) -> Self {
        let answer = result.as_ref().ok();
        let sent = answer.map_or(0, |answer| answer.sent);
        let trip = |sequence: u32| {
            let reply = answer?
                .replies
                .iter()
                .find(|one| one.sequence == sequence)?;
            Some(millis(reply.round_trip))
        };
        Self {
            host: request.host.clone(),
            error: result.as_ref().err().map(Into::into),
            peer: answer.map(|answer| answer.peer.clone()).unwrap_or_default(),
            sent: answer.map(|answer| answer.sent),
            round_trips_ms: (0..sent).map(trip).collect(),
            resolve_ms: answer.and_then(|answer| answer.resolve).map(millis),
        }
    }
}
