//! From PING and INFO to a report.

use bellwether_plugin::findings::Findings;
use bellwether_plugin::http::shorten;
use bellwether_plugin::login::{Login, may_send};
use bellwether_plugin::net::{Connection, Error, Net, judge as judge_error};
use bellwether_plugin::text::{Number, printable};
use bellwether_plugin::wire::unexpected;
use bellwether_plugin::{ProbeError, Report, Request};

use crate::config::{Config, Role};
use crate::resp::{Info, Reply, command, read_reply};

/// Shares of maxmemory where the server refuses writes when it is full.
const MEMORY_WARN: f64 = 90.0;
const MEMORY_CRITICAL: f64 = 97.0;
/// Seconds since a replica heard from its master, which pings every ten.
const LAG_WARN: f64 = 30.0;
const LAG_CRITICAL: f64 = 120.0;

/// What the server said.
pub enum Answer {
    /// It works.
    Info(Info),
    /// It works and tells nothing without a password.
    Password,
    /// It does not take this login.
    Login(String),
    /// It refuses.
    Refused(String),
}

/// Asks and judges.
pub fn check(
    request: &Request,
    config: &Config,
    password: Option<&str>,
    net: &dyn Net,
) -> Result<Report, ProbeError> {
    if config.user.is_some() {
        Login::of(config.user.as_deref(), password, None)?;
    }
    let endpoint = config.endpoint(6379);
    let connection = match endpoint.connect(request, net, config.tls == Some(true)) {
        Ok(connection) => connection,
        Err(error) => return judge_error(error),
    };
    let mut findings = Findings::default();
    let mut info = Info::default();
    let mut summary = String::new();
    match ask(&*connection, config, password) {
        Ok(Answer::Info(found)) => {
            info = found;
            summary = describe(&info);
            judge(config, &info, &mut findings);
        }
        // The user may not be allowed to ask.
        Ok(Answer::Password) if password.is_some() => {
            summary = "answers".to_owned();
            findings.unknown("INFO is not readable for this user; see ACL SETUSER … +info");
        }
        Ok(Answer::Login(text)) => {
            let text = shorten(&printable(text.as_bytes()), 200);
            findings.critical(format!("refuses the login: {text}"));
        }
        Ok(Answer::Password) => {
            summary = "answers, and asks for a password".to_owned();
            if config.needs_info() {
                findings.unknown("INFO is not readable without a password; set password_secret");
            }
        }
        Ok(Answer::Refused(text)) => {
            findings.critical(shorten(&printable(text.as_bytes()), 200));
        }
        Err(error) => findings.failed(error)?,
    }
    let report = endpoint.report(request, &*connection, findings, summary);
    Ok(with_metrics(report, &info))
}

/// The conversation.
pub fn ask(
    connection: &dyn Connection,
    config: &Config,
    password: Option<&str>,
) -> Result<Answer, Error> {
    const PONG: &str = "an answer to PING (+PONG)";
    if let Some(password) = password {
        may_send(connection, config.allow_plaintext)?;
        // Before version 6 there are no users.
        let words = ["AUTH"].into_iter().chain(config.user.as_deref());
        let words: Vec<&str> = words.chain([password]).collect();
        connection.write(&command(&words))?;
        if let Reply::Error(text) = read_reply(connection, "an answer to AUTH (+OK)")? {
            return Ok(Answer::Login(text));
        }
    }
    connection.write(&command(&["PING"]))?;
    match read_reply(connection, PONG)? {
        Reply::Text(text) if text.eq_ignore_ascii_case(b"PONG") => {}
        Reply::Text(text) => return Err(unexpected(PONG, &text)),
        Reply::Error(text) if wants_password(&text) => return Ok(Answer::Password),
        Reply::Error(text) => return Ok(Answer::Refused(text)),
    }
    connection.write(&command(&["INFO"]))?;
    let answer = match read_reply(connection, "an answer to INFO")? {
        Reply::Text(text) => Answer::Info(Info::read(&text)),
        Reply::Error(text) if wants_password(&text) => Answer::Password,
        Reply::Error(text) => Answer::Refused(text),
    };
    // The judgement stands; a server that hangs up first is right too.
    let _ = connection.write(&command(&["QUIT"]));
    Ok(answer)
}

fn wants_password(text: &str) -> bool {
    text.starts_with("NOAUTH") || text.starts_with("NOPERM")
}

