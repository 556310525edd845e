//! From the steps to a report.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_plugin::expect::{Regex, broken, optional_pattern, pattern};
use bellwether_plugin::findings::Findings;
use bellwether_plugin::http::{set_headers, shorten};
use bellwether_plugin::net::{
    Error, HttpRequest, HttpResponse, Millis, Net, TlsOptions, explain, ms,
};
use bellwether_plugin::{ProbeError, Report, Request};
use serde_json::Value;

use crate::config::{Config, Extract, Step};
use crate::cookies::Jar;
use crate::template::{Place, Variables, fill, fill_form, fill_json, is_name};

/// Longest value that is taken from an answer, in bytes.
const MAX_VALUE: usize = 64 * 1024;

/// A step with its patterns.
struct Prepared<'a> {
    step: &'a Step,
    /// Its name, or its number.
    name: String,
    must: Option<Regex>,
    must_not: Option<Regex>,
    sources: Vec<(&'a str, Source<'a>)>,
}

/// Where a variable comes from.
enum Source<'a> {
    Json(&'a str),
    Regex(Regex),
    Header(&'a str),
}

/// Runs the steps and judges.
pub fn check(request: &Request, config: &Config, net: &dyn Net) -> Result<Report, ProbeError> {
    let steps = prepare(config)?;
    let mut variables: Variables = config.variables.clone();
    variables.insert("run".to_owned(), request.now.to_string());
    let mut jar = Jar::default();
    let mut findings = Findings::default();
    let (mut total, mut done) = (0.0, 0);
    let mut report = Report::ok("");
    for (index, step) in steps.iter().enumerate() {
        let outcome = run(index, &steps, config, &mut variables, &mut jar, net)?;
        let place = match &step.step.name {
            Some(name) => format!("step {} ({name})", index + 1),
            None => format!("step {}", index + 1),
        };
        let mut line = format!("{place}: not answered");
        if let Some(response) = &outcome.response {
            let took = ms(response.timings.total);
            total += took;
            line = format!("{place}: HTTP {} in {}", response.status, Millis(took));
            report = report.metric(&metric_name(&step.name), took);
        }
        for text in &outcome.warnings {
            findings.warning(format!("{place}: {text}"));
        }
        if outcome.failures.is_empty() {
            done += 1;
            report = report.detail(line);
            continue;
        }
        let text = outcome.failures.join(", ");
        report = report.detail(format!("{line}, {text}"));
        let status = outcome.response.as_ref();
        let status = status.map_or(String::new(), |response| {
            format!("HTTP {}, ", response.status)
        });
        findings.critical(format!("{place}: {status}{text}"));
        if let Some(response) = outcome
            .response
            .filter(|response| !response.body.is_empty())
        {
            let body = String::from_utf8_lossy(&response.body[..response.body.len().min(4096)]);
            report = report.detail("").detail(shorten(body.trim(), 500));
        }
        break;
    }
    findings.slower(total, config.warn_ms, config.critical_ms);
    let summary = format!("{done} of {} steps in {}", steps.len(), Millis(total));
    let judged = findings.report(summary);
    report.state = judged.state;
    report.summary = judged.summary;
    Ok(report
        .metric("latency_ms", total)
        .metric("steps_ok", done as f64))
}

/// `step_NAME_ms`, with letters that a metric can have.
fn metric_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().take(100).map(plain).collect();
    format!("step_{}_ms", name.to_ascii_lowercase())
}

