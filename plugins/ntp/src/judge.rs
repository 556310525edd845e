use bellwether_plugin::datagrams::{Datagrams, UdpRequest};
use bellwether_plugin::findings::Findings;
use bellwether_plugin::net::{Millis, judge as judge_error};
use bellwether_plugin::{ProbeError, Report, Request};

use crate::{Config, packet};

/// Asks and judges.
pub fn check(
    request: &Request,
    config: &Config,
    net: &dyn Datagrams,
) -> Result<Report, ProbeError> {
    let host = config.host.as_deref().unwrap_or(&request.node.address);
    // Whoever cannot see the question shall not be able to answer it.
    let cookie = mix(request.now as u64);
    let response = match net.udp(&UdpRequest::new(
        host,
        config.port,
        packet::question(cookie),
    )) {
        Ok(response) => response,
        Err(error) => return judge_error(error),
    };
    let Some(reply) = response.replies.first() else {
        return Ok(Report::critical("no answer"));
    };
    let sent = response.sent_at;
    let answer = match packet::answer(&reply.data, cookie, sent) {
        Ok(answer) => answer,
        Err(text) => return Ok(Report::critical(format!("not an NTP server: {text}"))),
    };
    if answer.stratum == 0 {
        let code: String = answer.reference.iter().map(|b| char::from(*b)).collect();
        return Ok(Report::critical(format!(
            "the server sends clients away: {}",
            code.escape_default()
        )));
    }
    // RFC 5905, 8: four times, of which two are the server's.
    let arrived = sent.saturating_add(reply.after as i64);
    let there = answer.received.saturating_sub(sent) as f64;
    let back = answer.transmitted.saturating_sub(arrived) as f64;
    let offset = (there + back) / 2_000.0;
    let delay = ((there - back) / 1_000.0).max(0.0);

    let mut findings = Findings::default();
    if answer.leap == 3 || answer.stratum > 15 {
        findings.critical("its clock is not set");
    } else if answer.stratum > config.max_stratum {
        findings.critical(format!("stratum above {}", config.max_stratum));
    }
    findings.exceeds(
        offset.abs(),
        Some(config.warn_ms),
        Some(config.critical_ms),
        |limit| format!("more than {}", Millis(limit)),
    );
    let way = if offset < 0.0 { "behind" } else { "ahead" };
    let summary = format!("stratum {}, {} {way}", answer.stratum, Millis(offset.abs()));
    Ok(findings
        .report(summary)
        .metric("offset_ms", offset)
        .metric("delay_ms", delay)
        .metric("stratum", f64::from(answer.stratum))
        .metric("root_dispersion_ms", answer.root_dispersion * 1_000.0)
        .detail(format!("answered from {}", response.peer)))
}

/// A number that looks like none of the clock's (splitmix64).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
