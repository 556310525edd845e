//! Log lines that match a regular expression with named groups.

mod config;
mod lines;
mod time_format;

#[cfg(test)]
mod tests;

pub use config::{Config, SCHEMA};

use bellwether_plugin::{Batch, LogParser, Manifest, ParseError, Records, export_log_parser};

use config::Plan;
use lines::Multiline;

/// The parser.
pub struct RegexParser {
    plan: Plan,
    multiline: Option<Multiline>,
}

impl LogParser for RegexParser {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "regex",
            env!("CARGO_PKG_VERSION"),
            "log lines that match a regular expression with named groups",
            SCHEMA,
        )
    }

    fn configure(config: Config) -> Result<Self, ParseError> {
        let multiline = Multiline::read(&config)?;
        Ok(RegexParser {
            plan: Plan::read(&config)?,
            multiline,
        })
    }

    fn parse(&mut self, batch: &Batch, records: &mut Records<'_>) -> Result<(), ParseError> {
        self.plan.begin(records, batch.received);
        if let Some(multiline) = &mut self.multiline {
            multiline.parse(&mut self.plan, batch, records);
            return Ok(());
        }
        for (number, line) in batch.lines() {
            if !self.plan.record(line, number, records) && !line.trim_ascii().is_empty() {
                records.unparsed(number);
            }
        }
        Ok(())
    }

    fn flush(&mut self, records: &mut Records<'_>) -> Result<(), ParseError> {
        self.plan.begin_flush(records);
        if let Some(multiline) = &mut self.multiline {
            multiline.flush(&mut self.plan, records);
        }
        Ok(())
    }
}

export_log_parser!(RegexParser);
