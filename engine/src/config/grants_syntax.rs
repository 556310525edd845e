//! How net grants and hosts are written; the grammar is that of the host.

use crate::plugin::grants::{NetGrant, normal_name};

/// Checks one net grant such as `node`, `example.org:443` or `10.0.0.0/8:*`.
///
/// # Errors
/// What was expected.
pub fn parse_net_grant(text: &str) -> Result<(), String> {
    text.parse::<NetGrant>().map(|_| ())
}

/// Whether the text is a host name: labels of letters, digits, `-` and `_`, no
/// address in an odd spelling.
pub fn is_host(text: &str) -> bool {
    normal_name(text).is_some()
}
