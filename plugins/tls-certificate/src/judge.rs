//! From a handshake to a report.

use bellwether_plugin::endpoint::Endpoint;
use bellwether_plugin::findings::{Findings, Limits};
use bellwether_plugin::net::{Certificate, Connection, Error, Net, judge as judge_error};
use bellwether_plugin::text::quoted;
use bellwether_plugin::wire::{expect_reply, postgres_wants_tls, read_line, unexpected};
use bellwether_plugin::{ProbeError, Report, Request};

use crate::config::{Config, Starttls};

/// Microseconds of a day.
const DAY: f64 = 86_400_000_000.0;

/// Shakes hands and judges what was shown.
pub fn check(request: &Request, config: &Config, net: &dyn Net) -> Result<Report, ProbeError> {
    let mut findings = Findings::default();
    let (connection, trust) = match open(request, config, net, config.verify) {
        // The certificate itself says more than that it is not trusted: take
        // any, and show it.
        Err(Error::Tls(reason)) if config.verify => match open(request, config, net, false) {
            Ok(connection) => {
                findings.critical(format!("not trusted: {reason}"));
                (connection, Some(0.0))
            }
            Err(_) => return judge_error(Error::Tls(reason)),
        },
        Ok(connection) => (connection, config.verify.then_some(1.0)),
        Err(error) => return judge_error(error),
    };
    let Some(certificate) = connection.certificate() else {
        findings.unknown("the server showed no certificate that can be read");
        return Ok(findings.report(""));
    };
    judge(config, &certificate, &mut findings);
    let left = certificate.days_left(request.now);
    let name = certificate
        .names
        .first()
        .unwrap_or(&certificate.subject)
        .as_str();
    let validity = certificate.not_after.saturating_sub(certificate.not_before) as f64 / DAY;
    // The endpoint's judgement says so where it has too few days left.
    let summary = if left < config.warn_days.max(config.critical_days) {
        name.to_owned()
    } else {
        format!("{name}: {left:.1} days left")
    };
    let limits = Limits {
        cert_warn_days: Some(config.warn_days),
        cert_critical_days: Some(config.critical_days),
        ..Limits::default()
    };
    let endpoint = Endpoint {
        limits,
        ..endpoint(config, config.verify)
    };
    Ok(endpoint
        .report(request, &*connection, findings, summary)
        .metric("validity_days", validity.round())
        .metric_if("trusted", trust)
        .detail(format!("SHA-256 {}", certificate.sha256)))
}

fn endpoint(config: &Config, verify: bool) -> Endpoint<'_> {
    Endpoint {
        host: config.host.as_deref(),
        port: config.port.unwrap_or(config.starttls.port()),
        server_name: config.server_name.as_deref(),
        limits: Limits {
            verify,
            ..Limits::default()
        },
    }
}

/// Names, issuer and fingerprint; the age is the endpoint's.
fn judge(config: &Config, certificate: &Certificate, findings: &mut Findings) {
    let missing: Vec<&str> = config
        .names
        .iter()
        .filter(|name| !certificate.names.iter().any(|known| covers(known, name)))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        findings.critical(format!(
            "not valid for {}, only for {}",
            missing.join(", "),
            quoted(certificate.names.join(", ").as_bytes())
        ));
    }
    if let Some(issuer) = &config.issuer
        && !certificate
            .issuer
            .to_lowercase()
            .contains(&issuer.to_lowercase())
    {
        findings.critical(format!(
            "expected an issuer with \"{issuer}\", found {}",
            quoted(certificate.issuer.as_bytes())
        ));
    }
    let plain = |text: &str| text.replace(':', "").to_ascii_lowercase();
    let pinned = config
        .fingerprints
        .iter()
        .any(|fingerprint| plain(fingerprint) == plain(&certificate.sha256));
    if !pinned && !config.fingerprints.is_empty() {
        findings.critical(format!(
            "none of the expected fingerprints, found {}",
            certificate.sha256
        ));
    }
}

/// True where a certificate's name stands for the wanted one; a wildcard stands
/// for exactly one label (RFC 6125).
pub fn covers(known: &str, wanted: &str) -> bool {
    let (known, wanted) = (known.trim_end_matches('.'), wanted.trim_end_matches('.'));
    if known.eq_ignore_ascii_case(wanted) {
        return true;
    }
    match (known.strip_prefix("*."), wanted.split_once('.')) {
        (Some(domain), Some((label, rest))) => {
            !label.is_empty() && domain.contains('.') && domain.eq_ignore_ascii_case(rest)
        }
        _ => false,
    }
}

fn open(
    request: &Request,
    config: &Config,
    net: &dyn Net,
    verify: bool,
) -> Result<Box<dyn Connection>, Error> {
    let endpoint = endpoint(config, verify);
    if config.starttls == Starttls::None {
        return endpoint.connect(request, net, true);
    }
    let connection = endpoint.connect(request, net, false)?;
    ask_for_tls(config.starttls, &*connection)?;
    connection
        .start_tls(&endpoint.tls())
        .map_err(|error| match error {
            Error::Protocol(text) | Error::Closed(text) => {
                Error::Protocol(format!("in the TLS handshake: {text}"))
            }
            other => other,
        })?;
    Ok(connection)
}

/// Speaks the protocol up to where TLS may start.
pub fn ask_for_tls(protocol: Starttls, connection: &dyn Connection) -> Result<(), Error> {
    match protocol {
        Starttls::None => Ok(()),
        Starttls::Smtp => {
            expect_reply(connection, 220, "an SMTP greeting")?;
            connection.write(b"EHLO bellwether.invalid\r\n")?;
            expect_reply(connection, 250, "an answer to EHLO")?;
            connection.write(b"STARTTLS\r\n")?;
            expect_reply(connection, 220, "an answer to STARTTLS").map(drop)
        }
        Starttls::Ftp => {
            expect_reply(connection, 220, "an FTP greeting")?;
            connection.write(b"AUTH TLS\r\n")?;
            expect_reply(connection, 234, "an answer to AUTH TLS").map(drop)
        }
        Starttls::Imap => {
            expect_start(connection, b"* OK", "an IMAP greeting (* OK)")?;
            connection.write(b"a STARTTLS\r\n")?;
            expect_start(connection, b"a OK", "an answer to STARTTLS (a OK)")
        }
        Starttls::Pop3 => {
            expect_start(connection, b"+OK", "a POP3 greeting (+OK)")?;
            connection.write(b"STLS\r\n")?;
            expect_start(connection, b"+OK", "an answer to STLS (+OK)")
        }
        Starttls::Postgres if postgres_wants_tls(connection)? => Ok(()),
        Starttls::Postgres => Err(Error::Protocol(
            "the PostgreSQL server does without TLS; expected ssl = on".to_owned(),
        )),
    }
}

fn expect_start(connection: &dyn Connection, start: &[u8], expected: &str) -> Result<(), Error> {
    let line = read_line(connection, expected)?;
    match line.split_at_checked(start.len()) {
        Some((found, _)) if found.eq_ignore_ascii_case(start) => Ok(()),
        _ => Err(unexpected(expected, &line)),
    }
}
