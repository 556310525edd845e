//! The life of a plugin in a running engine: what it costs, what happens when
//! it crashes, who may sign it, who uses it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::Api;
use crate::support::{PATIENCE, World, plugin_file, stop};

const NODES: &str = "nodes: [{ name: web-1, address: 127.0.0.1 }]\n";

fn check(name: &str, plugin: &str, config: Value) -> Value {
    json!({ "name": name, "plugin": plugin, "every": "1s", "timeout": "1s", "config": config })
}

/// The version of an uploaded plugin that is in use.
fn version(page: &Value) -> &Value {
    let versions = page["versions"].as_array().unwrap();
    versions.iter().find(|v| v["active"] == true).unwrap()
}

/// What a scraper reads.
async fn metrics_of(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_costs_is_counted_and_shown() {
    let world = World::new(&format!("web: {{ open_metrics: true }}\n{NODES}"));
    let engine = world.start().await;
    let api = Api::log_in(engine.address()).await;
    let file = plugin_file("testing/hostile");
    api.upload("nasty", &file).await.unwrap();
    for (name, config) in [
        ("burns", json!({"mode": "burn", "amount": 2_000_000})),
        ("traps", json!({"mode": "trap", "what": "unreachable"})),
        ("floods", json!({"mode": "log-flood", "amount": 50})),
        ("takes", json!({"mode": "allocate", "amount": 8 << 20})),
    ] {
        api.post("/checks", check(name, "nasty", config)).await;
    }
    let page = api
        .until("/plugins/nasty", "runs and traps of all checks", |page| {
            let cost = &version(page)["cost"];
            cost["runs"].as_u64() >= Some(8) && cost["faults"]["trap"].as_u64() >= Some(2)
        })
        .await;
    let cost = &version(&page)["cost"];
    assert!(cost["cpu_us"].as_u64() > Some(0), "{cost}");
    assert!(cost["peak_memory"].as_u64() >= Some(8 << 20), "{cost}");
    assert!(cost["host_calls"].as_u64() >= Some(50), "{cost}");

    // The figures of /metrics are written once a second.
    let waiting = async {
        loop {
            let text = metrics_of(engine.address()).await;
            if text.contains("bellwether_plugin_faults_total{plugin=\"nasty\",kind=\"trap\"}") {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let metrics = tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    for name in [
        "runs_total",
        "cpu_microseconds_total",
        "host_calls_total",
        "peak_memory_bytes",
    ] {
        let line = format!("bellwether_plugin_{name}{{plugin=\"nasty\"}} ");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    stop(engine).await;
}
