//! From a handshake to a report.

use bellwether_plugin::endpoint::{Endpoint, one_line};
use bellwether_plugin::findings::Findings;
use bellwether_plugin::http::shorten;
use bellwether_plugin::login::may_send;
use bellwether_plugin::net::{Connection, Error, Net, judge as judge_error};
use bellwether_plugin::text::{Number, printable, quoted};
use bellwether_plugin::wire::unexpected;
use bellwether_plugin::{ProbeError, Report, Request, State};

use crate::auth::{CACHING_SHA2, NATIVE, go_on, proof};
use crate::config::{Config, Tls};
use crate::load::Load;
use crate::protocol::{Greeting, Refusal, login, packet, read_packet, ssl_request, statistic};
use crate::rows::{Rows, ask};

/// How the handshake ended.
enum Outcome {
    /// With a session.
    Session(Session),
    /// With a method of proof that is not known here.
    Method(String),
    /// With the wish for a password.
    Password,
    Refused(Refusal),
}

/// What a session told.
struct Session {
    /// Of COM_STATISTICS.
    statistics: String,
    load: Load,
    rows: Option<Result<Rows, Refusal>>,
}

impl Session {
    fn connections(&self) -> Option<f64> {
        statistic(&self.statistics, "Threads")
    }

    fn value(&self) -> Option<f64> {
        self.rows.as_ref()?.as_ref().ok()?.number(0)
    }
}

/// Shakes hands and judges.
pub fn check(
    request: &Request,
    config: &Config,
    password: Option<&str>,
    net: &dyn Net,
) -> Result<Report, ProbeError> {
    one_line("/user", config.user.as_deref())?;
    let endpoint = config.endpoint(3306);
    let connection = match endpoint.connect(request, net, false) {
        Ok(connection) => connection,
        Err(error) => return judge_error(error),
    };
    let mut findings = Findings::default();
    let mut greeting = None;
    let talked = talk(
        request,
        config,
        password,
        &endpoint,
        &*connection,
        &mut greeting,
    );
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
        let with_password = password.is_some();
        judge(config, with_password, outcome, &mut summary, &mut findings);
    }
    let report = endpoint.report(request, &*connection, findings, summary);
    Ok(with_metrics(report, outcome.as_ref()))
}

fn talk(
    request: &Request,
    config: &Config,
    password: Option<&str>,
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
    let mut sequence = 1;
    let seen = greeting.insert(seen);
    if tls {
        if !seen.offers_tls() {
            return Err(Error::Protocol("the server does not offer TLS".to_owned()));
        }
        connection.write(&ssl_request(sequence))?;
        connection.start_tls(&endpoint.tls())?;
        sequence += 1;
    }
    // The handshake is brought to its end: a server blocks the hosts of those
    // who leave in the middle (max_connect_errors).
    let user = config.user.as_deref().unwrap_or("bellwether");
    let method = match seen.method.as_str() {
        CACHING_SHA2 => CACHING_SHA2,
        _ => NATIVE,
    };
    let mut first_proof = Vec::new();
    if let Some(password) = password {
        // Whoever reads a proof can guess passwords by the million.
        may_send(connection, config.allow_plaintext)?;
        first_proof = proof(method, password, &seen.scramble).unwrap_or_default();
    }
    connection.write(&login(sequence, user, tls, method, &first_proof))?;
    let mut answer = read_packet(connection, LOGIN)?;
    if let Some(password) = password {
        answer = match go_on(connection, answer, password, tls, config.allow_plaintext)? {
            Ok(answer) => answer,
            Err(method) => return Ok(Outcome::Method(method)),
        };
    } else if answer.payload.first() == Some(&0xfe) {
        // Another method, and still no password.
        connection.write(&packet(answer.sequence.wrapping_add(1), b""))?;
        answer = read_packet(connection, LOGIN)?;
    }
    match answer.payload.first() {
        Some(0x00) => {
            let mariadb = seen.version.contains("MariaDB");
            let session = ask_all(request, config, password.is_some(), mariadb, connection)?;
            // The judgement stands; a server that hangs up first is right too.
            let _ = connection.write(&packet(0, b"\x01"));
            Ok(Outcome::Session(session))
        }
        // More of a method that a password is needed for.
        Some(0x01) => Ok(Outcome::Password),
        _ => match Refusal::read(&answer.payload) {
            Some(refusal) => Ok(Outcome::Refused(refusal)),
            None => Err(unexpected(LOGIN, &answer.payload)),
        },
    }
}

