//! From a session to a report.

use bellwether_plugin::endpoint::{Endpoint, one_line};
use bellwether_plugin::findings::Findings;
use bellwether_plugin::http::shorten;
use bellwether_plugin::net::{Connection, Error, Net, judge as judge_error};
use bellwether_plugin::text::{Number, printable, quoted};
use bellwether_plugin::wire::postgres_wants_tls;
use bellwether_plugin::{ProbeError, Report, Request, State};

use crate::auth::{Login, log_in};
use crate::config::{Config, Role, Tls};
use crate::load::{Load, STATISTICS};
use crate::protocol::{Refusal, Rows, Start, TERMINATE, query, read_rows, read_start, startup};

/// What the server said.
struct Seen {
    start: Start,
    load: Option<Result<Load, Refusal>>,
    rows: Option<Result<Rows, Refusal>>,
}

/// Asks and judges.
pub fn check(
    request: &Request,
    config: &Config,
    password: Option<&str>,
    net: &dyn Net,
) -> Result<Report, ProbeError> {
    one_line("/user", config.user.as_deref())?;
    one_line("/database", config.database.as_deref())?;
    if config
        .query
        .as_deref()
        .is_some_and(|text| text.contains('\0'))
    {
        return Err(ProbeError::config(
            "/query",
            "expected text without a zero byte",
        ));
    }
    let endpoint = config.endpoint(5432);
    let connection = match endpoint.connect(request, net, false) {
        Ok(connection) => connection,
        Err(error) => return judge_error(error),
    };
    let mut findings = Findings::default();
    match talk(request, config, password, &endpoint, &*connection) {
        Ok(seen) => {
            let summary = judge(config, password.is_some(), &seen, &mut findings);
            let report = endpoint.report(request, &*connection, findings, summary);
            Ok(with_metrics(report, &seen))
        }
        Err(error) => {
            findings.failed(error)?;
            Ok(endpoint.report(request, &*connection, findings, ""))
        }
    }
}

fn talk(
    request: &Request,
    config: &Config,
    password: Option<&str>,
    endpoint: &Endpoint<'_>,
    connection: &dyn Connection,
) -> Result<Seen, Error> {
    let tls = config.tls.unwrap_or_default();
    if tls != Tls::None {
        if postgres_wants_tls(connection)? {
            connection.start_tls(&endpoint.tls())?;
        } else if tls == Tls::Require {
            return Err(Error::Protocol(
                "the server does without TLS; expected ssl = on".to_owned(),
            ));
        }
    }
    let user = config.user.as_deref().unwrap_or("bellwether");
    let timeout = request.timeout_ms.to_string();
    let mut parameters = vec![
        ("user", user),
        ("database", config.database.as_deref().unwrap_or(user)),
        ("application_name", "bellwether"),
    ];
    if config.query.is_some() {
        // Whatever the query says, it changes nothing and ends. Not sent without
        // a query: connection poolers refuse parameters they do not know.
        parameters.push(("default_transaction_read_only", "on"));
        parameters.push(("statement_timeout", &timeout));
    }
    connection.write(&startup(&parameters))?;
    let mut start = read_start(connection)?;
    if let (Start::Login(demand), Some(password)) = (&start, password) {
        let login = Login::new(request, user, password, config.allow_plaintext, connection);
        start = log_in(connection, demand.clone(), &login)?;
    }
    let mut load = None;
    if matches!(start, Start::Ready(_)) && (config.needs_load() || password.is_some()) {
        connection.write(&query(STATISTICS))?;
        load = Some(read_rows(connection)?.map(|rows| Load::read(&rows.first)));
    }
    let mut rows = None;
    if let (Start::Ready(_), Some(text)) = (&start, &config.query) {
        connection.write(&query(text))?;
        rows = Some(read_rows(connection)?);
    }
    // The judgement stands; a server that hangs up first is right too.
    let _ = connection.write(TERMINATE);
    Ok(Seen { start, load, rows })
}

fn text(refusal: &Refusal) -> String {
    let message = shorten(&printable(refusal.message.as_bytes()), 200);
    format!("{message} ({})", printable(refusal.code.as_bytes()))
}

