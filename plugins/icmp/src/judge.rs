use bellwether_plugin::datagrams::{Datagrams, IcmpRequest, IcmpResponse};
use bellwether_plugin::findings::Findings;
use bellwether_plugin::net::{Error, Millis, Phase, judge as judge_error, ms};
use bellwether_plugin::text::Number;
use bellwether_plugin::{ProbeError, Report, Request};

use crate::Config;

/// Sends the requests and judges what came back.
pub fn check(
    request: &Request,
    config: &Config,
    net: &dyn Datagrams,
) -> Result<Report, ProbeError> {
    let host = config.host.as_deref().unwrap_or(&request.node.address);
    let asked = IcmpRequest {
        host: host.to_owned(),
        count: config.count,
        interval_ms: config.interval_ms,
        wait_ms: Some(config.wait_ms),
        size: config.size,
    };
    match net.icmp(&asked) {
        Ok(response) => Ok(report(config, &response)),
        // Without an address nothing was sent, and so nothing lost.
        Err(Error::Timeout(phase)) if phase != Phase::Resolve => {
            Ok(Report::critical(format!("no reply from {host}")).metric("loss_percent", 100.0))
        }
        Err(error) => {
            let lost = matches!(error, Error::Unreachable(_) | Error::Refused);
            let report = judge_error(error)?;
            Ok(match lost {
                true => report.metric("loss_percent", 100.0),
                false => report,
            })
        }
    }
}

fn report(config: &Config, response: &IcmpResponse) -> Report {
    let sent = f64::from(response.sent.max(1));
    let mut replies = response.replies.clone();
    replies.sort_by_key(|reply| reply.sequence);
    let trips: Vec<f64> = replies.iter().map(|reply| ms(reply.round_trip)).collect();
    let count = trips.len().max(1) as f64;
    let average = trips.iter().sum::<f64>() / count;
    let steps: Vec<f64> = trips
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).abs())
        .collect();
    let jitter = steps.iter().sum::<f64>() / steps.len().max(1) as f64;
    let loss = (100.0 * (1.0 - trips.len() as f64 / sent)).max(0.0);

    let mut findings = Findings::default();
    findings.exceeds(
        loss,
        Some(config.warn_loss),
        Some(config.critical_loss),
        |limit| format!("more than {}% lost", Number(limit)),
    );
    findings.slower(average, config.warn_ms, config.critical_ms);
    let summary = format!(
        "{} of {} replies in {}",
        trips.len(),
        response.sent,
        Millis(average)
    );
    findings
        .report(summary)
        .metric("rtt_ms", average)
        .metric(
            "rtt_min_ms",
            trips.iter().copied().fold(f64::INFINITY, f64::min),
        )
        .metric("rtt_max_ms", trips.iter().copied().fold(0.0, f64::max))
        .metric("jitter_ms", jitter)
        .metric("loss_percent", loss)
        .metric_if("dns_ms", response.resolve.map(ms))
        .detail(format!("answered from {}", response.peer))
}
