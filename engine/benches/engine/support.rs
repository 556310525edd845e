//! What the parts share: configurations, engines, percentiles.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bellwether::clock::{SharedClock, SystemClock};
use bellwether::engine::{Engine, Options};

use crate::api::PASSWORD;

/// Nodes, each with one check.
pub const NODES: usize = 10_000;

/// A built plugin.
pub fn plugin(name: &str) -> PathBuf {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/dist");
    let path = dist.join(format!("{name}.wasm"));
    assert!(path.exists(), "{}: run plugins/build.sh", path.display());
    path.canonicalize().expect("a path")
}

/// Nodes with addresses of their own on loopback, so that none takes the local
/// ports of another.
pub fn nodes(count: usize) -> String {
    let mut yaml = "nodes:\n".to_owned();
    for n in 0..count {
        let (a, b) = (n / 250, n % 250 + 1);
        writeln!(yaml, "  - {{ name: n{n:05}, address: 127.1.{a}.{b} }}").expect("memory");
    }
    yaml
}

/// Rules of which none becomes true, over results and over time.
pub fn rules(count: usize) -> String {
    let mut yaml = "rules:\n".to_owned();
    for n in 0..count {
        let when = match n % 4 {
            0 => format!("check == \"load\" && state == \"critical\" && attempt > {n}"),
            1 => format!("metrics[\"answer\"] > {}", 1_000 + n),
            2 => format!("node == \"n{n:05}\" && last_state == \"warning\""),
            _ => format!("check == \"load\" && duration_ms > {}", 60_000 + n),
        };
        writeln!(
            yaml,
            "  - {{ name: rule-{n}, when: '{when}', notify: [oncall] }}"
        )
        .expect("memory");
    }
    yaml.push_str("contacts:\n  - { name: oncall, email: [\"ops@example.org\"] }\n");
    yaml
}

/// An engine in this process.
pub async fn engine(folder: &Path, yaml: &str, clock: Option<SharedClock>) -> Engine {
    let config = folder.join("bellwether.yaml");
    std::fs::write(&config, yaml).expect("the configuration is written");
    let ticking = clock.is_none();
    let clock = clock.unwrap_or_else(|| Arc::new(SystemClock));
    let mut options = Options::new(folder.join("data"), clock);
    options.config = Some(config);
    options.listen = ([127, 0, 0, 1], 0).into();
    options.compiler = env!("CARGO_BIN_EXE_bellwether").into();
    options.admin_password = Some(PASSWORD.into());
    options.ticking = ticking;
    Engine::start(options).await.expect("the engine starts")
}

/// Sorted times.
pub struct Times(Vec<Duration>);

impl Times {
    pub fn of(mut times: Vec<Duration>) -> Self {
        assert!(!times.is_empty(), "nothing was measured");
        times.sort_unstable();
        Self(times)
    }

    /// Milliseconds at a share of the measurements.
    pub fn ms(&self, share: f64) -> f64 {
        let last = self.0.len() - 1;
        self.0[(last as f64 * share) as usize].as_secs_f64() * 1e3
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "p50 {:.2} ms, p99 {:.2} ms, max {:.1} ms (n={})",
            self.ms(0.5),
            self.ms(0.99),
            self.ms(1.0),
            self.0.len()
        )
    }
}