/// Everything that may be wrong with the configuration, before the first
/// request: an operator hears of it whether or not the target is up.
fn prepare(config: &Config) -> Result<Vec<Prepared<'_>>, ProbeError> {
    if config.steps.is_empty() {
        return Err(ProbeError::config(
            "/steps",
            "expected at least one step, found none",
        ));
    }
    // Sample values: whether a variable is known does not depend on its value.
    let mut known: Variables = config.variables.clone();
    known.insert("run".to_owned(), "0".to_owned());
    for name in config.variables.keys() {
        check_name(&format!("/variables/{name}"), name)?;
    }
    let mut steps = Vec::with_capacity(config.steps.len());
    let mut names = BTreeSet::new();
    for (index, step) in config.steps.iter().enumerate() {
        let at = format!("/steps/{index}");
        let name = match &step.name {
            Some(name) => name.clone(),
            None => (index + 1).to_string(),
        };
        if !names.insert(metric_name(&name)) {
            let text = format!("expected a name that no other step has, found \"{name}\" twice");
            return Err(ProbeError::config(format!("{at}/name"), text));
        }
        let bodies = [
            step.body.is_some(),
            step.json_body.is_some(),
            step.form.is_some(),
        ];
        if bodies.iter().filter(|there| **there).count() > 1 {
            let text = "expected one of body, json_body and form, found more";
            return Err(ProbeError::config(at, text));
        }
        build(index, step, config, &known, &Jar::default())?;
        for (number, assertion) in step.json.iter().enumerate() {
            broken(assertion, &format!("{at}/json/{number}"), &Value::Null)?;
        }
        let mut sources = Vec::new();
        for (variable, extract) in &step.extract {
            let here = format!("{at}/extract/{variable}");
            check_name(&here, variable)?;
            sources.push((variable.as_str(), source(&here, extract)?));
            known.insert(variable.clone(), "0".to_owned());
        }
        steps.push(Prepared {
            step,
            name,
            must: optional_pattern(&format!("{at}/body_regex"), step.body_regex.as_deref())?,
            must_not: optional_pattern(
                &format!("{at}/body_not_regex"),
                step.body_not_regex.as_deref(),
            )?,
            sources,
        });
    }
    Ok(steps)
}

fn check_name(at: &str, name: &str) -> Result<(), ProbeError> {
    if is_name(name) {
        return Ok(());
    }
    let text = format!("expected a name of letters, digits and _, found \"{name}\"");
    Err(ProbeError::config(at, text))
}

fn source<'a>(at: &str, extract: &'a Extract) -> Result<Source<'a>, ProbeError> {
    match (&extract.json, &extract.regex, &extract.header) {
        (Some(pointer), None, None) if pointer.is_empty() || pointer.starts_with('/') => {
            Ok(Source::Json(pointer))
        }
        (Some(pointer), None, None) => Err(ProbeError::config(
            format!("{at}/json"),
            format!("expected a JSON Pointer like \"/token\", found \"{pointer}\""),
        )),
        (None, Some(text), None) => Ok(Source::Regex(pattern(&format!("{at}/regex"), text)?)),
        (None, None, Some(name)) => Ok(Source::Header(name)),
        _ => Err(ProbeError::config(
            at,
            "expected one of json, regex and header",
        )),
    }
}

/// The request of a step, filled in.
fn build(
    index: usize,
    step: &Step,
    config: &Config,
    variables: &Variables,
    jar: &Jar,
) -> Result<HttpRequest, ProbeError> {
    let unknown = |key: &str, name: String| {
        let names: Vec<&str> = variables.keys().map(String::as_str).collect();
        let text = format!(
            "expected a variable of this or an earlier step ({}), found ${{{name}}}",
            names.join(", ")
        );
        ProbeError::config(format!("/steps/{index}/{key}"), text)
    };
    let url = fill(&step.url, Place::Url, variables).map_err(|name| unknown("url", name))?;
    let mut request = HttpRequest::new(&step.method, &url);
    let headers: BTreeMap<String, String> = step
        .headers
        .iter()
        .map(|(name, value)| Ok((name.clone(), fill(value, Place::Plain, variables)?)))
        .collect::<Result<_, String>>()
        .map_err(|name| unknown("headers", name))?;
    set_headers(&mut request, &headers, &step.secret_headers);
    let mut kind = None;
    if let Some(body) = &step.body {
        let body = fill(body, Place::Plain, variables).map_err(|name| unknown("body", name))?;
        request.body = Some(body.into_bytes());
    } else if let Some(body) = &step.json_body {
        let body = fill_json(body, variables).map_err(|name| unknown("json_body", name))?;
        request.body = Some(body.to_string().into_bytes());
        kind = Some("application/json");
    } else if let Some(form) = &step.form {
        let body = fill_form(form, variables).map_err(|name| unknown("form", name))?;
        request.body = Some(body.into_bytes());
        kind = Some("application/x-www-form-urlencoded");
    }
    let agent = concat!("bellwether-http-scenario/", env!("CARGO_PKG_VERSION"));
    let cookies = jar.header(&url).filter(|_| config.cookies);
    for (name, value) in [
        ("Content-Type", kind),
        ("User-Agent", Some(agent)),
        ("Cookie", cookies.as_deref()),
    ] {
        if let Some(value) = value.filter(|_| !request.has_header(name)) {
            request = request.header(name, value);
        }
    }
    request.max_redirects = step.max_redirects;
    request.tls = TlsOptions::other_than_verified(None, config.verify_tls);
    Ok(request)
}

