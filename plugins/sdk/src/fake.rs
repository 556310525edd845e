//! Doubles for plugin tests on the host.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

use serde::de::DeserializeOwned;

use crate::net::{
    Certificate, Connection, Error, HttpRequest, HttpResponse, Net, Timings, TlsOptions,
};
use crate::{
    Batch, Level, Manifest, Node, Probe, ProbeError, RawEntry, RawRecords, RawSpan, Report,
    Request, Timestamp, secrets, state,
};

/// A network that answers as told and remembers what was asked.
#[derive(Default)]
pub struct FakeNet {
    /// Answers to HTTP requests, in order.
    pub http: RefCell<VecDeque<Result<HttpResponse, Error>>>,
    /// Answers to connects, in order.
    pub tcp: RefCell<VecDeque<Result<FakeConnection, Error>>>,
    /// The HTTP requests that came.
    pub requests: RefCell<Vec<HttpRequest>>,
    /// The connects that came.
    pub connects: RefCell<Vec<(String, u16, Option<TlsOptions>)>>,
}

impl FakeNet {
    /// Answers one HTTP request.
    pub fn answering(answer: Result<HttpResponse, Error>) -> Self {
        let net = Self::default();
        net.http.borrow_mut().push_back(answer);
        net
    }

    /// Answers one connect.
    pub fn connecting(answer: Result<FakeConnection, Error>) -> Self {
        let net = Self::default();
        net.tcp.borrow_mut().push_back(answer);
        net
    }
}

/// A response with that status and body after 12 ms.
pub fn response(status: u16, body: &str) -> HttpResponse {
    HttpResponse {
        status,
        version: "HTTP/1.1".to_owned(),
        url: "http://192.0.2.1/".to_owned(),
        peer: "192.0.2.1:80".to_owned(),
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
        truncated: false,
        timings: Timings {
            resolve: Some(1_000),
            connect: Some(2_000),
            tls: None,
            first_byte: Some(8_000),
            total: 12_000,
        },
        certificate: None,
    }
}

/// A certificate that expires so many days after [`NOW`].
pub fn certificate(days: i64) -> Certificate {
    Certificate {
        subject: "CN=example.org".to_owned(),
        issuer: "CN=Test CA".to_owned(),
        names: vec!["example.org".to_owned()],
        not_before: NOW - 86_400_000_000,
        not_after: NOW + days * 86_400_000_000,
        sha256: "00".repeat(32),
    }
}

/// When fake requests run: 2026-01-01T00:00:00Z.
pub const NOW: i64 = 1_767_225_600_000_000;

/// A probe request with that configuration against node `web-1` at 192.0.2.1.
pub fn request(config: &str) -> Request {
    Request {
        check: "homepage".to_owned(),
        node: Node {
            name: "web-1".to_owned(),
            address: "192.0.2.1".to_owned(),
            labels: vec![("role".to_owned(), "web".to_owned())],
        },
        config: config.to_owned(),
        now: NOW,
        deadline: NOW + 6_000_000,
        timeout_ms: 5_000,
        attempt: 1,
    }
}

impl Net for FakeNet {
    fn http(&self, request: &HttpRequest) -> Result<HttpResponse, Error> {
        self.requests.borrow_mut().push(request.clone());
        self.http
            .borrow_mut()
            .pop_front()
            .unwrap_or_else(|| Err(Error::Unreachable("no answer was prepared".to_owned())))
    }

    fn connect(
        &self,
        host: &str,
        port: u16,
        tls: Option<&TlsOptions>,
    ) -> Result<Box<dyn Connection>, Error> {
        self.connects
            .borrow_mut()
            .push((host.to_owned(), port, tls.cloned()));
        match self.tcp.borrow_mut().pop_front() {
            Some(answer) => Ok(Box::new(answer?)),
            None => Err(Error::Refused),
        }
    }
}

/// A store that keeps what was written.
#[derive(Default)]
pub struct FakeStore {
    /// What is kept.
    pub entries: RefCell<BTreeMap<String, state::Entry>>,
}

impl state::Store for FakeStore {
    fn get(&self, key: &str) -> Option<state::Entry> {
        self.entries.borrow().get(key).cloned()
    }

    fn set(&self, key: &str, value: &[u8], expected: Option<u64>) -> Result<u64, state::Error> {
        let mut entries = self.entries.borrow_mut();
        let current = entries.get(key).map(|entry| entry.version);
        if current != expected {
            return Err(state::Error::Conflict);
        }
        let version = current.unwrap_or(0) + 1;
        let value = value.to_vec();
        entries.insert(key.to_owned(), state::Entry { value, version });
        Ok(version)
    }
}

/// Secrets that a run may read; others are denied.
#[derive(Default)]
pub struct FakeSecrets(BTreeMap<String, String>);

