//! Who may do what: roles, passwords, secrets of sessions and tokens, and the
//! bound on guessing. Pure apart from the randomness of new secrets.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;

/// How long a browser session lives after it was last used.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(7 * 86_400);
/// A session in use is extended at most this often, so that reading pages
/// hardly ever writes.
pub const SESSION_EXTENDED_EVERY: Duration = Duration::from_secs(3600);
/// How long the link printed at the first start is good for.
pub const FIRST_LINK_LIFETIME: Duration = Duration::from_secs(86_400);
/// Shortest password, in characters.
pub const MIN_PASSWORD: usize = 8;
/// Longest password, in bytes: argon2 would take more, a request need not.
pub const MAX_PASSWORD: usize = 1024;
/// What an API token begins with, so that scanners recognise it.
pub const TOKEN_PREFIX: &str = "bw_";

/// What a person or token may do; each role includes the ones before it.
pub use crate::store::users::Role;

/// SHA-256 of a secret: what is stored of it.
pub use crate::store::credentials::Hash as SecretHash;

/// A new secret: its text is handed out once, its hash is stored.
pub struct NewSecret {
    pub text: String,
    pub hash: SecretHash,
}

impl NewSecret {
    /// 256 random bits behind `prefix`.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate(prefix: &str) -> Result<Self, getrandom::Error> {
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes)?;
        let text = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes));
        let hash = hash_secret(&text);
        Ok(Self { text, hash })
    }
}

/// What is stored of `text`. A plain hash is enough: the secrets are random and
/// long, so there is nothing to guess.
pub fn hash_secret(text: &str) -> SecretHash {
    Sha256::digest(text.as_bytes()).into()
}

