//! A plugin from its first line to its use, by the command line: a new project,
//! recorded requests, upload, grants, versions.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::api::Api;
use crate::support::{Service, World, silent_target, stop};

/// Runs the program; its output, and whether it went well.
fn bellwether(arguments: &[&str]) -> (String, bool) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bellwether"))
        .args(arguments)
        .output()
        .unwrap();
    let mut text = String::from_utf8(output.stdout).unwrap();
    text.push_str(&String::from_utf8(output.stderr).unwrap());
    (text, output.status.success())
}

/// A built plugin's path.
fn built(name: &str) -> String {
    let dist = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../plugins/dist");
    let path = dist.join(format!("{name}.wasm"));
    assert!(path.exists(), "{}: run plugins/build.sh", path.display());
    path.display().to_string()
}

/// Writes a case and tests a plugin with it.
fn test(folder: &Path, plugin: &str, case: &Value) -> (String, bool) {
    let file = folder.join("case.json");
    std::fs::write(&file, case.to_string()).unwrap();
    bellwether(&[
        "plugin",
        "test",
        &built(plugin),
        "--tests",
        file.to_str().unwrap(),
    ])
}

#[test]
fn a_new_project_is_written_once_and_in_a_language_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("my-probe");
    let at = target.to_str().unwrap();
    let new = |name: &str, lang: &str, kind: &str| {
        bellwether(&[
            "plugin", "new", name, "--lang", lang, "--kind", kind, "--folder", at,
        ])
    };
    let (text, went) = new("my-probe", "cobol", "probe");
    assert!(
        !went && text.contains("rust") && text.contains("assemblyscript"),
        "{text}"
    );
    let (text, went) = new("My Probe", "c", "probe");
    assert!(!went && text.contains("expected a name"), "{text}");
    let (text, went) = new("my-probe", "cpp", "log-parser");
    assert!(!went && text.contains("expected probe for C++"), "{text}");
    assert!(!target.exists(), "nothing is written for what is refused");

    let (text, went) = new("my-probe", "c", "probe");
    assert!(went && text.contains("./build.sh"), "{text}");
    for file in [
        "build.sh",
        "probe.c",
        "wit/types.wit",
        "pack/Cargo.toml",
        "tests/healthy.json",
    ] {
        assert!(target.join(file).exists(), "{file}");
    }
    let source = std::fs::read_to_string(target.join("probe.c")).unwrap();
    assert!(source.contains("\"my-probe\""), "{source}");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = target
        .join("build.sh")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o111, 0o111, "build.sh can be run");
    let (text, went) = new("my-probe", "c", "probe");
    assert!(
        !went && text.contains("expected a new or empty folder"),
        "{text}"
    );
    // Without a plugin there is nothing to test.
    let (text, went) = bellwether(&["plugin", "test", at]);
    assert!(!went && text.contains("build it first"), "{text}");
}

#[test]
fn a_probe_is_tested_without_a_network() {
    let folder = tempfile::tempdir().unwrap();
    let call = |answer: Value| json!({ "http": { "url": "http://192.0.2.10/health", "method": "GET", "answer": answer } });
    let case = |network: Value, expect: Value| {
        json!({
            "request": { "config": { "url": "http://192.0.2.10/health", "warn_ms": 100 } },
            "network": network,
            "expect": expect,
        })
    };
    let fast = call(json!({ "status": 204, "timings": { "total_ms": 12.5 } }));
    let ok = case(
        json!([fast]),
        json!({ "state": "ok", "summary_contains": "204" }),
    );
    let (text, went) = test(folder.path(), "http", &ok);
    assert!(went && text.contains("1 passed, 0 failed"), "{text}");

    // The recorded time is the one that is judged.
    let slow = call(json!({ "timings": { "total_ms": 250 } }));
    let (text, went) = test(
        folder.path(),
        "http",
        &case(json!([slow]), json!({ "state": "warning" })),
    );
    assert!(went, "{text}");

    let (text, went) = test(
        folder.path(),
        "http",
        &case(json!([slow]), json!({ "state": "ok" })),
    );
    assert!(
        !went && text.contains("state: expected ok, found warning"),
        "{text}"
    );
    assert!(
        text.contains("FAILED  case") && text.contains("0 passed, 1 failed"),
        "{text}"
    );

    // Calls that nobody recorded, that are others, and that are not made.
    let (text, went) = test(
        folder.path(),
        "http",
        &case(json!([]), json!({ "state": "critical" })),
    );
    let unexpected = "unexpected network call 1: found http GET http://192.0.2.10/health, recorded was no further call";
    assert!(!went && text.contains(unexpected), "{text}");
    let other = json!({ "tcp": { "host": "192.0.2.10", "port": 80 } });
    let (text, went) = test(
        folder.path(),
        "http",
        &case(json!([other]), json!({ "state": "ok" })),
    );
    assert!(
        !went && text.contains("recorded was tcp 192.0.2.10:80"),
        "{text}"
    );
    let (text, went) = test(
        folder.path(),
        "http",
        &case(json!([fast, other]), json!({ "state": "ok" })),
    );
    assert!(
        !went && text.contains("a recorded call was not made: tcp 192.0.2.10:80"),
        "{text}"
    );

    // What is wrong with the file is said with its place.
    let misspelt = json!({ "expect": { "stat": "ok" } });
    let (text, went) = test(folder.path(), "http", &misspelt);
    assert!(!went && text.contains("expect.stat"), "{text}");
    let schema = json!({ "request": { "config": { "url": 7 } }, "expect": {} });
    let (text, went) = test(folder.path(), "http", &schema);
    assert!(!went && text.contains("config.url"), "{text}");
}

