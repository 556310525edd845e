//! From a conversation to a report.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bellwether_plugin::findings::Findings;
use bellwether_plugin::greeting::{Encryption, Greeting};
use bellwether_plugin::http::shorten;
use bellwether_plugin::login::{self, Login};
use bellwether_plugin::net::{Connection, Error, Net, TlsOptions, judge as judge_error};
use bellwether_plugin::text::printable;
use bellwether_plugin::wire::{MAX_LINES, read_line, unexpected};
use bellwether_plugin::{ProbeError, Report, Request};

use crate::config::{Config, Protocol};

/// Talks and judges.
pub fn check(
    request: &Request,
    config: &Config,
    password: Option<&str>,
    net: &dyn Net,
) -> Result<Report, ProbeError> {
    let login = Login::of(config.user.as_deref(), password, config.allow_plaintext)?;
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
        Protocol::Imap => imap(&*connection, upgrade.as_ref(), login.as_ref(), &mut seen),
        Protocol::Pop3 => pop3(&*connection, upgrade.as_ref(), login.as_ref(), &mut seen),
    };
    let mut summary = String::new();
    let mut messages = None;
    match talked {
        Ok(Inbox::Refused(text)) => {
            let text = shorten(&printable(text.as_bytes()), 200);
            findings.critical(format!("refuses the login: {text}"));
        }
        Ok(inbox) => {
            if let Inbox::Holds(count) = inbox {
                messages = Some(count);
            }
            let name = match config.protocol {
                Protocol::Imap => "IMAP",
                Protocol::Pop3 => "POP3",
            };
            summary = format!("{name} ready, {} capabilities", seen.offers.len());
            if let Some(count) = messages {
                summary.push_str(&format!(", {count} messages"));
            }
            let require = config.require.as_deref().unwrap_or_default();
            seen.judge(config.expect_banner.as_deref(), require, &mut findings);
        }
        Err(error) => findings.failed(error)?,
    }
    let report = endpoint.report(request, &*connection, findings, summary);
    Ok(seen
        .show(report, "capabilities")
        .metric_if("messages", messages))
}

/// What a login, where one is configured, came to.
#[derive(Debug, PartialEq)]
pub enum Inbox {
    /// None is configured.
    NotAsked,
    /// The server does not take it.
    Refused(String),
    /// So many messages.
    Holds(f64),
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
    login: Option<&Login<'_>>,
    seen: &mut Greeting,
) -> Result<Inbox, Error> {
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
    let mut inbox = Inbox::NotAsked;
    if let Some(login) = login {
        login.may_send(connection)?;
        inbox = match imap_login(connection, login, seen)? {
            Some(refusal) => Inbox::Refused(refusal),
            None => {
                seen.offers = imap_command(connection, "a6", "CAPABILITY")?;
                Inbox::Holds(imap_messages(connection)?)
            }
        };
    }
    // The judgement stands; a server that hangs up first is right too.
    let _ = connection.write(b"a4 LOGOUT\r\n");
    Ok(inbox)
}

/// Logs in; the server's words where it refuses.
fn imap_login(
    connection: &dyn Connection,
    login: &Login<'_>,
    seen: &Greeting,
) -> Result<Option<String>, Error> {
    const EXPECTED: &str = "an answer to the login (a5 OK or NO)";
    if seen.offers("AUTH=PLAIN") {
        connection.write(b"a5 AUTHENTICATE PLAIN\r\n")?;
        let line = read_line(connection, "leave to log in (+)")?;
        if !line.starts_with(b"+") {
            return Err(unexpected("leave to log in (+)", &line));
        }
        let proof = BASE64.encode(format!("\0{}\0{}", login.user, login.password));
        connection.write(format!("{proof}\r\n").as_bytes())?;
    } else if seen.offers("LOGINDISABLED") {
        return Err(unexpected("AUTH=PLAIN or LOGIN", b"LOGINDISABLED"));
    } else {
        let user = quoted_string(login.user)?;
        let password = quoted_string(login.password)?;
        connection.write(format!("a5 LOGIN {user} {password}\r\n").as_bytes())?;
    }
    for _ in 0..MAX_LINES {
        let line = read_line(connection, EXPECTED)?;
        if behind(&line, "a5 OK").is_some() {
            return Ok(None);
        }
        if let Some(refusal) = behind(&line, "a5 NO") {
            return Ok(Some(text(refusal)));
        }
        if !line.starts_with(b"* ") {
            return Err(unexpected(EXPECTED, &line));
        }
    }
    Err(too_long(EXPECTED))
}

/// A quoted string of IMAP, which must stay on its line.
fn quoted_string(text: &str) -> Result<String, Error> {
    login::one_line(text)?;
    Ok(format!(
        "\"{}\"",
        text.replace('\\', "\\\\").replace('"', "\\\"")
    ))
}

/// Messages in the inbox.
fn imap_messages(connection: &dyn Connection) -> Result<f64, Error> {
    const EXPECTED: &str = "the number of messages (* STATUS)";
    connection.write(b"a7 STATUS INBOX (MESSAGES)\r\n")?;
    let mut count = None;
    for _ in 0..MAX_LINES {
        let line = read_line(connection, EXPECTED)?;
        if behind(&line, "* STATUS").is_some() {
            let words = text(&line).to_uppercase();
            count = words
                .split_once("MESSAGES ")
                .and_then(|(_, rest)| number(rest));
        } else if behind(&line, "a7 OK").is_some() {
            return count.ok_or_else(|| unexpected(EXPECTED, &line));
        } else if !line.starts_with(b"* ") {
            return Err(unexpected(EXPECTED, &line));
        }
    }
    Err(too_long(EXPECTED))
}

/// The number that a text begins with.
fn number(text: &str) -> Option<f64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().ok()
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
    login: Option<&Login<'_>>,
    seen: &mut Greeting,
) -> Result<Inbox, Error> {
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
    let mut inbox = Inbox::NotAsked;
    if let Some(login) = login {
        inbox = pop3_login(connection, login)?;
    }
    let _ = connection.write(b"QUIT\r\n");
    Ok(inbox)
}

fn pop3_login(connection: &dyn Connection, login: &Login<'_>) -> Result<Inbox, Error> {
    const MESSAGES: &str = "the number of messages (+OK 3 1024)";
    login.may_send(connection)?;
    for (word, text) in [("USER", login.user), ("PASS", login.password)] {
        login::one_line(text)?;
        connection.write(format!("{word} {text}\r\n").as_bytes())?;
        let expected = format!("an answer to {word} (+OK or -ERR)");
        let line = read_line(connection, &expected)?;
        if let Some(refusal) = behind(&line, "-ERR") {
            return Ok(Inbox::Refused(self::text(refusal)));
        }
        if behind(&line, "+OK").is_none() {
            return Err(unexpected(&expected, &line));
        }
    }
    connection.write(b"STAT\r\n")?;
    let line = read_line(connection, MESSAGES)?;
    let count = behind(&line, "+OK").and_then(|rest| number(&text(rest)));
    count
        .map(Inbox::Holds)
        .ok_or_else(|| unexpected(MESSAGES, &line))
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
