//! Command plugins: plain WASI programs as checks, log parsers and actions.

use std::sync::Arc;
use std::time::Duration;

use bellwether::check::outcome::{
    ActionFailure, Digest, FaultKind, LogLevel, Outcome, RunLimits, State,
};
use bellwether::clock::Timestamp;
use bellwether::config::InputSpec;
use bellwether::log::{LineBatch, LineParser as _};
use bellwether::plugin::{Host, Kind, Settings, SourceParser};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::kinds::action;
use crate::support::*;
use crate::wat::*;

async fn taken(host: &Host, bytes: Vec<u8>) -> Digest {
    let installed = host.install(bytes, |_| {}).await.unwrap();
    assert_eq!(installed.kind, Kind::Command);
    host.named(installed, "check-it").digest
}

/// A program's run as a check.
async fn run(host: &Host, bytes: Vec<u8>, config: Value) -> Outcome {
    let digest = taken(host, bytes).await;
    job(&digest, config).timeout(500).run(host).await
}

fn input(value: Value) -> InputSpec {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn a_program_is_taken_kept_and_loaded_again() {
    let host = host_with(|config| config.cache_dir = config.data_dir.join("code"));
    let installed = host.install(says("OK", 0), |_| {}).await.unwrap();
    let named = host.named(installed.clone(), "check-disk");
    assert_eq!(named.manifest.name, "check-disk");
    assert_eq!(
        named.manifest.version,
        format!("0.0.0+{}", &named.digest.0[..12])
    );
    assert!(named.manifest.config_schema["properties"]["args"].is_object());
    assert_eq!(host.describe(&named.digest).as_ref(), Some(&named));
    let dir = host.dir.path().to_owned();
    let again = host_with(|config| {
        config.data_dir = dir.clone();
        config.cache_dir = dir.join("code");
        config.compiler.exe = "/nonexistent".into();
    });
    let loaded = again.load(&installed.digest).await.unwrap();
    assert_eq!((loaded.compile_ms, loaded.kind), (0, Kind::Command));
    let report = job(&installed.digest, json!({})).report(&again).await;
    assert_eq!((report.state, report.summary.as_str()), (State::Ok, "OK"));
    again.remove(&installed.digest).unwrap();
    let fault = job(&installed.digest, json!({})).fault(&again).await;
    assert_eq!(fault.kind, FaultKind::Plugin);
}

#[tokio::test]
async fn exit_codes_are_states_and_output_is_the_report() {
    let host = host();
    let text = "DISK WARNING - 81% | '/ used'=81%;80;90 inodes=12 bad time=4ms\nlong text\n";
    for (code, state) in [
        (0, State::Ok),
        (1, State::Warning),
        (2, State::Critical),
        (3, State::Unknown),
    ] {
        let outcome = run(&host, says(text, code), json!({})).await;
        let report = outcome.verdict.unwrap();
        assert_eq!(
            (report.state, report.details.as_str()),
            (state, "long text")
        );
        assert_eq!(report.summary, "DISK WARNING - 81%");
        let metrics: Vec<(&str, f64)> = report
            .metrics
            .iter()
            .map(|metric| (&*metric.name, metric.value))
            .collect();
        assert_eq!(
            metrics,
            [("_used", 81.0), ("inodes", 12.0), ("time", 0.004)]
        );
        assert_eq!(outcome.log.len(), 1, "{:?}", outcome.log);
    }
    // Returning is success, silence is no fault.
    let report = run(&host, program("", ""), json!({}))
        .await
        .verdict
        .unwrap();
    assert_eq!(
        (report.state, report.summary.as_str()),
        (State::Ok, "(no output)")
    );
    for (code, expected) in [
        (4, "exit code 4, expected 0 to 3: half"),
        (200, "beyond 125"),
    ] {
        let fault = run(&host, says("half done", code), json!({}))
            .await
            .verdict
            .unwrap_err();
        assert!(fault.text.contains(expected), "{}", fault.text);
    }
}

#[tokio::test]
async fn components_keep_their_codes_or_say_them() {
    let host = host();
    let exit = |code| format!("(call $exit (i32.const {code})) (i32.const 0)");
    for (name, bytes, state) in [
        (
            "returns ok",
            component("OK", EXIT, "(i32.const 0)"),
            State::Ok,
        ),
        (
            "returns an error",
            component("CRITICAL: full", EXIT, "(i32.const 1)"),
            State::Critical,
        ),
        (
            "exits",
            component("HTTP WARNING - slow", EXIT, &exit(1)),
            State::Warning,
        ),
        (
            "says nothing",
            component("broken", EXIT, &exit(1)),
            State::Unknown,
        ),
        (
            "has a code",
            component("broken", EXIT_WITH_CODE, &exit(2)),
            State::Critical,
        ),
        (
            "has code one",
            component("CRITICAL", EXIT_WITH_CODE, &exit(1)),
            State::Warning,
        ),
    ] {
        let report = run(&host, bytes, json!({})).await.verdict.unwrap();
        assert_eq!(report.state, state, "{name}: {report:?}");
    }
}

#[tokio::test]
async fn arguments_and_nothing_else() {
    let host = host();
    let digest = taken(&host, program("", ARGS)).await;
    let config = json!({"args": ["-H", "127.0.0.1", "two words"]});
    let report = job(&digest, config).report(&host).await;
    assert_eq!(report.summary, "check-it -H 127.0.0.1 two words ");

    let digest = taken(&host, program("", ENV)).await;
    let report = job(&digest, json!({})).report(&host).await;
    assert_eq!(report.summary, "(no output)");
    let report = job(&digest, json!({"env": {"LANG": "C"}}))
        .report(&host)
        .await;
    assert_eq!(report.summary, "LANG=C ");

    // No standard input unless there is one.
    let digest = taken(&host, cat()).await;
    let report = job(&digest, json!({})).report(&host).await;
    assert_eq!(report.summary, "(no output)");
    let text = input(json!({"text": "OK - a | b=1"}));
    let report = job(&digest, json!({})).input(text).report(&host).await;
    assert_eq!(
        (report.summary.as_str(), report.metrics.len()),
        ("OK - a", 1)
    );

    for config in [
        json!({"arg": []}),
        json!({"args": "-H"}),
        json!({"args": ["a\0b"]}),
        json!({"env": {"A=B": "c"}}),
    ] {
        let fault = job(&digest, config).fault(&host).await;
        assert_eq!(fault.kind, FaultKind::Config, "{}", fault.text);
    }
}

#[tokio::test]
async fn hostile_programs_are_faults() {
    let host = host();
    let bomb = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)";
    let sleep = "(i64.store (i32.const 1048) (i64.const 3600000000000)) (i32.store (i32.const 1040) (i32.const 1)) (drop (call $poll (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 8)))";
    let gives_up = "(call $write (i32.const 2) (i32.const 1024) (i32.const 13)) (unreachable)";
    for (what, bytes, kind, expected) in [
        (
            "an endless loop",
            program("", "(loop $more (br $more))"),
            FaultKind::Deadline,
            "computed beyond its deadline",
        ),
        (
            "a sleep",
            program("", sleep),
            FaultKind::Deadline,
            "waited beyond its deadline",
        ),
        (
            "a memory bomb",
            program("", bomb),
            FaultKind::Limit,
            "limits.memory",
        ),
        (
            "last words",
            program("out of ideas\n", gives_up),
            FaultKind::Trap,
            "it wrote: out of ideas",
        ),
        (
            "a stack overflow",
            wat::parse_str(
                r#"(module (memory (export "memory") 1) (func $f (export "_start") (call $f)))"#,
            )
            .unwrap(),
            FaultKind::Trap,
            "stack overflow",
        ),
        (
            "a big memory",
            wat::parse_str(r#"(module (memory (export "memory") 2000) (func (export "_start")))"#)
                .unwrap(),
            FaultKind::Limit,
            "limits.memory",
        ),
    ] {
        let fault = run(&host, bytes, json!({})).await.verdict.unwrap_err();
        assert_eq!(fault.kind, kind, "{what}: {}", fault.text);
        assert!(fault.text.contains(expected), "{what}: {}", fault.text);
    }
    let loop_component = component("", EXIT, "(loop $more (br $more)) (i32.const 0)");
    let fault = run(&host, loop_component, json!({}))
        .await
        .verdict
        .unwrap_err();
    assert_eq!(fault.kind, FaultKind::Deadline);
}

#[tokio::test]
async fn output_is_bounded_and_the_rest_counted() {
    let host = host();
    // 100 times 8,000 bytes of "a=1 " on both streams.
    let text = format!("OK | {}", "a=1 ".repeat(1_999));
    let body = format!(
        "(local $n i32) (loop $more
            (call $write (i32.const 1) (i32.const 1024) (i32.const {length}))
            (call $write (i32.const 2) (i32.const 1024) (i32.const {length}))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $n) (i32.const 100))))",
        length = text.len()
    );
    let outcome = run(&host, program(&text, &body), json!({})).await;
    let report = outcome.verdict.unwrap();
    assert_eq!((report.summary.as_str(), report.metrics.len()), ("OK", 1));
    let total = text.len() * 100;
    let log: Vec<&str> = outcome.log.iter().map(|line| &*line.message).collect();
    let dropped = [
        format!("{} bytes of output were dropped", total - (64 << 10)),
        format!(
            "{} bytes of standard error were dropped",
            total - (16 << 10)
        ),
    ];
    // The log itself is full of the standard error that was kept.
    assert!(
        log.iter()
            .any(|line| line.contains("more lines were dropped")
                || line.contains(&dropped[0])
                || line.contains(&dropped[1])),
        "{log:?}"
    );
}

