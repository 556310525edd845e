//! `input:` of a check: the engine asks first and hands the answer to the
//! program, which needs no sockets then.
//!
//! The target that `input` names is granted to this exchange, and to nothing
//! else of the run. Everything passes the same egress as `net`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::bindings::bellwether::plugin::files::{self, Error as FileError};
use super::bindings::bellwether::plugin::net::{
    Error, Header, Host as _, HostTcp as _, HttpRequest, HttpResponse, SecretHeader, Timings,
    TlsOptions,
};
use super::probe::{denied_fault, timed_out};
use super::run::{End, RunData, classify, phase_name};
use super::secrets::Redactor;
use crate::check::outcome::{Fault, FaultKind, Report, State};
use crate::config::input::{FileInput, HttpInput, InputSpec, TcpInput};

/// Bytes of an answer that the program gets.
const MAX_INPUT: u32 = 1 << 20;
/// Bytes of one read.
const READ: u32 = 64 << 10;

/// What a program is handed.
pub(super) struct Fetched {
    pub body: Bytes,
    /// What is known of the exchange, as environment variables.
    pub env: Vec<(String, String)>,
}

pub(super) enum Fetch {
    Got(Fetched),
    /// The check ends without its program.
    Ended(Result<Report, Fault>),
}

/// Fetches the input of a check.
pub(super) async fn fetch(data: &mut RunData, input: &InputSpec) -> Fetch {
    let own = Arc::clone(&data.grants);
    let mut wider = (*own).clone();
    wider.net.extend(input.targets());
    wider.secrets.extend(input.secrets().map(str::to_owned));
    wider.files.extend(input.folder().map(str::to_owned));
    data.grants = Arc::new(wider);
    data.net = None;
    let result = match input {
        InputSpec::Http(http) => over_http(data, http).await,
        InputSpec::Tcp(tcp) => over_tcp(data, tcp).await,
        InputSpec::File(file) => match file_end(data, file).await {
            Ok(Ok(fetched)) => Ok(Ok(fetched)),
            Ok(Err(ended)) => {
                data.grants = own;
                data.net = None;
                return Fetch::Ended(ended);
            }
            Err(error) => Err(error),
        },
        InputSpec::Text(text) => Ok(Ok(Fetched {
            body: Bytes::copy_from_slice(text.as_bytes()),
            env: Vec::new(),
        })),
    };
    data.grants = own;
    data.net = None;
    match result {
        Ok(Ok(fetched)) => Fetch::Got(fetched),
        Ok(Err(error)) => Fetch::Ended(judge(error, &data.redactor)),
        Err(error) => Fetch::Ended(match classify(&error, data) {
            End::Target(phase) => Ok(timed_out(phase_name(phase))),
            End::Fault(fault) => Err(fault),
        }),
    }
}

type Exchange = wasmtime::Result<Result<Fetched, Error>>;

async fn over_http(data: &mut RunData, input: &HttpInput) -> Exchange {
    let headers = input.headers.iter().map(|(name, value)| Header {
        name: name.clone(),
        value: value.clone(),
    });
    let secret_headers = input
        .secret_headers
        .iter()
        .map(|(name, value)| SecretHeader {
            name: name.clone(),
            prefix: value.prefix.clone(),
            secret: value.secret.clone(),
        });
    let request = HttpRequest {
        method: input.method.clone(),
        url: input.url.clone(),
        headers: headers.collect(),
        secret_headers: secret_headers.collect(),
        body: input.body.clone().map(String::into_bytes),
        max_redirects: input.max_redirects,
        max_body: MAX_INPUT,
        tls: Some(tls(input.verify_tls)),
    };
    Ok(data.http(request).await?.map(|mut response| {
        let env = http_env(&response);
        let mut body = if input.head {
            head(&response)
        } else {
            Vec::new()
        };
        body.append(&mut response.body);
        Fetched {
            body: body.into(),
            env,
        }
    }))
}

