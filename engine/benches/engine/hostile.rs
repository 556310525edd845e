//! What one hostile plugin costs 1,000 good checks: their lateness with it
//! beside them, and without.

use std::time::Duration;

use crate::lateness::measure;
use crate::support::{nodes, plugin};

const GOOD: usize = 1_000;
const TIME: Duration = Duration::from_secs(60);

pub async fn run() {
    let alone = measure("good", &yaml(""), TIME).await;
    // The last one ends well, which keeps the plugin out of quarantine.
    let hostile = r#"
  - { name: loops, plugin: hostile, nodes: 'name == "n00000"', every: 1s, timeout: 1s, config: { mode: endless-loop } }
  - { name: bombs, plugin: hostile, nodes: 'name == "n00001"', every: 1s, timeout: 1s, config: { mode: memory-bomb } }
  - { name: traps, plugin: hostile, nodes: 'name == "n00002"', every: 1s, timeout: 1s, config: { mode: trap, what: unreachable } }
  - { name: behaves, plugin: hostile, nodes: 'name == "n00003"', every: 1s, timeout: 1s, config: { mode: burn, amount: 1000 } }
"#;
    let beside = measure("good, beside a hostile plugin,", &yaml(hostile), TIME).await;
    println!(
        "one hostile plugin adds {:.1} ms to the p99 of {GOOD} others",
        beside.ms(0.99) - alone.ms(0.99)
    );
}

fn yaml(more: &str) -> String {
    format!(
        "plugins:\n  - {{ name: noop, path: {} }}\n  - {{ name: hostile, path: {} }}\n{}checks:\n  - {{ name: load, plugin: noop, every: 10s, timeout: 5s, config: {{}} }}\n{more}",
        plugin("testing/noop").display(),
        plugin("testing/hostile").display(),
        nodes(GOOD),
    )
}
