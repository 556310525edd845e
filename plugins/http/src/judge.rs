//! From an answer to a report.

use bellwether_plugin::expect::{Regex, broken, optional_pattern};
use bellwether_plugin::findings::{Findings, Limits};
use bellwether_plugin::http::{set_headers, shorten};
use bellwether_plugin::net::{
    HttpRequest, HttpResponse, Millis, Net, TlsOptions, judge as judge_error, ms,
};
use bellwether_plugin::{ProbeError, Report, Request, State};

use crate::config::Config;

/// Asks and judges.
pub fn check(request: &Request, config: &Config, net: &dyn Net) -> Result<Report, ProbeError> {
    // Everything that may be wrong with the configuration comes first: an
    // operator hears of it whether or not the target is up.
    let body_regex = optional_pattern("/body_regex", config.body_regex.as_deref())?;
    let body_not_regex = optional_pattern("/body_not_regex", config.body_not_regex.as_deref())?;
    for (index, assertion) in config.json.iter().enumerate() {
        broken(
            assertion,
            &format!("/json/{index}"),
            &serde_json::Value::Null,
        )?;
    }

    let response = match net.http(&http_request(config)) {
        Ok(response) => response,
        Err(error) => return judge_error(error),
    };

    let mut findings = Findings::default();
    if !config.expect_status.contains(response.status) {
        findings.critical(format!("expected {}", config.expect_status.text()));
    }
    judge_body(
        config,
        &response,
        body_regex.as_ref(),
        body_not_regex.as_ref(),
        &mut findings,
    )?;
    let limits = Limits {
        warn_ms: config.warn_ms,
        critical_ms: config.critical_ms,
        cert_warn_days: config.cert_warn_days,
        cert_critical_days: config.cert_critical_days,
        verify: config.verify_tls,
    };
    findings.latency(&limits, ms(response.timings.total));
    if let Some(certificate) = &response.certificate {
        findings.certificate(&limits, certificate, request.now);
    }
    Ok(report(&response, request.now, &findings))
}

fn http_request(config: &Config) -> HttpRequest {
    let mut request = HttpRequest::new(&config.method, &config.url);
    set_headers(&mut request, &config.headers, &config.secret_headers);
    if !request.has_header("user-agent") {
        request = request.header(
            "User-Agent",
            concat!("bellwether-http/", env!("CARGO_PKG_VERSION")),
        );
    }
    request.body = config.body.as_ref().map(|body| body.as_bytes().to_vec());
    request.max_redirects = config.max_redirects;
    request.max_body = config.max_body;
    request.tls = TlsOptions::other_than_verified(config.server_name.as_deref(), config.verify_tls);
    request
}

fn judge_body(
    config: &Config,
    response: &HttpResponse,
    must: Option<&Regex>,
    must_not: Option<&Regex>,
    findings: &mut Findings,
) -> Result<(), ProbeError> {
    let cut = if response.truncated {
        format!(" in its first {} bytes", response.body.len())
    } else {
        String::new()
    };
    if must.is_some() || must_not.is_some() {
        let text = String::from_utf8_lossy(&response.body);
        if let Some(regex) = must.filter(|regex| !regex.is_match(&text)) {
            findings.critical(format!(
                "the body does not match {}{cut}",
                shorten(regex.as_str(), 80)
            ));
        }
        if let Some(regex) = must_not.filter(|regex| regex.is_match(&text)) {
            findings.critical(format!("the body matches {}", shorten(regex.as_str(), 80)));
        }
    }
    if config.json.is_empty() {
        return Ok(());
    }
    match serde_json::from_slice(&response.body) {
        Ok(body) => {
            for (index, assertion) in config.json.iter().enumerate() {
                if let Some(text) = broken(assertion, &format!("/json/{index}"), &body)? {
                    findings.critical(text);
                }
            }
        }
        Err(error) => findings.critical(format!("the body is not JSON{cut}: {error}")),
    }
    Ok(())
}

fn report(response: &HttpResponse, now: i64, findings: &Findings) -> Report {
    let took = Millis(ms(response.timings.total));
    let summary = format!("HTTP {} in {took}", response.status);
    let state = findings.state();
    let mut report = findings
        .report(summary)
        .timings(&response.timings)
        .metric("status", f64::from(response.status))
        .metric("size_bytes", response.body.len() as f64)
        .detail(format!(
            "{} from {} ({})",
            response.version, response.peer, response.url
        ))
        .certificate(response.certificate.as_ref(), now);
    if let Some(location) = response
        .header("location")
        .filter(|_| (300..400).contains(&response.status))
    {
        report = report.detail(format!("redirects to {location}"));
    }
    if state != State::Ok && !response.body.is_empty() {
        let text = String::from_utf8_lossy(&response.body);
        report = report.detail("").detail(shorten(text.trim(), 500));
    }
    report
}
