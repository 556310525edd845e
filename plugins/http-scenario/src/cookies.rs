//! Cookies from step to step, by host. Paths, domains and dates are not looked
//! at: a scenario lasts seconds.

use bellwether_plugin::net::HttpResponse;

/// Most cookies that are kept.
const MAX_COOKIES: usize = 100;

/// Longest cookie that is kept, in bytes.
const MAX_LENGTH: usize = 4096;

/// Cookies by host and name.
#[derive(Debug, Default)]
pub struct Jar(Vec<(String, String, String)>);

/// The host of a URL, without port.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    };
    host.to_ascii_lowercase()
}

impl Jar {
    /// True where nothing was set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps what an answer sets.
    pub fn keep(&mut self, response: &HttpResponse) {
        let host = host(&response.url);
        for header in &response.headers {
            if !header.name.eq_ignore_ascii_case("set-cookie") || header.value.len() > MAX_LENGTH {
                continue;
            }
            let mut parts = header.value.split(';');
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            let (name, value) = (name.trim(), value.trim());
            let gone = parts.any(|part| {
                let age = part
                    .split_once('=')
                    .filter(|(key, _)| key.trim().eq_ignore_ascii_case("max-age"));
                age.is_some_and(|(_, age)| age.trim().parse().is_ok_and(|age: i64| age <= 0))
            });
            self.0
                .retain(|(other, known, _)| *other != host || known != name);
            if !gone && !name.is_empty() && self.0.len() < MAX_COOKIES {
                self.0
                    .push((host.clone(), name.to_owned(), value.to_owned()));
            }
        }
    }

    /// The Cookie header for a URL; absent where there is none.
    pub fn header(&self, url: &str) -> Option<String> {
        let host = host(url);
        let pairs: Vec<String> = self
            .0
            .iter()
            .filter(|(known, _, _)| *known == host)
            .map(|(_, name, value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}
