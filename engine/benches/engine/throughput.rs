//! Due → run → recorded → rules → committed, as fast as it goes: the clock is
//! moved by a second as soon as the second before it is committed.

use std::time::{Duration, Instant};

use bellwether::clock::{TestClock, Timestamp};
use bellwether::store::{Store, results};

use crate::support::{NODES, engine, nodes, plugin, rules};

const SECONDS: u32 = 30;

pub async fn run() {
    for count in [0, 100] {
        let folder = tempfile::tempdir().expect("a folder");
        let yaml = format!(
            "plugins:\n  - {{ name: noop, path: {} }}\n{}checks:\n  - {{ name: load, plugin: noop, every: 1s, timeout: 5s, config: {{}} }}\n{}",
            plugin("testing/noop").display(),
            nodes(NODES),
            rules(count),
        );
        let clock = TestClock::new(Timestamp::from_secs(1_767_700_800));
        let engine = engine(folder.path(), &yaml, Some(clock.clone())).await;
        // The first round creates the series.
        step(&engine, &clock).await;
        let began = Instant::now();
        for _ in 0..SECONDS {
            step(&engine, &clock).await;
        }
        let took = began.elapsed();
        engine.stop(std::future::pending()).await;
        let (store, _writer) = Store::open(&folder.path().join("data"))
            .await
            .expect("a store");
        let mut reader = store.reader().await.expect("a reader");
        let mut rows = 0_u64;
        results::each_since(&mut reader, Timestamp(0), |_| rows += 1)
            .await
            .expect("results");
        let expected = NODES as u64 * u64::from(SECONDS);
        assert!(
            rows >= expected,
            "expected {expected} committed results, found {rows}"
        );
        println!(
            "end to end, {NODES} no-op checks, {count} rules: {:.0} results/s ({rows} committed)",
            expected as f64 / took.as_secs_f64()
        );
    }
}

async fn step(engine: &bellwether::engine::Engine, clock: &TestClock) {
    clock.advance(Duration::from_secs(1));
    engine.wake().await;
    engine.settled().await;
}