#[tokio::test]
async fn there_are_no_files() {
    let host = host();
    let path = "etc/passwd";
    // The error number, as the exit code: 8 is "bad descriptor".
    let body = format!(
        "(call $exit (i32.sub (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const {}) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 8)) (i32.const 6)))",
        path.len()
    );
    let report = run(&host, program(path, &body), json!({}))
        .await
        .verdict
        .unwrap();
    assert_eq!(
        report.state,
        State::Critical,
        "path_open said another thing"
    );
}

/// What a check does that gets its input over HTTP from there.
async fn with_http(host: &Host, bytes: Vec<u8>, url: String) -> Outcome {
    let digest = taken(host, bytes).await;
    let input = input(json!({"http": {"url": url, "headers": {"x-who": "test"}}}));
    job(&digest, json!({}))
        .timeout(300)
        .input(input)
        .run(host)
        .await
}

#[tokio::test]
async fn an_http_answer_is_the_input() {
    let host = host();
    let server = http(|head| {
        assert!(head.starts_with("GET /health ") && head.contains("x-who: test"));
        response(
            "503 Busy",
            "content-type: text/plain\r\n",
            "CRITICAL - queue | n=7",
        )
    })
    .await;
    let url = format!("http://{server}/health");
    let report = with_http(&host, cat(), url.clone()).await.verdict.unwrap();
    assert_eq!(report.summary, "CRITICAL - queue");
    assert_eq!(report.metrics[0].value, 7.0);
    let digest = taken(&host, cat()).await;
    let whole = input(json!({"http": {"url": &url, "headers": {"x-who": "test"}, "head": true}}));
    let report = job(&digest, json!({})).input(whole).report(&host).await;
    assert_eq!(report.summary, "HTTP/1.1 503 Service Unavailable");
    assert!(
        report.details.contains("content-type: text/plain\n"),
        "{}",
        report.details
    );
    assert!(
        report.details.ends_with("\n\nCRITICAL - queue"),
        "{}",
        report.details
    );
    // The program knows how it was.
    let report = with_http(&host, program("", ENV), url)
        .await
        .verdict
        .unwrap();
    for expected in [
        "HTTP_STATUS=503 ",
        "HTTP_VERSION=HTTP/1.1 ",
        "CONTENT_TYPE=text/plain ",
        &format!("PEER={server} "),
        "TIME_CONNECT_MS=",
        "TIME_TOTAL_MS=",
    ] {
        assert!(report.summary.contains(expected), "{}", report.summary);
    }
}

