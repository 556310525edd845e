//! A log parser that misbehaves as its configuration says.

use std::hint::black_box;

use bellwether_plugin::{
    Batch, Level, LogParser, Manifest, ParseError, RawEntry, RawField, RawSpan, Records,
    export_log_parser,
};
use serde::Deserialize;

/// What to do.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// One of the modes in the schema; `plain` where absent.
    pub mode: String,
    /// How much, for `flood` and `names`.
    pub amount: Option<u32>,
    /// Only batches with this text are treated so, others as `plain`.
    pub only: String,
}

/// The parser.
pub struct HostileParser {
    config: Config,
    held: Vec<String>,
}

impl LogParser for HostileParser {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new(
            "hostile-parser",
            env!("CARGO_PKG_VERSION"),
            "a log parser that misbehaves as told",
            SCHEMA,
        )
    }

    fn configure(config: Config) -> Result<Self, ParseError> {
        match config.mode.as_str() {
            "refuse" => Err(ParseError::config("/mode", "told to refuse")),
            "hang-configure" => hang(),
            _ => Ok(HostileParser {
                config,
                held: Vec::new(),
            }),
        }
    }

    fn parse(&mut self, batch: &Batch, records: &mut Records<'_>) -> Result<(), ParseError> {
        let length = batch.text.len() as u32;
        let applies = self.config.only.is_empty() || batch.text.contains(&self.config.only);
        match if applies {
            self.config.mode.as_str()
        } else {
            "plain"
        } {
            "hang" => hang(),
            "trap" => trap(),
            "fail" => return Err(ParseError::Failed("told to fail".to_owned())),
            "memory" => {
                let mut kept = Vec::new();
                loop {
                    kept.push(black_box(vec![1_u8; 1 << 20]));
                }
            }
            "hold" => {
                self.held
                    .extend(batch.lines().map(|(_, line)| line.to_owned()));
                records.held(batch.ends.len() as u32);
            }
            "hold-too-many" => records.held(u32::MAX),
            "nothing" => {}
            "span-outside" => push(
                records,
                0,
                RawSpan {
                    start: length,
                    end: length + 10,
                },
            ),
            "span-huge" => push(
                records,
                0,
                RawSpan {
                    start: u32::MAX - 1,
                    end: u32::MAX,
                },
            ),
            "span-reversed" => push(
                records,
                0,
                RawSpan {
                    start: length.min(2),
                    end: 0,
                },
            ),
            "span-straddles" => {
                records.raw().extra.push_str("extra");
                push(
                    records,
                    0,
                    RawSpan {
                        start: length.saturating_sub(1),
                        end: length + 2,
                    },
                );
            }
            "span-cuts" => {
                // Inside of the first character of more than one byte, if any.
                let start = batch
                    .text
                    .char_indices()
                    .find(|(_, letter)| letter.len_utf8() > 1);
                let start = start.map_or(0, |(at, _)| at as u32 + 1);
                push(records, 0, RawSpan { start, end: length });
            }
            "bad-name" => {
                push(records, 0, RawSpan { start: 0, end: 0 });
                let value = RawSpan { start: 0, end: 0 };
                if let Some(entry) = records.raw().entries.last_mut() {
                    entry.fields.push(RawField { name: 7, value });
                }
            }
            "bad-line" => push(records, u32::MAX, RawSpan { start: 0, end: 0 }),
            "bad-unparsed" => records.unparsed(u32::MAX),
            "unparsed" => batch
                .lines()
                .for_each(|(number, _)| records.unparsed(number)),
            "flood" => {
                for (number, line) in batch.lines() {
                    for _ in 0..self.config.amount.unwrap_or(1_000) {
                        add(records, number, line);
                    }
                }
            }
            "names" => {
                let mut entry = records.entry(0);
                for number in 0..self.config.amount.unwrap_or(100_000) {
                    entry.field(&format!("name-{number}"), "x");
                }
                entry.add();
            }
            "backwards" => {
                let lines: Vec<_> = batch.lines().collect();
                for (number, line) in lines.into_iter().rev() {
                    add(records, number, line);
                }
            }
            _ => batch
                .lines()
                .for_each(|(number, line)| add(records, number, line)),
        }
        Ok(())
    }

    fn flush(&mut self, records: &mut Records<'_>) -> Result<(), ParseError> {
        match self.config.mode.as_str() {
            "hang-flush" => hang(),
            "trap-flush" => trap(),
            _ => {}
        }
        for line in std::mem::take(&mut self.held) {
            add(records, 0, &line);
        }
        Ok(())
    }
}

fn add(records: &mut Records<'_>, number: u32, line: &str) {
    let mut entry = records.entry(number);
    entry.message(line);
    entry.add();
}

fn push(records: &mut Records<'_>, line: u32, message: RawSpan) {
    records.raw().entries.push(RawEntry {
        line,
        time: None,
        level: Level::Info,
        message,
        fields: Vec::new(),
    });
}

fn hang() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

#[expect(clippy::panic, reason = "that is what is asked for")]
fn trap() -> ! {
    panic!("told to panic")
}

const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,
"properties":{
"mode":{"enum":["plain","refuse","hang-configure","hang","trap","fail","memory","hold","hold-too-many","nothing","span-outside","span-huge","span-reversed","span-straddles","span-cuts","bad-name","bad-line","bad-unparsed","unparsed","flood","names","backwards","hang-flush","trap-flush"],"default":"plain","description":"what to do"},
"amount":{"type":"integer","minimum":0,"description":"how much","examples":[1]},
"only":{"type":"string","default":"","description":"only batches with this text are treated so"}
}}"##;

export_log_parser!(HostileParser);

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_plugin::fake::{batch, read_records, schema_problems};

    #[test]
    fn the_schema_fits_the_configuration() {
        assert_eq!(schema_problems::<Config>(SCHEMA), Vec::<String>::new());
    }

    #[test]
    fn plain_lines_are_records_and_held_lines_come_with_the_flush() {
        let config = Config {
            mode: "hold".to_owned(),
            only: "x".to_owned(),
            ..Config::default()
        };
        let mut parser = HostileParser::configure(config).unwrap();
        let plain = batch(&["a", "b"]);
        let mut records = Records::new(&plain.text, 2);
        parser.parse(&plain, &mut records).unwrap();
        assert_eq!(read_records(&plain.text, &records.finish()).len(), 2);
        let mut records = Records::new("", 1);
        parser.parse(&batch(&["x"]), &mut records).unwrap();
        assert_eq!(records.finish().held, 1);
        let mut records = Records::new("", 0);
        parser.flush(&mut records).unwrap();
        assert_eq!(read_records("", &records.finish())[0].message, "x");
    }
}
