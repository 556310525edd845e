//! Modes that reach for the host.

use bellwether_plugin::command::{self, Commands};
use bellwether_plugin::http::shorten;
use bellwether_plugin::net::{
    Connection, Error, Host, HttpRequest, Net, SecretHeader, TlsOptions, explain,
};
use bellwether_plugin::{ProbeError, Report, log, state};

use crate::Config;

/// Calls the host for ever: a server that hangs where there is a target, else
/// the log.
pub fn endless_calls(config: &Config) -> ! {
    loop {
        if config.target.is_empty() {
            log::info("again");
        } else {
            let _ = Host.http(&HttpRequest::new("GET", &config.target));
        }
    }
}

/// So many messages of 1 KiB.
pub fn log_flood(amount: u64) -> Report {
    let message = "x".repeat(1024);
    for _ in 0..amount {
        log::info(&message);
    }
    Report::ok(format!("wrote {amount} messages")).metric("value", amount as f64)
}

/// So many keys of 1 KiB each; says how many were taken.
pub fn state_flood(amount: u64) -> Report {
    let value = vec![b'x'; 1024];
    for number in 0..amount {
        if let Err(error) = state::set(&format!("key-{number}"), &value, None) {
            return Report::ok(format!("stopped after {number}: {error:?}"))
                .metric("value", number as f64);
        }
    }
    Report::ok(format!("wrote {amount} keys")).metric("value", amount as f64)
}

/// Uses a capability that tests do not grant.
pub fn denied(config: &Config) -> Result<Report, ProbeError> {
    match config.what.as_str() {
        "command" => match command::Host.run(&config.target) {
            Err(command::Error::Denied(what)) => Err(ProbeError::Denied(what)),
            other => Ok(Report::critical(format!("not denied: {other:?}"))),
        },
        "state" => match state::set("key", b"value", None) {
            Err(state::Error::Invalid(what)) => Err(ProbeError::Denied(what)),
            other => Ok(Report::ok(format!("not denied: {other:?}"))),
        },
        _ => match Host.http(&HttpRequest::new("GET", &config.target)) {
            Err(Error::Denied(what)) => Err(ProbeError::Denied(what)),
            Err(other) => Ok(Report::critical(format!("not denied: {}", explain(&other)))),
            Ok(response) => Ok(Report::critical(format!(
                "not denied: HTTP {}",
                response.status
            ))),
        },
    }
}

fn target(config: &Config) -> Result<(&str, u16), ProbeError> {
    let wrong = || {
        ProbeError::config(
            "/target",
            format!("expected host:port, found \"{}\"", config.target),
        )
    };
    let (host, port) = config.target.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host, port.parse().map_err(|_| wrong())?))
}

fn open(config: &Config) -> Result<Result<Box<dyn Connection>, Error>, ProbeError> {
    let (host, port) = target(config)?;
    let tls = config.tls.then(|| TlsOptions {
        verify: false,
        ..TlsOptions::verified()
    });
    Ok(Host.connect(host, port, tls.as_ref()))
}

/// Connects and says what happened: `denied: …`, `failed: …`, `connected` or
/// `read: …`.
pub fn connect(config: &Config) -> Result<Report, ProbeError> {
    let connection = match open(config)? {
        Ok(connection) => connection,
        Err(Error::Denied(what)) => return Ok(Report::critical(format!("denied: {what}"))),
        Err(error) => return Ok(Report::critical(format!("failed: {}", explain(&error)))),
    };
    if config.send.is_empty() {
        return Ok(Report::ok("connected").detail(connection.peer()));
    }
    let answer = connection
        .write(config.send.as_bytes())
        .and_then(|()| connection.read(4096));
    Ok(match answer {
        Ok(bytes) => Report::ok(format!(
            "read: {}",
            shorten(&String::from_utf8_lossy(&bytes), 200)
        ))
        .detail(connection.peer()),
        Err(error) => Report::critical(format!("failed: {}", explain(&error))),
    })
}

/// Opens so many connections and keeps them; says how many the host allowed.
pub fn many_connections(config: &Config) -> Result<Report, ProbeError> {
    let mut kept = Vec::new();
    for number in 0..config.amount.unwrap_or(100_000) {
        match open(config)? {
            Ok(connection) => kept.push(connection),
            Err(error) => {
                return Ok(
                    Report::ok(format!("stopped after {number}: {}", explain(&error)))
                        .metric("value", number as f64),
                );
            }
        }
    }
    Ok(Report::ok(format!("opened {}", kept.len())).metric("value", kept.len() as f64))
}

/// Asks a URL and says what happened: `denied: …`, `failed: …` or the status
/// with the address that answered in the end.
pub fn http_get(config: &Config) -> Result<Report, ProbeError> {
    let mut request = HttpRequest::new(config.method.as_deref().unwrap_or("GET"), &config.target);
    request.max_redirects = config.redirects.unwrap_or(10);
    if let Some(bytes) = config.amount {
        request.max_body = u32::try_from(bytes).unwrap_or(u32::MAX);
    }
    if config.tls {
        request.tls = Some(TlsOptions {
            verify: false,
            ..TlsOptions::verified()
        });
    }
    if let Some(secret) = &config.secret {
        request.secret_headers.push(SecretHeader {
            name: "X-Secret".to_owned(),
            prefix: String::new(),
            secret: secret.clone(),
        });
    }
    Ok(match Host.http(&request) {
        Ok(response) => {
            let cut = if response.truncated { ", cut" } else { "" };
            let summary = format!(
                "HTTP {} from {} at {}, {} bytes{cut}",
                response.status,
                response.url,
                response.peer,
                response.body.len()
            );
            // What the server was sent comes back in an echoing body: the host
            // must take secrets out of it.
            Report::ok(summary)
                .metric("value", response.body.len() as f64)
                .detail(shorten(&String::from_utf8_lossy(&response.body), 2_000))
        }
        Err(Error::Denied(what)) => Report::critical(format!("denied: {what}")),
        Err(error) => Report::critical(format!("failed: {}", explain(&error))),
    })
}
