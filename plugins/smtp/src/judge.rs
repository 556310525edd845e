//! From a conversation to a report (RFC 5321, RFC 3207).

use bellwether_plugin::endpoint::one_line;
use bellwether_plugin::findings::Findings;
use bellwether_plugin::net::{Connection, Error, Net, TlsOptions};
use bellwether_plugin::text::quoted;
use bellwether_plugin::wire::{Reply, expect_reply, has_word, read_reply, unexpected};
use bellwether_plugin::{ProbeError, Report, Request};

use crate::config::{Config, Tls};

/// What the server said.
#[derive(Debug, Default)]
pub struct Seen {
    /// The greeting's first line.
    pub banner: String,
    /// Keywords of the last answer to EHLO, with their parameters.
    pub extensions: Vec<String>,
}

/// Talks and judges.
pub fn check(request: &Request, config: &Config, net: &dyn Net) -> Result<Report, ProbeError> {
    one_line("/helo", config.helo.as_deref())?;
    one_line("/mail_from", config.mail_from.as_deref())?;
    one_line("/rcpt_to", config.rcpt_to.as_deref())?;
    let tls = config.tls.unwrap_or_default();
    let endpoint = config.endpoint(if tls == Tls::Implicit { 465 } else { 25 });
    let mut findings = Findings::default();
    let connection = match endpoint.connect(request, net, tls == Tls::Implicit) {
        Ok(connection) => connection,
        Err(error) => {
            findings.failed(error)?;
            return Ok(findings.report(""));
        }
    };
    let mut seen = Seen::default();
    let talked = talk(
        config,
        tls,
        &endpoint.tls(),
        &*connection,
        &mut seen,
        &mut findings,
    );
    let mut summary = String::new();
    match talked {
        Ok(()) => {
            let name = seen.banner.split(' ').next().unwrap_or_default();
            summary = format!("{} ready", bellwether_plugin::http::shorten(name, 80));
            judge(config, &seen, &mut findings);
        }
        Err(error) => findings.failed(error)?,
    }
    let mut report = endpoint.report(request, &*connection, findings, summary);
    if !seen.extensions.is_empty() {
        report = report
            .metric("extensions", seen.extensions.len() as f64)
            .detail(format!("offers {}", seen.extensions.join(", ")));
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
        if !offers(&seen.extensions, wanted) {
            findings.critical(format!("does not offer {wanted}"));
        }
    }
}

/// True where the extension is offered, with or without parameters.
fn offers(extensions: &[String], wanted: &str) -> bool {
    let whole = has_word(extensions, wanted);
    whole
        || extensions
            .iter()
            .filter_map(|line| line.split(' ').next())
            .any(|word| word.eq_ignore_ascii_case(wanted))
}

/// The conversation up to RSET; QUIT is not waited for.
pub fn talk(
    config: &Config,
    tls: Tls,
    options: &TlsOptions,
    connection: &dyn Connection,
    seen: &mut Seen,
    findings: &mut Findings,
) -> Result<(), Error> {
    let greeting = expect_reply(connection, 220, "an SMTP greeting")?;
    seen.banner = greeting.lines.into_iter().next().unwrap_or_default();
    let helo = config.helo.as_deref().unwrap_or("bellwether.invalid");
    seen.extensions = ehlo(connection, helo)?;
    if tls == Tls::Starttls {
        if !offers(&seen.extensions, "STARTTLS") {
            return Err(Error::Protocol(format!(
                "expected STARTTLS among the extensions, found {}",
                quoted(seen.extensions.join(", ").as_bytes())
            )));
        }
        connection.write(b"STARTTLS\r\n")?;
        expect_reply(connection, 220, "an answer to STARTTLS")?;
        connection.start_tls(options)?;
        seen.extensions = ehlo(connection, helo)?;
    }
    if let Some(recipient) = &config.rcpt_to {
        let sender = config.mail_from.as_deref().unwrap_or_default();
        let taken = trial(connection, &format!("MAIL FROM:<{sender}>"), findings)?
            && trial(connection, &format!("RCPT TO:<{recipient}>"), findings)?;
        if taken {
            connection.write(b"RSET\r\n")?;
            expect_reply(connection, 250, "an answer to RSET")?;
        }
    }
    // The judgement stands; a server that hangs up first is right too.
    let _ = connection.write(b"QUIT\r\n");
    Ok(())
}

fn ehlo(connection: &dyn Connection, name: &str) -> Result<Vec<String>, Error> {
    connection.write(format!("EHLO {name}\r\n").as_bytes())?;
    let mut lines = expect_reply(connection, 250, "an answer to EHLO")?.lines;
    // The first line is the server's name.
    lines.drain(..lines.len().min(1));
    Ok(lines)
}

/// Says a command of a transaction. A refusal for now (4yz, as greylisting) is a
/// warning, one for good critical.
fn trial(
    connection: &dyn Connection,
    command: &str,
    findings: &mut Findings,
) -> Result<bool, Error> {
    connection.write(format!("{command}\r\n").as_bytes())?;
    let reply: Reply = read_reply(connection, "an answer to a command")?;
    match reply.code {
        250 | 251 => return Ok(true),
        400..500 => findings.warning(format!("{command} refused for now: {}", reply.text())),
        500..600 => findings.critical(format!("{command} refused: {}", reply.text())),
        _ => {
            let expected = format!("250 to {command}");
            return Err(unexpected(&expected, reply.text().as_bytes()));
        }
    }
    Ok(false)
}