impl FakeSecrets {
    /// One secret.
    pub fn with(name: &str, value: &str) -> Self {
        Self(BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }
}

impl secrets::Secrets for FakeSecrets {
    fn get(&self, name: &str) -> Result<String, secrets::Error> {
        let value = self.0.get(name).cloned();
        value.ok_or_else(|| secrets::Error::Denied(format!("reading the secret {name}")))
    }
}

/// A connection that reads what was prepared, one chunk a read, then the end of
/// the stream.
#[derive(Default)]
pub struct FakeConnection {
    /// What comes, in chunks.
    pub incoming: RefCell<VecDeque<Result<Vec<u8>, Error>>>,
    /// What was written.
    pub written: std::rc::Rc<RefCell<Vec<u8>>>,
    /// The peer's certificate.
    pub certificate: Option<Certificate>,
    /// Address and port that answered; 192.0.2.1:25 where absent.
    pub peer: Option<String>,
    /// True after a STARTTLS upgrade.
    pub upgraded: Cell<bool>,
    /// What an upgrade fails with.
    pub tls_error: RefCell<Option<Error>>,
}

impl FakeConnection {
    /// Reads these chunks.
    pub fn reading(chunks: &[&str]) -> Self {
        Self {
            incoming: RefCell::new(
                chunks
                    .iter()
                    .map(|chunk| Ok(chunk.as_bytes().to_vec()))
                    .collect(),
            ),
            ..Self::default()
        }
    }

    /// Reads these bytes, in one chunk.
    pub fn sending(bytes: &[u8]) -> Self {
        let connection = Self::default();
        connection.unread(bytes.to_vec());
        connection
    }

    fn unread(&self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.incoming.borrow_mut().push_front(Ok(bytes));
        }
    }
}

/// Inputs that a parser of `sample` must survive: every beginning of it, every
/// byte of it replaced by values at the edges, repetitions, and noise. The same
/// ones each time.
pub fn mutations(sample: &[u8]) -> Vec<Vec<u8>> {
    let mut inputs: Vec<Vec<u8>> = (0..=sample.len())
        .map(|end| sample[..end].to_vec())
        .collect();
    for at in 0..sample.len().min(512) {
        for byte in [0x00, 0x01, 0x0a, 0x20, 0x2d, 0x39, 0x7f, 0x80, 0xff] {
            let mut changed = sample.to_vec();
            changed[at] = byte;
            inputs.push(changed);
        }
    }
    for bytes in [
        sample, b"\0", b"\xff", b"9", b"a", b"-", b"\r\n", b"*9\r\n", b"{{[[(",
    ] {
        inputs.push(bytes.repeat(200_000 / bytes.len().max(1)));
    }
    // Noise by a linear congruential generator (Knuth, MMIX).
    let mut state: u64 = 42;
    for length in 1..400 {
        let noise = (0..length).map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        });
        inputs.push(noise.collect());
    }
    inputs
}

/// Reads the configuration and checks against a server that answers the one
/// connect so.
pub fn run<C: DeserializeOwned>(
    check: impl Fn(&Request, &C, &dyn Net) -> Result<Report, ProbeError>,
    json: &str,
    answer: Result<FakeConnection, Error>,
) -> Result<Report, ProbeError> {
    let config = crate::config::parse::<C>(json)?;
    check(&request(json), &config, &FakeNet::connecting(answer))
}

/// What is wrong with a probe's manifest: with its schema, and with its metrics
/// where a full report carries others.
pub fn manifest_problems<P: Probe>(report: &Report) -> Vec<String> {
    let manifest = P::describe();
    let mut problems = schema_problems::<P::Config>(&manifest.config_schema);
    let undeclared = undeclared_metrics(&manifest, report);
    problems.extend(undeclared.iter().map(|name| format!("{name}: undeclared")));
    problems
}

/// Metrics of a report that the manifest does not announce.
pub fn undeclared_metrics(manifest: &Manifest, report: &Report) -> Vec<String> {
    let declared = |name: &str| manifest.metrics.iter().any(|spec| spec.name == name);
    let names = report.metrics.iter().map(|metric| metric.name.clone());
    names.filter(|name| !declared(name)).collect()
}

/// The metric of that name.
pub fn metric(report: &Report, name: &str) -> Option<f64> {
    let found = report.metrics.iter().find(|metric| metric.name == name);
    found.map(|metric| metric.value)
}

impl Connection for FakeConnection {
    fn write(&self, data: &[u8]) -> Result<(), Error> {
        self.written.borrow_mut().extend_from_slice(data);
        Ok(())
    }

    fn read(&self, max: u32) -> Result<Vec<u8>, Error> {
        let mut incoming = self.incoming.borrow_mut();
        match incoming.pop_front() {
            None => Ok(Vec::new()),
            Some(Ok(mut chunk)) if chunk.len() > max as usize => {
                let rest = chunk.split_off(max as usize);
                incoming.push_front(Ok(rest));
                Ok(chunk)
            }
            Some(answer) => answer,
        }
    }

