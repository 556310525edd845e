//! From a connection to a report.

use bellwether_plugin::endpoint::one_line;
use bellwether_plugin::findings::Findings;
use bellwether_plugin::login::Login;
use bellwether_plugin::net::{Connection, Error, Millis, Net, judge as judge_error, ms};
use bellwether_plugin::wire::unexpected;
use bellwether_plugin::{ProbeError, Report, Request};

use crate::config::{Config, Version};
use crate::packet::{
    DISCONNECT, carries, connack, connect, kind, publish, read_packet, refusal, suback, subscribe,
    wants_login,
};

/// Most packets between a message and its return.
const MAX_OTHERS: usize = 1_000;

/// What the broker said.
#[derive(Debug, Default)]
struct Seen {
    /// The code of its answer to CONNECT.
    code: u8,
    /// Milliseconds from publishing to receiving.
    round_trip: Option<f64>,
}

/// Connects and judges.
pub fn check(
    request: &Request,
    config: &Config,
    password: Option<&str>,
    net: &dyn Net,
) -> Result<Report, ProbeError> {
    let login = Login::of(config.user.as_deref(), password, config.allow_plaintext)?;
    one_line("/client_id", config.client_id.as_deref())?;
    one_line("/round_trip_topic", config.round_trip_topic.as_deref())?;
    if let Some(topic) = &config.round_trip_topic
        && (topic.is_empty() || topic.contains(['+', '#']))
    {
        let text = format!("expected a topic without wildcards, found \"{topic}\"");
        return Err(ProbeError::config("/round_trip_topic", text));
    }
    let version = config.version.unwrap_or_default();
    let tls = config.tls == Some(true);
    let endpoint = config.endpoint(if tls { 8883 } else { 1883 });
    let connection = match endpoint.connect(request, net, tls) {
        Ok(connection) => connection,
        Err(error) => return judge_error(error),
    };
    let mut findings = Findings::default();
    let mut summary = String::new();
    let mut seen = None;
    match talk(request, config, login.as_ref(), version, &*connection) {
        Ok(answer) => {
            summary = judge(config, login.is_some(), version, &answer, &mut findings);
            seen = Some(answer);
        }
        Err(error) => findings.failed(error)?,
    }
    let accepted = seen
        .as_ref()
        .map(|seen| f64::from(u8::from(seen.code == 0)));
    Ok(endpoint
        .report(request, &*connection, findings, summary)
        .metric_if("accepted", accepted)
        .metric_if("round_trip_ms", seen.and_then(|seen| seen.round_trip)))
}

fn judge(
    config: &Config,
    with_login: bool,
    version: Version,
    seen: &Seen,
    findings: &mut Findings,
) -> String {
    let name = match version {
        Version::V3 => "MQTT 3.1.1",
        Version::V5 => "MQTT 5",
    };
    if wants_login(version, seen.code) && !with_login {
        if config.round_trip_topic.is_some() {
            findings.unknown("no round trip without a login; set user and password_secret");
        }
        let reason = refusal(version, seen.code);
        return format!("{name} broker answers, and asks for a login ({reason})");
    }
    if seen.code != 0 {
        let reason = refusal(version, seen.code);
        let what = match wants_login(version, seen.code) {
            true => "the login",
            false => "connections",
        };
        findings.critical(format!("refuses {what}: {reason} (code {})", seen.code));
        return String::new();
    }
    match seen.round_trip {
        Some(took) => {
            let (warn, critical) = (config.round_trip_warn_ms, config.round_trip_critical_ms);
            findings.above("round trip in ms", took, warn, critical);
            format!("{name} broker ready, round trip in {}", Millis(took))
        }
        None => format!("{name} broker ready"),
    }
}

fn talk(
    request: &Request,
    config: &Config,
    login: Option<&Login<'_>>,
    version: Version,
    connection: &dyn Connection,
) -> Result<Seen, Error> {
    const CONNACK: &str = "an MQTT answer to CONNECT (CONNACK)";
    let client_id = match &config.client_id {
        Some(name) => name.clone(),
        None => client_id(request),
    };
    if let Some(login) = login {
        login.may_send(connection)?;
    }
    let login = login.map(|login| (login.user, login.password));
    connection.write(&connect(version, &client_id, login))?;
    let answer = read_packet(connection, CONNACK)?;
    let code = match (answer.kind(), connack(&answer.body)) {
        (kind::CONNACK, Some(code)) => code,
        _ => {
            return Err(unexpected(
                CONNACK,
                &[&[answer.head], &answer.body[..]].concat(),
            ));
        }
    };
    let mut seen = Seen {
        code,
        round_trip: None,
    };
    if code == 0 {
        if let Some(topic) = &config.round_trip_topic {
            seen.round_trip = Some(round_trip(request, version, topic, connection)?);
        }
        // The judgement stands; a broker that hangs up first is right too.
        let _ = connection.write(DISCONNECT);
    }
    Ok(seen)
}

/// Subscribes, publishes and waits for the message.
fn round_trip(
    request: &Request,
    version: Version,
    topic: &str,
    connection: &dyn Connection,
) -> Result<f64, Error> {
    const SUBACK: &str = "an answer to SUBSCRIBE (SUBACK)";
    connection.write(&subscribe(version, topic))?;
    let code = wait_for(connection, SUBACK, |packet| {
        (packet.kind() == kind::SUBACK).then(|| suback(&packet.body))
    })?;
    if code.is_none_or(|code| code >= 0x80) {
        return Err(Error::Protocol(format!(
            "the broker refuses a subscription to \"{topic}\""
        )));
    }
    // Other checks may use the topic at the same time.
    let payload = format!(
        "bellwether {} {} {}",
        request.check, request.node.name, request.now
    );
    let before = connection.timings().total;
    connection.write(&publish(version, topic, payload.as_bytes()))?;
    wait_for(connection, "the published message", |packet| {
        carries(packet, payload.as_bytes()).then_some(())
    })?;
    Ok(ms(connection.timings().total.saturating_sub(before)))
}

/// Reads packets up to the one that is wanted.
fn wait_for<T>(
    connection: &dyn Connection,
    expected: &str,
    wanted: impl Fn(&crate::packet::Packet) -> Option<T>,
) -> Result<T, Error> {
    for _ in 0..MAX_OTHERS {
        let packet = read_packet(connection, expected)?;
        if let Some(found) = wanted(&packet) {
            return Ok(found);
        }
        if packet.kind() == kind::DISCONNECT {
            let code = packet.body.first().copied().unwrap_or_default();
            return Err(Error::Closed(format!("the broker says code {code}")));
        }
    }
    Err(Error::Protocol(format!(
        "expected {expected} within {MAX_OTHERS} packets, found others"
    )))
}

/// An identifier that differs between checks and nodes, because a broker
/// disconnects the older one of two equal ones. 23 characters are what every
/// broker takes.
fn client_id(request: &Request) -> String {
    // FNV-1a.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in request
        .check
        .bytes()
        .chain([0])
        .chain(request.node.name.bytes())
    {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("bellwether{:013x}", hash >> 12)
}
