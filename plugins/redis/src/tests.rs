use bellwether_plugin::fake::{self, FakeConnection, manifest_problems, metric, mutations};
use bellwether_plugin::net::{Error, Net};
use bellwether_plugin::{ProbeError, Report, Request, State};

use crate::resp::Info;
use crate::{Config, Redis, judge};

const MASTER: &str = "# Server\r\nredis_version:7.0.15\r\nuptime_in_seconds:60\r\n\
    connected_clients:3\r\nblocked_clients:1\r\nused_memory:900\r\nmaxmemory:1000\r\n\
    maxmemory_policy:allkeys-lru\r\nloading:0\r\nrdb_last_bgsave_status:ok\r\n\
    keyspace_hits:30\r\nkeyspace_misses:10\r\ninstantaneous_ops_per_sec:7\r\n\
    role:master\r\nconnected_slaves:1\r\nslave0:ip=192.0.2.2,port=6379,state=online,offset=90,lag=1\r\n\
    master_repl_offset:100\r\n";

fn session(info: &str) -> String {
    format!("+PONG\r\n${}\r\n{info}\r\n+OK\r\n", info.len())
}

fn without_password(
    request: &Request,
    config: &Config,
    net: &dyn Net,
) -> Result<Report, ProbeError> {
    judge::check(request, config, None, net)
}

fn with_password(request: &Request, config: &Config, net: &dyn Net) -> Result<Report, ProbeError> {
    judge::check(request, config, Some("p w\r\n"), net)
}

fn run(json: &str, answer: &str) -> Result<Report, ProbeError> {
    let connection = FakeConnection::sending(answer.as_bytes());
    fake::run(without_password, json, Ok(connection))
}

fn outcome(json: &str, info: &str) -> (State, String) {
    let report = run(json, &session(info)).unwrap();
    (report.state, report.summary)
}

#[test]
fn the_schema_fits_the_configuration() {
    let report = run("{}", &session(MASTER)).unwrap();
    assert_eq!(manifest_problems::<Redis>(&report), Vec::<String>::new());
}

#[test]
fn a_good_master_is_ok_with_metrics() {
    let connection = FakeConnection::reading(&[&session(MASTER)]);
    let written = connection.written.clone();
    let report = fake::run(without_password, "{}", Ok(connection)).unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Ok, "Redis 7.0.15, master")
    );
    for (name, value) in [
        ("connected_clients", 3.0),
        ("used_memory_bytes", 900.0),
        ("memory_used_percent", 90.0),
        ("hit_percent", 75.0),
        ("ops_per_second", 7.0),
        ("uptime_s", 60.0),
        ("connected_replicas", 1.0),
        ("replication_lag_bytes", 10.0),
    ] {
        assert_eq!(metric(&report, name), Some(value), "{name}");
    }
    assert_eq!(metric(&report, "replication_lag_s"), None);
    assert_eq!(
        String::from_utf8_lossy(&written.borrow()),
        "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nINFO\r\n*1\r\n$4\r\nQUIT\r\n"
    );
}

#[test]
fn load_and_memory_are_judged() {
    let full = MASTER
        .replace("allkeys-lru", "noeviction")
        .replace("used_memory:900", "used_memory:980");
    for (json, info, state, text) in [
        (
            r#"{"clients_warn":2}"#,
            MASTER,
            State::Warning,
            "clients 3, above 2",
        ),
        (
            r#"{"clients_critical":2}"#,
            MASTER,
            State::Critical,
            "clients 3, above 2",
        ),
        (
            r#"{"memory_warn_percent":80}"#,
            MASTER,
            State::Warning,
            "percent of maxmemory 90, above 80",
        ),
        (
            "{}",
            &full,
            State::Critical,
            "percent of maxmemory 98, above 97",
        ),
        (
            r#"{"memory_critical_percent":99}"#,
            &full,
            State::Warning,
            "percent of maxmemory 98, above 90",
        ),
        (
            "{}",
            "loading:1\r\n",
            State::Critical,
            "loading its data set",
        ),
        (
            "{}",
            "aof_last_write_status:err\r\n",
            State::Critical,
            "writes are refused",
        ),
        (
            "{}",
            "rdb_last_bgsave_status:err\r\n",
            State::Warning,
            "the last snapshot failed",
        ),
        (
            r#"{"min_replicas":2}"#,
            MASTER,
            State::Critical,
            "replicas 1, below 2",
        ),
    ] {
        let (found, summary) = outcome(json, info);
        assert_eq!(found, state, "{summary}");
        assert!(summary.contains(text), "{summary}");
    }
}

