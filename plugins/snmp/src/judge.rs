//! From an answer to a report.

use bellwether_plugin::datagrams::{Datagrams, UdpRequest};
use bellwether_plugin::findings::Findings;
use bellwether_plugin::http::shorten;
use bellwether_plugin::net::{Millis, judge as judge_error, ms};
use bellwether_plugin::state::Store;
use bellwether_plugin::text::{Number, quoted};
use bellwether_plugin::{ProbeError, Report, Request};

use crate::config::{Config, MAX_VALUES, Value};
use crate::counters::Counters;
use crate::message::{Answer, Held, get};

const SYS_UPTIME: &str = "1.3.6.1.2.1.1.3.0";
/// Most bytes of an answer.
const MAX_ANSWER: u32 = 16 << 10;

/// Asks and judges.
pub fn check(
    request: &Request,
    config: &Config,
    community: Option<&str>,
    net: &dyn Datagrams,
    store: &dyn Store,
) -> Result<Report, ProbeError> {
    let community = community
        .or(config.community.as_deref())
        .unwrap_or("public");
    let id = request_id(request);
    let rates = config.values.iter().any(|value| value.rate);
    let mut oids: Vec<&str> = config.values.iter().map(|value| &*value.oid).collect();
    if oids.is_empty() || oids.len() > MAX_VALUES {
        let text = format!("expected 1 to {MAX_VALUES} values, found {}", oids.len());
        return Err(ProbeError::config("/values", text));
    }
    if rates {
        // Tells a counter that went round from an agent that began anew.
        oids.push(SYS_UPTIME);
    }
    let Some(data) = get(config.version, community, id, &oids) else {
        return Err(bad_oid(config));
    };
    let host = config.host.as_deref().unwrap_or(&request.node.address);
    let question = UdpRequest {
        max_size: MAX_ANSWER,
        ..UdpRequest::new(host, config.port.unwrap_or(161), data)
    };
    let response = match net.udp(&question) {
        Ok(response) => response,
        Err(error) => return explain(judge_error(error)),
    };
    let Some(reply) = response.replies.first() else {
        return Ok(Report::critical("no answer"));
    };
    let took = ms(reply.after);
    let mut findings = Findings::default();
    findings.slower(took, config.warn_ms, config.critical_ms);
    let answer = Answer::read(&reply.data).filter(|answer| answer.id == i64::from(id));
    let Some(answer) = answer else {
        let found = quoted(&reply.data);
        return Ok(Report::critical(format!(
            "expected an SNMP answer to our request, found {found}"
        )));
    };
    let report = if answer.error != 0 {
        let at = usize::try_from(answer.index).unwrap_or_default();
        let which = match at.checked_sub(1).and_then(|at| oids.get(at)) {
            Some(oid) => format!(" ({oid})"),
            None => String::new(),
        };
        findings.critical(format!(
            "the agent refuses: {}, status {}{which}",
            answer.problem(),
            answer.error
        ));
        findings.report("")
    } else if answer.held.len() != oids.len() {
        findings.critical(format!(
            "expected {} values, found {}",
            oids.len(),
            answer.held.len()
        ));
        findings.report("")
    } else {
        let uptime = answer.held.last().filter(|_| rates);
        let uptime = uptime.and_then(|(_, held)| held.number());
        let mut counters = Counters::load(store, request.now, uptime);
        let report = judge(config, &answer, &mut counters, findings);
        counters.save(store);
        report.metric_if("uptime_s", uptime)
    };
    Ok(report.metric("latency_ms", took).detail(format!(
        "answered from {} in {}",
        response.peer,
        Millis(took)
    )))
}

/// An agent says nothing to a community that it does not know.
fn explain(judged: Result<Report, ProbeError>) -> Result<Report, ProbeError> {
    judged.map(|mut report| {
        if report.summary.starts_with("timed out") {
            report
                .summary
                .push_str(": no agent there, or it does not know the community");
        }
        report
    })
}

fn bad_oid(config: &Config) -> ProbeError {
    let wrong = |value: &Value| crate::ber::oid(&value.oid).is_none();
    let at = config.values.iter().position(wrong).unwrap_or_default();
    let found = config.values.get(at).map_or("", |value| &value.oid);
    ProbeError::config(
        format!("/values/{at}/oid"),
        format!("expected an object identifier like 1.3.6.1.2.1.1.3.0, found \"{found}\""),
    )
}

/// A number that others cannot foresee, in 31 bits (splitmix64).
fn request_id(request: &Request) -> i32 {
    let mut z = (request.now as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 33) as i32
}

fn judge(
    config: &Config,
    answer: &Answer,
    counters: &mut Counters,
    mut findings: Findings,
) -> Report {
    let mut shown = Vec::new();
    let mut metrics = Vec::new();
    let mut details = Vec::new();
    for (value, (oid, held)) in config.values.iter().zip(&answer.held) {
        let name = value.name.as_str();
        let text = shorten(&held.text(), 80);
        details.push(format!("{name} ({oid}) = {text}"));
        if let Held::Nothing(why) = held {
            findings.unknown(format!("{name}: {why}"));
            continue;
        }
        if let Some(expected) = &value.equals
            && *expected != held.text()
        {
            findings.critical(format!("{name} is {text}, expected {expected}"));
        }
        let number = match value.rate {
            true => counters.rate(name, held),
            false => held.number(),
        };
        match number.map(|number| number * value.times.unwrap_or(1.0)) {
            Some(number) => {
                findings.above(name, number, value.warn_above, value.critical_above);
                findings.below(name, number, value.warn_below, value.critical_below);
                let unit = value.unit.as_deref().unwrap_or_default();
                let gap = if unit.is_empty() { "" } else { " " };
                shown.push(format!("{name} {}{gap}{unit}", Number(number)));
                metrics.push((name, number));
            }
            // The first run has nothing to compare with.
            None if value.rate && held.number().is_some() => {}
            None if has_limits(value) || value.rate => {
                findings.unknown(format!("{name}: expected a number, found {text}"));
            }
            None => shown.push(format!("{name} {text}")),
        }
    }
    // What is wrong is named anyway.
    let summary = match shown.len() {
        0 => "the agent answers".to_owned(),
        _ => shorten(&shown.join(", "), 200),
    };
    let mut report = findings.report(summary);
    for (name, number) in metrics {
        report = report.metric(name, number);
    }
    for line in details {
        report = report.detail(line);
    }
    report
}

fn has_limits(value: &Value) -> bool {
    [
        value.warn_above,
        value.critical_above,
        value.warn_below,
        value.critical_below,
    ]
    .iter()
    .any(Option::is_some)
}
