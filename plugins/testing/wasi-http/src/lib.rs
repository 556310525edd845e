//! A probe that knows nothing of the contract's `net`: it asks by `wasi:http`,
//! as a standard library for HTTP does.

use bellwether_plugin::{Manifest, Probe, ProbeError, Report, Request, export_probe};
use serde::Deserialize;

/// What to ask.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `http` or `https`.
    pub scheme: String,
    /// Host and port.
    pub authority: String,
    /// Path.
    #[serde(default = "root")]
    pub path: String,
}

fn root() -> String {
    "/".to_owned()
}

/// The probe.
pub struct WasiHttp;

impl Probe for WasiHttp {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "wasi-http",
            env!("CARGO_PKG_VERSION"),
            "asks by wasi:http",
            SCHEMA,
        )
        .wants("net")
    }

    fn check(_: &Request, config: Config) -> Result<Report, ProbeError> {
        Ok(match ask(&config) {
            Ok((status, body)) => Report::ok(format!("{status}: {body}")),
            Err(text) => Report::critical(text),
        })
    }
}

#[cfg(target_family = "wasm")]
fn ask(config: &Config) -> Result<(u16, String), String> {
    use wasip2::http::outgoing_handler::handle;
    use wasip2::http::types::{Fields, OutgoingRequest, Scheme};
    use wasip2::io::streams::StreamError;

    let request = OutgoingRequest::new(Fields::new());
    let scheme = match config.scheme.as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    request
        .set_scheme(Some(&scheme))
        .and_then(|()| request.set_authority(Some(&config.authority)))
        .and_then(|()| request.set_path_with_query(Some(&config.path)))
        .map_err(|()| "the request cannot be made".to_owned())?;
    let answer = handle(request, None).map_err(|code| format!("failed: {code:?}"))?;
    answer.subscribe().block();
    let answer = match answer.get() {
        Some(Ok(Ok(answer))) => answer,
        Some(Ok(Err(code))) => return Err(format!("failed: {code:?}")),
        other => return Err(format!("failed: {other:?}")),
    };
    let status = answer.status();
    let body = answer.consume().map_err(|()| "no body".to_owned())?;
    let stream = body.stream().map_err(|()| "no stream".to_owned())?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(4_096) {
            Ok(chunk) => bytes.extend(chunk),
            Err(StreamError::Closed) => break,
            Err(error) => return Err(format!("failed: {error:?}")),
        }
    }
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(not(target_family = "wasm"))]
fn ask(config: &Config) -> Result<(u16, String), String> {
    Err(format!(
        "no wasi:http here for {}://{}{}",
        config.scheme, config.authority, config.path
    ))
}

const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"required":["scheme","authority"],
"properties":{
"scheme":{"type":"string","description":"http or https","examples":["http"]},
"authority":{"type":"string","description":"host and port","examples":["192.0.2.1:80"]},
"path":{"type":"string","default":"/","description":"path"}
}}"##;

export_probe!(WasiHttp);

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_plugin::fake::{request, schema_problems};

    #[test]
    fn the_schema_fits_the_configuration() {
        assert_eq!(schema_problems::<Config>(SCHEMA), Vec::<String>::new());
        let json = r#"{"scheme":"http","authority":"a.example"}"#;
        let config = bellwether_plugin::config::parse(json).unwrap();
        let report = WasiHttp::check(&request(json), config).unwrap();
        assert!(
            report.summary.ends_with("http://a.example/"),
            "{}",
            report.summary
        );
    }
}