fn ask_all(
    request: &Request,
    config: &Config,
    with_password: bool,
    mariadb: bool,
    connection: &dyn Connection,
) -> Result<Session, Error> {
    connection.write(&packet(0, b"\x09"))?;
    let statistics = read_packet(connection, "the server's statistics")?.payload;
    let load = Load::ask(connection, config, with_password)?;
    let mut rows = None;
    if let Some(text) = &config.query {
        // Whatever the query says, it changes nothing and ends.
        let limit = match mariadb {
            true => format!(
                "max_statement_time = {}",
                f64::from(request.timeout_ms) / 1e3
            ),
            false => format!("max_execution_time = {}", request.timeout_ms),
        };
        // A proxy may not know it.
        let _ = ask(connection, &format!("SET SESSION {limit}"))?;
        rows = Some(match ask(connection, "START TRANSACTION READ ONLY")? {
            Ok(_) => ask(connection, text)?,
            Err(refusal) => Err(refusal),
        });
    }
    Ok(Session {
        statistics: String::from_utf8_lossy(&statistics).into_owned(),
        load,
        rows,
    })
}

fn judge(
    config: &Config,
    with_password: bool,
    outcome: &Outcome,
    summary: &mut String,
    findings: &mut Findings,
) {
    let text = |refusal: &Refusal| {
        let message = shorten(&printable(refusal.message.as_bytes()), 200);
        format!("{message} ({})", refusal.code)
    };
    let mut login = |what: &str| {
        summary.push_str(what);
        if config.needs_session() {
            findings.unknown("no session without a password; set password_secret");
        }
    };
    match outcome {
        Outcome::Password => login(" takes connections, asks for a password"),
        Outcome::Method(method) => {
            let method = shorten(&printable(method.as_bytes()), 60);
            summary.push_str(&format!(" takes connections, asks for {method}"));
            findings.unknown(format!(
                "this probe logs in with {NATIVE} or {CACHING_SHA2}"
            ));
        }
        Outcome::Refused(refusal) if refusal.is_about_the_login() && with_password => {
            findings.critical(format!("refuses the login: {}", text(refusal)));
        }
        Outcome::Refused(refusal) if refusal.is_about_the_login() => {
            login(&format!(
                " takes connections, refuses the login: {}",
                text(refusal)
            ));
        }
        // The server is up, and nothing more can be said from here.
        Outcome::Refused(refusal) if refusal.is_about_the_host() => findings.warning(text(refusal)),
        Outcome::Refused(refusal) => findings.critical(text(refusal)),
        Outcome::Session(session) => {
            summary.push_str(" ready");
            match session.connections() {
                Some(connections) => {
                    let (warn, critical) = (config.threads_warn, config.threads_critical);
                    findings.above("connections", connections, warn, critical);
                }
                None => findings.unknown(format!(
                    "expected statistics with Threads, found {}",
                    quoted(session.statistics.as_bytes())
                )),
            }
            session.load.judge(config, session.connections(), findings);
            match (&session.rows, session.value()) {
                (None, _) => {}
                (Some(Err(refusal)), _) => {
                    findings.critical(format!("the query failed: {}", text(refusal)));
                }
                (Some(Ok(_)), Some(value)) => {
                    findings.above("value", value, config.warn_above, config.critical_above);
                    findings.below("value", value, config.warn_below, config.critical_below);
                }
                (Some(Ok(rows)), None) => {
                    let found = match rows.first.first() {
                        Some(Some(text)) => quoted(text.as_bytes()),
                        Some(None) => "NULL".to_owned(),
                        None => "no row".to_owned(),
                    };
                    findings.unknown(format!("expected a number from the query, found {found}"));
                }
            }
            if findings.state() == State::Ok {
                if let Some(connections) = session.connections() {
                    summary.push_str(&format!(", connections {}", Number(connections)));
                }
                if let Some(value) = session.value() {
                    summary.push_str(&format!(", value {}", Number(value)));
                }
            }
        }
    }
}

fn with_metrics(mut report: Report, outcome: Option<&Outcome>) -> Report {
    let Some(outcome) = outcome else {
        return report;
    };
    let Outcome::Session(session) = outcome else {
        return report.metric("ready", 0.0);
    };
    for (metric, name) in [
        ("uptime_s", "Uptime"),
        ("threads", "Threads"),
        ("questions", "Questions"),
        ("slow_queries", "Slow queries"),
        ("queries_per_second", "Queries per second avg"),
    ] {
        report = report.metric_if(metric, statistic(&session.statistics, name));
    }
    let rows = session.rows.as_ref().and_then(|rows| rows.as_ref().ok());
    session
        .load
        .metrics(report, session.connections())
        .metric_if("value", session.value())
        .metric_if("rows", rows.map(|rows| rows.count as f64))
        .metric("ready", 1.0)
}