#[test]
fn a_conversation_is_played_and_each_word_of_it_compared() {
    let folder = tempfile::tempdir().unwrap();
    let case = |steps: Value, expect: Value| {
        json!({
            "request": { "config": {
                "host": "192.0.2.10", "port": 25, "send": "EHLO x\\r\\n", "expect": "250 ready",
            } },
            "network": [{ "tcp": { "host": "192.0.2.10", "port": 25, "steps": steps } }],
            "expect": expect,
        })
    };
    let good = json!([{ "send": "EHLO x\r\n" }, { "receive": "220 hi\r\n250 rea" }, { "receive": "dy\r\n" }]);
    let (text, went) = test(folder.path(), "tcp", &case(good, json!({ "state": "ok" })));
    assert!(went, "{text}");
    let closes = json!([{ "send": "EHLO x\r\n" }, { "receive": "220 hi\r\n" }]);
    let (text, went) = test(
        folder.path(),
        "tcp",
        &case(closes, json!({ "state": "critical" })),
    );
    assert!(went, "{text}");
    let hangs = json!([{ "send": "EHLO x\r\n" }, { "error": { "timeout": "receive" } }]);
    let (text, went) = test(
        folder.path(),
        "tcp",
        &case(hangs, json!({ "state": "critical" })),
    );
    assert!(went, "{text}");
    let other = json!([{ "send": "HELO x\r\n" }, { "receive": "250 ready\r\n" }]);
    let (text, went) = test(folder.path(), "tcp", &case(other, json!({ "state": "ok" })));
    assert!(
        !went && text.contains(r#"found that the plugin sends "EHLO x\r\n""#),
        "{text}"
    );
    let refused = json!({
        "request": { "config": { "host": "192.0.2.10", "port": 25 } },
        "network": [{ "tcp": { "host": "192.0.2.10", "port": 25, "error": "refused" } }],
        "expect": { "state": "critical", "summary_contains": "refused" },
    });
    let (text, went) = test(folder.path(), "tcp", &refused);
    assert!(went, "{text}");
}

#[test]
fn a_log_parser_is_tested_with_lines() {
    let folder = tempfile::tempdir().unwrap();
    let case = |level: &str| {
        json!({
            "lines": [r#"{"time":"2026-03-01T12:00:00Z","level":"error","msg":"failed","order":17}"#, "plain"],
            "expect": {
                "records": [{
                    "line": 0, "time": "2026-03-01T12:00:00Z", "level": level, "message": "failed",
                    "fields": { "order": "17" },
                }],
                "unparsed": [1],
            },
        })
    };
    let (text, went) = test(folder.path(), "json-lines", &case("error"));
    assert!(went, "{text}");
    let (text, went) = test(folder.path(), "json-lines", &case("info"));
    let says = r#"records[0].level: expected "info", found "error""#;
    assert!(!went && text.contains(says), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_recorded_passes_as_a_test() {
    let service = Service::start().await;
    let silent = silent_target().await;
    let folder = tempfile::tempdir().unwrap();
    let record = |name: &str, plugin: &str, target: &str, config: Value| {
        let file = folder.path().join(name).display().to_string();
        let (config, path) = (config.to_string(), built(plugin));
        let arguments = [
            "plugin",
            "run",
            &path,
            "--allow",
            target,
            "--timeout",
            "500ms",
            "--config",
            &config,
            "--record",
            &file,
        ];
        let (text, _) = bellwether(&arguments);
        assert!(text.contains("recorded in"), "{text}");
        let (text, went) = bellwether(&arguments);
        assert!(!went && text.contains("is there already"), "{text}");
        let (text, went) = bellwether(&["plugin", "test", &path, "--tests", &file]);
        assert!(went, "{text}\n{}", std::fs::read_to_string(file).unwrap());
    };
    let address = service.address.to_string();
    let url = format!("http://{address}/health");
    record("http.json", "http", &address, json!({ "url": url }));
    let (host, port) = (silent.ip().to_string(), silent.port());
    let config = json!({ "host": host, "port": port, "expect": "220" });
    record("tcp.json", "tcp", &silent.to_string(), config);
    // What was recorded: a wait that ended in a timeout.
    let kept: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("tcp.json")).unwrap())
            .unwrap();
    assert_eq!(
        kept["network"][0]["tcp"]["steps"][0]["error"]["timeout"], "first-byte",
        "{kept:#}"
    );
    assert_eq!(kept["expect"]["state"], "critical", "{kept:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_pushed_granted_and_switched() {
    let world = World::new("nodes: [{ name: web-1, address: 127.0.0.1 }]\n");
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let token = api
        .post("/tokens", json!({ "name": "push", "role": "operator" }))
        .await;
    let token = token["token"].as_str().unwrap().to_owned();
    let url = format!("http://{}", engine.address());
    let ask = |arguments: Vec<String>| {
        let mut all: Vec<&str> = vec!["plugin"];
        all.extend(arguments.iter().map(String::as_str));
        all.extend(["--url", &url, "--token", &token]);
        bellwether(&all)
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();

    // What is no plugin is refused in the words of the upload.
    let junk = world.file("junk.wasm");
    std::fs::write(&junk, "not a module").unwrap();
    let (text, went) = ask(vec!["push".into(), junk.display().to_string()]);
    assert!(!went && text.contains("refused: "), "{text}");
    let push = |name: &str, file: &str| {
        vec![
            "push".to_owned(),
            built(file),
            "--name".to_owned(),
            name.to_owned(),
        ]
    };
    let mut other = push("mine", "testing/hostile");
    other.extend(["--version".to_owned(), "7.0.0".to_owned()]);
    let (text, went) = ask(other);
    assert!(
        !went && text.contains("expected 7.0.0") && text.contains("nothing was sent"),
        "{text}"
    );

    let (text, went) = ask(push("mine", "testing/hostile"));
    assert!(
        went && text.contains("mine 0.1.0 (probe) is there"),
        "{text}"
    );
    assert!(
        text.contains("not granted yet: command, net, state"),
        "{text}"
    );
    assert!(
        text.contains("bellwether plugin grant mine --command NAME --net node --state"),
        "{text}"
    );
    let (text, went) = ask(words("grant mine --net node --state"));
    assert!(went, "{text}");
    let page = api.get("/plugins/mine").await;
    assert_eq!(page["grants"], json!({ "net": ["node"], "state": true }));

    // Another file under the name waits until it is activated.
    let (text, went) = ask(push("mine", "testing/noop"));
    assert!(
        went && text.contains("version 0.1.0 stays in use"),
        "{text}"
    );
    assert!(text.contains("drops: command, net, state"), "{text}");
    let (text, went) = ask(words("activate mine 0.1.0"));
    assert!(!went && text.contains("name one by sha256:"), "{text}");
    let page = api.get("/plugins/mine").await;
    let waiting = page["versions"].as_array().unwrap().iter();
    let waiting = waiting.clone().find(|one| one["active"] == false).unwrap();
    let digest = waiting["digest"].as_str().unwrap().to_owned();
    let diff = api
        .get(&format!("/plugins/mine/versions/{digest}/diff"))
        .await;
    assert_eq!(
        diff["removed_capabilities"],
        json!(["command", "net", "state"])
    );
    assert_eq!(diff["added_metrics"][0]["name"], "answer", "{diff:#}");
    let gone = diff["config"].as_array().unwrap().iter();
    assert!(
        gone.clone()
            .any(|key| key["path"] == "mode" && key["may_break"] == true),
        "{diff:#}"
    );
    let (text, went) = ask(words(&format!("activate mine sha256:{digest}")));
    assert!(
        went && text.contains("back: bellwether plugin activate mine sha256:"),
        "{text}"
    );
    let check = json!({ "name": "mine", "plugin": "mine", "every": "1s", "config": {} });
    api.post("/checks", check).await;
    let series = api
        .until("/series?check=mine", "a run of what was pushed", |series| {
            series["items"][0]["state"] == "ok"
        })
        .await;
    let last = &series["items"][0]["last"];
    assert_eq!(last["summary"], "nothing to do", "{series:#}");
    let (text, went) = ask(words("activate nobody 1"));
    assert!(!went && text.contains("404"), "{text}");
    stop(engine).await;
}