/// How a step went.
#[derive(Default)]
struct Outcome {
    response: Option<HttpResponse>,
    failures: Vec<String>,
    warnings: Vec<String>,
}

fn run(
    index: usize,
    steps: &[Prepared<'_>],
    config: &Config,
    variables: &mut Variables,
    jar: &mut Jar,
    net: &dyn Net,
) -> Result<Outcome, ProbeError> {
    let step = &steps[index];
    let mut outcome = Outcome::default();
    // A value of the target's may make a later request invalid; that is no fault
    // of the configuration.
    let extracted = steps[..index].iter().any(|step| !step.sources.is_empty());
    let takes_values = extracted || !jar.is_empty();
    let request = build(index, step.step, config, variables, jar)?;
    let response = match net.http(&request) {
        Ok(response) => response,
        Err(Error::Denied(what)) => return Err(ProbeError::Denied(what)),
        Err(Error::Invalid(text)) if !takes_values => {
            return Err(ProbeError::config(format!("/steps/{index}"), text));
        }
        Err(error) => {
            outcome.failures.push(explain(&error));
            return Ok(outcome);
        }
    };
    if config.cookies {
        jar.keep(&response);
    }
    judge(index, step, &response, &mut outcome)?;
    if outcome.failures.is_empty() {
        for (name, source) in &step.sources {
            match extract(source, &response) {
                Ok(value) => drop(variables.insert((*name).to_owned(), value)),
                Err(text) => outcome.failures.push(format!("{name}: {text}")),
            }
        }
    }
    outcome.response = Some(response);
    Ok(outcome)
}

fn judge(
    index: usize,
    prepared: &Prepared<'_>,
    response: &HttpResponse,
    outcome: &mut Outcome,
) -> Result<(), ProbeError> {
    let step = prepared.step;
    let failures = &mut outcome.failures;
    if !step.expect_status.contains(response.status) {
        failures.push(format!("expected {}", step.expect_status.text()));
    }
    if prepared.must.is_some() || prepared.must_not.is_some() {
        let text = String::from_utf8_lossy(&response.body);
        if let Some(regex) = prepared
            .must
            .as_ref()
            .filter(|regex| !regex.is_match(&text))
        {
            failures.push(format!(
                "the body does not match {}",
                shorten(regex.as_str(), 80)
            ));
        }
        if let Some(regex) = prepared
            .must_not
            .as_ref()
            .filter(|regex| regex.is_match(&text))
        {
            failures.push(format!("the body matches {}", shorten(regex.as_str(), 80)));
        }
    }
    if !step.json.is_empty() {
        match serde_json::from_slice(&response.body) {
            Ok(body) => {
                for (number, assertion) in step.json.iter().enumerate() {
                    let at = format!("/steps/{index}/json/{number}");
                    failures.extend(broken(assertion, &at, &body)?);
                }
            }
            Err(error) => failures.push(format!("the body is not JSON: {error}")),
        }
    }
    let took = ms(response.timings.total);
    match (step.warn_ms, step.critical_ms) {
        (_, Some(limit)) if took > limit => {
            failures.push(format!("slower than {}", Millis(limit)));
        }
        (Some(limit), _) if took > limit => {
            outcome
                .warnings
                .push(format!("slower than {}", Millis(limit)));
        }
        _ => {}
    }
    Ok(())
}

/// A value of an answer. The error says why there is none.
fn extract(source: &Source<'_>, response: &HttpResponse) -> Result<String, String> {
    let value = match source {
        Source::Json(pointer) => {
            let body: Value = serde_json::from_slice(&response.body)
                .map_err(|error| format!("the body is not JSON: {error}"))?;
            match body.pointer(pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => return Err(format!("{pointer} is missing")),
            }
        }
        Source::Regex(regex) => {
            let body = String::from_utf8_lossy(&response.body);
            let found = regex.captures(&body).ok_or_else(|| {
                format!("the body does not match {}", shorten(regex.as_str(), 80))
            })?;
            let group = found.get(1).or_else(|| found.get(0));
            group.map_or("", |group| group.as_str()).to_owned()
        }
        Source::Header(name) => match response.header(name) {
            Some(value) => value.to_owned(),
            None => return Err(format!("no header {name}")),
        },
    };
    if value.len() > MAX_VALUE {
        return Err(format!(
            "a value of {} bytes, at most {MAX_VALUE} are taken",
            value.len()
        ));
    }
    Ok(value)
}
