//! From a scrape to a report.

use std::collections::BTreeMap;

use bellwether_plugin::expect::{Regex, pattern};
use bellwether_plugin::findings::{Findings, Limits};
use bellwether_plugin::http::{set_headers, shorten};
use bellwether_plugin::net::{
    HttpRequest, HttpResponse, Millis, Net, TlsOptions, judge as judge_error, ms,
};
use bellwether_plugin::state::Store;
use bellwether_plugin::text::{Number, quoted};
use bellwether_plugin::{ProbeError, Report, Request, State, Timestamp};

use crate::config::{Aggregate, Config, Missing, Rule};
use crate::text::{Sample, sample};

/// Where counters of the last run are kept.
const STATE_KEY: &str = "counters";

/// Samples that are wanted, and what they come to.
struct Selector<'a> {
    metric: &'a str,
    labels: &'a BTreeMap<String, String>,
    patterns: Vec<(&'a str, Regex)>,
    aggregate: Aggregate,
    count: usize,
    sum: f64,
    min: f64,
    max: f64,
}

impl<'a> Selector<'a> {
    fn new(
        at: &str,
        metric: &'a str,
        labels: &'a BTreeMap<String, String>,
        labels_regex: &'a BTreeMap<String, String>,
        aggregate: Aggregate,
    ) -> Result<Self, ProbeError> {
        let mut patterns = Vec::new();
        for (name, text) in labels_regex {
            let pointer = format!("{at}/labels_regex/{name}");
            // By itself first: a stray bracket must not close the one around it.
            pattern(&pointer, text)?;
            let whole = pattern(&pointer, &format!("^(?:{text})$"))?;
            patterns.push((name.as_str(), whole));
        }
        Ok(Selector {
            metric,
            labels,
            patterns,
            aggregate,
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        })
    }

    fn take(&mut self, sample: &Sample<'_>) {
        let fits = sample.name == self.metric
            && self
                .labels
                .iter()
                .all(|(name, value)| sample.label(name) == value)
            && self
                .patterns
                .iter()
                .all(|(name, regex)| regex.is_match(sample.label(name)));
        if fits {
            self.count += 1;
            self.sum += sample.value;
            self.min = self.min.min(sample.value);
            self.max = self.max.max(sample.value);
        }
    }

    /// The value; absent where no sample fits.
    fn value(&self) -> Option<f64> {
        if self.aggregate == Aggregate::Count {
            return Some(self.count as f64);
        }
        (self.count > 0).then_some(match self.aggregate {
            Aggregate::Sum => self.sum,
            Aggregate::Min => self.min,
            Aggregate::Max => self.max,
            Aggregate::Avg => self.sum / self.count as f64,
            Aggregate::Count => self.count as f64,
        })
    }
}

/// A rule with its selectors.
struct Prepared<'a> {
    rule: &'a Rule,
    name: &'a str,
    value: Selector<'a>,
    divisor: Option<Selector<'a>>,
}

fn prepare(config: &Config) -> Result<Vec<Prepared<'_>>, ProbeError> {
    let mut prepared: Vec<Prepared<'_>> = Vec::with_capacity(config.rules.len());
    for (index, rule) in config.rules.iter().enumerate() {
        let at = format!("/rules/{index}");
        let name = rule.name.as_deref().unwrap_or(&rule.metric);
        if prepared.iter().any(|other| other.name == name) {
            let text = format!("expected a name that no other rule has, found \"{name}\" twice");
            return Err(ProbeError::config(format!("{at}/name"), text));
        }
        let divisor = match &rule.divide_by {
            Some(by) => Some(Selector::new(
                &format!("{at}/divide_by"),
                &by.metric,
                &by.labels,
                &by.labels_regex,
                by.aggregate,
            )?),
            None => None,
        };
        prepared.push(Prepared {
            rule,
            name,
            value: Selector::new(
                &at,
                &rule.metric,
                &rule.labels,
                &rule.labels_regex,
                rule.aggregate,
            )?,
            divisor,
        });
    }
    Ok(prepared)
}

/// Scrapes and judges.
pub fn check(
    request: &Request,
    config: &Config,
    net: &dyn Net,
    store: &dyn Store,
) -> Result<Report, ProbeError> {
    let mut rules = prepare(config)?;
    let response = match net.http(&http_request(config)) {
        Ok(response) => response,
        Err(error) => return judge_error(error),
    };
    let mut findings = Findings::default();
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
    let took = Millis(ms(response.timings.total));
    if response.status != 200 {
        findings.critical("expected HTTP 200");
        let summary = format!("HTTP {} in {took}", response.status);
        return Ok(with_timings(findings.report(summary), &response, request));
    }
    let samples = read(&response, &mut rules);
    if samples == 0 {
        findings.critical(format!(
            "expected metrics in Prometheus' text format, found {}",
            quoted(&response.body)
        ));
        return Ok(with_timings(findings.report(""), &response, request));
    }
    if response.truncated {
        findings.unknown(format!(
            "only the first {} bytes were read; see max_body",
            response.body.len()
        ));
    }
    let mut counters = Counters::load(store, request.now);
    let mut metrics = Vec::new();
    let mut shown = Vec::new();
    for rule in &rules {
        if let Some(value) = judge(rule, &mut counters, &mut findings) {
            metrics.push((rule.name, value));
            shown.push(format!("{} = {}", rule.name, Number(value)));
        }
    }
    counters.save(store);
    let mut summary = format!("{samples} samples in {took}");
    // Two or three values read well in a list of checks, more do not; those out
    // of bounds are findings already.
    if (1..=3).contains(&shown.len()) && findings.state() == State::Ok {
        summary = shown.join(", ");
    }
    let mut report = with_timings(findings.report(summary), &response, request)
        .metric("samples", samples as f64)
        .detail(shown.join("\n"));
    for (name, value) in metrics {
        report = report.metric(name, value);
    }
    Ok(report)
}