fn describe(info: &Info) -> String {
    let (name, version) = match (info.text("valkey_version"), info.text("redis_version")) {
        (Some(version), _) => ("Valkey", version),
        (None, version) => ("Redis", version.unwrap_or("of unknown version")),
    };
    let role = match info.text("role") {
        Some("slave") => "replica",
        Some(role) => role,
        None => "unknown role",
    };
    shorten(&format!("{name} {version}, {role}"), 120)
}

fn memory_percent(info: &Info) -> Option<f64> {
    let most = info.number("maxmemory").filter(|most| *most > 0.0)?;
    Some(info.number("used_memory")? / most * 100.0)
}

fn hit_percent(info: &Info) -> Option<f64> {
    let (hits, misses) = (
        info.number("keyspace_hits")?,
        info.number("keyspace_misses")?,
    );
    (hits + misses > 0.0).then(|| hits / (hits + misses) * 100.0)
}

/// How far behind: of a replica its own, of a master that of its slowest one.
fn lag_bytes(info: &Info) -> Option<f64> {
    let written = info.number("master_repl_offset")?;
    let slowest = info.replica_offsets().reduce(f64::min);
    if info.text("role") == Some("slave") {
        let read = info.number("slave_read_repl_offset")?;
        return Some((read - info.number("slave_repl_offset")?).max(0.0));
    }
    Some((written - slowest?).max(0.0))
}

fn judge(config: &Config, info: &Info, findings: &mut Findings) {
    if info.text("loading") == Some("1") {
        findings.critical("loading its data set");
    }
    if info.text("aof_last_write_status") == Some("err") {
        findings.critical("the append-only file cannot be written, so writes are refused");
    }
    if info.text("rdb_last_bgsave_status") == Some("err") {
        findings.warning("the last snapshot failed");
    }
    let clients = info.number("connected_clients").unwrap_or_default();
    findings.above(
        "clients",
        clients,
        config.clients_warn,
        config.clients_critical,
    );
    if let Some(percent) = memory_percent(info) {
        let refuses = info.text("maxmemory_policy") == Some("noeviction");
        let usual = |limit: f64| refuses.then_some(limit);
        findings.above(
            "percent of maxmemory",
            percent,
            config.memory_warn_percent.or_else(|| usual(MEMORY_WARN)),
            config
                .memory_critical_percent
                .or_else(|| usual(MEMORY_CRITICAL)),
        );
    }
    let replica = info.text("role") == Some("slave");
    match config.role {
        Some(Role::Master) if replica => findings.critical("expected a master, found a replica"),
        Some(Role::Replica) if !replica => findings.critical("expected a replica, found a master"),
        _ => {}
    }
    if replica {
        if info.text("master_link_status") != Some("up") {
            let down = info.number("master_link_down_since_seconds");
            let since = match down.filter(|seconds| *seconds >= 0.0) {
                Some(seconds) => format!(" for {} s", Number(seconds)),
                None => String::new(),
            };
            findings.critical(format!("the link to its master is down{since}"));
        } else if let Some(lag) = info.number("master_last_io_seconds_ago") {
            findings.above(
                "seconds without its master",
                lag,
                config.lag_warn_s.or(Some(LAG_WARN)),
                config.lag_critical_s.or(Some(LAG_CRITICAL)),
            );
        }
    } else if let Some(replicas) = info.number("connected_slaves") {
        findings.below("replicas", replicas, None, config.min_replicas);
    }
}

fn with_metrics(mut report: Report, info: &Info) -> Report {
    for (name, key) in [
        ("connected_clients", "connected_clients"),
        ("blocked_clients", "blocked_clients"),
        ("rejected_connections", "rejected_connections"),
        ("used_memory_bytes", "used_memory"),
        ("evicted_keys", "evicted_keys"),
        ("ops_per_second", "instantaneous_ops_per_sec"),
        ("uptime_s", "uptime_in_seconds"),
        ("connected_replicas", "connected_slaves"),
    ] {
        report = report.metric_if(name, info.number(key));
    }
    // A link that is down says -1.
    let lag = info.number("master_last_io_seconds_ago");
    report
        .metric_if("memory_used_percent", memory_percent(info))
        .metric_if("hit_percent", hit_percent(info))
        .metric_if("replication_lag_s", lag.filter(|lag| *lag >= 0.0))
        .metric_if("replication_lag_bytes", lag_bytes(info))
}
