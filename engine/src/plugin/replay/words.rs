//! A recording as it is written in files.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// One call of the network, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exchange {
    Http(HttpExchange),
    Tcp(TcpExchange),
    Udp(UdpExchange),
    Dns(DnsExchange),
    Icmp(IcmpExchange),
}

/// Text, or any bytes as `{ "base64": "…" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Bytes {
    Text(String),
    Raw { base64: String },
}

impl Default for Bytes {
    fn default() -> Self {
        Bytes::Text(String::new())
    }
}

/// One value of a header, or all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Values {
    One(String),
    All(Vec<String>),
}

/// `net.error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorWord {
    Denied(String),
    Timeout(PhaseWord),
    Resolve(String),
    Refused,
    Unreachable(String),
    Closed(String),
    Tls(String),
    Protocol(String),
    TooLarge(u64),
    Invalid(String),
}

/// `net.phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseWord {
    Resolve,
    Connect,
    TlsHandshake,
    Send,
    FirstByte,
    Receive,
}

/// `net.timings`, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Times {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolve_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<f64>,
    pub total_ms: f64,
}

/// `net.certificate`. Times are microseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CertificateWords {
    pub subject: String,
    pub issuer: String,
    pub names: Vec<String>,
    pub not_before: i64,
    pub not_after: i64,
    pub sha256: String,
}

/// `net.tls-info`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsWords {
    pub protocol: String,
    pub cipher_suite: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_exchange: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<String>,
    pub chain: Vec<ChainWords>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A certificate of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChainWords {
    /// Base64.
    pub der: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateWords>,
}

/// A request over HTTP. What the request does not name is not compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpExchange {
    /// Any where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    pub url: String,
    /// Headers that the request must have among others.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub headers: IndexMap<String, String>,
    /// Headers that the engine fills in, with the secret's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorWord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<HttpWords>,
}

/// An answer over HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpWords {
    pub status: u16,
    pub version: String,
    /// After redirects; the request's where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    pub peer: String,
    pub headers: IndexMap<String, Values>,
    pub body: Bytes,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    pub timings: Times,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateWords>,
}

impl Default for HttpWords {
    fn default() -> Self {
        Self {
            status: 200,
            version: "HTTP/1.1".into(),
            url: None,
            peer: String::new(),
            headers: IndexMap::new(),
            body: Bytes::default(),
            truncated: false,
            timings: Times::default(),
            certificate: None,
        }
    }
}

/// A conversation over TCP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TcpExchange {
    pub host: String,
    pub port: u16,
    /// TLS from the start.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// Why there is no connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorWord>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub peer: String,
    pub timings: Times,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateWords>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_info: Option<TlsWords>,
    /// In order; behind the last one the peer has closed.
    pub steps: Vec<Step>,
}

/// A step of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The plugin sends this.
    Send(Bytes),
    /// The peer sends this.
    Receive(Bytes),
    /// TLS begins, or does not.
    StartTls(Box<StartTls>),
    /// Reading fails.
    Error(ErrorWord),
}

/// What an upgrade gives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StartTls {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorWord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateWords>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_info: Option<TlsWords>,
}

/// A datagram and its replies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UdpExchange {
    pub host: String,
    pub port: u16,
    /// Not compared where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorWord>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub peer: String,
    pub replies: Vec<Bytes>,
    pub timings: Times,
}

/// A question and its answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsExchange {
    pub name: String,
    #[serde(rename = "type")]
    pub record_type: String,
    /// The system's where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorWord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<DnsWords>,
}

/// An answer of a name server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsWords {
    pub rcode: String,
    /// `authoritative`, `truncated`, `recursion-desired`,
    /// `recursion-available`, `authentic-data`, `checking-disabled`.
    pub flags: Vec<String>,
    pub answers: Vec<DnsRecordWords>,
    pub authorities: Vec<DnsRecordWords>,
    pub additionals: Vec<DnsRecordWords>,
    pub server: String,
    /// Over TCP, else UDP.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tcp: bool,
    /// Bytes.
    pub size: u32,
    pub timings: Times,
}

impl Default for DnsWords {
    fn default() -> Self {
        Self {
            rcode: "NOERROR".into(),
            flags: Vec::new(),
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            server: String::new(),
            tcp: false,
            size: 0,
            timings: Times::default(),
        }
    }
}

/// A record of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsRecordWords {
    pub name: String,
    #[serde(rename = "type")]
    pub record_type: String,
    #[serde(default = "internet")]
    pub class: String,
    /// Seconds.
    pub ttl: u32,
    pub data: String,
}

fn internet() -> String {
    "IN".into()
}

/// Echo requests and their replies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IcmpExchange {
    pub host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorWord>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub peer: String,
    /// As many as were asked for where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<u32>,
    /// By sequence number; `null` for one that was lost.
    pub round_trips_ms: Vec<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolve_ms: Option<f64>,
}

impl Exchange {
    /// The call as texts name it.
    pub fn name(&self) -> String {
        match self {
            Exchange::Http(one) => {
                format!(
                    "http {} {}",
                    one.method.as_deref().unwrap_or("GET"),
                    one.url
                )
            }
            Exchange::Tcp(one) => {
                let tls = if one.tls { " with TLS" } else { "" };
                format!("tcp {}:{}{tls}", one.host, one.port)
            }
            Exchange::Udp(one) => format!("udp {}:{}", one.host, one.port),
            Exchange::Dns(one) => {
                let server = one.server.as_ref().map(|server| format!(" at {server}"));
                format!(
                    "dns {} {}{}",
                    one.record_type,
                    one.name,
                    server.unwrap_or_default()
                )
            }
            Exchange::Icmp(one) => format!("icmp {}", one.host),
        }
    }
}
