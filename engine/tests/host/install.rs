//! What is taken in and what is refused, and in which words.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellwether::check::outcome::Digest;
use bellwether::plugin::{InstallError, InstallPhase, Kind};

use crate::support::*;

async fn refusal(bytes: Vec<u8>) -> String {
    let host = host();
    let error = host.install(bytes, |_| {}).await.unwrap_err();
    let stored = std::fs::read_dir(host.dir.path().join("plugins"))
        .unwrap()
        .count();
    assert_eq!(stored, 0, "something was kept of a refused plugin");
    error.to_string()
}

#[tokio::test]
async fn a_plugin_is_described_stored_and_loaded_again() {
    let host = host_with(|config| config.cache_dir = config.data_dir.join("code"));
    let phases = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&phases);
    let bytes = plugin("testing/noop");
    let installed = host
        .install(bytes.clone(), move |phase| seen.lock().unwrap().push(phase))
        .await
        .unwrap();
    assert_eq!(
        *phases.lock().unwrap(),
        [
            InstallPhase::Received,
            InstallPhase::Compiling,
            InstallPhase::Describing
        ]
    );
    assert_eq!(
        (installed.kind, installed.manifest.name.as_str()),
        (Kind::Probe, "noop")
    );
    assert_eq!(installed.size, bytes.len() as u64);
    let path = host
        .dir
        .path()
        .join("plugins")
        .join(format!("{}.wasm", installed.digest.0));
    assert_eq!(std::fs::read(path).unwrap(), bytes);
    let code = std::fs::metadata(host.dir.path().join("code")).unwrap();
    assert_eq!(code.permissions().mode() & 0o777, 0o700);

    // The same folders, the same plugin, without a compiler.
    let dir = host.dir.path().to_owned();
    let again = host_with(|config| {
        config.data_dir = dir.clone();
        config.cache_dir = dir.join("code");
        config.compiler.exe = "/nonexistent".into();
    });
    assert!(again.describe(&installed.digest).is_none());
    let loaded = again.load(&installed.digest).await.unwrap();
    assert_eq!(
        (loaded.compile_ms, &loaded.manifest),
        (0, &installed.manifest)
    );
    assert_eq!(
        job(&installed.digest, serde_json::json!({}))
            .report(&again)
            .await
            .summary,
        "nothing to do"
    );

    again.remove(&installed.digest).unwrap();
    let fault = job(&installed.digest, serde_json::json!({}))
        .fault(&again)
        .await;
    assert!(fault.text.contains("is not loaded"), "{}", fault.text);
    assert!(
        again
            .load(&installed.digest)
            .await
            .unwrap_err()
            .to_string()
            .contains("is not there")
    );
}

#[tokio::test]
async fn kinds_of_the_first_party_plugins() {
    let host = host();
    for (name, kind) in [
        ("http", Kind::Probe),
        ("tcp", Kind::Probe),
        ("json-lines", Kind::LogParser),
        ("regex", Kind::LogParser),
        ("run-command", Kind::Action),
        ("http-request", Kind::Action),
        ("testing/echo-notifier", Kind::Notifier),
    ] {
        let digest = install(&host, name).await;
        assert_eq!(host.describe(&digest).unwrap().kind, kind, "{name}");
    }
    assert_eq!(host.loaded().len(), 7);
}

#[tokio::test]
async fn what_is_no_component_is_refused_in_plain_words() {
    assert!(
        refusal(b"#!/bin/sh\n".to_vec())
            .await
            .contains("not WebAssembly")
    );
    assert!(
        refusal(wat::parse_str("(module)").unwrap())
            .await
            .contains("a core module")
    );
    let mut cut = plugin("testing/noop");
    cut.truncate(cut.len() / 2);
    let error = refusal(cut).await;
    assert!(error.starts_with("truncated or damaged"), "{error}");
    let error = refusal(wat::parse_str("(component)").unwrap()).await;
    assert!(error.ends_with("found no exports"), "{error}");
}

