//! Durations, sizes, shares and rates as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Reads a text and says what was wanted where there is something else.
struct TextVisitor<T>(&'static str, std::marker::PhantomData<T>);

impl<T: FromStr<Err = String>> de::Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! text_serde {
    ($type:ty, $expected:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_str(TextVisitor($expected, std::marker::PhantomData))
            }
        }
    };
}

/// A length of time: `500ms`, `10s`, `5m`, `2h`, `30d`, `2w`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

impl Span {
    /// `n` seconds.
    pub const fn secs(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }
}

const SPAN_UNITS: [(&str, u64); 7] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
    ("w", 604_800_000_000),
];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("expected a duration such as 500ms, 10s, 5m, 2h or 30d, found {text:?}");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let unit = &text[digits..];
        let (_, micros) = SPAN_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        number
            .checked_mul(*micros)
            .map(|us| Span(Duration::from_micros(us)))
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros() as u64;
        if micros == 0 {
            return f.write_str("0s");
        }
        let (name, unit) = SPAN_UNITS[..6]
            .iter()
            .rev()
            .find(|(_, unit)| micros.is_multiple_of(*unit))
            .unwrap_or(&SPAN_UNITS[0]);
        write!(f, "{}{name}", micros / unit)
    }
}
text_serde!(Span, "a duration such as 500ms, 10s, 5m, 2h or 30d");

/// A number of bytes: `512KiB`, `64MiB`, `1GiB`, `1000B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

const BYTE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a size such as 512KiB or 64MiB, found {text:?}");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let (_, unit) = BYTE_UNITS
            .iter()
            .find(|(name, _)| *name == &text[digits..])
            .ok_or_else(wrong)?;
        number.checked_mul(*unit).map(Bytes).ok_or_else(wrong)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = BYTE_UNITS
            .iter()
            .find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit))
            .unwrap_or(&BYTE_UNITS[3]);
        write!(f, "{}{name}", self.0 / unit)
    }
}
text_serde!(Bytes, "a size such as 512KiB or 64MiB");

/// A share in hundredths of a percent: `25%`, `0.5%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(pub u32);

impl Percent {
    /// The share as a factor, 1.0 for `100%`.
    pub fn factor(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a share from 0% to 100% such as 25%, found {text:?}");
        let number: f64 = text
            .strip_suffix('%')
            .ok_or_else(wrong)?
            .trim()
            .parse()
            .map_err(|_| wrong())?;
        if (0.0..=100.0).contains(&number) {
            Ok(Percent((number * 100.0).round() as u32))
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 100.0)
    }
}
text_serde!(Percent, "a share such as 25%");

/// At most `count` in any window of `per`: `3/h`, `10/m`, `1/30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Events allowed in one window.
    pub count: u32,
    /// Length of the sliding window.
    pub per: Duration,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a rate such as 3/h, 10/m or 1/30m, found {text:?}");
        let (count, per) = text.split_once('/').ok_or_else(wrong)?;
        let count = count.trim().parse().map_err(|_| wrong())?;
        let per = per.trim();
        let per = if per.starts_with(|c: char| c.is_ascii_digit()) {
            per.parse::<Span>()
        } else {
            format!("1{per}").parse::<Span>()
        };
        match per.map_err(|_| wrong())?.0 {
            per if per.is_zero() => Err(wrong()),
            per => Ok(Rate { count, per }),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = Span(self.per).to_string();
        match per.strip_prefix('1') {
            Some(unit) if !unit.starts_with(|c: char| c.is_ascii_digit()) => {
                write!(f, "{}/{unit}", self.count)
            }
            _ => write!(f, "{}/{per}", self.count),
        }
    }
}
text_serde!(Rate, "a rate such as 3/h, 10/m or 1/30m");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_parse_and_print_back() {
        for text in ["500ms", "10s", "5m", "2h", "30d"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["512KiB", "64MiB", "1GiB", "1000B"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        for text in ["25%", "0.5%", "100%"] {
            assert_eq!(text.parse::<Percent>().unwrap().to_string(), text);
        }
        for text in ["3/h", "10/m", "1/30m"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused_with_what_was_found() {
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1 s",
            "1y",
            "99999999999999999999s",
            "1.5h",
        ] {
            assert!(
                text.parse::<Span>()
                    .unwrap_err()
                    .contains("expected a duration"),
                "{text}"
            );
        }
        for text in ["", "64", "64MB", "MiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        for text in ["25", "101%", "-1%", "%"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
        for text in ["3", "3/", "/h", "3/0s", "x/h"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
