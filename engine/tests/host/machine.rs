//! `secrets`, `system` and `files`, and what they must not give away.

use std::os::unix::fs::symlink;

use bellwether::check::outcome::{Digest, FaultKind, PluginState, State};
use bellwether::config::spec::SecretSource;
use serde_json::json;

use crate::support::*;

const VALUE: &str = "s3cret-value";

/// A host with a secret in a file, and a folder of files.
fn machine() -> TestHost {
    let host = host_with(|_| {});
    let dir = host.dir.path();
    std::fs::write(dir.join("token"), format!("{VALUE}\n")).unwrap();
    let root = dir.join("logs");
    std::fs::create_dir_all(root.join("old")).unwrap();
    std::fs::write(root.join("app.log"), "0123456789").unwrap();
    std::fs::write(root.join("old/app.log"), "old").unwrap();
    symlink("../token", root.join("escape")).unwrap();
    symlink(dir.join("token"), root.join("absolute")).unwrap();
    symlink("/proc/self/environ", root.join("environ")).unwrap();
    symlink("old/app.log", root.join("inside")).unwrap();
    let mut settings = bellwether::plugin::Settings::default();
    settings.secrets.insert(
        "token".into(),
        SecretSource::File(dir.join("token").display().to_string()),
    );
    settings
        .secrets
        .insert("gone".into(), SecretSource::File("/nonexistent".into()));
    settings.files.insert("logs".into(), root);
    settings
        .files
        .insert("missing".into(), "/nonexistent/folder".into());
    host.reconfigure(settings);
    host
}

fn leak(reach: &Digest, how: &str) -> JobBuilder {
    job(
        reach,
        json!({"call": "secret", "target": "token", "leak": how}),
    )
    .grants(|grants| {
        grants.read_secrets.push("token".into());
        grants.state = true;
    })
}

#[tokio::test]
async fn a_secret_is_read_and_leaves_by_no_way() {
    let host = machine();
    let reach = install(&host, "testing/reach").await;
    for how in [
        "report", "details", "metric", "log", "fail", "panic", "state",
    ] {
        let outcome = leak(&reach, how).run(&host).await;
        let all = format!(
            "{:?} {:?} {:?}",
            outcome.verdict, outcome.log, outcome.state_writes
        );
        assert!(!all.contains(VALUE), "{how}: {all}");
        match how {
            "fail" | "panic" => {
                let fault = outcome.verdict.unwrap_err();
                assert!(
                    fault.text.contains("the password is ***, really"),
                    "{}",
                    fault.text
                );
            }
            "state" => {
                let report = outcome.verdict.unwrap();
                assert!(
                    report.summary.contains("holds a secret"),
                    "{}",
                    report.summary
                );
                assert!(outcome.state_writes.is_empty());
            }
            "report" => {
                let report = outcome.verdict.unwrap();
                assert_eq!(report.summary, "the password is ***, really");
                // The plugin had the value.
                assert_eq!(report.metrics[0].value, VALUE.len() as f64);
            }
            _ => assert!(all.contains("***") || how == "metric", "{how}: {all}"),
        }
    }
}

#[tokio::test]
async fn a_secret_needs_the_loud_grant_and_is_read_anew() {
    let host = machine();
    let reach = install(&host, "testing/reach").await;
    // To use it in a header is another grant.
    let report = job(&reach, json!({"call": "secret", "target": "token"}))
        .grants(|grants| grants.secrets.push("token".into()))
        .report(&host)
        .await;
    assert!(
        report
            .summary
            .contains("a grant would be read_secrets: [token]"),
        "{}",
        report.summary
    );
    let read = |name: &str| {
        job(&reach, json!({"call": "secret", "target": name})).grants(|grants| {
            grants.read_secrets = ["token", "gone", "nowhere"].map(str::to_owned).into();
        })
    };
    for (name, expected) in [("gone", "cannot be read"), ("nowhere", "not configured")] {
        let report = read(name).report(&host).await;
        assert!(report.summary.contains(expected), "{}", report.summary);
    }
    let length = |report: bellwether::check::outcome::Report| report.metrics[0].value;
    assert_eq!(length(read("token").report(&host).await), 12.0);
    std::fs::write(host.dir.path().join("token"), "rotated").unwrap();
    assert_eq!(length(read("token").report(&host).await), 7.0);
}

