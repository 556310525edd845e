//! UDP, DNS and ICMP under the run's grants.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::bindings::host::bellwether::plugin::net as wit;
pub use crate::bindings::host::bellwether::plugin::net::{
    Datagram, DnsFlags, DnsQuery, DnsRecord, DnsResponse, DnsTransport, Error, IcmpReply,
    IcmpRequest, IcmpResponse, UdpRequest, UdpResponse,
};
use crate::net::Host;

/// Exchanges datagrams; [`Host`](crate::net::Host) on the real host,
/// [`FakeDatagrams`] in tests.
pub trait Datagrams {
    /// Sends a datagram and waits for what that very peer sends back.
    fn udp(&self, request: &UdpRequest) -> Result<UdpResponse, Error>;
    /// Asks a DNS server; any rcode is a response.
    fn dns(&self, query: &DnsQuery) -> Result<DnsResponse, Error>;
    /// Sends echo requests.
    fn icmp(&self, request: &IcmpRequest) -> Result<IcmpResponse, Error>;
}

impl Datagrams for Host {
    fn udp(&self, request: &UdpRequest) -> Result<UdpResponse, Error> {
        wit::udp(request)
    }

    fn dns(&self, query: &DnsQuery) -> Result<DnsResponse, Error> {
        wit::dns(query)
    }

    fn icmp(&self, request: &IcmpRequest) -> Result<IcmpResponse, Error> {
        wit::icmp(request)
    }
}

impl UdpRequest {
    /// Sends `data` up to three times and waits for one reply of at most 4 KiB.
    pub fn new(host: &str, port: u16, data: Vec<u8>) -> Self {
        UdpRequest {
            host: host.to_owned(),
            port,
            data,
            replies: 1,
            attempts: 3,
            idle_ms: None,
            max_size: 4 << 10,
        }
    }
}

impl DnsQuery {
    /// Asks the resolvers of the engine's host, recursively, up to twice each.
    pub fn new(name: &str, record_type: &str) -> Self {
        DnsQuery {
            name: name.to_owned(),
            record_type: record_type.to_owned(),
            class: None,
            server: None,
            port: None,
            transport: DnsTransport::Auto,
            recursion: true,
            dnssec: false,
            checking_disabled: false,
            attempts: 2,
        }
    }
}

impl IcmpRequest {
    /// Three echo requests of 56 bytes, 200 ms apart; waits a second for the
    /// last reply.
    pub fn new(host: &str) -> Self {
        IcmpRequest {
            host: host.to_owned(),
            count: 3,
            interval_ms: 200,
            wait_ms: Some(1_000),
            size: 56,
        }
    }
}

/// Answers as told and remembers what was asked.
#[derive(Default)]
pub struct FakeDatagrams {
    /// Answers to datagrams, in order.
    pub udp: RefCell<VecDeque<Result<UdpResponse, Error>>>,
    /// Answers to questions, in order.
    pub dns: RefCell<VecDeque<Result<DnsResponse, Error>>>,
    /// Answers to echo requests, in order.
    pub icmp: RefCell<VecDeque<Result<IcmpResponse, Error>>>,
    /// The datagrams that came.
    pub sent: RefCell<Vec<UdpRequest>>,
    /// The questions that came.
    pub asked: RefCell<Vec<DnsQuery>>,
    /// The echo requests that came.
    pub pinged: RefCell<Vec<IcmpRequest>>,
}

fn next<T>(answers: &RefCell<VecDeque<Result<T, Error>>>) -> Result<T, Error> {
    let answer = answers.borrow_mut().pop_front();
    answer.unwrap_or_else(|| Err(Error::Unreachable("no answer was prepared".to_owned())))
}

impl Datagrams for FakeDatagrams {
    fn udp(&self, request: &UdpRequest) -> Result<UdpResponse, Error> {
        self.sent.borrow_mut().push(request.clone());
        next(&self.udp)
    }

    fn dns(&self, query: &DnsQuery) -> Result<DnsResponse, Error> {
        self.asked.borrow_mut().push(query.clone());
        next(&self.dns)
    }

    fn icmp(&self, request: &IcmpRequest) -> Result<IcmpResponse, Error> {
        self.pinged.borrow_mut().push(request.clone());
        next(&self.icmp)
    }
}
