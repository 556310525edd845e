//! One host and port: the configuration, connection and metrics that probes of
//! TCP services share.

use crate::findings::{Findings, Limits};
use crate::net::{Certificate, Connection, Error, Net, Timings, TlsOptions, ms};
use crate::{Manifest, ProbeError, Report, Request, Timestamp};

/// What a check connects to, and the limits of that.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint<'a> {
    /// Name or address; the node's address where absent.
    pub host: Option<&'a str>,
    /// Port.
    pub port: u16,
    /// Name for TLS, where it is not the host.
    pub server_name: Option<&'a str>,
    /// Bounds; `limits.verify` says whether certificates are verified.
    pub limits: Limits,
}

impl Endpoint<'_> {
    /// Connects, with TLS from the start where asked for.
    pub fn connect(
        &self,
        request: &Request,
        net: &dyn Net,
        tls: bool,
    ) -> Result<Box<dyn Connection>, Error> {
        let options = tls.then(|| self.tls());
        self.connect_with(request, net, options.as_ref())
    }

    /// Connects, with these TLS options from the start where there are any.
    pub fn connect_with(
        &self,
        request: &Request,
        net: &dyn Net,
        tls: Option<&TlsOptions>,
    ) -> Result<Box<dyn Connection>, Error> {
        let host = self.host.unwrap_or(&request.node.address);
        if host.is_empty() {
            return Err(Error::Invalid(
                "expected a host, found none; the node has no address".to_owned(),
            ));
        }
        net.connect(host, self.port, tls)
    }

    /// The TLS options, for an upgrade.
    pub fn tls(&self) -> TlsOptions {
        TlsOptions {
            server_name: self.server_name.map(str::to_owned),
            verify: self.limits.verify,
            alpn: Vec::new(),
        }
    }

    /// Judges latency and certificate and makes the report: `summary`, what is
    /// wrong, and the metrics of [`Manifest::connection_metrics`].
    pub fn report(
        &self,
        request: &Request,
        connection: &dyn Connection,
        mut findings: Findings,
        summary: impl Into<String>,
    ) -> Report {
        let timings = connection.timings();
        let latency = ms(timings.total);
        findings.latency(&self.limits, latency);
        let certificate = connection.certificate();
        if let Some(certificate) = &certificate {
            findings.certificate(&self.limits, certificate, request.now);
        }
        findings
            .report(summary)
            .timings(&timings)
            .detail(format!("answered from {}", connection.peer()))
            .certificate(certificate.as_ref(), request.now)
    }
}

impl Report {
    /// Adds how long an exchange and its phases took; the metrics are those of
    /// [`Manifest::connection_metrics`].
    #[must_use]
    pub fn timings(self, timings: &Timings) -> Self {
        self.metric("latency_ms", ms(timings.total))
            .metric_if("dns_ms", timings.resolve.map(ms))
            .metric_if("connect_ms", timings.connect.map(ms))
            .metric_if("tls_ms", timings.tls.map(ms))
            .metric_if("first_byte_ms", timings.first_byte.map(ms))
    }

    /// Adds whose certificate was shown and the days it has left, to a tenth,
    /// where there is one.
    #[must_use]
    pub fn certificate(self, certificate: Option<&Certificate>, now: Timestamp) -> Self {
        let Some(certificate) = certificate else {
            return self;
        };
        let days = (certificate.days_left(now) * 10.0).round() / 10.0;
        self.metric("cert_days", days)
            .detail(certificate.describe())
    }
}

impl Certificate {
    /// One line for details.
    pub fn describe(&self) -> String {
        format!(
            "certificate {} issued by {} for {}",
            self.subject,
            self.issuer,
            self.names.join(", ")
        )
    }
}

impl Manifest {
    /// Announces the metrics of [`Report::timings`]; `tls` those of TLS and of
    /// [`Report::certificate`] too.
    #[must_use]
    pub fn connection_metrics(self, tls: bool) -> Self {
        let manifest = self
            .metric("latency_ms", "ms", "connection and exchange together")
            .metric("dns_ms", "ms", "resolving the name")
            .metric("connect_ms", "ms", "opening the connection")
            .metric("first_byte_ms", "ms", "waiting for the server's first byte");
        if !tls {
            return manifest;
        }
        manifest.metric("tls_ms", "ms", "TLS handshake").metric(
            "cert_days",
            "d",
            "days until the certificate expires",
        )
    }
}

