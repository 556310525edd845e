//! Times in `strftime` words, as far as log files use them.

use bellwether_plugin::{Timestamp, time};

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Item {
    Literal(u8),
    Space,
    Year,
    ShortYear,
    Month,
    MonthName,
    Day,
    DayOfYear,
    Hour,
    HalfDayHour,
    HalfDay,
    Minute,
    Second,
    Fraction,
    /// A point and decimals, or nothing.
    PointFraction,
    Offset,
    Zone,
    Epoch,
    Weekday,
}

/// A format, read once.
#[derive(Debug)]
pub struct TimeFormat {
    items: Vec<Item>,
}

/// Parts of a time as they are found.
#[derive(Default)]
struct Parts {
    year: Option<i64>,
    month: Option<u32>,
    day: Option<u32>,
    day_of_year: Option<u32>,
    hour: u32,
    afternoon: Option<bool>,
    minute: u32,
    second: u32,
    micros: u32,
    offset: Option<i64>,
    epoch: Option<i64>,
}

impl TimeFormat {
    /// Reads a format; the error names the first word that is not known.
    pub fn read(format: &str) -> Result<Self, String> {
        let mut items = Vec::new();
        read_into(format, &mut items)?;
        if items.is_empty() {
            return Err("expected a format like %Y-%m-%d %H:%M:%S, found none".to_owned());
        }
        Ok(TimeFormat { items })
    }

    /// Reads a time. `offset` (seconds east of UTC) counts where the text names
    /// none; a text without a year gets the one nearest to `received`.
    pub fn parse(&self, text: &str, offset: i64, received: Timestamp) -> Option<Timestamp> {
        let mut rest = text.trim_ascii().as_bytes();
        let mut parts = Parts::default();
        for item in &self.items {
            rest = take(*item, rest, &mut parts)?;
        }
        if !rest.is_empty() {
            return None;
        }
        parts.timestamp(offset, received)
    }
}

fn read_into(format: &str, items: &mut Vec<Item>) -> Result<(), String> {
    let mut bytes = format.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte.is_ascii_whitespace() {
            if items.last() != Some(&Item::Space) {
                items.push(Item::Space);
            }
            continue;
        }
        if byte != b'%' {
            items.push(Item::Literal(byte));
            continue;
        }
        // Padding and width say how to write a time; reading takes any.
        while bytes
            .next_if(|byte| matches!(byte, b'-' | b'_' | b'0'))
            .is_some()
        {}
        let point = bytes.next_if_eq(&b'.').is_some();
        while bytes.next_if(u8::is_ascii_digit).is_some() {}
        let word = bytes.next().map(char::from);
        if point && word != Some('f') {
            return Err("expected %.f, found another word behind %.".to_owned());
        }
        items.push(match word {
            Some('f') if point => Item::PointFraction,
            Some('f' | 'L' | 'N') => Item::Fraction,
            Some('Y') => Item::Year,
            Some('y') => Item::ShortYear,
            Some('m') => Item::Month,
            Some('b' | 'B' | 'h') => Item::MonthName,
            Some('d' | 'e') => Item::Day,
            Some('j') => Item::DayOfYear,
            Some('H' | 'k') => Item::Hour,
            Some('I' | 'l') => Item::HalfDayHour,
            Some('p' | 'P') => Item::HalfDay,
            Some('M') => Item::Minute,
            Some('S') => Item::Second,
            Some('z') => Item::Offset,
            Some('Z') => Item::Zone,
            Some('s') => Item::Epoch,
            Some('a' | 'A') => Item::Weekday,
            Some('%') => Item::Literal(b'%'),
            Some('F') => {
                read_into("%Y-%m-%d", items)?;
                continue;
            }
            Some('T') => {
                read_into("%H:%M:%S", items)?;
                continue;
            }
            Some('R') => {
                read_into("%H:%M", items)?;
                continue;
            }
            Some('D') => {
                read_into("%m/%d/%y", items)?;
                continue;
            }
            Some(other) => {
                return Err(format!(
                    "expected one of %Y %y %m %b %d %e %j %H %I %p %M %S %f %z %Z %s %a %F %T %R %D %%, found %{other}"
                ));
            }
            None => return Err("expected a word behind %, found the end".to_owned()),
        });
    }
    Ok(())
}

