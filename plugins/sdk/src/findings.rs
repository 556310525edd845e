//! What is wrong with a target, collected into one report.

use crate::net::{Certificate, Error, Millis, explain, judge};
use crate::text::Number;
use crate::{ProbeError, Report, State, Timestamp};

/// Days that a certificate must last where the operator says nothing.
pub const CERT_WARN_DAYS: f64 = 14.0;
/// See [`CERT_WARN_DAYS`].
pub const CERT_CRITICAL_DAYS: f64 = 3.0;

/// Bounds of latency and of a certificate's age, as configured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Slower is a warning, in milliseconds.
    pub warn_ms: Option<f64>,
    /// Slower is critical, in milliseconds.
    pub critical_ms: Option<f64>,
    /// Fewer days left on the certificate are a warning.
    pub cert_warn_days: Option<f64>,
    /// Fewer days left on the certificate are critical.
    pub cert_critical_days: Option<f64>,
    /// True gives the two above their usual values where they are absent.
    pub verify: bool,
}

/// What is wrong, in the order in which it was found.
#[derive(Debug, Default)]
pub struct Findings {
    critical: Vec<String>,
    warning: Vec<String>,
    unknown: Vec<String>,
}

impl Findings {
    /// The target does not do what it is for.
    pub fn critical(&mut self, text: impl Into<String>) {
        self.critical.push(text.into());
    }

    /// Somebody should look at it in working hours.
    pub fn warning(&mut self, text: impl Into<String>) {
        self.warning.push(text.into());
    }

    /// This cannot be judged.
    pub fn unknown(&mut self, text: impl Into<String>) {
        self.unknown.push(text.into());
    }

    /// A conversation that ended early: the target's failure is a finding, a
    /// missing grant or a wrong request an error.
    pub fn failed(&mut self, error: Error) -> Result<(), ProbeError> {
        match error {
            Error::Denied(_) | Error::Invalid(_) => judge(error).map(drop),
            down => {
                self.critical(explain(&down));
                Ok(())
            }
        }
    }

    /// Judges a value that must not be too great.
    pub fn above(&mut self, what: &str, value: f64, warn: Option<f64>, critical: Option<f64>) {
        self.exceeds(value, warn, critical, |limit| {
            format!("{what} {}, above {}", Number(value), Number(limit))
        });
    }

    /// Judges a value that must not be too great; `text` says what is wrong,
    /// given the limit.
    pub fn exceeds(
        &mut self,
        value: f64,
        warn: Option<f64>,
        critical: Option<f64>,
        text: impl Fn(f64) -> String,
    ) {
        match (warn, critical) {
            (_, Some(limit)) if value > limit => self.critical(text(limit)),
            (Some(limit), _) if value > limit => self.warning(text(limit)),
            _ => {}
        }
    }

    /// Judges a value that must not be too small.
    pub fn below(&mut self, what: &str, value: f64, warn: Option<f64>, critical: Option<f64>) {
        let text = |limit: f64| format!("{what} {}, below {}", Number(value), Number(limit));
        match (warn, critical) {
            (_, Some(limit)) if value < limit => self.critical(text(limit)),
            (Some(limit), _) if value < limit => self.warning(text(limit)),
            _ => {}
        }
    }

    /// Judges how long it took, in milliseconds.
    pub fn slower(&mut self, took: f64, warn: Option<f64>, critical: Option<f64>) {
        self.exceeds(took, warn, critical, |limit| {
            format!("slower than {}", Millis(limit))
        });
    }

    /// Judges how long it took, in milliseconds, by limits of an endpoint.
    pub fn latency(&mut self, limits: &Limits, latency: f64) {
        self.slower(latency, limits.warn_ms, limits.critical_ms);
    }

    /// Judges a certificate's age. Whoever accepts any certificate does not want
    /// to hear of its age, unless asked for.
    pub fn certificate(&mut self, limits: &Limits, certificate: &Certificate, now: Timestamp) {
        let default = |value: f64| limits.verify.then_some(value);
        let critical = limits
            .cert_critical_days
            .or_else(|| default(CERT_CRITICAL_DAYS));
        let warning = limits.cert_warn_days.or_else(|| default(CERT_WARN_DAYS));
        let days = certificate.days_left(now);
        let text = if days < 0.0 {
            format!("the certificate expired {:.1} days ago", -days)
        } else {
            format!("the certificate expires in {days:.1} days")
        };
        if critical.is_some_and(|limit| days < limit) {
            self.critical(text);
        } else if warning.is_some_and(|limit| days < limit) {
            self.warning(text);
        }
    }

    /// The worst state: critical, then warning, then unknown, as in the
    /// monitoring-plugins convention.
    pub fn state(&self) -> State {
        if !self.critical.is_empty() {
            State::Critical
        } else if !self.warning.is_empty() {
            State::Warning
        } else if !self.unknown.is_empty() {
            State::Unknown
        } else {
            State::Ok
        }
    }

    /// A report: `summary`, then what is wrong, worst first.
    pub fn report(&self, summary: impl Into<String>) -> Report {
        let mut summary = summary.into();
        for text in self
            .critical
            .iter()
            .chain(&self.warning)
            .chain(&self.unknown)
        {
            if !summary.is_empty() {
                summary.push_str(", ");
            }
            summary.push_str(text);
        }
        Report::new(self.state(), summary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{NOW, certificate};

    #[test]
    fn the_worst_comes_first_and_decides() {
        let mut findings = Findings::default();
        assert_eq!(findings.report("fine"), Report::ok("fine"));
        findings.unknown("c");
        assert_eq!(findings.report("seen"), Report::unknown("seen, c"));
        findings.above("clients", 12.5, Some(10.0), Some(20.0));
        findings.below("slots", 5.0, Some(5.0), None);
        assert_eq!(
            findings.report("seen"),
            Report::warning("seen, clients 12.5, above 10, c")
        );
        findings.below("slots", 1.0, Some(5.0), Some(2.0));
        assert_eq!(
            findings.report(""),
            Report::critical("slots 1, below 2, clients 12.5, above 10, c")
        );
    }

    #[test]
    fn a_failure_is_a_finding_and_a_denial_an_error() {
        let mut findings = Findings::default();
        findings.failed(Error::Refused).unwrap();
        assert_eq!(findings.report(""), Report::critical("connection refused"));
        assert_eq!(
            findings.failed(Error::Denied("net a:1".into())),
            Err(ProbeError::Denied("net a:1".into()))
        );
    }

    #[test]
    fn certificates_have_usual_limits_where_they_are_verified() {
        let judged = |verify, days, warn| {
            let limits = Limits {
                verify,
                cert_warn_days: warn,
                ..Limits::default()
            };
            let mut findings = Findings::default();
            findings.certificate(&limits, &certificate(days), NOW);
            findings.state()
        };
        assert_eq!(judged(true, 90, None), State::Ok);
        assert_eq!(judged(true, 10, None), State::Warning);
        assert_eq!(judged(true, 2, None), State::Critical);
        assert_eq!(judged(false, -2, None), State::Ok);
        assert_eq!(judged(false, -2, Some(1.0)), State::Warning);
    }
}
