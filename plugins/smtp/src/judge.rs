//! From a conversation to a report (RFC 5321, RFC 3207).

use bellwether_plugin::endpoint::one_line;
use bellwether_plugin::findings::Findings;
use bellwether_plugin::greeting::{Encryption, Greeting};
use bellwether_plugin::net::{Connection, Error, Net, TlsOptions, judge as judge_error};
use bellwether_plugin::wire::{Reply, expect_reply, read_reply, unexpected};
use bellwether_plugin::{ProbeError, Report, Request};

use crate::config::Config;

/// Talks and judges.
pub fn check(request: &Request, config: &Config, net: &dyn Net) -> Result<Report, ProbeError> {
    one_line("/helo", config.helo.as_deref())?;
    one_line("/mail_from", config.mail_from.as_deref())?;
    one_line("/rcpt_to", config.rcpt_to.as_deref())?;
    let tls = config.tls.unwrap_or_default();
    let endpoint = config.endpoint(if tls == Encryption::Implicit { 465 } else { 25 });
    let connection = match endpoint.connect(request, net, tls == Encryption::Implicit) {
        Ok(connection) => connection,
        Err(error) => return judge_error(error),
    };
    let mut findings = Findings::default();
    let mut seen = Greeting::default();
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
            let require = config.require.as_deref().unwrap_or_default();
            seen.judge(config.expect_banner.as_deref(), require, &mut findings);
        }
        Err(error) => findings.failed(error)?,
    }
    let report = endpoint.report(request, &*connection, findings, summary);
    Ok(seen.show(report, "extensions"))
}

/// The conversation up to RSET; QUIT is not waited for.
pub fn talk(
    config: &Config,
    tls: Encryption,
    options: &TlsOptions,
    connection: &dyn Connection,
    seen: &mut Greeting,
    findings: &mut Findings,
) -> Result<(), Error> {
    let greeting = expect_reply(connection, 220, "an SMTP greeting")?;
    seen.banner = greeting.lines.into_iter().next().unwrap_or_default();
    let helo = config.helo.as_deref().unwrap_or("bellwether.invalid");
    seen.offers = ehlo(connection, helo)?;
    if tls == Encryption::Starttls {
        seen.demand("STARTTLS")?;
        connection.write(b"STARTTLS\r\n")?;
        expect_reply(connection, 220, "an answer to STARTTLS")?;
        connection.start_tls(options)?;
        seen.offers = ehlo(connection, helo)?;
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
