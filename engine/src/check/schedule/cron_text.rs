//! Crontab text to the sets of numbers it means.

use crate::config::problem::closest;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// One field of a cron expression.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
    /// Number of the first of `names`.
    first_name: u32,
}

const FIELDS: [Field; 6] = [
    Field {
        name: "second",
        min: 0,
        max: 59,
        names: &[],
        first_name: 0,
    },
    Field {
        name: "minute",
        min: 0,
        max: 59,
        names: &[],
        first_name: 0,
    },
    Field {
        name: "hour",
        min: 0,
        max: 23,
        names: &[],
        first_name: 0,
    },
    Field {
        name: "day of month",
        min: 1,
        max: 31,
        names: &[],
        first_name: 0,
    },
    Field {
        name: "month",
        min: 1,
        max: 12,
        names: &MONTHS,
        first_name: 1,
    },
    // 7 is Sunday as well and folded into 0.
    Field {
        name: "weekday",
        min: 0,
        max: 7,
        names: &WEEKDAYS,
        first_name: 0,
    },
];

const MACROS: [(&str, &str); 8] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
    ("@minutely", "* * * * *"),
];

/// Rewrites crontab text for the `cron` crate: seconds first, every set spelled
/// out, weekdays counted from Sunday = 1.
pub(super) fn normalise(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.starts_with('@') {
        let (_, fields) = MACROS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                let near = closest(text, MACROS.map(|(name, _)| name));
                let hint = near
                    .map(|n| format!("; did you mean {n}?"))
                    .unwrap_or_default();
                format!("expected five cron fields or a word such as @hourly, found {text:?}{hint}")
            })?;
        return normalise(fields);
    }
    let parts: Vec<&str> = text.split_ascii_whitespace().collect();
    let skipped = match parts.len() {
        5 => 1,
        6 => 0,
        n => {
            return Err(format!(
                "expected five cron fields (minute hour day-of-month month weekday), or six with leading seconds, found {n} in {text:?}"
            ));
        }
    };
    let mut out: Vec<String> = vec!["0".into(); skipped];
    let mut restricted = [false; 6];
    for (i, (part, field)) in parts.iter().zip(&FIELDS[skipped..]).enumerate() {
        let set = field.parse(part)?;
        let full = set.len() as u32 == field.size();
        restricted[i + skipped] = !full;
        out.push(if full {
            "*".into()
        } else {
            let shift = u32::from(field.max == 7);
            let numbers: Vec<String> = set.iter().map(|n| (n + shift).to_string()).collect();
            numbers.join(",")
        });
    }
    if restricted[3] && restricted[5] {
        return Err(format!(
            "expected a day of month or a weekday, found both in {text:?}; write two checks"
        ));
    }
    Ok(out.join(" "))
}

impl Field {
    fn size(&self) -> u32 {
        if self.max == 7 {
            7
        } else {
            self.max - self.min + 1
        }
    }

    fn wrong(&self, found: &str) -> String {
        let names = match self.names {
            [] => String::new(),
            [first, .., last] => format!(", or {first} to {last}"),
            [one] => format!(", or {one}"),
        };
        format!(
            "expected {} to {}{names} for the {}, found {found:?}",
            self.min, self.max, self.name
        )
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        if let Some(i) = self
            .names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text))
        {
            return Ok(i as u32 + self.first_name);
        }
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u32>() {
            Ok(n) if digits && (self.min..=self.max).contains(&n) => Ok(n),
            _ => {
                let near = closest(text, self.names.iter().copied());
                let hint = near
                    .map(|n| format!("; did you mean {n}?"))
                    .unwrap_or_default();
                Err(self.wrong(text) + &hint)
            }
        }
    }

    /// The numbers that the field names, sorted.
    fn parse(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut set = std::collections::BTreeSet::new();
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                None => (item, None),
                Some((range, step)) => {
                    let step = step
                        .parse::<u32>()
                        .ok()
                        .filter(|step| *step > 0 && *step <= self.max.max(1))
                        .ok_or_else(|| {
                            format!(
                                "expected a step from 1 to {} for the {}, found {item:?}",
                                self.max, self.name
                            )
                        })?;
                    (range, Some(step))
                }
            };
            let top = if self.max == 7 { 6 } else { self.max };
            let (from, to) = if range == "*" || range == "?" {
                (self.min, top)
            } else if let Some((from, to)) = range.split_once('-') {
                let (from, to) = (self.number(from)?, self.number(to)?);
                // Sunday ends a week as well as it begins one.
                let to = if self.max == 7 && to == 0 { 7 } else { to };
                if from > to {
                    return Err(format!(
                        "expected a range that goes up for the {}, found {range:?}",
                        self.name
                    ));
                }
                (from, to)
            } else {
                let n = self.number(range)?;
                // As in most crons, `5/15` means from 5 on.
                (n, if step.is_some() { top.max(n) } else { n })
            };
            for n in (from..=to).step_by(step.unwrap_or(1) as usize) {
                set.insert(if self.max == 7 { n % 7 } else { n });
            }
        }
        Ok(set.into_iter().collect())
    }
}