#[tokio::test]
async fn a_target_that_is_down_is_critical_and_runs_nothing() {
    let host = host();
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let silent = silent().await;
    // It would be a fault if it ran.
    let program = || says("ran", 9);
    for (url, expected) in [
        (format!("http://{closed}/"), "connection refused in connect"),
        (format!("http://{silent}/"), "timed out in first-byte"),
        (format!("https://{silent}/"), "timed out in tls-handshake"),
        (
            "http://no.such.host.invalid/".to_owned(),
            "name does not resolve",
        ),
    ] {
        let report = with_http(&host, program(), url.clone())
            .await
            .verdict
            .unwrap();
        assert_eq!(report.state, State::Critical, "{url}");
        assert!(
            report.summary.contains(expected),
            "{url}: {}",
            report.summary
        );
    }
    let digest = taken(&host, program()).await;
    for (tcp, expected) in [
        (
            json!({"host": "127.0.0.1", "port": silent.port()}),
            "timed out in first-byte",
        ),
        (
            json!({"host": "127.0.0.1", "port": closed.port()}),
            "connection refused",
        ),
    ] {
        let report = job(&digest, json!({}))
            .timeout(300)
            .input(input(json!({"tcp": tcp})))
            .report(&host)
            .await;
        assert_eq!(report.state, State::Critical);
        assert!(report.summary.contains(expected), "{}", report.summary);
    }
}

