//! Bytes and numbers from outside, as text for people.

use std::fmt;

/// Bytes that are looked at for the beginning of what came.
const MAX_QUOTED: usize = 400;

/// Text for people: control characters as escapes, and all that is not ASCII
/// where the bytes are not UTF-8.
pub fn printable(bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return bytes.escape_ascii().to_string();
    };
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            out.extend(letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    out
}

/// The beginning of what came, in quotation marks; `nothing` where nothing did.
pub fn quoted(bytes: &[u8]) -> String {
    match bytes {
        [] => "nothing".to_owned(),
        bytes => {
            // Escapes make text longer, never shorter.
            let mut start = &bytes[..bytes.len().min(MAX_QUOTED)];
            // A character that the cut goes through does not make it binary.
            if let Err(error) = std::str::from_utf8(start)
                && error.error_len().is_none()
                && start.len() < bytes.len()
            {
                start = &start[..error.valid_up_to()];
            }
            format!("\"{}\"", crate::http::shorten(&printable(start), 80))
        }
    }
}

/// Seconds as people say them.
pub struct Age(pub f64);

impl fmt::Display for Age {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            value if value < 120.0 => write!(out, "{value:.0} s"),
            value if value < 7_200.0 => write!(out, "{:.0} min", value / 60.0),
            value if value < 172_800.0 => write!(out, "{:.1} h", value / 3_600.0),
            value => write!(out, "{:.1} d", value / 86_400.0),
        }
    }
}

/// A number as people write it: at most three decimals, or three significant
/// digits below one, and no trailing zeros.
pub struct Number(pub f64);

impl fmt::Display for Number {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        if !self.0.is_finite() || size == 0.0 {
            return write!(out, "{}", self.0);
        }
        if !(1e-6..1e15).contains(&size) {
            return write!(out, "{:e}", self.0);
        }
        let decimals = if size >= 1.0 {
            3
        } else {
            (2 - size.log10().floor() as i32).clamp(3, 9) as usize
        };
        let text = format!("{:.decimals$}", self.0);
        out.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_the_unit_that_fits() {
        for (seconds, text) in [
            (0.4, "0 s"),
            (119.0, "119 s"),
            (120.0, "2 min"),
            (7_200.0, "2.0 h"),
            (259_200.0, "3.0 d"),
        ] {
            assert_eq!(Age(seconds).to_string(), text);
        }
    }

    #[test]
    fn what_came_is_readable() {
        for (bytes, text) in [
            (&b""[..], "nothing"),
            (b"220 ok\r\n", r#""220 ok\r\n""#),
            ("grün".as_bytes(), "\"grün\""),
            (b"\xff\x00a", r#""\xff\x00a""#),
        ] {
            assert_eq!(quoted(bytes), text);
        }
        assert_eq!(quoted(&[b'a'; 100_000]).chars().count(), 83);
        // Three bytes each: the cut goes through the 134th.
        assert!(quoted("€".repeat(200).as_bytes()).starts_with("\"€€"));
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (100.0, "100"),
            (1.0 / 3.0, "0.333"),
            (0.000_123_456, "0.000123"),
            (1234.56789, "1234.568"),
            (-2.5, "-2.5"),
            (1e20, "1e20"),
            (1e-9, "1e-9"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(Number(value).to_string(), text);
        }
    }
}