fn http_request(config: &Config) -> HttpRequest {
    let mut request = HttpRequest::new("GET", &config.url);
    set_headers(&mut request, &config.headers, &config.secret_headers);
    for (name, value) in [
        (
            "User-Agent",
            concat!("bellwether-prometheus/", env!("CARGO_PKG_VERSION")),
        ),
        ("Accept", "text/plain;version=0.0.4;q=1,*/*;q=0.1"),
    ] {
        if !request.has_header(name) {
            request = request.header(name, value);
        }
    }
    request.max_body = config.max_body;
    request.tls = TlsOptions::other_than_verified(config.server_name.as_deref(), config.verify_tls);
    request
}

/// Hands each sample to the rules; returns how many there are.
fn read(response: &HttpResponse, rules: &mut [Prepared<'_>]) -> usize {
    let mut body = response.body.as_slice();
    if response.truncated {
        // The last line is only half of one.
        let end = body.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        body = &body[..end];
    }
    let mut samples = 0;
    for line in body.split(|byte| *byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        if line.starts_with('#') {
            continue;
        }
        let Some(sample) = sample(line) else { continue };
        samples += 1;
        for rule in rules.iter_mut() {
            rule.value.take(&sample);
            if let Some(divisor) = &mut rule.divisor {
                divisor.take(&sample);
            }
        }
    }
    samples
}

/// A rule's value, judged; absent where there is none.
fn judge(rule: &Prepared<'_>, counters: &mut Counters, findings: &mut Findings) -> Option<f64> {
    let name = rule.name;
    let divisor = rule.divisor.as_ref();
    let mut missing = |metric: &str| {
        let text = format!("{name}: no sample of {} fits", shorten(metric, 80));
        match rule.rule.missing {
            Missing::Ok => {}
            Missing::Warning => findings.warning(text),
            Missing::Critical => findings.critical(text),
            Missing::Unknown => findings.unknown(text),
        }
        None
    };
    let Some(mut value) = rule.value.value() else {
        return missing(rule.value.metric);
    };
    let mut below = match divisor {
        Some(divisor) => match divisor.value() {
            Some(below) => Some(below),
            None => return missing(divisor.metric),
        },
        None => None,
    };
    if rule.rule.rate {
        // On the first run there is nothing to compare with.
        let rate = counters.rate(name, value);
        let below_rate = below.map(|below| counters.rate(&format!("{name}/"), below));
        value = rate?;
        below = match below_rate {
            Some(rate) => Some(rate?),
            None => None,
        };
        // Nothing happened, so nothing of it went wrong.
        if below == Some(0.0) {
            return None;
        }
    }
    let value = below.map_or(value, |below| value / below) * rule.rule.times;
    if !value.is_finite() {
        findings.unknown(format!("{name} is {value}, which is no number to judge"));
        return None;
    }
    let one = rule.rule;
    findings.above(name, value, one.warn_above, one.critical_above);
    findings.below(name, value, one.warn_below, one.critical_below);
    Some(value)
}

/// Counters of the last run and of this one.
struct Counters {
    before: BTreeMap<String, f64>,
    now: BTreeMap<String, f64>,
    /// Seconds between the two runs.
    seconds: f64,
    time: Timestamp,
    version: Option<u64>,
}

impl Counters {
    fn load(store: &dyn Store, now: Timestamp) -> Self {
        let entry = store.get(STATE_KEY);
        let version = entry.as_ref().map(|entry| entry.version);
        let stored = entry.and_then(|entry| {
            serde_json::from_slice::<(Timestamp, BTreeMap<String, f64>)>(&entry.value).ok()
        });
        let (then, before) = stored.unwrap_or((now, BTreeMap::new()));
        Counters {
            before,
            now: BTreeMap::new(),
            seconds: now.saturating_sub(then) as f64 / 1_000_000.0,
            time: now,
            version,
        }
    }

    /// Growth per second; a counter that fell began anew.
    fn rate(&mut self, key: &str, value: f64) -> Option<f64> {
        if !value.is_finite() {
            return None;
        }
        self.now.insert(key.to_owned(), value);
        let before = *self.before.get(key)?;
        let growth = if value < before {
            value
        } else {
            value - before
        };
        (self.seconds > 0.0).then(|| growth / self.seconds)
    }

    fn save(self, store: &dyn Store) {
        if self.now.is_empty() {
            return;
        }
        let Ok(value) = serde_json::to_vec(&(self.time, self.now)) else {
            return;
        };
        if let Err(error) = store.set(STATE_KEY, &value, self.version) {
            bellwether_plugin::log::warning(&format!("the counters were not kept: {error:?}"));
        }
    }
}

fn with_timings(report: Report, response: &HttpResponse, request: &Request) -> Report {
    report
        .timings(&response.timings)
        .metric("size_bytes", response.body.len() as f64)
        .detail(format!(
            "{} from {} ({})",
            response.version, response.peer, response.url
        ))
        .certificate(response.certificate.as_ref(), request.now)
}