#[test]
fn replication_is_judged() {
    let up = "role:slave\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:40\r\n\
        slave_read_repl_offset:100\r\nslave_repl_offset:70\r\nmaster_repl_offset:70\r\n";
    let down = "role:slave\r\nmaster_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\nmaster_link_down_since_seconds:12\r\n";
    for (json, info, state, text) in [
        (
            "{}",
            up,
            State::Warning,
            "seconds without its master 40, above 30",
        ),
        (r#"{"lag_warn_s":60}"#, up, State::Ok, "replica"),
        (r#"{"lag_critical_s":35}"#, up, State::Critical, "above 35"),
        (
            "{}",
            down,
            State::Critical,
            "the link to its master is down for 12 s",
        ),
        (
            r#"{"role":"master","lag_warn_s":60}"#,
            up,
            State::Critical,
            "expected a master, found a replica",
        ),
        (
            r#"{"role":"replica"}"#,
            MASTER,
            State::Critical,
            "expected a replica, found a master",
        ),
    ] {
        let (found, summary) = outcome(json, info);
        assert_eq!(found, state, "{summary}");
        assert!(summary.contains(text), "{summary}");
    }
    let report = run("{}", &session(up)).unwrap();
    assert_eq!(metric(&report, "replication_lag_s"), Some(40.0));
    assert_eq!(metric(&report, "replication_lag_bytes"), Some(30.0));
    let report = run("{}", &session(down)).unwrap();
    assert_eq!(metric(&report, "replication_lag_s"), None);
}

#[test]
fn a_password_is_asked_for_and_not_given() {
    let noauth = "-NOAUTH Authentication required.\r\n";
    let report = run("{}", noauth).unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Ok, "answers, and asks for a password")
    );
    let report = run(r#"{"role":"master"}"#, noauth).unwrap();
    assert_eq!(report.state, State::Unknown);
    assert!(
        report.summary.contains("INFO is not readable"),
        "{}",
        report.summary
    );
}

#[test]
fn what_is_wrong_is_named() {
    for (answer, text) in [
        (
            "-LOADING Redis is loading the dataset in memory\r\n",
            "LOADING Redis is loading",
        ),
        ("-DENIED Redis is running in protected mode\r\n", "DENIED"),
        (
            "HTTP/1.1 400 Bad Request\r\n",
            "expected an answer to PING (+PONG), found \"HTTP/1.1 400 Bad Request\"",
        ),
        (
            "+PONG\r\n$99999999999\r\n",
            "expected an answer to INFO, found \"$99999999999\"",
        ),
        ("+PONG\r\n$-1\r\n", "found \"$-1\""),
        ("+PONG\r\n$2\r\nabcdef", "expected an answer to INFO"),
        ("+PING\r\n", "found \"PING\""),
        ("", "connection closed"),
    ] {
        let report = run("{}", answer).unwrap();
        assert_eq!(report.state, State::Critical);
        assert!(report.summary.contains(text), "{}", report.summary);
    }
    let refused = fake::run(without_password, "{}", Err(Error::Refused));
    assert_eq!(refused, Ok(Report::critical("connection refused")));
}

#[test]
fn no_bytes_make_it_panic() {
    for bytes in mutations(session(MASTER).as_bytes()) {
        let report =
            fake::run(without_password, "{}", Ok(FakeConnection::sending(&bytes))).unwrap();
        assert!(report.summary.len() < 1_000);
        let info = Info::read(&bytes);
        assert!(info.replica_offsets().count() < 2_001);
    }
}

#[test]
fn a_login_comes_first() {
    for (user, words) in [
        ("", "*2\r\n$4\r\nAUTH\r\n$5\r\np w\r\n\r\n"),
        (
            r#""user":"probe","#,
            "*3\r\n$4\r\nAUTH\r\n$5\r\nprobe\r\n$5\r\np w\r\n\r\n",
        ),
    ] {
        let json = format!("{{{user}\"password_secret\":\"db\",\"tls\":true,\"role\":\"master\"}}");
        let answer = format!("+OK\r\n{}", session(MASTER));
        let connection = FakeConnection {
            certificate: Some(fake::certificate(90)),
            ..FakeConnection::reading(&[&answer])
        };
        let written = connection.written.clone();
        let report = fake::run(with_password, &json, Ok(connection)).unwrap();
        assert_eq!(
            (report.state, report.summary.as_str()),
            (State::Ok, "Redis 7.0.15, master")
        );
        let written = String::from_utf8_lossy(&written.borrow()).into_owned();
        assert!(
            written.starts_with(&format!("{words}*1\r\n$4\r\nPING\r\n")),
            "{written:?}"
        );
    }
}

#[test]
fn a_login_that_is_refused_is_critical() {
    let judged = |answer: &str| {
        let json = r#"{"password_secret":"db","allow_plaintext":true}"#;
        let report = fake::run(with_password, json, Ok(FakeConnection::reading(&[answer])));
        let report = report.unwrap();
        (report.state, report.summary)
    };
    assert_eq!(
        judged("-WRONGPASS invalid username-password pair\r\n"),
        (
            State::Critical,
            "refuses the login: WRONGPASS invalid username-password pair".to_owned()
        )
    );
    let (state, summary) = judged("+OK\r\n+PONG\r\n-NOPERM no permissions\r\n");
    assert_eq!(state, State::Unknown);
    assert!(summary.contains("not readable for this user"), "{summary}");
}

#[test]
fn a_password_is_not_sent_readable() {
    let connection = FakeConnection::reading(&["+OK\r\n"]);
    let written = connection.written.clone();
    let refused = fake::run(with_password, r#"{"password_secret":"db"}"#, Ok(connection));
    assert!(
        matches!(&refused, Err(ProbeError::Config(problem)) if problem.message.contains("allow_plaintext")),
        "{refused:?}"
    );
    assert_eq!(written.borrow().len(), 0);
    let half = run(r#"{"user":"probe"}"#, "");
    assert!(
        matches!(&half, Err(ProbeError::Config(problem)) if problem.pointer == "/user"),
        "{half:?}"
    );
}