#[tokio::test]
async fn worlds_are_told_apart() {
    for (name, expected) in [
        ("wrong-world", "found bellwether:testing/hello@0.1.0"),
        (
            "two-worlds",
            "found bellwether:plugin/probe@0.1.0 and bellwether:plugin/action@0.1.0",
        ),
        ("newer-version", "found bellwether:plugin/probe@0.2.0"),
        ("nothing", "found no exports"),
        ("backdoor", "imports evil:host/backdoor@1.0.0"),
    ] {
        let error = refusal(plugin(&format!("testing/{name}"))).await;
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_missing_function_of_a_known_interface_is_named() {
    let error = refusal(
        wat::parse_str(
            r#"(component
                (import "wasi:http/outgoing-handler@0.2.0" (instance (export "f" (func))))
                (instance $i)
                (export "bellwether:plugin/probe@0.1.0" (instance $i)))"#,
        )
        .unwrap(),
    )
    .await;
    assert!(
        error.contains("expected bellwether:plugin/probe@0.1.0 to export the function describe"),
        "{error}"
    );
}

#[tokio::test]
async fn manifests_are_checked_and_describe_is_bounded() {
    let error = refusal(plugin("testing/bad-manifest")).await;
    assert!(error.starts_with("describe: manifest."), "{error}");
    let error = refusal(plugin("testing/hostile-describe")).await;
    assert!(
        error.contains("computed beyond its deadline of 5000 ms"),
        "{error}"
    );
}

#[tokio::test]
async fn size_and_compile_time_are_bounded() {
    let host = host_with(|config| config.compiler.max_size = 1000);
    let error = host
        .install(plugin("testing/noop"), |_| {})
        .await
        .unwrap_err();
    assert!(error.to_string().starts_with("too large:"), "{error}");

    // A compiler that never answers.
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("slow");
    std::fs::write(&script, "#!/bin/sh\nexec /bin/sleep 60\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    let host = host_with(|config| {
        config.cache_dir = config.data_dir.join("code");
        config.compiler.exe = script;
        config.compiler.timeout = Duration::from_millis(300);
    });
    let error = host
        .install(plugin("testing/noop"), |_| {})
        .await
        .unwrap_err();
    assert_eq!(
        error,
        InstallError::Refused("compiling took longer than 0.3 s (engine.compile_timeout)".into())
    );
}

#[tokio::test]
async fn the_real_compiler_is_killed_at_its_time_out() {
    let host = host_with(|config| {
        config.cache_dir = config.data_dir.join("code");
        // Less than any machine takes for a quarter of a megabyte.
        config.compiler.timeout = Duration::from_millis(20);
    });
    let error = host.install(plugin("http"), |_| {}).await.unwrap_err();
    assert!(
        error.to_string().starts_with("compiling took longer"),
        "{error}"
    );
}

#[test]
fn the_compiler_child_answers_in_frames() {
    use std::io::Write as _;
    let run = |input: &[u8]| {
        let mut child = std::process::Command::new(compiler().exe)
            .args(["compile-plugin", "30"])
            .env_clear()
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = run(b"nonsense");
    assert!(output.status.success());
    assert_eq!(output.stdout[0], 1);
    let length = u64::from_be_bytes(output.stdout[1..9].try_into().unwrap());
    assert_eq!(length as usize, output.stdout.len() - 9);
    let output = run(&plugin("testing/noop"));
    assert_eq!(output.stdout[0], 0);
}

#[tokio::test]
async fn more_than_the_pool_holds_is_refused_with_the_number() {
    let instances = "(core instance (instantiate $m))\n".repeat(100);
    let error = refusal(
        wat::parse_str(format!(
            "(component (core module $m (memory 1)) {instances})"
        ))
        .unwrap(),
    )
    .await;
    assert!(error.contains("100") && error.contains("64"), "{error}");
    let memories = "(core instance (instantiate $m))\n".repeat(20);
    let error = refusal(
        wat::parse_str(format!(
            "(component (core module $m (memory 1)) {memories})"
        ))
        .unwrap(),
    )
    .await;
    assert!(error.contains("20") && error.contains('8'), "{error}");
}

#[tokio::test]
async fn a_foreign_digest_is_no_path() {
    let host = host();
    let error = host
        .load(&Digest("../../etc/passwd".into()))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("64 hexadecimal digits"),
        "{error}"
    );
}

#[tokio::test]
async fn a_host_may_be_dropped_anywhere() {
    let mut host = host();
    let digest = install(&host, "testing/noop").await;
    host.shutdown();
    let fault = job(&digest, serde_json::json!({})).fault(&host).await;
    assert!(fault.text.contains("ended"), "{}", fault.text);
    host.host = host_with(|_| {}).host.clone();
    drop(host);
}
