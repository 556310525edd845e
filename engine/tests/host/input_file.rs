//! `input: file`: the end of a file for a program that has no files.

use bellwether::check::outcome::{FaultKind, State};
use bellwether::config::InputSpec;
use bellwether::plugin::Settings;
use serde_json::{Value, json};

use crate::support::*;
use crate::wat::*;

fn input(file: Value) -> InputSpec {
    serde_json::from_value(json!({ "file": file })).unwrap()
}

#[tokio::test]
async fn the_end_of_a_file_is_the_input_from_the_beginning_of_a_line() {
    let host = host();
    let folder = host.dir.path().join("logs");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("app.log"), "first\nsecond\nthird\n").unwrap();
    std::fs::write(folder.join("long.log"), "x".repeat(100)).unwrap();
    std::fs::write(folder.join("empty.log"), "").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("out")).unwrap();
    let mut settings = Settings::default();
    settings.files.insert("logs".into(), folder);
    settings.files.insert("gone".into(), "/nonexistent".into());
    host.reconfigure(settings);
    let digest = host.install(cat(), |_| {}).await.unwrap().digest;
    let with = |file: Value| job(&digest, json!({})).input(input(file));
    // tail, what arrives
    for (tail, first, rest) in [
        (Value::Null, "first", "second\nthird"),
        (json!("19B"), "first", "second\nthird"),
        // The line before ends just there.
        (json!("13B"), "second", "third"),
        (json!("12B"), "third", ""),
        (json!("6B"), "third", ""),
        (json!("5B"), "(no output)", ""),
    ] {
        let mut file = json!({ "folder": "logs", "path": "app.log" });
        if !tail.is_null() {
            file["tail"] = tail.clone();
        }
        let report = with(file).report(&host).await;
        assert_eq!(
            (&*report.summary, &*report.details),
            (first, rest),
            "{tail}"
        );
    }
    // One line that is longer than what is asked for.
    let long = with(json!({ "folder": "logs", "path": "long.log", "tail": "10B" }));
    assert_eq!(long.report(&host).await.summary, "x".repeat(10));
    let empty = with(json!({ "folder": "logs", "path": "empty.log" }));
    assert_eq!(empty.report(&host).await.summary, "(no output)");

    let missing = with(json!({ "folder": "logs", "path": "none.log" }));
    let report = missing.report(&host).await;
    assert_eq!(report.state, State::Critical);
    assert_eq!(report.summary, "no such file: logs:none.log");
    for (folder, path, kind, says) in [
        (
            "logs",
            "../secret",
            FaultKind::Denied,
            "leads out of the folder",
        ),
        ("logs", "out", FaultKind::Denied, "leads out of the folder"),
        ("gone", "x", FaultKind::Failed, "gone"),
        (
            "other",
            "x",
            FaultKind::Denied,
            "not configured under files",
        ),
        ("logs", ".", FaultKind::Failed, "expected a regular file"),
    ] {
        let fault = with(json!({ "folder": folder, "path": path }))
            .fault(&host)
            .await;
        assert_eq!(fault.kind, kind, "{fault:?}");
        assert!(fault.text.contains(says), "{fault:?}");
    }
}

#[tokio::test]
async fn size_and_age_are_told() {
    let host = host();
    let folder = host.dir.path().join("logs");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a"), "abc\ndef\n").unwrap();
    let mut settings = Settings::default();
    settings.files.insert("logs".into(), folder);
    host.reconfigure(settings);
    let program = program("", ENV);
    let digest = host.install(program, |_| {}).await.unwrap().digest;
    let told = job(&digest, json!({})).input(input(
        json!({ "folder": "logs", "path": "a", "tail": "4B" }),
    ));
    let report = told.report(&host).await;
    let said = report.summary + &report.details;
    for wanted in ["FILE_SIZE=8", "FILE_MODIFIED=1", "TRUNCATED=1"] {
        assert!(said.contains(wanted), "{said}");
    }
}