/// Hashes a password with argon2id. Takes tens of milliseconds: call it off the
/// async workers.
///
/// # Errors
/// The system gives no randomness, or there is no memory.
pub fn hash_password(password: &str) -> Result<String, argon2::password_hash::Error> {
    let hash: argon2::password_hash::phc::PasswordHash =
        Argon2::default().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

/// True where `password` is the one behind `stored`. Takes as long where there
/// is no stored hash, so that the time does not tell which names exist.
pub fn verify_password(password: &str, stored: Option<&str>) -> bool {
    // argon2id of a random value that nobody kept, with the parameters above.
    const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$uW5mFqk1cE0b8pQm1m0yTg$\
                          2v9sVJtJQ2Z1v1Oq0VJ1m9cXl7mXy0l0kq8m1H5y3mE";
    let known = stored.is_some();
    let matches = Argon2::default()
        .verify_password(password.as_bytes(), stored.unwrap_or(NOBODY))
        .is_ok();
    known && matches
}

/// Whether `password` may be set.
///
/// # Errors
/// What is wrong with it, for people.
pub fn check_password(password: &str) -> Result<(), String> {
    let characters = password.chars().count();
    if characters < MIN_PASSWORD {
        return Err(format!(
            "expected at least {MIN_PASSWORD} characters, found {characters}"
        ));
    }
    if password.len() > MAX_PASSWORD {
        return Err(format!(
            "expected at most {MAX_PASSWORD} bytes, found {}",
            password.len()
        ));
    }
    Ok(())
}

/// Whether `name` may name a user or token.
///
/// # Errors
/// What is wrong with it, for people.
pub fn check_account_name(name: &str) -> Result<(), String> {
    let fits = (1..=64).contains(&name.chars().count())
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+'));
    if fits {
        Ok(())
    } else {
        Err(format!(
            "expected 1 to 64 letters, digits or any of . _ - @ +, found {name:?}"
        ))
    }
}

/// Bounds guessing: failures per address and name, and per address.
///
/// Both are sliding windows over failed attempts only, so a person who knows the
/// password is never held back by others' guesses from elsewhere. IPv6 addresses
/// count by the /64 they are in: a single machine has all of that.
#[derive(Debug, Default)]
pub struct LoginLimiter {
    by_name: HashMap<(IpAddr, String), VecDeque<Timestamp>>,
    by_address: HashMap<IpAddr, VecDeque<Timestamp>>,
}

impl LoginLimiter {
    /// Failures of one name from one address in a window.
    pub const PER_NAME: usize = 5;
    /// Failures of all names from one address in a window.
    pub const PER_ADDRESS: usize = 30;
    /// Length of the window.
    pub const WINDOW: Duration = Duration::from_secs(300);
    /// Entries kept in each map.
    const CAPACITY: usize = 10_000;

    /// `Err` with the time to wait where there were too many failures.
    pub fn check(&self, address: IpAddr, name: &str, now: Timestamp) -> Result<(), Duration> {
        let wait = |failures: Option<&VecDeque<Timestamp>>, limit: usize| {
            let failures = failures?;
            let recent = failures
                .iter()
                .filter(|at| now.since(**at) < Self::WINDOW)
                .count();
            if recent < limit {
                return None;
            }
            let oldest = failures.iter().nth_back(limit.saturating_sub(1))?;
            Some(Self::WINDOW.saturating_sub(now.since(*oldest)))
        };
        let (address, name) = (network(address), name.to_lowercase());
        let by_name = wait(self.by_name.get(&(address, name)), Self::PER_NAME);
        let by_address = wait(self.by_address.get(&address), Self::PER_ADDRESS);
        match by_name.max(by_address) {
            None => Ok(()),
            Some(wait) => Err(wait.max(Duration::from_secs(1))),
        }
    }

    /// Counts a failed attempt.
    pub fn failed(&mut self, address: IpAddr, name: &str, now: Timestamp) {
        let address = network(address);
        let key = (address, name.to_lowercase());
        make_room(&mut self.by_name, &key, now);
        record(self.by_name.entry(key).or_default(), Self::PER_NAME, now);
        make_room(&mut self.by_address, &address, now);
        record(
            self.by_address.entry(address).or_default(),
            Self::PER_ADDRESS,
            now,
        );
    }

    /// Forgets the failures of a name that has now logged in, and takes the
    /// attempt that was counted at `now` back from its address.
    pub fn succeeded(&mut self, address: IpAddr, name: &str, now: Timestamp) {
        let address = network(address);
        self.by_name.remove(&(address, name.to_lowercase()));
        if let Some(failures) = self.by_address.get_mut(&address) {
            if let Some(counted) = failures.iter().rposition(|at| *at == now) {
                failures.remove(counted);
            }
            if failures.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }

    /// Names and addresses that are remembered.
    pub fn len(&self) -> (usize, usize) {
        (self.by_name.len(), self.by_address.len())
    }

    /// True where nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }
}

/// What one client can choose its address from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() & (u128::MAX << 64);
            Ipv6Addr::from_bits(bits).into()
        }
        v4 => v4,
    }
}

fn record(failures: &mut VecDeque<Timestamp>, limit: usize, now: Timestamp) {
    if failures.len() >= limit {
        failures.pop_front();
    }
    failures.push_back(now);
}

