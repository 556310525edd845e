use bellwether_plugin::files::{Error, FileType, Files, Metadata};
use bellwether_plugin::findings::Findings;
use bellwether_plugin::text::Age;
use bellwether_plugin::{ProbeError, Report, Request};

use crate::Config;

/// Entries of a folder are counted up to this number.
const MAX_ENTRIES: u32 = 1_000;

fn failed(error: Error) -> ProbeError {
    match error {
        Error::Denied(what) => ProbeError::Denied(what),
        Error::Invalid(text) => ProbeError::config("/path", text),
        Error::NotFound(text) => ProbeError::Failed(format!("{text} is gone")),
        Error::Failed(text) => ProbeError::Failed(text),
    }
}

/// Looks and judges.
pub fn check(request: &Request, config: &Config, host: &dyn Files) -> Result<Report, ProbeError> {
    let shown = match config.path.as_str() {
        "" => config.folder.clone(),
        path => format!("{}:{path}", config.folder),
    };
    let found = match host.stat(&config.folder, &config.path) {
        Ok(found) if config.exists => found,
        Ok(_) => return Ok(Report::critical(format!("{shown} is there"))),
        Err(Error::NotFound(_)) if config.exists => {
            return Ok(Report::critical(format!("{shown} is not there")));
        }
        Err(Error::NotFound(_)) => return Ok(Report::ok(format!("{shown} is not there"))),
        Err(error) => return Err(failed(error)),
    };
    let mut findings = Findings::default();
    let age = request.now.saturating_sub(found.modified) as f64 / 1e6;
    findings.exceeds(age, config.warn_age_s, config.critical_age_s, |limit| {
        format!("older than {}", Age(limit))
    });
    let entries = match found.file_type {
        FileType::Directory => Some(folder(config, host, &mut findings)?),
        _ => {
            content(config, host, &found, &mut findings)?;
            None
        }
    };
    let what = match entries {
        Some(entries) => format!("{entries} entries"),
        None => format!("{} bytes", found.size),
    };
    let size = entries.is_none().then_some(found.size as f64);
    Ok(findings
        .report(format!("{shown}: {what}, changed {} ago", Age(age)))
        .metric_if("size_bytes", size)
        .metric("age_s", age)
        .metric_if("entries", entries.map(|count| count as f64)))
}

fn folder(config: &Config, host: &dyn Files, findings: &mut Findings) -> Result<usize, ProbeError> {
    let listing = host
        .list(&config.folder, &config.path, MAX_ENTRIES)
        .map_err(failed)?;
    let count = listing.entries.len();
    // There are more than could be counted.
    let judged = count as f64 + f64::from(u8::from(listing.truncated));
    findings.exceeds(
        judged,
        config.warn_entries,
        config.critical_entries,
        |limit| format!("more than {limit}"),
    );
    Ok(count)
}

fn content(
    config: &Config,
    host: &dyn Files,
    found: &Metadata,
    findings: &mut Findings,
) -> Result<(), ProbeError> {
    if let Some(least) = config.min_bytes.filter(|least| found.size < *least) {
        findings.critical(format!("smaller than {least} bytes"));
    }
    if let Some(most) = config.max_bytes.filter(|most| found.size > *most) {
        findings.critical(format!("larger than {most} bytes"));
    }
    if config.contains.is_none() && config.lacks.is_none() {
        return Ok(());
    }
    let offset = found.size.saturating_sub(config.tail_bytes.into());
    let tail = host
        .read(&config.folder, &config.path, offset, config.tail_bytes)
        .map_err(failed)?;
    let tail = String::from_utf8_lossy(&tail);
    if let Some(text) = config
        .contains
        .as_deref()
        .filter(|text| !tail.contains(text))
    {
        findings.critical(format!("expected {text:?} near its end"));
    }
    if let Some(text) = config.lacks.as_deref().filter(|text| tail.contains(text)) {
        findings.critical(format!("found {text:?} near its end"));
    }
    Ok(())
}
