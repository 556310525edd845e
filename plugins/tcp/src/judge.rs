//! From an exchange to a report.

use bellwether_plugin::endpoint::Endpoint;
use bellwether_plugin::expect::{Regex, optional_pattern};
use bellwether_plugin::findings::{Findings, Limits};
use bellwether_plugin::http::shorten;
use bellwether_plugin::net::{Connection, Error, Millis, Net, judge as judge_error, ms};
use bellwether_plugin::text::{printable, quoted};
use bellwether_plugin::{ProbeError, Report, Request};

use crate::config::{Config, unescape};

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
        let pattern = optional_pattern("/expect_regex", config.expect_regex.as_deref())?;
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
    let endpoint = Endpoint {
        host: config.host.as_deref(),
        port: config.port,
        server_name: config.server_name.as_deref(),
        limits: Limits {
            warn_ms: config.warn_ms,
            critical_ms: config.critical_ms,
            cert_warn_days: config.cert_warn_days,
            cert_critical_days: config.cert_critical_days,
            verify: config.verify,
        },
    };
    let connection = match endpoint.connect(request, net, config.tls) {
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
    let mut findings = Findings::default();
    if let Err(error) = talked {
        findings.failed(error)?;
    }
    if let Some(expected) = &expected
        && !expected.met_by(&answer)
    {
        let found = quoted(&answer);
        findings.critical(format!("expected {}, found {found}", expected.text));
    }
    let latency = Millis(ms(connection.timings().total));
    let summary = format!("port {} open in {latency}", config.port);
    let report = endpoint
        .report(request, &*connection, findings, summary)
        .metric("size_bytes", answer.len() as f64);
    if answer.is_empty() {
        return Ok(report);
    }
    Ok(report.detail(shorten(&printable(&answer), 500)))
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
