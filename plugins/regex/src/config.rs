//! What an operator writes, and what is made of it once.

use bellwether_plugin::{ParseError, Records, Timestamp, log, time};
use regex::{CaptureLocations, Regex};
use serde::Deserialize;

use crate::time_format::TimeFormat;

/// Configuration of one source.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Pattern with named groups; each group becomes a field.
    pub pattern: String,
    /// Group that holds the time; `time` where there is such a group.
    pub time_group: Option<String>,
    /// How the time is written, in `strftime` words; absent: RFC 3339 or a
    /// number since 1970.
    pub time_format: Option<String>,
    /// Offset of times that do not name one.
    pub time_offset: Option<String>,
    /// Group that holds the level; `level` where there is such a group.
    pub level_group: Option<String>,
    /// Group that holds the message; `message` where there is such a group.
    pub message_group: Option<String>,
    /// Pattern that the first line of each record matches.
    pub multiline_start: Option<String>,
    /// A record ends after so many lines in any case.
    #[serde(default = "five_hundred")]
    pub max_lines: u32,
}

fn five_hundred() -> u32 {
    500
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = r##"{
"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"required":["pattern"],
"properties":{
"pattern":{"type":"string","format":"regex","minLength":1,"description":"regular expression with named groups as (?<name>…); each becomes a field","examples":["^(?<time>\\S+) (?<level>\\w+) (?<message>.*)$"]},
"time_group":{"type":"string","description":"group that holds the time; absent: the group `time`, if any","examples":["time"]},
"time_format":{"type":"string","description":"how the time is written: %Y %y %m %b %d %e %H %I %p %M %S %f %z %Z %s %a %j %F %T; absent: RFC 3339, or a number since 1970","examples":["%d/%b/%Y:%H:%M:%S %z"]},
"time_offset":{"type":"string","pattern":"^(Z|[+-][0-9]{2}:?[0-9]{2})$","description":"offset from UTC of times that do not name one; absent: UTC","examples":["+01:00"]},
"level_group":{"type":"string","description":"group that holds the level; absent: the group `level`, if any","examples":["level"]},
"message_group":{"type":"string","description":"group that holds the message; absent: the group `message`, or else the whole record","examples":["message"]},
"multiline_start":{"type":"string","format":"regex","description":"pattern that the first line of each record matches; lines that do not match belong to the record before","examples":["^\\d{4}-\\d{2}-\\d{2}"]},
"max_lines":{"type":"integer","minimum":1,"maximum":10000,"default":500,"description":"a record of several lines ends after so many in any case"}
}}"##;

/// What a group's text is for.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Time,
    Level,
    Message,
    Field,
}

struct Group {
    /// Number of the group in the pattern.
    number: usize,
    name: String,
    role: Role,
    /// Index of the name in the current records.
    index: u32,
}

/// The compiled configuration.
pub struct Plan {
    pattern: Regex,
    locations: CaptureLocations,
    groups: Vec<Group>,
    times: Times,
}

/// Reading the time group.
struct Times {
    format: Option<TimeFormat>,
    offset: i64,
    received: Timestamp,
    /// The last text and what it meant: busy logs repeat it.
    last: (String, Option<Timestamp>),
}

impl Times {
    fn read(&mut self, text: &str) -> Option<Timestamp> {
        if text == self.last.0 {
            return self.last.1;
        }
        let found = match &self.format {
            Some(format) => format.parse(text, self.offset, self.received),
            None => time::parse_rfc3339_in(text, self.offset).or_else(|| time::parse_epoch(text)),
        };
        self.last.0.clear();
        self.last.0.push_str(text);
        self.last.1 = found;
        found
    }
}

impl Plan {
    /// Compiles the configuration.
    pub fn read(config: &Config) -> Result<Self, ParseError> {
        let pattern = compile("/pattern", &config.pattern)?;
        let find = |pointer: &str, wanted: &Option<String>, default: &str| match wanted {
            None => Ok(pattern
                .capture_names()
                .position(|name| name == Some(default))),
            Some(wanted) => pattern
                .capture_names()
                .position(|name| name == Some(wanted))
                .map(Some)
                .ok_or_else(|| {
                    ParseError::config(
                        pointer,
                        format!("expected the name of a group of the pattern, found \"{wanted}\""),
                    )
                }),
        };
        let time = find("/time_group", &config.time_group, "time")?;
        let level = find("/level_group", &config.level_group, "level")?;
        let message = find("/message_group", &config.message_group, "message")?;
        let groups = pattern
            .capture_names()
            .enumerate()
            .filter_map(|(number, name)| {
                let role = match Some(number) {
                    found if found == time => Role::Time,
                    found if found == level => Role::Level,
                    found if found == message => Role::Message,
                    _ => Role::Field,
                };
                Some(Group {
                    number,
                    name: name?.to_owned(),
                    role,
                    index: 0,
                })
            })
            .collect();
        let format = config
            .time_format
            .as_deref()
            .map(TimeFormat::read)
            .transpose();
        let format = format.map_err(|error| ParseError::config("/time_format", error))?;
        let offset = match &config.time_offset {
            None => 0,
            Some(text) => time::parse_offset(text.as_bytes()).ok_or_else(|| {
                ParseError::config(
                    "/time_offset",
                    format!("expected an offset like +01:00, found \"{text}\""),
                )
            })?,
        };
        if format.is_some() && time.is_none() {
            return Err(ParseError::config(
                "/time_format",
                "expected a group `time` in the pattern or a time_group, found none",
            ));
        }
        let locations = pattern.capture_locations();
        let times = Times {
            format,
            offset,
            received: 0,
            last: (String::new(), None),
        };
        Ok(Plan {
            pattern,
            locations,
            groups,
            times,
        })
    }

    /// Prepares for the records of one batch.
    pub fn begin(&mut self, records: &mut Records<'_>, received: Timestamp) {
        // A time without a year means another one as time goes by.
        if received != self.times.received {
            self.times.received = received;
            self.times.last = (String::new(), None);
        }
        self.begin_flush(records);
    }

    /// Prepares for the records of a flush.
    pub fn begin_flush(&mut self, records: &mut Records<'_>) {
        for group in &mut self.groups {
            group.index = records.name(&group.name);
        }
    }

    /// Adds the record of a text; false where the text does not match.
    pub fn record(&mut self, text: &str, line: u32, records: &mut Records<'_>) -> bool {
        if self
            .pattern
            .captures_read(&mut self.locations, text)
            .is_none()
        {
            return false;
        }
        let mut entry = records.entry(line);
        let mut message = text;
        for group in &self.groups {
            let Some((start, end)) = self.locations.get(group.number) else {
                continue;
            };
            let value = &text[start..end];
            match group.role {
                Role::Message => message = value,
                Role::Time => match self.times.read(value) {
                    Some(time) => drop(entry.time(time)),
                    None => drop(entry.indexed_field(group.index, value)),
                },
                Role::Level => match log::parse_level(value) {
                    Some(level) => drop(entry.level(level)),
                    None => drop(entry.indexed_field(group.index, value)),
                },
                Role::Field => drop(entry.indexed_field(group.index, value)),
            }
        }
        entry.message(message);
        entry.add();
        true
    }
}

/// Compiles a pattern; the problem points at where it was written.
pub fn compile(pointer: &str, text: &str) -> Result<Regex, ParseError> {
    Regex::new(text).map_err(|error| {
        ParseError::config(pointer, format!("expected a regular expression: {error}"))
    })
}
