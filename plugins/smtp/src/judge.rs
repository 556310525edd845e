//! From a conversation to a report (RFC 5321, RFC 3207, RFC 4954).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bellwether_plugin::endpoint::one_line;
use bellwether_plugin::findings::Findings;
use bellwether_plugin::greeting::{Encryption, Greeting};
use bellwether_plugin::login::Login;
use bellwether_plugin::net::{Connection, Error, Net, TlsOptions, judge as judge_error};
use bellwether_plugin::wire::{Reply, expect_reply, read_reply, unexpected};
use bellwether_plugin::{ProbeError, Report, Request};

use crate::config::Config;

/// Talks and judges.
pub fn check(
    request: &Request,
    config: &Config,
    password: Option<&str>,
    net: &dyn Net,
) -> Result<Report, ProbeError> {
    let login = Login::of(config.user.as_deref(), password, config.allow_plaintext)?;
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
        login,
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
    login: Option<Login<'_>>,
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
    if let Some(login) = &login
        && !log_in(connection, login, seen, findings)?
    {
        return Ok(());
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

/// Logs in with PLAIN or LOGIN; false where the server refuses.
fn log_in(
    connection: &dyn Connection,
    login: &Login<'_>,
    seen: &Greeting,
    findings: &mut Findings,
) -> Result<bool, Error> {
    seen.demand("AUTH")?;
    let methods = seen
        .offers
        .iter()
        .filter_map(|line| line.get(..5).zip(line.get(5..)));
    let methods: Vec<&str> = methods
        .filter(|(word, _)| word.eq_ignore_ascii_case("AUTH "))
        .flat_map(|(_, rest)| rest.split_whitespace())
        .collect();
    let offers = |wanted: &str| methods.iter().any(|word| word.eq_ignore_ascii_case(wanted));
    login.may_send(connection)?;
    let reply = if offers("PLAIN") {
        let proof = BASE64.encode(format!("\0{}\0{}", login.user, login.password));
        connection.write(format!("AUTH PLAIN {proof}\r\n").as_bytes())?;
        read_reply(connection, "an answer to AUTH")?
    } else if offers("LOGIN") {
        connection.write(b"AUTH LOGIN\r\n")?;
        let mut reply = read_challenge(connection)?;
        for text in [login.user, login.password] {
            if reply.code != 334 {
                break;
            }
            connection.write(format!("{}\r\n", BASE64.encode(text)).as_bytes())?;
            reply = read_challenge(connection)?;
        }
        reply
    } else {
        return Err(unexpected(
            "AUTH PLAIN or LOGIN",
            methods.join(" ").as_bytes(),
        ));
    };
    match reply.code {
        235 => return Ok(true),
        400..500 => findings.warning(format!("refuses the login for now: {}", reply.text())),
        500..600 => findings.critical(format!("refuses the login: {}", reply.text())),
        _ => {
            return Err(unexpected(
                "an answer to AUTH (235)",
                reply.text().as_bytes(),
            ));
        }
    }
    Ok(false)
}

fn read_challenge(connection: &dyn Connection) -> Result<Reply, Error> {
    read_reply(connection, "an answer to AUTH LOGIN")
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
