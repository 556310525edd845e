//! A compilation that outlasts the threads of the runtime that asked for it.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use bellwether::plugin::InstallError;

use crate::support::*;

/// Longer than an idle thread of tokio's lives.
const LONG: u64 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_compilation_is_not_ended_by_a_thread_that_comes_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("compiler");
    // As the real one, it dies with the thread that started it. Its answer is a
    // refusal, after a while.
    let text = format!(
        "#!/bin/sh\nexec setpriv --pdeathsig KILL sh -c 'cat >/dev/null; sleep {LONG}; printf \"\\001\\000\\000\\000\\000\\000\\000\\000\\004slow\"'\n"
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let host = host_with(|config| {
        config.cache_dir = config.data_dir.join("code");
        config.compiler.exe = script.clone();
        config.compiler.timeout = Duration::from_secs(60);
    });
    let error = host.install(plugin("testing/noop"), |_| {}).await;
    assert_eq!(error, Err(InstallError::Refused("slow".into())));
}