/// A line of commands must stay one line: refuses control characters in a
/// configured text. `pointer` is the JSON Pointer of the value.
pub fn one_line(pointer: &str, text: Option<&str>) -> Result<(), ProbeError> {
    match text {
        Some(text) if text.chars().any(char::is_control) => Err(ProbeError::config(
            pointer,
            format!("expected text without control characters, found {text:?}"),
        )),
        _ => Ok(()),
    }
}

/// Declares a configuration with the fields that every TCP service with TLS has
/// (`host`, `port`, `server_name`, `verify`, `warn_ms`, `critical_ms`,
/// `cert_warn_days`, `cert_critical_days`), and `endpoint(default_port)` to read
/// them. Its own fields follow.
#[macro_export]
macro_rules! endpoint_config {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// Name or address; the node's address where absent.
            pub host: Option<String>,
            /// Port; the service's usual one where absent.
            pub port: Option<u16>,
            /// Name for TLS, where it is not the host.
            pub server_name: Option<String>,
            /// False accepts any certificate; true where absent.
            pub verify: Option<bool>,
            /// Slower is a warning, in milliseconds.
            pub warn_ms: Option<f64>,
            /// Slower is critical, in milliseconds.
            pub critical_ms: Option<f64>,
            /// Fewer days left on the certificate are a warning.
            pub cert_warn_days: Option<f64>,
            /// Fewer days left on the certificate are critical.
            pub cert_critical_days: Option<f64>,
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $name {
            /// What to connect to.
            pub fn endpoint(&self, default_port: u16) -> $crate::endpoint::Endpoint<'_> {
                $crate::endpoint::Endpoint {
                    host: self.host.as_deref(),
                    port: self.port.unwrap_or(default_port),
                    server_name: self.server_name.as_deref(),
                    limits: $crate::findings::Limits {
                        warn_ms: self.warn_ms,
                        critical_ms: self.critical_ms,
                        cert_warn_days: self.cert_warn_days,
                        cert_critical_days: self.cert_critical_days,
                        verify: self.verify.unwrap_or(true),
                    },
                }
            }
        }
    };
}

/// The JSON Schema of an [`endpoint_config!`]: the name of what listens, the
/// port's keywords (`"default":25` or, where it depends, `"examples":[25]`) and
/// then the configuration's own properties, without a comma at the end.
#[macro_export]
macro_rules! endpoint_schema {
    (port: $port:literal, required: $required:literal, own: $own:expr $(,)?) => {
        concat!(
            r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"required":"##, $required, r##","properties":{
"host":{"type":"string","x-target":"host","title":"Host","description":"name or address to connect to; absent: the node's address","examples":["service.example.org"]},
"port":{"type":"integer","minimum":1,"maximum":65535,"title":"Port","description":"port to connect to","##, $port, r##"},
"##, $own, r##",
"server_name":{"type":"string","title":"TLS name","description":"name to ask for and to verify in TLS, where it is not the host","examples":["service.example.org"]},
"verify":{"type":"boolean","default":true,"title":"Verify the certificate","description":"false accepts any certificate"},
"warn_ms":{"type":"number","exclusiveMinimum":0,"title":"Warn when slower (ms)","description":"slower is a warning, in milliseconds","examples":[500]},
"critical_ms":{"type":"number","exclusiveMinimum":0,"title":"Critical when slower (ms)","description":"slower is critical, in milliseconds","examples":[2000]},
"cert_warn_days":{"type":"number","title":"Warn before expiry (days)","description":"fewer days left on the certificate are a warning; 14 unless verify is false","examples":[14]},
"cert_critical_days":{"type":"number","title":"Critical before expiry (days)","description":"fewer days left on the certificate are critical; 3 unless verify is false","examples":[3]}
}}"##)
    };
}
