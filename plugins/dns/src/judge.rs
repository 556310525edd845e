use bellwether_plugin::datagrams::{
    Datagrams, DnsFlags, DnsQuery, DnsRecord, DnsResponse, DnsTransport,
};
use bellwether_plugin::findings::Findings;
use bellwether_plugin::http::shorten;
use bellwether_plugin::net::{Millis, judge as judge_error, ms};
use bellwether_plugin::{ProbeError, Report, Request};

use crate::{Config, Transport};

/// Lines of answers in the details.
const MAX_SHOWN: usize = 50;

/// Asks and judges.
pub fn check(
    request: &Request,
    config: &Config,
    net: &dyn Datagrams,
) -> Result<Report, ProbeError> {
    let name = config.name.as_deref().unwrap_or(&request.node.address);
    if config.exact && config.expect.is_empty() {
        return Err(ProbeError::config(
            "/expect",
            "expected at least one value beside exact, found none",
        ));
    }
    let query = DnsQuery {
        server: config.server.clone(),
        port: config.server.is_some().then_some(config.port),
        transport: match config.transport {
            Transport::Auto => DnsTransport::Auto,
            Transport::Udp => DnsTransport::Udp,
            Transport::Tcp => DnsTransport::Tcp,
        },
        recursion: config.recursion,
        dnssec: config.validated,
        ..DnsQuery::new(name, &config.record_type)
    };
    match net.dns(&query) {
        Ok(response) => Ok(report(config, &response)),
        Err(error) => judge_error(error),
    }
}

/// Data without what may be written in two ways: case, quotes, final dots.
fn plain(data: &str) -> String {
    let words: Vec<String> = data
        .split_whitespace()
        .map(|word| {
            let word = word.trim_matches('"');
            let word = word.strip_suffix('.').unwrap_or(word);
            word.to_ascii_lowercase()
        })
        .collect();
    words.join(" ")
}

/// Aliases on the way and signatures are in the answer, too. They count where
/// they, or everything, was asked for, by name or by number.
fn is_asked_for(found: &str, wanted: &str) -> bool {
    let number = match found {
        "RRSIG" => "46",
        "CNAME" => "5",
        "DNAME" => "39",
        _ => return true,
    };
    let wanted = wanted.to_ascii_uppercase();
    let wanted = wanted.strip_prefix("TYPE").unwrap_or(&wanted);
    [found, number, "ANY", "255"].contains(&wanted)
}

fn report(config: &Config, response: &DnsResponse) -> Report {
    let latency = ms(response.timings.total);
    let answers: Vec<&DnsRecord> = response
        .answers
        .iter()
        .filter(|record| is_asked_for(&record.record_type, &config.record_type))
        .collect();
    let mut findings = Findings::default();
    if !response.rcode.eq_ignore_ascii_case(&config.rcode) {
        findings.critical(format!(
            "expected {}, found {}",
            config.rcode.to_ascii_uppercase(),
            response.rcode
        ));
    } else {
        judge_records(config, &answers, &mut findings);
    }
    let flag = |flag| response.flags.contains(flag);
    if config.authoritative && !flag(DnsFlags::AUTHORITATIVE) {
        findings.critical("the answer is not authoritative");
    }
    if config.validated && !flag(DnsFlags::AUTHENTIC_DATA) {
        findings.critical("the answer is not validated by DNSSEC");
    }
    findings.slower(latency, config.warn_ms, config.critical_ms);

    let serial = answers
        .iter()
        .find(|record| record.record_type == "SOA")
        .and_then(|record| record.data.split_whitespace().nth(2)?.parse::<f64>().ok());
    let ttl = answers.iter().map(|record| record.ttl).min();
    let count = answers.len();
    let records = if count == 1 { "record" } else { "records" };
    let summary = format!(
        "{}, {count} {records} in {}",
        response.rcode,
        Millis(latency)
    );
    let report = findings
        .report(summary)
        .metric("latency_ms", latency)
        .metric("answers", count as f64)
        .metric_if("ttl_s", ttl.map(f64::from))
        .metric_if("serial", serial)
        .metric("size_bytes", f64::from(response.size))
        .detail(format!("answered from {}", response.server));
    response
        .answers
        .iter()
        .take(MAX_SHOWN)
        .fold(report, |report, record| {
            report.detail(shorten(
                &format!(
                    "{} {} {} {}",
                    record.name, record.ttl, record.record_type, record.data
                ),
                500,
            ))
        })
}

fn judge_records(config: &Config, answers: &[&DnsRecord], findings: &mut Findings) {
    let positive = config.rcode.eq_ignore_ascii_case("NOERROR");
    let least = config.min_answers.unwrap_or(usize::from(positive));
    if answers.len() < least {
        findings.critical(format!(
            "expected at least {least} records, found {}",
            answers.len()
        ));
    }
    let expected: Vec<String> = config.expect.iter().map(|data| plain(data)).collect();
    let found: Vec<String> = answers.iter().map(|record| plain(&record.data)).collect();
    for (text, shown) in expected.iter().zip(&config.expect) {
        if !found.contains(text) {
            findings.critical(format!("expected {shown:?} among the records"));
        }
    }
    if config.exact {
        for (text, record) in found.iter().zip(answers) {
            if !expected.contains(text) {
                findings.critical(format!("found {:?}, which is not expected", record.data));
            }
        }
    }
}
