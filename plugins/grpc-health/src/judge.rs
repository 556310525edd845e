//! From a call to a report (gRPC's "Health Checking Protocol").

use bellwether_plugin::endpoint::one_line;
use bellwether_plugin::findings::Findings;
use bellwether_plugin::http::shorten;
use bellwether_plugin::net::{Net, TlsOptions, judge as judge_error};
use bellwether_plugin::text::{printable, quoted};
use bellwether_plugin::{ProbeError, Report, Request};

use crate::call::{Answer, Call};
use crate::config::Config;

/// Status codes of gRPC that say nothing of the health.
const PERMISSION_DENIED: u32 = 7;
const NOT_FOUND: u32 = 5;
const UNIMPLEMENTED: u32 = 12;
const UNAUTHENTICATED: u32 = 16;

/// Asks and judges.
pub fn check(request: &Request, config: &Config, net: &dyn Net) -> Result<Report, ProbeError> {
    one_line("/authority", config.authority.as_deref())?;
    let endpoint = config.endpoint(50_051);
    let tls = config.tls == Some(true);
    let options = tls.then(|| TlsOptions {
        alpn: vec!["h2".to_owned()],
        ..endpoint.tls()
    });
    let connection = match endpoint.connect_with(request, net, options.as_ref()) {
        Ok(connection) => connection,
        Err(error) => return judge_error(error),
    };
    let mut findings = Findings::default();
    let mut serving = None;
    let mut summary = String::new();
    let agreed = connection.tls_info().map(|info| info.alpn);
    if let Some(None) = agreed {
        findings.critical("the server does not agree on HTTP/2 (ALPN h2)");
    } else {
        let host = config.host.as_deref().unwrap_or(&request.node.address);
        // Literal IPv6 addresses stand in brackets.
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.to_owned(),
        };
        let authority = format!("{host}:{}", endpoint.port);
        let service = config.service.as_deref().unwrap_or_default();
        let call = Call {
            scheme: if tls { "https" } else { "http" },
            authority: config.authority.as_deref().unwrap_or(&authority),
            timeout_ms: request.timeout_ms,
            message: &health_request(service),
        };
        match call.make(&*connection) {
            Ok(answer) => {
                let what = match service {
                    "" => "the server".to_owned(),
                    service => shorten(&printable(service.as_bytes()), 80),
                };
                serving = judge(&what, &answer, &mut findings);
                if serving == Some(true) {
                    summary = format!("{what} is SERVING");
                }
            }
            Err(error) => findings.failed(error)?,
        }
    }
    let report = endpoint.report(request, &*connection, findings, summary);
    Ok(report.metric_if("serving", serving.map(|yes| f64::from(u8::from(yes)))))
}

/// Whether it serves; absent where the server does not say.
fn judge(what: &str, answer: &Answer, findings: &mut Findings) -> Option<bool> {
    match (answer.status, answer.grpc_status) {
        (Some(200), Some(0)) => {}
        (Some(200), Some(code)) => {
            let name = status_name(code);
            let text = shorten(&printable(answer.grpc_message.as_bytes()), 200);
            let gap = if text.is_empty() { "" } else { ": " };
            match code {
                NOT_FOUND => {
                    findings.critical(format!("{what} is not known to the server{gap}{text}"))
                }
                UNIMPLEMENTED => findings.unknown(format!(
                    "the server has no health service (grpc.health.v1.Health){gap}{text}"
                )),
                PERMISSION_DENIED | UNAUTHENTICATED => {
                    findings.unknown(format!("the server asks for a login: {name}{gap}{text}"))
                }
                _ => findings.critical(format!("gRPC status {code} {name}{gap}{text}")),
            }
            return None;
        }
        (Some(200), None) => {
            findings.critical("expected an answer of gRPC (grpc-status), found HTTP/2 without it");
            return None;
        }
        (status, _) => {
            let found = status.map_or("none".to_owned(), |status| status.to_string());
            findings.critical(format!("expected HTTP status 200, found {found}"));
            return None;
        }
    }
    let word = match serving_status(&answer.body) {
        Some(1) => return Some(true),
        Some(0) => "UNKNOWN",
        Some(2) => "NOT_SERVING",
        Some(3) => "SERVICE_UNKNOWN",
        _ => {
            let found = quoted(&answer.body);
            findings.critical(format!("expected a health answer, found {found}"));
            return None;
        }
    };
    findings.critical(format!("{what} is {word}"));
    Some(false)
}

fn status_name(code: u32) -> &'static str {
    match code {
        1 => "CANCELLED",
        2 => "UNKNOWN",
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND",
        6 => "ALREADY_EXISTS",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        9 => "FAILED_PRECONDITION",
        10 => "ABORTED",
        11 => "OUT_OF_RANGE",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        15 => "DATA_LOSS",
        16 => "UNAUTHENTICATED",
        _ => "of unknown meaning",
    }
}

/// `HealthCheckRequest`: the service's name as field 1.
pub fn health_request(service: &str) -> Vec<u8> {
    if service.is_empty() {
        return Vec::new();
    }
    let mut message = vec![0x0a];
    varint(&mut message, service.len());
    message.extend(service.as_bytes());
    message
}

fn varint(bytes: &mut Vec<u8>, value: usize) {
    let mut left = value;
    while left >= 0x80 {
        bytes.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
}

/// `HealthCheckResponse`: field 1, an enum; 0 where it is left out.
pub fn serving_status(body: &[u8]) -> Option<u64> {
    let message = body.strip_prefix(&[0])?;
    let (length, message) = message.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let mut rest = message.get(..length)?;
    let mut status = 0;
    while !rest.is_empty() {
        let key = read_varint(&mut rest)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = read_varint(&mut rest)?,
            (_, 0) => drop(read_varint(&mut rest)?),
            (_, 1) => rest = rest.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(read_varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            (_, 5) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