#[tokio::test]
async fn figures_of_the_host_need_a_grant() {
    let host = machine();
    let reach = install(&host, "testing/reach").await;
    let config = || json!({"call": "system"});
    let report = job(&reach, config()).report(&host).await;
    assert_eq!(
        report.summary,
        "denied: system is not granted; a grant would be system: true"
    );
    let report = job(&reach, config())
        .grants(|grants| grants.system = true)
        .report(&host)
        .await;
    assert_eq!(report.summary, "ok");
    let figure = |name: &str| {
        let found = report.metrics.iter().find(|metric| &*metric.name == name);
        found.unwrap_or_else(|| panic!("no {name}")).value
    };
    assert!(figure("cpus") >= 1.0 && figure("cpu_total") > 1e6);
    assert!(figure("memory_total") > figure("memory_available"));
    assert!(figure("uptime") > 1e6);
    assert!(
        report.details.contains("interface lo "),
        "{}",
        report.details
    );

    let processes = |name: &str, max: u32| {
        job(
            &reach,
            json!({"call": "processes", "target": name, "amount": max}),
        )
        .grants(|grants| grants.system = true)
    };
    let report = processes("", 1).report(&host).await;
    assert_eq!(report.summary, "ok: 1 listed");
    assert!(report.metrics[0].value > 1.0 && report.metrics[1].value == 1.0);
    let own = std::fs::read_to_string("/proc/self/comm").unwrap();
    let report = processes(own.trim(), 1_000).report(&host).await;
    let line = format!("{} {} ", std::process::id(), own.trim());
    assert!(report.details.contains(&line), "{}", report.details);
    let report = processes("no-such-process", 10).report(&host).await;
    assert_eq!(report.summary, "ok: 0 listed");
}

#[tokio::test]
async fn files_are_read_below_granted_folders_alone() {
    let host = machine();
    let reach = install(&host, "testing/reach").await;
    let call = |call: &str, root: &str, path: &str| {
        let config = json!({"call": call, "target": root, "text": path, "amount": 100, "size": 0});
        job(&reach, config).grants(|grants| {
            grants.files = ["logs", "missing", "unknown"].map(str::to_owned).into();
        })
    };
    for (function, root, path, expected) in [
        ("read", "logs", "app.log", "ok: 0123456789"),
        ("read", "logs", "inside", "ok: old"),
        ("read", "logs", "old/../app.log", "ok: 0123456789"),
        ("stat", "logs", "app.log", "ok: FileType::Regular 10 bytes"),
        (
            "list",
            "logs",
            "",
            "ok: absolute|app.log|environ|escape|inside|old",
        ),
        // Out of the folder.
        ("read", "logs", "../token", "leads out of the folder"),
        ("read", "logs", "old/../../token", "leads out of the folder"),
        ("read", "logs", "escape", "leads out of the folder"),
        ("read", "logs", "absolute", "leads out of the folder"),
        ("read", "logs", "environ", "leads out of the folder"),
        ("stat", "logs", "escape", "leads out of the folder"),
        ("list", "logs", "..", "leads out of the folder"),
        ("read", "logs", "/etc/passwd", "relative to the folder"),
        // What is not there.
        ("read", "logs", "none", "NotFound"),
        ("read", "logs", "old", "expected a regular file"),
        ("read", "missing", "x", "cannot be opened"),
        ("read", "unknown", "x", "not configured under files"),
        ("read", "etc", "passwd", "a grant would be files: [etc]"),
    ] {
        let outcome = call(function, root, path).run(&host).await;
        let report = outcome.verdict.unwrap();
        assert!(
            report.summary.contains(expected),
            "{function} {root} {path}: {}",
            report.summary
        );
        assert!(!format!("{report:?}").contains(VALUE));
        if expected.starts_with("leads") {
            assert_eq!(report.state, State::Critical);
            assert!(
                outcome.log[0].message.starts_with("denied: files"),
                "{:?}",
                outcome.log
            );
        }
    }
    let config =
        json!({"call": "read", "target": "logs", "text": "app.log", "amount": 3, "size": 8});
    let report = job(&reach, config)
        .grants(|grants| grants.files.push("logs".into()))
        .report(&host)
        .await;
    assert_eq!(report.summary, "ok: 89");
}

#[tokio::test]
async fn describe_has_none_of_it() {
    // Installing runs `describe` without grants; a plugin that wants all of it
    // is taken and says so.
    let host = machine();
    let reach = install(&host, "testing/reach").await;
    let manifest = host.describe(&reach).unwrap().manifest;
    assert_eq!(
        manifest.capabilities,
        ["files", "net", "read-secrets", "state", "system"]
    );
    let fault = leak(&reach, "panic")
        .state(PluginState::default())
        .fault(&host)
        .await;
    assert_eq!(fault.kind, FaultKind::Trap);
}
