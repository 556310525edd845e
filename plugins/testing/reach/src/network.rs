//! Functions of `net`.

use bellwether_plugin::Report;
use bellwether_plugin::datagrams::{Datagrams, DnsFlags, DnsQuery, Error, IcmpRequest, UdpRequest};
use bellwether_plugin::net::{Host, Net, TlsOptions, explain};

use crate::Config;

fn failed(error: &Error) -> Report {
    match error {
        Error::Denied(what) => Report::critical(format!("denied: {what}")),
        error => Report::critical(format!("failed: {}", explain(error))),
    }
}

fn datagram(config: &Config) -> UdpRequest {
    UdpRequest {
        replies: config.amount,
        attempts: config.attempts,
        idle_ms: config.idle_ms,
        max_size: config.size,
        ..UdpRequest::new(
            &config.target,
            config.port,
            config.text.clone().into_bytes(),
        )
    }
}

pub fn udp(config: &Config) -> Report {
    match Host.udp(&datagram(config)) {
        Err(error) => failed(&error),
        Ok(response) => {
            let texts: Vec<String> = response
                .replies
                .iter()
                .map(|reply| {
                    let cut = if reply.truncated { "…" } else { "" };
                    format!("{}{cut}", String::from_utf8_lossy(&reply.data))
                })
                .collect();
            Report::ok(format!("ok: {}", texts.join("|")))
                .metric("value", f64::from(response.sent))
                .detail(response.peer)
        }
    }
}

/// Sends until it is stopped, or so often.
pub fn udp_flood(config: &Config) -> Report {
    let request = UdpRequest {
        replies: 0,
        ..datagram(config)
    };
    for number in 0..config.amount {
        if let Err(error) = Host.udp(&request) {
            return failed(&error).metric("value", f64::from(number));
        }
    }
    Report::ok("ok: sent them all").metric("value", f64::from(config.amount))
}

pub fn dns(config: &Config) -> Report {
    let server = Some(config.target.clone()).filter(|target| !target.is_empty());
    let query = DnsQuery {
        server,
        port: (config.port > 0).then_some(config.port),
        attempts: config.attempts,
        ..DnsQuery::new(&config.text, &config.kind)
    };
    match Host.dns(&query) {
        Err(error) => failed(&error),
        Ok(response) => {
            let texts: Vec<String> = response
                .answers
                .iter()
                .map(|record| {
                    format!(
                        "{} {} {} {}",
                        record.name, record.ttl, record.record_type, record.data
                    )
                })
                .collect();
            Report::ok(format!(
                "ok: {} {:?} {}",
                response.rcode,
                response.transport,
                texts.join("|")
            ))
            .metric("value", response.answers.len() as f64)
            .detail(response.server)
            .detail(format!(
                "recursion available: {}",
                response.flags.contains(DnsFlags::RECURSION_AVAILABLE)
            ))
        }
    }
}

pub fn icmp(config: &Config) -> Report {
    let request = IcmpRequest {
        count: config.amount,
        interval_ms: 10,
        wait_ms: config.idle_ms,
        ..IcmpRequest::new(&config.target)
    };
    match Host.icmp(&request) {
        Err(error) => failed(&error),
        Ok(response) => Report::ok(format!(
            "ok: {} of {} from {}",
            response.replies.len(),
            response.sent,
            response.peer
        ))
        .metric("value", response.replies.len() as f64),
    }
}

pub fn tls_info(config: &Config) -> Report {
    let options = TlsOptions {
        server_name: Some(config.text.clone()).filter(|name| !name.is_empty()),
        verify: config.verify,
        alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
    };
    let connection = match Host.connect(&config.target, config.port, Some(&options)) {
        Ok(connection) => connection,
        Err(error) => return failed(&error),
    };
    let Some(info) = connection.tls_info() else {
        return Report::critical("failed: no TLS");
    };
    let report = Report::ok(format!(
        "ok: {} {} {} {}",
        info.protocol,
        info.cipher_suite,
        info.key_exchange.unwrap_or_default(),
        info.alpn.unwrap_or_default()
    ));
    let report = report
        .metric("value", info.chain.len() as f64)
        .detail(format!("problem: {}", info.problem.unwrap_or_default()));
    info.chain.into_iter().fold(report, |report, link| {
        let subject = link.certificate.map(|certificate| certificate.subject);
        report.detail(format!(
            "{} bytes: {}",
            link.der.len(),
            subject.unwrap_or_default()
        ))
    })
}
