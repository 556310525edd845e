//! From a conversation to a report.

use bellwether_plugin::findings::Findings;
use bellwether_plugin::greeting::{Encryption, Greeting};
use bellwether_plugin::net::{Connection, Error, Net, TlsOptions, judge as judge_error};
use bellwether_plugin::wire::{MAX_LINES, read_line, unexpected};
use bellwether_plugin::{ProbeError, Report, Request};

use crate::config::{Config, Protocol};

/// Talks and judges.
pub fn check(request: &Request, config: &Config, net: &dyn Net) -> Result<Report, ProbeError> {
    let tls = config.tls.unwrap_or_default();
    let endpoint = config.endpoint(config.usual_port());
    let connection = match endpoint.connect(request, net, tls == Encryption::Implicit) {
        Ok(connection) => connection,
        Err(error) => return judge_error(error),
    };
    let mut findings = Findings::default();
    let mut seen = Greeting::default();
    let upgrade = (tls == Encryption::Starttls).then(|| endpoint.tls());
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
            summary = format!("{name} ready, {} capabilities", seen.offers.len());
            let require = config.require.as_deref().unwrap_or_default();
            seen.judge(config.expect_banner.as_deref(), require, &mut findings);
        }
        Err(error) => findings.failed(error)?,
    }
    let report = endpoint.report(request, &*connection, findings, summary);
    Ok(seen.show(report, "capabilities"))
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
    seen: &mut Greeting,
) -> Result<(), Error> {
    const GREETING: &str = "an IMAP greeting (* OK)";
    let line = read_line(connection, GREETING)?;
    let greeting = behind(&line, "* OK").or_else(|| behind(&line, "* PREAUTH"));
    let Some(banner) = greeting else {
        return Err(unexpected(GREETING, &line));
    };
    seen.banner = text(banner);
    seen.offers = imap_command(connection, "a1", "CAPABILITY")?;
    if let Some(options) = upgrade {
        seen.demand("STARTTLS")?;
        imap_command(connection, "a2", "STARTTLS")?;
        connection.start_tls(options)?;
        seen.offers = imap_command(connection, "a3", "CAPABILITY")?;
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
    seen: &mut Greeting,
) -> Result<(), Error> {
    const GREETING: &str = "a POP3 greeting (+OK)";
    let line = read_line(connection, GREETING)?;
    let Some(banner) = behind(&line, "+OK") else {
        return Err(unexpected(GREETING, &line));
    };
    seen.banner = text(banner);
    seen.offers = capa(connection)?;
    if let Some(options) = upgrade {
        seen.demand("STLS")?;
        connection.write(b"STLS\r\n")?;
        let line = read_line(connection, "an answer to STLS (+OK)")?;
        if behind(&line, "+OK").is_none() {
            return Err(unexpected("an answer to STLS (+OK)", &line));
        }
        connection.start_tls(options)?;
        seen.offers = capa(connection)?;
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

fn too_long(expected: &str) -> Error {
    Error::Protocol(format!(
        "expected {expected} of at most {MAX_LINES} lines, found more"
    ))
}
