//! Servers that greet first and then say what they offer: SMTP, IMAP, POP3.

use serde::Deserialize;

use crate::Report;
use crate::findings::Findings;
use crate::net::Error;
use crate::text::quoted;

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// Not at all.
    #[default]
    None,
    /// After the greeting.
    Starttls,
    /// From the start.
    Implicit,
}

/// What a server said of itself.
#[derive(Debug, Default)]
pub struct Greeting {
    /// The greeting's text.
    pub banner: String,
    /// What it offers, one keyword each with its parameters; after TLS where
    /// that is used.
    pub offers: Vec<String>,
}

impl Greeting {
    /// True where a keyword is offered, with or without parameters, in any case.
    pub fn offers(&self, wanted: &str) -> bool {
        self.offers.iter().any(|line| {
            let keyword = line.split(' ').next().unwrap_or_default();
            line.eq_ignore_ascii_case(wanted) || keyword.eq_ignore_ascii_case(wanted)
        })
    }

    /// Fails where a keyword is not offered that the conversation needs.
    pub fn demand(&self, wanted: &str) -> Result<(), Error> {
        if self.offers(wanted) {
            return Ok(());
        }
        Err(Error::Protocol(format!(
            "expected the server to offer {wanted}, found {}",
            quoted(self.offers.join(", ").as_bytes())
        )))
    }

    /// Judges text that the banner must hold, in any case, and keywords that
    /// must be offered.
    pub fn judge(&self, banner: Option<&str>, require: &[String], findings: &mut Findings) {
        if let Some(text) = banner
            && !self.banner.to_lowercase().contains(&text.to_lowercase())
        {
            findings.critical(format!(
                "expected \"{text}\" in the banner, found {}",
                quoted(self.banner.as_bytes())
            ));
        }
        for wanted in require {
            if !self.offers(wanted) {
                findings.critical(format!("does not offer {wanted}"));
            }
        }
    }

    /// Adds what was said to a report: how much is offered as a metric of that
    /// name, the rest as details.
    pub fn show(&self, mut report: Report, metric: &str) -> Report {
        if !self.offers.is_empty() {
            report = report
                .metric(metric, self.offers.len() as f64)
                .detail(format!("offers {}", self.offers.join(", ")));
        }
        if !self.banner.is_empty() {
            report = report.detail(format!("banner {}", quoted(self.banner.as_bytes())));
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_found_with_and_without_parameters() {
        let greeting = Greeting {
            banner: "Mail.example.org".to_owned(),
            offers: ["SIZE 1000", "STARTTLS"].map(str::to_owned).to_vec(),
        };
        for (wanted, there) in [
            ("size", true),
            ("SIZE 1000", true),
            ("SIZE 10", false),
            ("starttls", true),
            ("1000", false),
            ("", false),
        ] {
            assert_eq!(greeting.offers(wanted), there, "{wanted}");
            assert_eq!(greeting.demand(wanted).is_ok(), there, "{wanted}");
        }
        let judged = |banner, require: &[&str]| {
            let require: Vec<String> = require.iter().map(|word| (*word).to_owned()).collect();
            let mut findings = Findings::default();
            greeting.judge(banner, &require, &mut findings);
            findings.report("").summary
        };
        assert_eq!(judged(Some("mail.EXAMPLE"), &["size"]), "");
        assert_eq!(
            judged(Some("postfix"), &["DSN"]),
            "expected \"postfix\" in the banner, found \"Mail.example.org\", does not offer DSN"
        );
    }
}