/// Reads one item; the rest of the text, or `None` where it does not fit.
fn take<'t>(item: Item, text: &'t [u8], parts: &mut Parts) -> Option<&'t [u8]> {
    Some(match item {
        Item::Literal(byte) => match text {
            [first, rest @ ..] if *first == byte => rest,
            _ => return None,
        },
        Item::Space => text.trim_ascii_start(),
        Item::Year => number(text, 4, 4, |value| parts.year = Some(i64::from(value)))?,
        Item::ShortYear => number(text, 2, 2, |value| {
            // As POSIX has it: 69 to 99 lie in the last century.
            parts.year = Some(i64::from(value) + if value < 69 { 2_000 } else { 1_900 });
        })?,
        Item::Month => number(text, 1, 2, |value| parts.month = Some(value))?,
        Item::Day => number(text.trim_ascii_start(), 1, 2, |value| {
            parts.day = Some(value)
        })?,
        Item::DayOfYear => number(text, 3, 3, |value| parts.day_of_year = Some(value))?,
        Item::Hour => number(text.trim_ascii_start(), 1, 2, |value| parts.hour = value)?,
        Item::HalfDayHour => {
            let rest = number(text.trim_ascii_start(), 1, 2, |value| parts.hour = value)?;
            if !(1..=12).contains(&parts.hour) {
                return None;
            }
            rest
        }
        Item::Minute => number(text, 1, 2, |value| parts.minute = value)?,
        Item::Second => number(text, 1, 2, |value| parts.second = value)?,
        Item::Fraction => fraction(text, parts)?,
        Item::PointFraction => match text {
            [b'.' | b',', rest @ ..] => fraction(rest, parts)?,
            _ => text,
        },
        Item::HalfDay => {
            let (half, rest) = text.split_at_checked(2)?;
            parts.afternoon = Some(half.eq_ignore_ascii_case(b"pm"));
            if !half.eq_ignore_ascii_case(b"am") && !half.eq_ignore_ascii_case(b"pm") {
                return None;
            }
            rest
        }
        Item::MonthName => {
            let (name, rest) = word(text);
            let short = name.get(..3)?;
            let month = MONTHS
                .iter()
                .position(|month| short.eq_ignore_ascii_case(month.as_bytes()))?;
            parts.month = Some(month as u32 + 1);
            rest
        }
        Item::Weekday => {
            let (name, rest) = word(text);
            if name.len() < 2 {
                return None;
            }
            rest
        }
        Item::Offset => {
            let text = text.trim_ascii_start();
            let length = text
                .iter()
                .take_while(|byte| {
                    byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b':' | b'Z' | b'z')
                })
                .count();
            let (offset, rest) = text.split_at(length);
            if offset.is_empty() {
                return None;
            }
            parts.offset = Some(time::parse_offset(offset)?);
            rest
        }
        Item::Zone => {
            let (name, rest) = word(text);
            // Other abbreviations are ambiguous: a wrong time is worse than none.
            if !matches!(name, b"UTC" | b"GMT" | b"Z") {
                return None;
            }
            parts.offset = Some(0);
            rest
        }
        Item::Epoch => {
            let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (digits, rest) = text.split_at(length);
            parts.epoch = Some(std::str::from_utf8(digits).ok()?.parse().ok()?);
            rest
        }
    })
}

fn number(text: &[u8], least: usize, most: usize, keep: impl FnOnce(u32)) -> Option<&[u8]> {
    let length = text
        .iter()
        .take(most)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (digits, rest) = text.split_at(length);
    if length < least {
        return None;
    }
    keep(time::digits(digits)?);
    Some(rest)
}

fn fraction<'t>(text: &'t [u8], parts: &mut Parts) -> Option<&'t [u8]> {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(length);
    if digits.is_empty() {
        return None;
    }
    parts.micros = time::fraction(digits)?;
    Some(rest)
}

fn word(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(
        text.iter()
            .take_while(|byte| byte.is_ascii_alphabetic())
            .count(),
    )
}

impl Parts {
    fn timestamp(&self, default_offset: i64, received: Timestamp) -> Option<Timestamp> {
        if let Some(epoch) = self.epoch {
            return epoch
                .checked_mul(1_000_000)?
                .checked_add(i64::from(self.micros));
        }
        let hour = match self.afternoon {
            None => self.hour,
            Some(afternoon) => self.hour % 12 + if afternoon { 12 } else { 0 },
        };
        let offset = self.offset.unwrap_or(default_offset);
        let of_day = |year: i64, month, day| {
            time::timestamp(
                year,
                month,
                day,
                hour,
                self.minute,
                self.second,
                self.micros,
                offset,
            )
        };
        let in_year = |year: i64| match self.day_of_year {
            Some(day) => {
                let start = time::days_from_civil(year, 1, 1);
                let (found, month, day) = time::civil_from_days(start + i64::from(day) - 1);
                (found == year).then(|| of_day(year, month, day)).flatten()
            }
            None => of_day(year, self.month?, self.day?),
        };
        let today = time::civil_from_days(received.div_euclid(86_400_000_000));
        if self.month.is_none() && self.day.is_none() && self.day_of_year.is_none() {
            // A time of day alone belongs to the day on which it was read.
            return of_day(today.0, today.1, today.2);
        }
        match self.year {
            Some(year) => in_year(year),
            // Syslog leaves the year out. Around New Year the nearest is meant;
            // February 29 exists only in some.
            None => (today.0 - 1..=today.0 + 1)
                .filter_map(in_year)
                .min_by_key(|time| time.abs_diff(received)),
        }
    }
}
