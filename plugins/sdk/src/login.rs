//! Logging in with a secret of the engine: reading it, and the rule for
//! connections that others can read.
//!
//! A configuration names the secret in a field of [`login_schema!`]; the engine
//! lets a first-party plugin read that one. The host takes the value out of
//! whatever the run leaves behind.

use std::net::SocketAddr;

use crate::ProbeError;
use crate::net::{Connection, Error};
use crate::secrets::Secrets;

/// The password that a configuration names.
pub fn password(name: Option<&str>, secrets: &dyn Secrets) -> Result<Option<String>, ProbeError> {
    match name {
        Some(name) => Ok(Some(secrets.get(name)?)),
        None => Ok(None),
    }
}

/// Who logs in, with what, and where to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Login<'a> {
    /// Name, in clear in the configuration.
    pub user: &'a str,
    /// Value of a secret.
    pub password: &'a str,
    /// What the operator says of connections that others can read.
    pub allow_plaintext: Option<bool>,
}

impl<'a> Login<'a> {
    /// A login where both are configured, none where neither is. A user without
    /// a password, or a password without a user, is a mistake.
    pub fn of(
        user: Option<&'a str>,
        password: Option<&'a str>,
        allow_plaintext: Option<bool>,
    ) -> Result<Option<Self>, ProbeError> {
        let (pointer, missing) = match (user, password) {
            (Some(user), Some(password)) => {
                return Ok(Some(Login {
                    user,
                    password,
                    allow_plaintext,
                }));
            }
            (None, None) => return Ok(None),
            (Some(_), None) => ("/user", "expected password_secret with user, found none"),
            (None, Some(_)) => (
                "/password_secret",
                "expected user with password_secret, found none",
            ),
        };
        Err(ProbeError::config(pointer, missing))
    }

    /// See [`may_send`].
    pub fn may_send(&self, connection: &dyn Connection) -> Result<(), Error> {
        may_send(connection, self.allow_plaintext)
    }
}

/// True with TLS, and where the connection does not leave the machine.
fn is_private(connection: &dyn Connection) -> bool {
    let peer = connection.peer().parse::<SocketAddr>();
    connection.tls_info().is_some()
        || connection.certificate().is_some()
        || peer.is_ok_and(|peer| peer.ip().to_canonical().is_loopback())
}

/// Refuses to send a password where others could read it: without TLS, to
/// another machine, unless the operator allows that.
pub fn may_send(connection: &dyn Connection, allow_plaintext: Option<bool>) -> Result<(), Error> {
    if allow_plaintext == Some(true) || is_private(connection) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "expected TLS for the password, found an unencrypted connection to {}; set tls, or allow_plaintext: true to send it readable",
        connection.peer()
    )))
}

/// A password in a command of one line must not end that line.
pub fn one_line(password: &str) -> Result<(), Error> {
    if password.chars().any(char::is_control) {
        // Not the value: it is a secret.
        return Err(Error::Invalid(
            "expected a password without control characters, found some in the secret".to_owned(),
        ));
    }
    Ok(())
}

/// Properties of a schema for a login, without a comma at the end: which secret
/// is the password, and whether it may be sent readable.
#[macro_export]
macro_rules! login_schema {
    () => {
        r##""password_secret":{"type":"string","x-secret":"read","title":"Password","description":"name of the secret that is the password; needs TLS, except on loopback","examples":["monitoring-password"]},
"allow_plaintext":{"type":"boolean","default":false,"title":"Password without TLS","description":"true: send the password over a connection that others can read"}"##
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FakeConnection, FakeSecrets, certificate};
    use crate::secrets;

    #[test]
    fn a_password_is_the_named_secret() {
        let known = FakeSecrets::with("db", "s3cret");
        assert_eq!(password(None, &known), Ok(None));
        assert_eq!(password(Some("db"), &known), Ok(Some("s3cret".to_owned())));
        assert!(matches!(
            password(Some("other"), &known),
            Err(ProbeError::Denied(text)) if text.contains("other")
        ));
        let gone = secrets::Error::Unavailable("the file is gone".to_owned());
        assert_eq!(
            ProbeError::from(gone),
            ProbeError::Failed("the file is gone".to_owned())
        );
    }

    #[test]
    fn passwords_go_where_nobody_reads_them() {
        let far = |certificate| FakeConnection {
            certificate,
            ..FakeConnection::default()
        };
        let at = |peer: &str| FakeConnection {
            peer: Some(peer.to_owned()),
            ..FakeConnection::default()
        };
        assert_eq!(may_send(&far(Some(certificate(9))), None), Ok(()));
        assert_eq!(may_send(&far(None), Some(true)), Ok(()));
        for near in ["127.0.0.1:5432", "[::1]:5432", "[::ffff:127.0.0.1]:5432"] {
            assert_eq!(may_send(&at(near), None), Ok(()), "{near}");
        }
        for exposed in ["10.0.0.1:25", "[fe80::1]:25", "nonsense"] {
            let refused = may_send(&at(exposed), Some(false));
            assert!(
                matches!(&refused, Err(Error::Invalid(text)) if text.contains("allow_plaintext: true")),
                "{exposed}: {refused:?}"
            );
        }
    }

    #[test]
    fn half_a_login_is_a_mistake() {
        assert_eq!(Login::of(None, None, None), Ok(None));
        let login = Login::of(Some("a"), Some("b"), None).unwrap().unwrap();
        assert_eq!((login.user, login.password), ("a", "b"));
        for (user, password, pointer) in [
            (Some("a"), None, "/user"),
            (None, Some("b"), "/password_secret"),
        ] {
            let refused = Login::of(user, password, None);
            assert!(
                matches!(&refused, Err(ProbeError::Config(problem)) if problem.pointer == pointer),
                "{refused:?}"
            );
        }
        assert_eq!(one_line("it's \"fine\""), Ok(()));
        let refused = one_line("a\r\nQUIT").unwrap_err();
        assert!(!format!("{refused:?}").contains("QUIT"));
    }
}
