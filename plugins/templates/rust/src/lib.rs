//! A probe that asks a web page and judges status, body text and latency.

use bellwether_plugin::net::{self, HttpRequest, Net};
use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe};
use serde::Deserialize;

/// The check's configuration. The engine has checked it against [`SCHEMA`]
/// before it comes here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    url: String,
    #[serde(default = "default_status")]
    status: u16,
    #[serde(default)]
    text: String,
    #[serde(default = "default_warn")]
    warn_ms: f64,
    #[serde(default = "default_critical")]
    critical_ms: f64,
}

fn default_status() -> u16 {
    200
}
fn default_warn() -> f64 {
    500.0
}
fn default_critical() -> f64 {
    2000.0
}

/// JSON Schema of the configuration: the web UI makes its form from it.
/// `x-target` names what the probe talks to, so that it can be granted.
const SCHEMA: &str = r#"{
"$schema": "https://json-schema.org/draft/2020-12/schema",
"type": "object", "additionalProperties": false, "required": ["url"],
"properties": {
  "url": {"type": "string", "x-target": "url", "description": "page to ask for", "examples": ["https://example.org/"]},
  "status": {"type": "integer", "default": 200, "description": "status expected"},
  "text": {"type": "string", "default": "", "description": "text that the body must contain"},
  "warn_ms": {"type": "number", "default": 500, "description": "this slow is a warning"},
  "critical_ms": {"type": "number", "default": 2000, "description": "this slow is critical"}
}}"#;

struct Page;

impl Probe for Page {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "http-rust",
            env!("CARGO_PKG_VERSION"),
            "asks a web page and judges status, text and latency",
            SCHEMA,
        )
        .wants("net")
        .metric("latency_ms", "ms", "the whole exchange")
        .metric("status", "1", "HTTP status code")
        .metric("size_bytes", "By", "size of the body")
    }

    fn check(_: &Request, config: Config) -> Result<Report, ProbeError> {
        judge(&config, &net::Host)
    }
}

/// Apart from `check`, so that tests can hand in a network of their own.
fn judge(config: &Config, net: &dyn Net) -> Result<Report, ProbeError> {
    let answer = match net.http(&HttpRequest::new("GET", &config.url)) {
        Ok(answer) => answer,
        // A target that is down is a critical report. A missing grant and a
        // wrong URL are errors: nothing was judged.
        Err(error) => return net::judge(error),
    };
    let status = answer.status;
    let ms = net::ms(answer.timings.total);
    let size = answer.body.len();

    let report = if status != config.status {
        Report::critical(format!("HTTP {status}, expected {}", config.status))
    } else if !String::from_utf8_lossy(&answer.body).contains(&config.text) {
        Report::critical(format!(
            "HTTP {status}, but the body lacks \"{}\"",
            config.text
        ))
    } else {
        let text = format!("HTTP {status} in {ms:.0} ms, {size} bytes");
        if ms >= config.critical_ms {
            Report::critical(text)
        } else if ms >= config.warn_ms {
            Report::warning(text)
        } else {
            Report::ok(text)
        }
    };
    Ok(report
        .metric("latency_ms", ms)
        .metric("status", f64::from(status))
        .metric("size_bytes", size as f64))
}

export_probe!(Page);

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_plugin::State;
    use bellwether_plugin::fake::{FakeNet, schema_problems};
    use bellwether_plugin::net::Error;

    #[test]
    fn a_server_that_refuses_is_critical() {
        let config = Config {
            url: "http://192.0.2.1/".to_owned(),
            status: default_status(),
            text: String::new(),
            warn_ms: default_warn(),
            critical_ms: default_critical(),
        };
        let report = judge(&config, &FakeNet::answering(Err(Error::Refused))).unwrap();
        assert_eq!(report.state, State::Critical);
        assert_eq!(report.summary, "connection refused");
    }

    #[test]
    fn the_schema_makes_a_form() {
        assert_eq!(schema_problems::<Config>(SCHEMA), Vec::<String>::new());
    }
}
