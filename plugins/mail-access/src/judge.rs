//! From a conversation to a report.

use bellwether_plugin::findings::Findings;
use bellwether_plugin::net::{Connection, Error, Net, TlsOptions};
use bellwether_plugin::text::quoted;
use bellwether_plugin::wire::{MAX_LINES, has_word, read_line, unexpected};
use bellwether_plugin::{ProbeError, Report, Request};

use crate::config::{Config, Protocol, Tls};

/// What the server said.
#[derive(Debug, Default)]
pub struct Seen {
    /// The greeting, without its status.
    pub banner: String,
    /// What the server offers, after TLS where it is used.
    pub capabilities: Vec<String>,
}

/// Talks and judges.
pub fn check(request: &Request, config: &Config, net: &dyn Net) -> Result<Report, ProbeError> {
    let tls = config.tls.unwrap_or_default();
    let endpoint = config.endpoint(config.usual_port());
    let mut findings = Findings::default();
    let connection = match endpoint.connect(request, net, tls == Tls::Implicit) {
        Ok(connection) => connection,
        Err(error) => {
            findings.failed(error)?;
            return Ok(findings.report(""));
        }
    };
    let mut seen = Seen::default();
    let upgrade = (tls == Tls::Starttls).then(|| endpoint.tls());
    let talked = match config.protocol {
        Protocol::Imap => imap(&*connection, upgrade.as_ref(), &mut seen),
        Protocol::Pop3 => pop3(&*connection, upgrade.as_ref(), &mut seen),
    };
    let mut summary = String::new();
    match talked {
        Ok(()) => {
            let name = match config.protocol {
                Protocol::Imap => "IMAP",
                Protocol::Pop3 => "POP3",
            };
            summary = format!("{name} ready, {} capabilities", seen.capabilities.len());
            judge(config, &seen, &mut findings);
        }
        Err(error) => findings.failed(error)?,
    }
    let mut report = endpoint.report(request, &*connection, findings, summary);
    if !seen.capabilities.is_empty() {
        report = report
            .metric("capabilities", seen.capabilities.len() as f64)
            .detail(format!("offers {}", seen.capabilities.join(", ")));
    }
    if !seen.banner.is_empty() {
        report = report.detail(format!("banner {}", quoted(seen.banner.as_bytes())));
    }
    Ok(report)
}

fn judge(config: &Config, seen: &Seen, findings: &mut Findings) {
    if let Some(text) = &config.expect_banner
        && !seen.banner.to_lowercase().contains(&text.to_lowercase())
    {
        findings.critical(format!(
            "expected \"{text}\" in the banner, found {}",
            quoted(seen.banner.as_bytes())
        ));
    }
    for wanted in config.require.iter().flatten() {
        if !has_word(&seen.capabilities, wanted) {
            findings.critical(format!("does not offer {wanted}"));
        }
    }
}

/// The rest of a line behind a prefix, in any case.
fn behind<'a>(line: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(prefix.len())?;
    let whole = rest.is_empty() || rest.starts_with(b" ") || prefix.ends_with(' ');
    (start.eq_ignore_ascii_case(prefix.as_bytes()) && whole).then(|| rest.trim_ascii())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Greeting, capabilities, the upgrade where asked for, and the farewell.
pub fn imap(
    connection: &dyn Connection,
    upgrade: Option<&TlsOptions>,
    seen: &mut Seen,
) -> Result<(), Error> {
    const GREETING: &str = "an IMAP greeting (* OK)";
    let line = read_line(connection, GREETING)?;
    let greeting = behind(&line, "* OK").or_else(|| behind(&line, "* PREAUTH"));
    let Some(banner) = greeting else {
        return Err(unexpected(GREETING, &line));
    };
    seen.banner = text(banner);
    seen.capabilities = imap_command(connection, "a1", "CAPABILITY")?;
    if let Some(options) = upgrade {
        demand(&seen.capabilities, "STARTTLS")?;
        imap_command(connection, "a2", "STARTTLS")?;
        connection.start_tls(options)?;
        seen.capabilities = imap_command(connection, "a3", "CAPABILITY")?;
    }
    // The judgement stands; a server that hangs up first is right too.
    let _ = connection.write(b"a4 LOGOUT\r\n");
    Ok(())
}

/// Says a command and reads up to its tagged answer; returns the capabilities
/// among the untagged ones.
fn imap_command(
    connection: &dyn Connection,
    tag: &str,
    command: &str,
) -> Result<Vec<String>, Error> {
    connection.write(format!("{tag} {command}\r\n").as_bytes())?;
    let expected = format!("an answer to {command} ({tag} OK)");
    let mut capabilities = Vec::new();
    for _ in 0..MAX_LINES {
        let line = read_line(connection, &expected)?;
        if let Some(words) = behind(&line, "* CAPABILITY") {
            capabilities = text(words).split_whitespace().map(str::to_owned).collect();
        } else if behind(&line, &format!("{tag} OK")).is_some() {
            return Ok(capabilities);
        } else if !line.starts_with(b"* ") || behind(&line, "* BYE").is_some() {
            return Err(unexpected(&expected, &line));
        }
    }
    Err(too_long(&expected))
}

/// Greeting, capabilities, the upgrade where asked for, and the farewell.
pub fn pop3(
    connection: &dyn Connection,
    upgrade: Option<&TlsOptions>,
    seen: &mut Seen,
) -> Result<(), Error> {
    const GREETING: &str = "a POP3 greeting (+OK)";
    let line = read_line(connection, GREETING)?;
    let Some(banner) = behind(&line, "+OK") else {
        return Err(unexpected(GREETING, &line));
    };
    seen.banner = text(banner);
    seen.capabilities = capa(connection)?;
    if let Some(options) = upgrade {
        demand(&seen.capabilities, "STLS")?;
        connection.write(b"STLS\r\n")?;
        let line = read_line(connection, "an answer to STLS (+OK)")?;
        if behind(&line, "+OK").is_none() {
            return Err(unexpected("an answer to STLS (+OK)", &line));
        }
        connection.start_tls(options)?;
        seen.capabilities = capa(connection)?;
    }
    let _ = connection.write(b"QUIT\r\n");
    Ok(())
}

/// Capabilities (RFC 2449); none where the server does not know the command.
fn capa(connection: &dyn Connection) -> Result<Vec<String>, Error> {
    const EXPECTED: &str = "an answer to CAPA (+OK or -ERR)";
    connection.write(b"CAPA\r\n")?;
    let line = read_line(connection, EXPECTED)?;
    if behind(&line, "-ERR").is_some() {
        return Ok(Vec::new());
    }
    if behind(&line, "+OK").is_none() {
        return Err(unexpected(EXPECTED, &line));
    }
    let mut capabilities = Vec::new();
    for _ in 0..MAX_LINES {
        let line = read_line(connection, "a capability or a full stop")?;
        if line == b"." {
            return Ok(capabilities);
        }
        // Parameters, as in `SASL PLAIN`, are not part of the name.
        let name = text(&line);
        capabilities.extend(name.split_whitespace().next().map(str::to_owned));
    }
    Err(too_long("an answer to CAPA"))
}

fn demand(capabilities: &[String], wanted: &str) -> Result<(), Error> {
    if has_word(capabilities, wanted) {
        return Ok(());
    }
    Err(Error::Protocol(format!(
        "expected {wanted} among the capabilities, found {}",
        quoted(capabilities.join(", ").as_bytes())
    )))
}

fn too_long(expected: &str) -> Error {
    Error::Protocol(format!(
        "expected {expected} of at most {MAX_LINES} lines, found more"
    ))
}
