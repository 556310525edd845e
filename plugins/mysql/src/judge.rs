//! From a handshake to a report.

use bellwether_plugin::endpoint::{Endpoint, one_line};
use bellwether_plugin::findings::Findings;
use bellwether_plugin::http::shorten;
use bellwether_plugin::net::{Connection, Error, Net, judge as judge_error};
use bellwether_plugin::text::{Number, printable, quoted};
use bellwether_plugin::wire::unexpected;
use bellwether_plugin::{ProbeError, Report, Request, State};

use crate::config::{Config, Tls};
use crate::protocol::{Greeting, Refusal, login, packet, read_packet, ssl_request, statistic};

/// How the handshake ended.
enum Outcome {
    /// With a session; the text is the server's statistics.
    Session(String),
    /// With the wish for a password.
    Password,
    Refused(Refusal),
}

/// Shakes hands and judges.
pub fn check(request: &Request, config: &Config, net: &dyn Net) -> Result<Report, ProbeError> {
    one_line("/user", config.user.as_deref())?;
    let endpoint = config.endpoint(3306);
    let connection = match endpoint.connect(request, net, false) {
        Ok(connection) => connection,
        Err(error) => return judge_error(error),
    };
    let mut findings = Findings::default();
    let mut greeting = None;
    let talked = talk(config, &endpoint, &*connection, &mut greeting);
    let mut summary = String::new();
    if let Some(greeting) = &greeting {
        let version = printable(greeting.version.as_bytes());
        summary = shorten(&format!("MySQL {version}"), 80);
        if greeting.version.contains("MariaDB") {
            summary = shorten(&version, 80);
        }
        if let Some(text) = &config.expect_version
            && !greeting.version.starts_with(text.as_str())
        {
            let found = quoted(greeting.version.as_bytes());
            findings.critical(format!("expected version \"{text}\", found {found}"));
        }
    }
    let outcome = match talked {
        Ok(outcome) => Some(outcome),
        Err(error) => {
            findings.failed(error)?;
            None
        }
    };
    if let Some(outcome) = &outcome {
        judge(config, outcome, &mut summary, &mut findings);
    }
    let report = endpoint.report(request, &*connection, findings, summary);
    Ok(with_metrics(report, outcome.as_ref()))
}

fn talk(
    config: &Config,
    endpoint: &Endpoint<'_>,
    connection: &dyn Connection,
    greeting: &mut Option<Greeting>,
) -> Result<Outcome, Error> {
    const GREETING: &str = "a MySQL greeting";
    const LOGIN: &str = "an answer to the login";
    let first = read_packet(connection, GREETING)?;
    if let Some(refusal) = Refusal::read(&first.payload) {
        return Ok(Outcome::Refused(refusal));
    }
    let seen =
        Greeting::read(&first.payload).ok_or_else(|| unexpected(GREETING, &first.payload))?;
    let tls = config.tls == Some(Tls::Require);
    let offers_tls = seen.offers_tls();
    *greeting = Some(seen);
    let mut sequence = 1;
    if tls {
        if !offers_tls {
            return Err(Error::Protocol("the server does not offer TLS".to_owned()));
        }
        connection.write(&ssl_request(sequence))?;
        connection.start_tls(&endpoint.tls())?;
        sequence += 1;
    }
    // The handshake is brought to its end: a server blocks the hosts of those
    // who leave in the middle (max_connect_errors).
    let user = config.user.as_deref().unwrap_or("bellwether");
    connection.write(&login(sequence, user, tls))?;
    let mut answer = read_packet(connection, LOGIN)?;
    if answer.payload.first() == Some(&0xfe) {
        // Another method, and still no password.
        connection.write(&packet(answer.sequence.wrapping_add(1), b""))?;
        answer = read_packet(connection, LOGIN)?;
    }
    match answer.payload.first() {
        Some(0x00) => {
            connection.write(&packet(0, b"\x09"))?;
            let statistics = read_packet(connection, "the server's statistics")?;
            // The judgement stands; a server that hangs up first is right too.
            let _ = connection.write(&packet(0, b"\x01"));
            Ok(Outcome::Session(
                String::from_utf8_lossy(&statistics.payload).into_owned(),
            ))
        }
        // More of a method that a password is needed for.
        Some(0x01) => Ok(Outcome::Password),
        _ => match Refusal::read(&answer.payload) {
            Some(refusal) => Ok(Outcome::Refused(refusal)),
            None => Err(unexpected(LOGIN, &answer.payload)),
        },
    }
}

fn judge(config: &Config, outcome: &Outcome, summary: &mut String, findings: &mut Findings) {
    let text = |refusal: &Refusal| {
        let message = shorten(&printable(refusal.message.as_bytes()), 200);
        format!("{message} ({})", refusal.code)
    };
    let mut login = |what: &str| {
        summary.push_str(what);
        if config.needs_session() {
            findings.unknown("no session without a password, which this probe does not give");
        }
    };
    match outcome {
        Outcome::Password => login(" takes connections, asks for a password"),
        Outcome::Refused(refusal) if refusal.is_about_the_login() => {
            login(&format!(
                " takes connections, refuses the login: {}",
                text(refusal)
            ));
        }
        // The server is up, and nothing more can be said from here.
        Outcome::Refused(refusal) if refusal.is_about_the_host() => findings.warning(text(refusal)),
        Outcome::Refused(refusal) => findings.critical(text(refusal)),
        Outcome::Session(statistics) => {
            summary.push_str(" ready");
            match statistic(statistics, "Threads") {
                Some(threads) => {
                    let (warn, critical) = (config.threads_warn, config.threads_critical);
                    findings.above("connections", threads, warn, critical);
                    if findings.state() == State::Ok {
                        summary.push_str(&format!(", connections {}", Number(threads)));
                    }
                }
                None => findings.unknown(format!(
                    "expected statistics with Threads, found {}",
                    quoted(statistics.as_bytes())
                )),
            }
        }
    }
}

fn with_metrics(mut report: Report, outcome: Option<&Outcome>) -> Report {
    let Some(outcome) = outcome else {
        return report;
    };
    let Outcome::Session(statistics) = outcome else {
        return report.metric("ready", 0.0);
    };
    for (metric, name) in [
        ("uptime_s", "Uptime"),
        ("threads", "Threads"),
        ("questions", "Questions"),
        ("slow_queries", "Slow queries"),
        ("queries_per_second", "Queries per second avg"),
    ] {
        report = report.metric_if(metric, statistic(statistics, name));
    }
    report.metric("ready", 1.0)
}
