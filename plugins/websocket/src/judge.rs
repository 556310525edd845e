//! From an upgrade to a report.

use bellwether_plugin::endpoint::Endpoint;
use bellwether_plugin::findings::{Findings, Limits};
use bellwether_plugin::http::shorten;
use bellwether_plugin::net::{Connection, Error, Millis, Net, judge as judge_error, ms};
use bellwether_plugin::text::{printable, quoted};
use bellwether_plugin::{ProbeError, Report, Request};

use crate::config::Config;
use crate::frame::{Assembler, close_reason, encode, opcode, read};
use crate::upgrade::{Target, judge, key, nonce, read_head, request as upgrade};

/// Most frames that are read in search of the expected one.
const MAX_FRAMES: usize = 1_000;

const PING: &[u8] = b"bellwether";

/// What the server said.
#[derive(Debug, Default)]
struct Seen {
    subprotocol: Option<String>,
    round_trip: Option<f64>,
    message: Option<Vec<u8>>,
}

/// Connects, exchanges and judges.
pub fn check(request: &Request, config: &Config, net: &dyn Net) -> Result<Report, ProbeError> {
    let target = Target::read(&config.url)?;
    let nonce = nonce(request);
    let key = key(&nonce);
    let head = upgrade(config, &target, &key)?;
    let endpoint = Endpoint {
        host: Some(&target.host),
        port: target.port,
        server_name: config.server_name.as_deref(),
        limits: Limits {
            warn_ms: config.warn_ms,
            critical_ms: config.critical_ms,
            cert_warn_days: config.cert_warn_days,
            cert_critical_days: config.cert_critical_days,
            verify: config.verify,
        },
    };
    let connection = match endpoint.connect(request, net, target.tls) {
        Ok(connection) => connection,
        Err(error) => return judge_error(error),
    };
    let mut findings = Findings::default();
    let mut seen = Seen::default();
    let mask = [nonce[16], nonce[17], nonce[18], nonce[19]];
    let mut summary = String::new();
    match talk(config, &*connection, &head, &key, mask, &mut seen) {
        Ok(()) => {
            summary = "WebSocket open".to_owned();
            if let Some(took) = seen.round_trip {
                summary = format!("WebSocket open, answer in {}", Millis(took));
            }
        }
        Err(error) => findings.failed(error)?,
    }
    let mut report = endpoint
        .report(request, &*connection, findings, summary)
        .metric_if("round_trip_ms", seen.round_trip);
    if let Some(name) = &seen.subprotocol {
        report = report.detail(format!("subprotocol {name}"));
    }
    if let Some(message) = &seen.message {
        report = report.detail(shorten(&printable(message), 500));
    }
    Ok(report)
}

fn talk(
    config: &Config,
    connection: &dyn Connection,
    head: &[u8],
    key: &str,
    mask: [u8; 4],
    seen: &mut Seen,
) -> Result<(), Error> {
    connection.write(head)?;
    seen.subprotocol = judge(&read_head(connection)?, key, &config.subprotocols)?;
    let before = connection.timings().total;
    if let Some(text) = &config.send {
        connection.write(&encode(opcode::TEXT, text.as_bytes(), mask))?;
    }
    if config.expect.is_none() && config.ping {
        connection.write(&encode(opcode::PING, PING, mask))?;
    }
    if config.expect.is_some() || config.ping {
        wait(config, connection, mask, seen)?;
        seen.round_trip = Some(ms(connection.timings().total.saturating_sub(before)));
    }
    // 1000, a normal end; it is not waited for.
    let _ = connection.write(&encode(opcode::CLOSE, &1000_u16.to_be_bytes(), mask));
    Ok(())
}

/// Reads up to the message or pong that is expected.
fn wait(
    config: &Config,
    connection: &dyn Connection,
    mask: [u8; 4],
    seen: &mut Seen,
) -> Result<(), Error> {
    let expected = match &config.expect {
        Some(text) => format!("a message with \"{}\"", shorten(text, 80)),
        None => "an answer to a ping".to_owned(),
    };
    let mut messages = Assembler::default();
    for _ in 0..MAX_FRAMES {
        let frame = read(connection, &expected).map_err(|error| last(error, &expected, seen))?;
        match frame.opcode {
            opcode::PING => connection.write(&encode(opcode::PONG, &frame.payload, mask))?,
            opcode::PONG if config.expect.is_none() && frame.payload == PING => return Ok(()),
            opcode::PONG => {}
            opcode::CLOSE => {
                let (code, reason) = close_reason(&frame.payload);
                let reason = shorten(&printable(reason.as_bytes()), 120);
                let text = format!("expected {expected}, the server says {code} {reason}");
                return Err(last(
                    Error::Closed(text.trim_end().to_owned()),
                    &expected,
                    seen,
                ));
            }
            _ => {
                let Some(message) = messages.push(frame)? else {
                    continue;
                };
                let wanted = config
                    .expect
                    .as_ref()
                    .is_some_and(|text| String::from_utf8_lossy(&message).contains(text.as_str()));
                seen.message = Some(message);
                if wanted {
                    return Ok(());
                }
            }
        }
    }
    Err(Error::Protocol(format!(
        "expected {expected} within {MAX_FRAMES} frames, found others"
    )))
}

/// A failure to read where other messages came says so.
fn last(error: Error, expected: &str, seen: &Seen) -> Error {
    match (&seen.message, error) {
        (Some(message), Error::Timeout(_) | Error::Closed(_)) => Error::Protocol(format!(
            "expected {expected}, found {} and nothing more",
            quoted(message)
        )),
        (_, error) => error,
    }
}
