//! Which version of a plugin `name@…` means.
//!
//! - `name@1.2.3` is exactly that version.
//! - `name@1.2` and `name@1` are any 1.2.x and any 1.x.
//! - Everything else is a semantic version range, such as `name@^1.2` or
//!   `name@>=1.2, <1.5`.
//!
//! Of the versions in a range the active one is meant, so that an upload alone
//! changes nothing; where it is outside of the range, the newest within.

use semver::{Version, VersionReq};

/// The place of the version that `wanted` means, among versions and whether
/// each is the active one.
pub fn choose<'a>(wanted: &str, versions: impl Iterator<Item = (&'a str, bool)>) -> Option<usize> {
    let range = range(wanted);
    let mut best: Option<(usize, bool, Option<Version>)> = None;
    for (place, (text, active)) in versions.enumerate() {
        let version = match &range {
            None if text == wanted => None,
            None => continue,
            Some(range) => match Version::parse(text) {
                Ok(version) if range.matches(&version) => Some(version),
                _ => continue,
            },
        };
        let better = best
            .as_ref()
            .is_none_or(|(_, known, of)| (active, &version) > (*known, of));
        if better {
            best = Some((place, active, version));
        }
    }
    best.map(|(place, _, _)| place)
}

/// The range that `wanted` is; `None` for an exact version.
fn range(wanted: &str) -> Option<VersionReq> {
    let plain = wanted.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain && wanted.matches('.').count() < 2 {
        return VersionReq::parse(&format!("~{wanted}")).ok();
    }
    match Version::parse(wanted) {
        Ok(_) => None,
        Err(_) => VersionReq::parse(wanted).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wanted: &str, active: &str) -> Option<&'static str> {
        const ALL: [&str; 6] = ["1.2.0", "1.10.1", "1.2.9", "2.0.0-rc.1", "0.9.0", "nightly"];
        let place = choose(wanted, ALL.into_iter().map(|text| (text, text == active)));
        place.map(|place| ALL[place])
    }

    #[test]
    fn exact_versions_and_ranges() {
        for (wanted, active, expected) in [
            ("1.2.0", "2.0.0-rc.1", Some("1.2.0")),
            ("1.2.3", "1.2.0", None),
            ("nightly", "1.2.0", Some("nightly")),
            ("1.2", "0.9.0", Some("1.2.9")),
            ("1", "0.9.0", Some("1.10.1")),
            ("^1.2", "0.9.0", Some("1.10.1")),
            (">=1.2, <1.5", "0.9.0", Some("1.2.9")),
            ("~1.2.5", "0.9.0", Some("1.2.9")),
            // The active one where it fits, though there are newer ones.
            ("1.2", "1.2.0", Some("1.2.0")),
            ("1", "1.2.9", Some("1.2.9")),
            // A range means no pre-release unless it names one.
            ("2", "0.9.0", None),
            (">=2.0.0-rc.0", "0.9.0", Some("2.0.0-rc.1")),
            ("3", "1.2.0", None),
            ("", "1.2.0", None),
            ("latest", "1.2.0", None),
        ] {
            assert_eq!(
                chosen(wanted, active),
                expected,
                "{wanted} while {active} is active"
            );
        }
    }
}