#[tokio::test]
async fn the_input_passes_the_same_egress() {
    let host = host_with(|config| {
        config.settings = Settings {
            deny: vec!["127.0.0.2/32".parse().unwrap()],
            ..Settings::default()
        };
    });
    let fault = with_http(&host, cat(), "http://127.0.0.2:1/".into())
        .await
        .verdict
        .unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied);
    assert!(fault.text.contains("egress.deny"), "{}", fault.text);
    // A name is no grant for loopback.
    let fault = with_http(&host, cat(), "http://localhost:1/".into())
        .await
        .verdict
        .unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied, "{}", fault.text);
    // A redirect is a request of its own, to a target that nobody named.
    let other = http(|_| response("200 OK", "", "OK - leaked")).await;
    let server =
        http(move |_| response("302 Found", &format!("location: http://{other}/\r\n"), "")).await;
    let digest = taken(&host, cat()).await;
    let input = input(json!({"http": {"url": format!("http://{server}/"), "max_redirects": 3}}));
    let fault = job(&digest, json!({}))
        .input(input.clone())
        .fault(&host)
        .await;
    assert_eq!(fault.kind, FaultKind::Denied);
    let report = job(&digest, json!({}))
        .net(&[&other.to_string()])
        .input(input)
        .report(&host)
        .await;
    assert_eq!(report.summary, "OK - leaked");
}

#[tokio::test]
async fn a_tcp_exchange_is_the_input() {
    let host = host();
    let server = serve(|mut stream| async move {
        let _ = stream.write_all(b"220 ready\r\n").await;
        let mut heard = [0; 64];
        let count = stream.read(&mut heard).await.unwrap_or(0);
        let _ = stream.write_all(&heard[..count]).await;
        let _ = stream.shutdown().await;
    })
    .await;
    let digest = taken(&host, cat()).await;
    let ask = |value: Value| {
        let mut tcp = json!({"host": "127.0.0.1", "port": server.port()});
        for (key, part) in value.as_object().unwrap() {
            tcp[key] = part.clone();
        }
        job(&digest, json!({})).input(input(json!({"tcp": tcp})))
    };
    let banner = ask(json!({"until": "\r\n"})).report(&host).await;
    assert_eq!(
        (banner.summary.as_str(), &*banner.details),
        ("220 ready", "")
    );
    let whole = ask(json!({"send": "hello"})).report(&host).await;
    assert_eq!(
        (whole.summary.as_str(), &*whole.details),
        ("220 ready", "hello")
    );
    let early = ask(json!({"send": "hello", "until": "bye"}))
        .report(&host)
        .await;
    assert_eq!(early.state, State::Critical);
    assert!(
        early.summary.contains("before the delimiter"),
        "{}",
        early.summary
    );
}

#[tokio::test]
async fn actions_get_the_alert_and_say_whether_it_is_done() {
    let host = host();
    let digest = taken(&host, cat()).await;
    let report = host
        .run_action(action(&digest, json!({})))
        .await
        .verdict
        .unwrap();
    let alert: Value = serde_json::from_str(&report.summary).unwrap();
    assert_eq!(alert["alert"], 3);
    assert_eq!(alert["node"]["name"], "web-1");
    assert_eq!(alert["labels"]["team"], "shop");
    assert_eq!(alert["idempotency_key"], "key-1");

    let digest = taken(&host, says("no rights\nto do it", 1)).await;
    let failed = host.run_action(action(&digest, json!({}))).await.verdict;
    let Err(ActionFailure::Failed(text)) = failed else {
        panic!("expected a failure, found {failed:?}");
    };
    assert_eq!(text, "exit code 1\nno rights\nto do it");
    let digest = taken(&host, program("", "(unreachable)")).await;
    let trapped = host.run_action(action(&digest, json!({}))).await.verdict;
    assert!(matches!(trapped, Err(ActionFailure::Fault(fault)) if fault.kind == FaultKind::Trap));
}