/// Keeps `map` bounded: drops what is past its window, then the oldest.
fn make_room<K: Clone + Eq + std::hash::Hash>(
    map: &mut HashMap<K, VecDeque<Timestamp>>,
    key: &K,
    now: Timestamp,
) {
    if map.len() < LoginLimiter::CAPACITY || map.contains_key(key) {
        return;
    }
    map.retain(|_, failures| {
        failures
            .back()
            .is_some_and(|at| now.since(*at) < LoginLimiter::WINDOW)
    });
    if map.len() >= LoginLimiter::CAPACITY {
        // An attack from very many addresses: forget the one that was quiet the
        // longest rather than grow.
        let oldest = map
            .iter()
            .min_by_key(|(_, failures)| failures.back().copied())
            .map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            map.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000) + Duration::from_secs(seconds)
    }

    #[test]
    fn passwords_verify_and_absent_ones_never_do() {
        let hash = hash_password("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(verify_password("correct horse", Some(&hash)));
        assert!(!verify_password("correct horse ", Some(&hash)));
        assert!(!verify_password("", None));
        assert!(!verify_password("x", Some("not a hash")));
    }

    #[test]
    fn secrets_are_long_and_differ() {
        let (a, b) = (
            NewSecret::generate(TOKEN_PREFIX).unwrap(),
            NewSecret::generate(TOKEN_PREFIX).unwrap(),
        );
        assert_ne!(a.text, b.text);
        assert_eq!(a.text.len(), TOKEN_PREFIX.len() + 43);
        assert_eq!(hash_secret(&a.text), a.hash);
    }

    #[test]
    fn names_and_passwords_are_checked() {
        assert!(check_account_name("jürgen.m@example.org").is_ok());
        for bad in ["", "a b", "a/b", "a\n", &"x".repeat(65)] {
            assert!(check_account_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_password("1234567").is_err());
        assert!(check_password("12345678").is_ok());
        assert!(check_password(&"x".repeat(2000)).is_err());
    }

    #[test]
    fn five_failures_lock_the_name_for_that_address_only() {
        let mut limiter = LoginLimiter::default();
        let (here, there): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        for i in 0..5 {
            assert!(limiter.check(here, "admin", at(i)).is_ok());
            limiter.failed(here, "Admin", at(i));
        }
        assert_eq!(
            limiter.check(here, "admin", at(10)),
            Err(Duration::from_secs(290))
        );
        assert!(limiter.check(there, "admin", at(10)).is_ok());
        assert!(limiter.check(here, "other", at(10)).is_ok());
        assert!(limiter.check(here, "admin", at(301)).is_ok());
        limiter.succeeded(here, "admin", at(302));
        assert!(limiter.check(here, "admin", at(10)).is_ok());
    }

    #[test]
    fn many_names_from_one_address_are_bounded_too() {
        let mut limiter = LoginLimiter::default();
        let here: IpAddr = [10, 0, 0, 1].into();
        for i in 0..LoginLimiter::PER_ADDRESS {
            limiter.failed(here, &format!("user{i}"), at(0));
        }
        assert!(limiter.check(here, "fresh", at(1)).is_err());
    }

    #[test]
    fn successes_do_not_count_against_their_address() {
        let mut limiter = LoginLimiter::default();
        let here: IpAddr = [10, 0, 0, 1].into();
        limiter.failed(here, "typo", at(0));
        for second in 1..100 {
            assert_eq!(limiter.check(here, "script", at(second)), Ok(()));
            limiter.failed(here, "script", at(second));
            limiter.succeeded(here, "script", at(second));
        }
        assert_eq!(limiter.len(), (1, 1), "the other's failure stays");
        limiter.failed(here, "script", at(200));
        limiter.succeeded(here, "script", at(200));
        for i in 1..LoginLimiter::PER_ADDRESS {
            assert!(limiter.check(here, "fresh", at(200)).is_ok(), "{i}");
            limiter.failed(here, &format!("user{i}"), at(200));
        }
        assert!(limiter.check(here, "fresh", at(200)).is_err());
    }

    #[test]
    fn an_ipv6_network_is_one_guesser() {
        let mut limiter = LoginLimiter::default();
        for i in 0..LoginLimiter::PER_ADDRESS {
            let address: IpAddr = format!("2001:db8:1:2::{i:x}").parse().unwrap();
            limiter.failed(address, &format!("user{i}"), at(0));
        }
        let checked = |address: &str| limiter.check(address.parse().unwrap(), "fresh", at(1));
        assert!(checked("2001:db8:1:2:ffff::1").is_err());
        assert!(checked("2001:db8:1:3::1").is_ok());
    }

    #[test]
    fn memory_stays_bounded() {
        let mut limiter = LoginLimiter::default();
        for i in 0..12_000u32 {
            limiter.failed(IpAddr::from(i.to_be_bytes()), "admin", at(0));
        }
        assert_eq!(
            limiter.len(),
            (LoginLimiter::CAPACITY, LoginLimiter::CAPACITY)
        );
    }
}
