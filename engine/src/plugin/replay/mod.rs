//! The network of one run out of a recording instead of the network, and the
//! recording of one.
//!
//! Calls are answered in the order in which they were recorded. A call that is
//! not the next one ends the run and is named. No grant is asked for: nothing
//! leaves the machine. WASI's sockets are not replayed; a replayed run has no
//! grants, so they are refused.

mod convert;
mod stream;
#[cfg(test)]
mod tests;
mod words;

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

pub(super) use self::stream::Played;
pub use self::words::{
    Bytes, CertificateWords, ChainWords, DnsExchange, DnsRecordWords, DnsWords, ErrorWord,
    Exchange, HttpExchange, HttpWords, IcmpExchange, PhaseWord, StartTls, Step, TcpExchange, Times,
    TlsWords, UdpExchange, Values,
};

use super::bindings::bellwether::plugin::net::{
    DnsQuery, DnsResponse, Error, HttpRequest, HttpResponse, IcmpRequest, IcmpResponse, UdpRequest,
    UdpResponse,
};
use super::run::Stop;

/// The recorded network of one run; clones are the same one.
#[derive(Clone, Debug)]
pub struct Replay(Arc<Mutex<Tape>>);

#[derive(Debug)]
struct Tape {
    /// Plays what is there, or keeps what happens.
    playing: bool,
    exchanges: VecDeque<Exchange>,
    /// Calls that were made.
    calls: usize,
    /// What went otherwise than it was recorded; the first is the cause.
    trouble: Option<String>,
    /// What is left of conversations that were begun.
    open: Vec<(String, Arc<Mutex<VecDeque<Step>>>)>,
}

/// An answer from a recording; the error of wasmtime ends the run.
pub(super) type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Replay {
    /// Answers with what was recorded.
    pub fn play(exchanges: Vec<Exchange>) -> Self {
        Self::new(true, exchanges.into())
    }

    /// Keeps what a run does with the real network.
    pub fn record() -> Self {
        Self::new(false, VecDeque::new())
    }

    fn new(playing: bool, exchanges: VecDeque<Exchange>) -> Self {
        Self(Arc::new(Mutex::new(Tape {
            playing,
            exchanges,
            calls: 0,
            trouble: None,
            open: Vec::new(),
        })))
    }

    /// What was kept, in order.
    pub fn recorded(&self) -> Vec<Exchange> {
        self.0.lock().exchanges.iter().cloned().collect()
    }

    /// After the run: the first thing that went otherwise than it was recorded,
    /// a call that was recorded and not made included.
    pub fn trouble(&self) -> Option<String> {
        let tape = self.0.lock();
        if tape.trouble.is_some() {
            return tape.trouble.clone();
        }
        if !tape.playing {
            return None;
        }
        if let Some(next) = tape.exchanges.front() {
            return Some(format!("a recorded call was not made: {}", next.name()));
        }
        tape.open.iter().find_map(|(name, steps)| {
            let unsent = steps.lock().iter().find_map(Step::to_send)?;
            Some(format!("{name}: expected {unsent} to be sent"))
        })
    }

    pub(super) fn plays(&self) -> bool {
        self.0.lock().playing
    }

    fn blame(&self, text: String) {
        self.0.lock().trouble.get_or_insert(text);
    }

    /// The next exchange, if it is the one for this call.
    fn next<T>(
        &self,
        call: &str,
        take: impl FnOnce(Exchange) -> Result<T, String>,
    ) -> wasmtime::Result<T> {
        let mut tape = self.0.lock();
        tape.calls += 1;
        let number = tape.calls;
        let taken = match tape.exchanges.pop_front() {
            None => Err("no further call".to_owned()),
            Some(exchange) => take(exchange),
        };
        taken.map_err(|expected| {
            let text =
                format!("unexpected network call {number}: found {call}, recorded was {expected}");
            let text = tape.trouble.get_or_insert(text).clone();
            Stop::Host(text).into()
        })
    }

    pub(super) fn http(&self, request: &HttpRequest) -> Answer<HttpResponse> {
        let call = format!("http {} {}", request.method, request.url);
        self.next(&call, |exchange| match exchange {
            Exchange::Http(recorded) => match recorded.differs(request) {
                None => Ok(recorded.response(request)),
                Some(how) => Err(how),
            },
            other => Err(other.name()),
        })
    }

    pub(super) fn udp(&self, request: &UdpRequest, now: i64) -> Answer<UdpResponse> {
        let call = format!("udp {}:{}", request.host, request.port);
        self.next(&call, |exchange| match exchange {
            Exchange::Udp(recorded) => match recorded.differs(request) {
                None => Ok(recorded.response(request, now)),
                Some(how) => Err(how),
            },
            other => Err(other.name()),
        })
    }

    pub(super) fn dns(&self, query: &DnsQuery) -> Answer<DnsResponse> {
        let server = query
            .server
            .as_deref()
            .map(|server| format!(" at {server}"));
        let call = format!(
            "dns {} {}{}",
            query.record_type,
            query.name,
            server.unwrap_or_default()
        );
        self.next(&call, |exchange| match exchange {
            Exchange::Dns(recorded) => match recorded.differs(query) {
                None => Ok(recorded.response()),
                Some(how) => Err(how),
            },
            other => Err(other.name()),
        })
    }

    pub(super) fn icmp(&self, request: &IcmpRequest) -> Answer<IcmpResponse> {
        let call = format!("icmp {}", request.host);
        self.next(&call, |exchange| match exchange {
            Exchange::Icmp(recorded) if recorded.host == request.host => {
                Ok(recorded.response(request))
            }
            other => Err(other.name()),
        })
    }

    /// A recorded conversation over TCP.
    pub(super) fn tcp(&self, host: &str, port: u16, tls: bool) -> Answer<Played> {
        let call = format!("tcp {host}:{port}{}", if tls { " with TLS" } else { "" });
        let recorded = self.next(&call, |exchange| match exchange {
            Exchange::Tcp(recorded)
                if recorded.host == host && recorded.port == port && recorded.tls == tls =>
            {
                Ok(recorded)
            }
            other => Err(other.name()),
        })?;
        if let Some(error) = &recorded.error {
            return Ok(Err(error.into()));
        }
        let steps = Arc::new(Mutex::new(VecDeque::from(recorded.steps.clone())));
        self.0.lock().open.push((call.clone(), Arc::clone(&steps)));
        Ok(Ok(Played::new(self.clone(), call, recorded, steps)))
    }

    /// Keeps an exchange that happened; its number.
    pub(super) fn keep(&self, exchange: impl FnOnce() -> Exchange) -> Option<usize> {
        let mut tape = self.0.lock();
        if tape.playing {
            return None;
        }
        tape.exchanges.push_back(exchange());
        Some(tape.exchanges.len() - 1)
    }

    /// Keeps how long the conversation with that number took so far, as the
    /// plugin asked.
    pub(super) fn keep_times(&self, number: usize, times: Times) {
        if let Some(Exchange::Tcp(exchange)) = self.0.lock().exchanges.get_mut(number) {
            exchange.timings = times;
        }
    }

    /// Keeps a step of the conversation with that number.
    pub(super) fn keep_step(&self, number: usize, step: Step) {
        let mut tape = self.0.lock();
        if let Some(Exchange::Tcp(exchange)) = tape.exchanges.get_mut(number) {
            exchange.add(step);
        }
    }
}
