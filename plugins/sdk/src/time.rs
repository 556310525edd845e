//! Reading times.

use crate::Timestamp;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// Days from 1970-01-01 to a civil date of the Gregorian calendar.
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a day counted from 1970-01-01.
pub fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u32, day)
}

/// Days of a month.
pub fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// A time of day on a civil date, east of UTC by `offset` seconds. `None` where
/// a part is out of its range; a leap second counts as the next second.
#[expect(
    clippy::too_many_arguments,
    reason = "the parts of a date have no shorter name"
)]
pub fn timestamp(
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    micros: u32,
    offset: i64,
) -> Option<Timestamp> {
    let valid = (-9_999..=9_999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && micros < 1_000_000
        && offset.abs() < 86_400;
    valid.then(|| {
        let seconds = i64::from(hour * 3_600 + minute * 60 + second) - offset;
        days_from_civil(year, month, day) * DAY + seconds * 1_000_000 + i64::from(micros)
    })
}

/// Reads RFC 3339, as generously as log files need: a space instead of `T`, a
/// comma before the fraction, an offset without colon, and no offset at all
/// (UTC).
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    parse_rfc3339_in(text, 0)
}

/// The same, with an offset in seconds east of UTC for text that names none.
pub fn parse_rfc3339_in(text: &str, default_offset: i64) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if bytes.len() < 19 {
        return None;
    }
    let separators = bytes[4] == b'-'
        && bytes[7] == b'-'
        && matches!(bytes[10], b'T' | b't' | b' ' | b'_')
        && bytes[13] == b':'
        && bytes[16] == b':';
    if !separators {
        return None;
    }
    let year = digits(&bytes[0..4])?;
    let (month, day) = (digits(&bytes[5..7])?, digits(&bytes[8..10])?);
    let (hour, minute, second) = (
        digits(&bytes[11..13])?,
        digits(&bytes[14..16])?,
        digits(&bytes[17..19])?,
    );
    let mut rest = &bytes[19..];
    let mut micros = 0;
    if let [b'.' | b',', tail @ ..] = rest {
        let count = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
        micros = fraction(&tail[..count])?;
        rest = &tail[count..];
    }
    let offset = if rest.is_empty() {
        default_offset
    } else {
        parse_offset(rest)?
    };
    timestamp(
        i64::from(year),
        month,
        day,
        hour,
        minute,
        second,
        micros,
        offset,
    )
}

/// Seconds east of UTC: empty, `Z`, `+02`, `+0200` or `+02:00`, perhaps behind a
/// space.
pub fn parse_offset(bytes: &[u8]) -> Option<i64> {
    let bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
    let (sign, digits_part) = match bytes {
        [] | b"Z" | b"z" | b"UTC" | b"GMT" => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match digits_part.len() {
        2 => (digits(digits_part)?, 0),
        4 => (digits(&digits_part[..2])?, digits(&digits_part[2..])?),
        5 if digits_part[2] == b':' => (digits(&digits_part[..2])?, digits(&digits_part[3..])?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then(|| sign * i64::from(hours * 3_600 + minutes * 60))
}

/// Reads a number of seconds, milliseconds, microseconds or nanoseconds since
/// the Unix epoch; the magnitude tells which. Numbers before September 2001
/// (below 1e9) are no times.
pub fn parse_epoch(number: &str) -> Option<Timestamp> {
    if number.bytes().any(|byte| matches!(byte, b'e' | b'E')) {
        return from_epoch_float(number.parse().ok()?);
    }
    let (whole, decimals) = match number.split_once('.') {
        Some((whole, decimals)) => (whole, decimals),
        None => (number, ""),
    };
    if !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: i64 = whole.parse().ok()?;
    match whole.len() {
        10 | 11 => Some(value * 1_000_000 + i64::from(fraction(decimals.as_bytes())?)),
        12..=14 => Some(value * 1_000 + i64::from(fraction(decimals.as_bytes())? / 1_000)),
        15..=17 => Some(value),
        18..=19 => Some(value / 1_000),
        _ => None,
    }
}

/// 1.7e9 and the like.
fn from_epoch_float(value: f64) -> Option<Timestamp> {
    let micros = match value {
        value if (1e9..1e11).contains(&value) => value * 1e6,
        value if (1e11..1e14).contains(&value) => value * 1e3,
        value if (1e14..1e17).contains(&value) => value,
        value if (1e17..9e18).contains(&value) => value / 1e3,
        _ => return None,
    };
    Some(micros as i64)
}

/// A number of decimal digits only; at most nine of them.
pub fn digits(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() || bytes.len() > 9 {
        return None;
    }
    bytes.iter().try_fold(0_u32, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + u32::from(byte - b'0'))
    })
}

/// Decimals behind a point as microseconds; more than six are cut off.
pub fn fraction(decimals: &[u8]) -> Option<u32> {
    let kept = &decimals[..decimals.len().min(6)];
    if !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = kept
        .iter()
        .fold(0_u32, |value, byte| value * 10 + u32::from(byte - b'0'));
    Some(value * 10_u32.pow(6 - kept.len() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_dates_go_there_and_back() {
        assert_eq!(days_from_civil(1970, 1, 1), 0);
        assert_eq!(days_from_civil(2000, 3, 1), 11_017);
        for days in (-800_000..800_000).step_by(37) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
            assert!((1..=days_in_month(year, month)).contains(&day));
        }
    }

    #[test]
    fn rfc3339_in_its_spellings() {
        let expected = 1_767_323_045_678_901;
        for text in [
            "2026-01-02T03:04:05.678901Z",
            "2026-01-02 03:04:05,678901",
            "2026-01-02t04:04:05.6789019+01:00",
            "2026-01-02T01:34:05.678901-0130",
            "2026-01-02T05:04:05.678901 +02",
        ] {
            assert_eq!(parse_rfc3339(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "2026-01-02",
            "2026-02-30T00:00:00Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:04:05.Zz",
            "2026-01-02T03:04:05+1",
            "2026-01-02T03:04:05+99:00",
            "2026-0é-02T03:04:05Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn epochs_are_told_by_their_size() {
        for number in [
            "1767323045",
            "1767323045000",
            "1767323045000000",
            "1767323045000000000",
            "1767323045.0",
            "1.767323045e9",
        ] {
            assert_eq!(parse_epoch(number), Some(1_767_323_045_000_000), "{number}");
        }
        assert_eq!(parse_epoch("1767323045.5"), Some(1_767_323_045_500_000));
        assert_eq!(parse_epoch("1767323045123.25"), Some(1_767_323_045_123_250));
        for number in [
            "",
            "12",
            "-1767323045",
            "17673230451234567890123",
            "NaN",
            "x",
            "1.x",
        ] {
            assert_eq!(parse_epoch(number), None, "{number}");
        }
    }
}