#[tokio::test]
async fn log_lines_become_records() {
    let host = host();
    let limits = RunLimits {
        memory: 64 << 20,
        timeout: Duration::from_millis(500),
    };
    let batch = |lines: &[&str]| {
        let mut ends = Vec::new();
        let mut at = 0;
        for line in lines {
            at += line.len();
            ends.push(at as u32);
            at += 1;
        }
        LineBatch {
            text: lines.join("\n"),
            ends,
            received: Timestamp(5),
        }
    };
    let parser = |digest: Digest, config: Value| {
        SourceParser::new(
            Arc::clone(&host.host),
            digest,
            config.to_string().into(),
            limits.clone(),
        )
    };
    // A program that says what it hears: lines that are records already.
    let digest = taken(&host, cat()).await;
    let mut copies = parser(digest.clone(), json!({}));
    for _ in 0..2 {
        let lines = [r#"{"level":"error","msg":"no disk","n":1}"#, "plain", ""];
        let parsed = copies.parse(&batch(&lines)).await.unwrap();
        assert_eq!((parsed.unparsed, parsed.held), (vec![1], 0));
        let record = &parsed.records[0].record;
        assert_eq!(
            (record.level, &*record.message),
            (LogLevel::Error, "no disk")
        );
        assert_eq!(record.time, Timestamp(5));
    }
    assert!(copies.flush(Timestamp(6)).await.unwrap().records.is_empty());
    // One that fails does so with a fault; the source keeps the lines.
    let digest_of_failure = taken(&host, says("", 2)).await;
    let mut fails = parser(digest_of_failure, json!({}));
    let fault = fails.parse(&batch(&["a"])).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Failed);
    let mut wrong = parser(digest, json!({"format": "x"}));
    let fault = wrong.parse(&batch(&["a"])).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Config);
}

#[tokio::test]
async fn a_command_is_no_notifier() {
    let host = host();
    let digest = taken(&host, says("OK", 0)).await;
    let outcome = host
        .notify(crate::kinds::notification(&digest, json!({})))
        .await;
    let text = format!("{outcome:?}");
    assert!(
        text.contains("expected a notifier, found that check-it is a command"),
        "{text}"
    );
}

/// Where there is no compiler for its target there is no program: `build.sh`
/// says so, and the compiler is asked again here.
#[tokio::test]
async fn a_real_program_needs_nothing_but_its_standard_library() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../plugins/dist/testing/command-queue.wasm");
    let Ok(bytes) = std::fs::read(&path) else {
        let libdir = std::process::Command::new("rustc")
            .args(["--print", "target-libdir", "--target", "wasm32-wasip1"])
            .output()
            .unwrap();
        let libdir = String::from_utf8(libdir.stdout).unwrap();
        let has_target = std::fs::read_dir(libdir.trim()).is_ok_and(|mut all| all.next().is_some());
        assert!(!has_target, "{}: run plugins/build.sh", path.display());
        return;
    };
    let host = host();
    let digest = taken(&host, bytes).await;
    let run = |args: &[&str], stdin: &str| {
        let config = json!({ "args": args });
        let text = input(json!({ "text": stdin }));
        job(&digest, config).input(text)
    };
    let limits = ["-w", "80", "-c", "90"];
    for (stdin, state, word) in [
        ("12\n", State::Ok, "OK"),
        ("85.5", State::Warning, "WARNING"),
        ("91", State::Critical, "CRITICAL"),
    ] {
        let report = run(&limits, stdin).report(&host).await;
        let number = stdin.trim();
        assert_eq!(report.state, state);
        assert_eq!(report.summary, format!("QUEUE {word} - {number} waiting"));
        assert_eq!(&*report.metrics[0].name, "jobs_waiting");
        assert_eq!(report.metrics[0].value, number.parse::<f64>().unwrap());
    }
    let usage = run(&[], "1").report(&host).await;
    assert_eq!(usage.state, State::Unknown);
    let panic = run(&limits, "many").fault(&host).await;
    assert_eq!(panic.kind, FaultKind::Trap);
    assert!(panic.text.contains("it wrote: "), "{}", panic.text);
    let file = run(&["--read", "/etc/passwd"], "").report(&host).await;
    assert_eq!(file.state, State::Unknown);
    assert!(file.summary.contains("/etc/passwd: "), "{}", file.summary);
}
