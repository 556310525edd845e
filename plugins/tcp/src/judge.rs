//! From an exchange to a report.

use bellwether_plugin::http::shorten;
use bellwether_plugin::net::{
    Connection, Error, Millis, Net, TlsOptions, explain, judge as judge_error, ms,
};
use bellwether_plugin::{ProbeError, Report, Request, State};
use regex_lite::Regex;

use crate::config::{Config, unescape};

/// Days that the certificate must last where the operator says nothing.
const CERT_WARN_DAYS: f64 = 14.0;
const CERT_CRITICAL_DAYS: f64 = 3.0;

/// Answers are read no further than this, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// What must come.
struct Expected {
    literal: Option<Vec<u8>>,
    pattern: Option<Regex>,
    text: String,
}

impl Expected {
    fn read(config: &Config) -> Result<Option<Self>, ProbeError> {
        let literal = match &config.expect {
            Some(text) => {
                Some(unescape(text).map_err(|error| ProbeError::config("/expect", error))?)
            }
            None => None,
        };
        let pattern = match &config.expect_regex {
            Some(text) => Some(Regex::new(text).map_err(|error| {
                ProbeError::config(
                    "/expect_regex",
                    format!("expected a regular expression: {error}"),
                )
            })?),
            None => None,
        };
        let shown = [config.expect.as_deref(), config.expect_regex.as_deref()];
        let text = shown
            .into_iter()
            .flatten()
            .map(|text| format!("\"{text}\""))
            .collect::<Vec<_>>();
        let wanted = literal.is_some() || pattern.is_some();
        Ok(wanted.then(|| Expected {
            literal,
            pattern,
            text: text.join(" and "),
        }))
    }

    fn met_by(&self, answer: &[u8]) -> bool {
        let literal = self.literal.as_ref().is_none_or(|literal| {
            literal.is_empty()
                || answer
                    .windows(literal.len())
                    .any(|window| window == literal)
        });
        literal
            && self
                .pattern
                .as_ref()
                .is_none_or(|pattern| pattern.is_match(&String::from_utf8_lossy(answer)))
    }
}

/// Connects, talks and judges.
pub fn check(request: &Request, config: &Config, net: &dyn Net) -> Result<Report, ProbeError> {
    let expected = Expected::read(config)?;
    let send = match &config.send {
        Some(text) => Some(unescape(text).map_err(|error| ProbeError::config("/send", error))?),
        None => None,
    };
    let host = config.host.as_deref().unwrap_or(&request.node.address);
    if host.is_empty() {
        return Err(ProbeError::config(
            "/host",
            "expected a host, found none; the node has no address",
        ));
    }
    let tls = config.tls.then(|| TlsOptions {
        server_name: config.server_name.clone(),
        verify: config.verify,
        alpn: Vec::new(),
    });
    let connection = match net.connect(host, config.port, tls.as_ref()) {
        Ok(connection) => connection,
        Err(error) => return judge_error(error),
    };
    let mut answer = Vec::new();
    let talked = talk(
        &*connection,
        send.as_deref(),
        expected.as_ref(),
        &mut answer,
    );
    if let Err(error @ (Error::Denied(_) | Error::Invalid(_))) = talked {
        return judge_error(error);
    }

    let timings = connection.timings();
    let latency = ms(timings.total);
    let mut critical = Vec::new();
    let mut warning = Vec::new();
    if let Err(error) = &talked {
        critical.push(explain(error));
    }
    if let Some(expected) = &expected
        && !expected.met_by(&answer)
    {
        let found = match answer.as_slice() {
            [] => "nothing".to_owned(),
            answer => format!("\"{}\"", shorten(&printable(answer), 80)),
        };
        critical.push(format!("expected {}, found {found}", expected.text));
    }
    match (config.warn_ms, config.critical_ms) {
        (_, Some(limit)) if latency > limit => {
            critical.push(format!("slower than {}", Millis(limit)));
        }
        (Some(limit), _) if latency > limit => {
            warning.push(format!("slower than {}", Millis(limit)))
        }
        _ => {}
    }
    let certificate = connection.certificate();
    let days = certificate
        .as_ref()
        .map(|certificate| certificate.days_left(request.now));
    if let Some(days) = days {
        judge_certificate(config, days, &mut critical, &mut warning);
    }

    let state = match (critical.is_empty(), warning.is_empty()) {
        (false, _) => State::Critical,
        (true, false) => State::Warning,
        (true, true) => State::Ok,
    };
    let mut summary = format!("port {} open in {}", config.port, Millis(latency));
    for text in critical.iter().chain(&warning) {
        summary.push_str(", ");
        summary.push_str(text);
    }
    let mut report = Report::new(state, summary)
        .metric("latency_ms", latency)
        .metric_if("dns_ms", timings.resolve.map(ms))
        .metric_if("connect_ms", timings.connect.map(ms))
        .metric_if("tls_ms", timings.tls.map(ms))
        .metric("size_bytes", answer.len() as f64)
        .metric_if("cert_days", days.map(|days| (days * 10.0).round() / 10.0))
        .detail(format!("answered from {}", connection.peer()));
    if let Some(certificate) = certificate {
        report = report.detail(format!(
            "certificate {} issued by {} for {}",
            certificate.subject,
            certificate.issuer,
            certificate.names.join(", ")
        ));
    }
    if !answer.is_empty() {
        report = report.detail(shorten(&printable(&answer), 500));
    }
    Ok(report)
}

/// Says what is to be said and reads until the expectation is met or nothing
/// more comes.
fn talk(
    connection: &dyn Connection,
    send: Option<&[u8]>,
    expected: Option<&Expected>,
    answer: &mut Vec<u8>,
) -> Result<(), Error> {
    if let Some(bytes) = send {
        connection.write(bytes)?;
    }
    let Some(expected) = expected else {
        return Ok(());
    };
    while !expected.met_by(answer) && answer.len() < MAX_ANSWER {
        let chunk = connection.read((MAX_ANSWER - answer.len()) as u32)?;
        if chunk.is_empty() {
            break;
        }
        answer.extend(chunk);
    }
    Ok(())
}

fn judge_certificate(
    config: &Config,
    days: f64,
    critical: &mut Vec<String>,
    warning: &mut Vec<String>,
) {
    // Whoever accepts any certificate does not want to hear of its age, unless
    // asked for.
    let default = |value: f64| config.verify.then_some(value);
    let text = if days < 0.0 {
        format!("the certificate expired {:.1} days ago", -days)
    } else {
        format!("the certificate expires in {days:.1} days")
    };
    let below = |limit: Option<f64>| limit.is_some_and(|limit| days < limit);
    if below(
        config
            .cert_critical_days
            .or_else(|| default(CERT_CRITICAL_DAYS)),
    ) {
        critical.push(text);
    } else if below(config.cert_warn_days.or_else(|| default(CERT_WARN_DAYS))) {
        warning.push(text);
    }
}

/// Text for people: line ends and bytes outside of ASCII as escapes.
fn printable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text
            .chars()
            .flat_map(|letter| {
                let escaped = letter.is_control();
                let plain = (!escaped).then_some(letter);
                plain.into_iter().chain(
                    escaped
                        .then(|| letter.escape_default())
                        .into_iter()
                        .flatten(),
                )
            })
            .collect(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}