fn judge(config: &Config, with_password: bool, seen: &Seen, findings: &mut Findings) -> String {
    let login = |what: String, findings: &mut Findings| {
        if config.needs_session() {
            findings.unknown("no session without a password; set password_secret");
        }
        what
    };
    match &seen.start {
        Start::Login(demand) => {
            let method = shorten(&printable(demand.name().as_bytes()), 60);
            let what = format!("takes connections, asks for {method}");
            if with_password {
                findings.unknown("this probe logs in with SCRAM-SHA-256, MD5 or in clear only");
                return what;
            }
            login(what, findings)
        }
        Start::Refused(refusal) if refusal.is_about_the_login() && with_password => {
            findings.critical(format!("refuses the login: {}", text(refusal)));
            String::new()
        }
        Start::Refused(refusal) if refusal.is_about_the_login() => login(
            format!("takes connections, refuses the login: {}", text(refusal)),
            findings,
        ),
        Start::Refused(refusal) => {
            findings.critical(text(refusal));
            String::new()
        }
        Start::Ready(parameters) => {
            let version = parameters.get("server_version").map_or("?", String::as_str);
            let standby = parameters.get("in_hot_standby").map(|word| word == "on");
            let role = match standby {
                Some(true) => ", standby",
                Some(false) => ", primary",
                None => "",
            };
            match (config.role, standby) {
                (Some(_), None) => {
                    findings.unknown("the server does not say whether it is a standby")
                }
                (Some(Role::Primary), Some(true)) => findings.critical("expected a primary"),
                (Some(Role::Standby), Some(false)) => findings.critical("expected a standby"),
                _ => {}
            }
            judge_rows(config, seen, findings);
            match &seen.load {
                Some(Ok(load)) => load.judge(config, findings),
                // What nobody asked for may be missing: a pooler's console, an
                // old server.
                Some(Err(refusal)) if config.needs_load() => {
                    findings.critical(format!("the query of the load failed: {}", text(refusal)));
                }
                Some(Err(_)) | None => {}
            }
            let version = shorten(&printable(version.as_bytes()), 60);
            // Where it is out of bounds the findings say so.
            let value = match value(seen).filter(|_| findings.state() == State::Ok) {
                Some(value) => format!(", value {}", Number(value)),
                None => String::new(),
            };
            format!("PostgreSQL {version} ready{role}{value}")
        }
    }
}

fn value(seen: &Seen) -> Option<f64> {
    let rows = seen.rows.as_ref()?.as_ref().ok()?;
    number(rows.first.first()?.as_deref()?)
}

/// A column that is a number or a boolean.
pub fn number(text: &str) -> Option<f64> {
    let value: f64 = match text.trim() {
        "t" => 1.0,
        "f" => 0.0,
        number => number.parse().ok()?,
    };
    value.is_finite().then_some(value)
}

fn judge_rows(config: &Config, seen: &Seen, findings: &mut Findings) {
    match (&seen.rows, value(seen)) {
        (None, _) => {}
        (Some(Err(refusal)), _) => {
            findings.critical(format!("the query failed: {}", text(refusal)))
        }
        (Some(Ok(_)), Some(value)) => {
            findings.above("value", value, config.warn_above, config.critical_above);
            findings.below("value", value, config.warn_below, config.critical_below);
        }
        (Some(Ok(rows)), None) => {
            let found = match (rows.first.first().unwrap_or(&None), rows.count) {
                (Some(text), _) => quoted(text.as_bytes()),
                (None, 0) => "no row".to_owned(),
                (None, _) => "NULL".to_owned(),
            };
            findings.unknown(format!("expected a number from the query, found {found}"));
        }
    }
}

fn with_metrics(report: Report, seen: &Seen) -> Report {
    let (ready, standby) = match &seen.start {
        Start::Ready(parameters) => (1.0, parameters.get("in_hot_standby")),
        _ => (0.0, None),
    };
    let standby = standby.map(|word| if word == "on" { 1.0 } else { 0.0 });
    let rows = seen.rows.as_ref().and_then(|rows| rows.as_ref().ok());
    let report = match &seen.load {
        Some(Ok(load)) => load.metrics(report),
        _ => report,
    };
    report
        .metric("ready", ready)
        .metric_if("in_recovery", standby)
        .metric_if("value", value(seen))
        .metric_if("rows", rows.map(|rows| rows.count as f64))
}
