//! From a greeting to a report.

use bellwether_plugin::expect::{Regex, optional_pattern};
use bellwether_plugin::findings::Findings;
use bellwether_plugin::http::shorten;
use bellwether_plugin::net::{Connection, Error, Net, judge as judge_error};
use bellwether_plugin::text::{printable, quoted};
use bellwether_plugin::{ProbeError, Report, Request};

use crate::config::Config;
use crate::packet::{Identification, read_identification, read_offer};

const OWN_IDENTIFICATION: &[u8] =
    concat!("SSH-2.0-bellwether_", env!("CARGO_PKG_VERSION"), "\r\n").as_bytes();

/// Talks and judges.
pub fn check(request: &Request, config: &Config, net: &dyn Net) -> Result<Report, ProbeError> {
    let must = optional_pattern("/software_regex", config.software_regex.as_deref())?;
    let must_not = optional_pattern("/software_not_regex", config.software_not_regex.as_deref())?;
    let endpoint = config.endpoint();
    let connection = match endpoint.connect(request, net, false) {
        Ok(connection) => connection,
        Err(error) => return judge_error(error),
    };
    let mut findings = Findings::default();
    let mut identification = None;
    let mut offer = Vec::new();
    if let Err(error) = talk(config, &*connection, &mut identification, &mut offer) {
        findings.failed(error)?;
    } else {
        judge_offer(config, &offer, &mut findings);
    }
    let mut summary = String::new();
    if let Some(seen) = &identification {
        let software = printable(seen.software.as_bytes());
        summary = shorten(&format!("SSH {} {software}", seen.protocol), 120);
        judge_software(seen, must.as_ref(), must_not.as_ref(), &mut findings);
    }
    let mut report = endpoint.report(request, &*connection, findings, summary);
    if !offer.is_empty() {
        report = report
            .metric("algorithms", offer.len() as f64)
            .detail(format!("offers {}", printable(offer.join(", ").as_bytes())));
    }
    Ok(report)
}

fn talk(
    config: &Config,
    connection: &dyn Connection,
    identification: &mut Option<Identification>,
    offer: &mut Vec<String>,
) -> Result<(), Error> {
    *identification = Some(read_identification(connection)?);
    connection.write(OWN_IDENTIFICATION)?;
    if config.algorithms
        || !config.forbid_algorithms.is_empty()
        || !config.require_algorithms.is_empty()
    {
        *offer = read_offer(connection)?;
    }
    Ok(())
}

fn judge_software(
    seen: &Identification,
    must: Option<&Regex>,
    must_not: Option<&Regex>,
    findings: &mut Findings,
) {
    // 1.99 speaks 2.0 too (RFC 4253, section 5.1).
    if seen.protocol != "2.0" && seen.protocol != "1.99" {
        findings.critical("expected protocol 2.0");
    }
    let software = quoted(seen.software.as_bytes());
    if let Some(must) = must.filter(|regex| !regex.is_match(&seen.software)) {
        findings.critical(format!(
            "expected software that matches {must}, found {software}"
        ));
    }
    if let Some(must_not) = must_not.filter(|regex| regex.is_match(&seen.software)) {
        findings.warning(format!("the software {software} matches {must_not}"));
    }
}

/// True where a configured name, with * for any ending, stands for this one.
fn stands_for(wanted: &str, name: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == wanted,
    }
}

fn judge_offer(config: &Config, offer: &[String], findings: &mut Findings) {
    let forbidden: Vec<&str> = offer
        .iter()
        .map(String::as_str)
        .filter(|name| {
            let mut unwanted = config.forbid_algorithms.iter();
            unwanted.any(|unwanted| stands_for(unwanted, name))
        })
        .collect();
    if !forbidden.is_empty() {
        findings.warning(format!("offers {}", forbidden.join(", ")));
    }
    let missing: Vec<&str> = config
        .require_algorithms
        .iter()
        .map(String::as_str)
        .filter(|wanted| !offer.iter().any(|name| stands_for(wanted, name)))
        .collect();
    if !missing.is_empty() {
        findings.critical(format!("does not offer {}", missing.join(", ")));
    }
}