/// Status line and headers as HTTP/1.1 writes them.
fn head(response: &HttpResponse) -> Vec<u8> {
    let reason = http::StatusCode::from_u16(response.status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("");
    let mut head = format!("{} {} {reason}\r\n", response.version, response.status);
    for header in &response.headers {
        head.push_str(&format!("{}: {}\r\n", header.name, header.value));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn tls(verify: bool) -> TlsOptions {
    TlsOptions {
        server_name: None,
        verify,
        alpn: Vec::new(),
    }
}

fn http_env(response: &HttpResponse) -> Vec<(String, String)> {
    let mut env = vec![
        ("HTTP_STATUS".to_owned(), response.status.to_string()),
        ("HTTP_VERSION".to_owned(), response.version.clone()),
        ("HTTP_URL".to_owned(), response.url.clone()),
        ("PEER".to_owned(), response.peer.clone()),
    ];
    let content_type = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-type"));
    if let Some(header) = content_type {
        env.push(("CONTENT_TYPE".to_owned(), header.value.replace('\0', "")));
    }
    if response.truncated {
        env.push(("TRUNCATED".to_owned(), "1".to_owned()));
    }
    env.extend(times(&response.timings));
    env
}

/// Phases in milliseconds, those that there were.
fn times(timings: &Timings) -> impl Iterator<Item = (String, String)> {
    let phases = [
        ("TIME_RESOLVE_MS", timings.resolve),
        ("TIME_CONNECT_MS", timings.connect),
        ("TIME_TLS_MS", timings.tls),
        ("TIME_FIRST_BYTE_MS", timings.first_byte),
        ("TIME_TOTAL_MS", Some(timings.total)),
    ];
    phases.into_iter().filter_map(|(name, micros)| {
        let time = Duration::from_micros(micros?);
        Some((
            name.to_owned(),
            format!("{:.3}", time.as_secs_f64() * 1_000.0),
        ))
    })
}

async fn over_tcp(data: &mut RunData, input: &TcpInput) -> Exchange {
    let tls = input.tls.then(|| tls(input.verify_tls));
    let connection = match data.connect(input.host.clone(), input.port, tls).await? {
        Ok(connection) => connection,
        Err(error) => return Ok(Err(error)),
    };
    // The table owns it until the run ends; handles are only numbers.
    let handle = || wasmtime::component::Resource::new_borrow(connection.rep());
    if let Some(text) = &input.send
        && let Err(error) = data.write(handle(), text.clone().into_bytes()).await?
    {
        return Ok(Err(error));
    }
    let mut body = Vec::new();
    let mut truncated = false;
    if let Some(delimiter) = &input.until {
        match data
            .read_until(handle(), delimiter.clone().into_bytes(), MAX_INPUT)
            .await?
        {
            Ok(bytes) => body = bytes,
            Err(error) => return Ok(Err(error)),
        }
    } else {
        loop {
            match data.read(handle(), READ).await? {
                Ok(bytes) if bytes.is_empty() => break,
                Ok(bytes) => body.extend_from_slice(&bytes),
                Err(error) => return Ok(Err(error)),
            }
            if body.len() > MAX_INPUT as usize {
                body.truncate(MAX_INPUT as usize);
                truncated = true;
                break;
            }
        }
    }
    let mut env = vec![("PEER".to_owned(), data.peer(handle()).await?)];
    if truncated {
        env.push(("TRUNCATED".to_owned(), "1".to_owned()));
    }
    env.extend(times(&data.timings(handle()).await?));
    data.drop(connection).await?;
    Ok(Ok(Fetched {
        body: body.into(),
        env,
    }))
}

/// The end of a file, from the beginning of a line. A file that is not there is
/// critical, as an answer that does not come; a folder that nobody granted or
/// that cannot be opened is a fault.
async fn file_end(
    data: &mut RunData,
    input: &FileInput,
) -> wasmtime::Result<Result<Fetched, Result<Report, Fault>>> {
    let (folder, path) = (input.folder.clone(), input.path.clone());
    let looked = match files::Host::stat(data, folder.clone(), path.clone()).await? {
        Ok(metadata) => metadata,
        Err(error) => return Ok(Err(no_file(error, &data.redactor))),
    };
    let most = input.most();
    // One byte more, which says whether a line begins there.
    let from = looked.size.saturating_sub(most + 1);
    let length = u32::try_from(looked.size.min(most + 1)).unwrap_or(u32::MAX);
    let mut body = Vec::new();
    while body.len() < length as usize {
        let left = length - body.len() as u32;
        let at = from + body.len() as u64;
        match files::Host::read(data, folder.clone(), path.clone(), at, left).await? {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(mut bytes) => body.append(&mut bytes),
            Err(error) => return Ok(Err(no_file(error, &data.redactor))),
        }
    }
    let truncated = looked.size > most;
    if truncated {
        let begins = body.iter().position(|byte| *byte == b'\n');
        body.drain(..begins.map_or(1, |at| at + 1).min(body.len()));
    }
    let mut env = vec![
        ("FILE_SIZE".to_owned(), looked.size.to_string()),
        (
            "FILE_MODIFIED".to_owned(),
            (looked.modified / 1_000_000).to_string(),
        ),
    ];
    if truncated {
        env.push(("TRUNCATED".to_owned(), "1".to_owned()));
    }
    Ok(Ok(Fetched {
        body: body.into(),
        env,
    }))
}

fn no_file(error: FileError, redactor: &Redactor) -> Result<Report, Fault> {
    match error {
        FileError::Denied(what) => Err(denied_fault(&what, redactor)),
        FileError::NotFound(what) => Ok(critical(format!("no such file: {what}"))),
        FileError::Invalid(text) | FileError::Failed(text) => {
            Err(Fault::new(FaultKind::Failed, format!("input: {text}")))
        }
    }
}

fn critical(summary: String) -> Report {
    Report {
        state: State::Critical,
        summary,
        details: String::new(),
        metrics: Vec::new(),
    }
}

/// What a failed exchange means: a target that is down is a report, a missing
/// grant or a wrong request is a fault.
fn judge(error: Error, redactor: &Redactor) -> Result<Report, Fault> {
    let summary = match error {
        Error::Denied(what) => return Err(denied_fault(&what, redactor)),
        Error::Invalid(text) => {
            return Err(Fault::new(FaultKind::Config, format!("input: {text}")));
        }
        Error::Timeout(phase) => return Ok(timed_out(phase_name(phase))),
        Error::Resolve(text) => format!("name does not resolve: {text}"),
        Error::Refused => "connection refused in connect".to_owned(),
        Error::Unreachable(text) => format!("unreachable in connect: {text}"),
        Error::Closed(text) => format!("connection closed: {text}"),
        Error::Tls(text) => format!("TLS failed: {text}"),
        Error::Protocol(text) => format!("protocol error: {text}"),
        Error::TooLarge(limit) => format!("answer larger than {limit} bytes"),
    };
    Ok(critical(summary))
}