    fn read_until(&self, delimiter: &[u8], max: u32) -> Result<Vec<u8>, Error> {
        let mut found = Vec::new();
        let failure = loop {
            let chunk = match self.read(max - found.len() as u32) {
                Ok(chunk) if chunk.is_empty() => {
                    let count = found.len();
                    break Error::Closed(format!("after {count} bytes, before the delimiter"));
                }
                Ok(chunk) => chunk,
                Err(error) => break error,
            };
            let searched = (found.len() + 1).saturating_sub(delimiter.len());
            found.extend(chunk);
            let end = found[searched..]
                .windows(delimiter.len())
                .position(|window| window == delimiter)
                .map(|at| searched + at + delimiter.len());
            if let Some(end) = end {
                self.unread(found.split_off(end));
                return Ok(found);
            }
            if found.len() >= max as usize {
                break Error::TooLarge(u64::from(max));
            }
        };
        // As on the host, what came stays to be read.
        self.unread(found);
        Err(failure)
    }

    fn start_tls(&self, _: &TlsOptions) -> Result<(), Error> {
        if let Some(error) = self.tls_error.borrow_mut().take() {
            return Err(error);
        }
        self.upgraded.set(true);
        Ok(())
    }

    fn timings(&self) -> Timings {
        Timings {
            resolve: None,
            connect: Some(3_000),
            tls: self.certificate.is_some().then_some(9_000),
            first_byte: None,
            total: 12_000,
        }
    }

    fn peer(&self) -> String {
        self.peer.as_deref().unwrap_or("192.0.2.1:25").to_owned()
    }

    fn certificate(&self) -> Option<Certificate> {
        self.certificate.clone()
    }
}

/// What is wrong with a configuration schema: forms are made from it, so every
/// property needs a description, and its own examples and defaults must be
/// readable as `T`.
pub fn schema_problems<T: serde::de::DeserializeOwned>(schema: &str) -> Vec<String> {
    let schema: serde_json::Value = match serde_json::from_str(schema) {
        Ok(schema) => schema,
        Err(error) => return vec![format!("not JSON: {error}")],
    };
    let mut problems = Vec::new();
    if schema["type"] != "object" || schema["additionalProperties"] != false {
        problems.push("expected an object without additional properties".to_owned());
    }
    let Some(properties) = schema["properties"].as_object() else {
        return vec!["expected properties, found none".to_owned()];
    };
    let mut sample = serde_json::Map::new();
    for (name, property) in properties {
        if !property["description"].is_string() {
            problems.push(format!("{name}: no description"));
        }
        let value = property["examples"]
            .get(0)
            .or_else(|| property.get("default"));
        match value {
            Some(value) => drop(sample.insert(name.clone(), value.clone())),
            None => problems.push(format!("{name}: neither an example nor a default")),
        }
    }
    if let Some(required) = schema["required"].as_array() {
        for name in required {
            if !name
                .as_str()
                .is_some_and(|name| properties.contains_key(name))
            {
                problems.push(format!("{name}: required, but no property"));
            }
        }
    }
    if let Err(problem) = crate::config::parse::<T>(&serde_json::Value::Object(sample).to_string())
    {
        problems.push(format!("examples: {} {}", problem.pointer, problem.message));
    }
    problems
}

/// A batch of these lines.
pub fn batch(lines: &[&str]) -> Batch {
    let mut batch = Batch {
        text: String::new(),
        ends: Vec::new(),
        gap: 1,
        received: NOW,
    };
    for line in lines {
        batch.text.push_str(line);
        batch.ends.push(batch.text.len() as u32);
        batch.text.push('\n');
    }
    batch
}

/// A record as the engine reads it, spans resolved.
#[derive(Debug, PartialEq)]
pub struct ReadEntry {
    /// Last line that it is made from.
    pub line: u32,
    /// When it happened.
    pub time: Option<Timestamp>,
    /// How bad it is.
    pub level: Level,
    /// What it says.
    pub message: String,
    /// Names and values.
    pub fields: Vec<(String, String)>,
}

impl ReadEntry {
    /// The first field of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Reads an answer as the engine does. Panics where a span breaks the contract:
/// it straddles text and extra, lies outside of both or cuts a character.
pub fn read_records(text: &str, records: &RawRecords) -> Vec<ReadEntry> {
    let resolve = |span: RawSpan| {
        let (start, end) = (span.start as usize, span.end as usize);
        if end <= text.len() {
            text[start..end].to_owned()
        } else {
            records.extra[start - text.len()..end - text.len()].to_owned()
        }
    };
    let read = |entry: &RawEntry| ReadEntry {
        line: entry.line,
        time: entry.time,
        level: entry.level,
        message: resolve(entry.message),
        fields: entry
            .fields
            .iter()
            .map(|field| {
                (
                    records.names[field.name as usize].clone(),
                    resolve(field.value),
                )
            })
            .collect(),
    };
    records.entries.iter().map(read).collect()
}
