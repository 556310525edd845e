//! How net grants are written.

/// Checks one net grant: `node`, `host:port`, `*.host:port`, `CIDR:port`,
/// `[v6]:port`, each also behind `udp:`, or `icmp:` and a host. A port is a
/// number, a range `a-b` or `*`; `node` may carry one.
///
/// # Errors
/// What was expected.
pub fn parse_net_grant(text: &str) -> Result<(), String> {
    let wrong = |what: &str| {
        format!(
            "expected {what} in a net grant such as node, node:443, example.org:443, *.example.org:443, 10.0.0.0/8:443, udp:node:53 or icmp:node, found {text:?}"
        )
    };
    if let Some(target) = text.strip_prefix("icmp:") {
        return if is_target(target) {
            Ok(())
        } else {
            Err(wrong("a host after icmp:"))
        };
    }
    let rest = text.strip_prefix("udp:").unwrap_or(text);
    if rest == "node" {
        return Ok(());
    }
    let (target, port) = rest.rsplit_once(':').ok_or_else(|| wrong("a port"))?;
    if !is_port(port) {
        return Err(wrong("a port from 1 to 65535"));
    }
    if is_target(target) {
        Ok(())
    } else {
        Err(wrong("a host, address or network"))
    }
}

fn is_port(text: &str) -> bool {
    let number = |t: &str| t.parse::<u16>().is_ok_and(|p| p > 0 && !t.starts_with('+'));
    match text.split_once('-') {
        Some((from, to)) => {
            number(from)
                && number(to)
                && from.parse::<u16>().unwrap_or(0) <= to.parse::<u16>().unwrap_or(0)
        }
        None => text == "*" || number(text),
    }
}

fn is_target(text: &str) -> bool {
    if let Some(v6) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return v6.parse::<std::net::Ipv6Addr>().is_ok() || v6.parse::<ipnet::Ipv6Net>().is_ok();
    }
    text.parse::<std::net::Ipv4Addr>().is_ok()
        || text.parse::<ipnet::IpNet>().is_ok()
        || is_host(text.strip_prefix("*.").unwrap_or(text))
}

/// Whether the text is a host name: labels of letters, digits, `-` and `_`.
pub fn is_host(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
        // 1.2.3.400 is a mistyped address, not a name.
        && !text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_that_are_right_and_wrong() {
        for text in [
            "node",
            "node:443",
            "api.example.org:443",
            "*.example.org:8000-8100",
            "10.0.0.0/8:443",
            "127.0.0.1:*",
            "[::1]:80",
            "[fd00::/8]:443",
            "icmp:node",
            "icmp:10.0.0.0/8",
            "udp:node:53",
            "udp:node",
        ] {
            assert_eq!(parse_net_grant(text), Ok(()), "{text}");
        }
        for text in [
            "",
            "api.example.org",
            "api.example.org:0",
            "api.example.org:70000",
            ":443",
            "a b:1",
            "icmp:",
            "*:443",
            "host:9-3",
            "10.0.0.0/99:443",
            "1.2.3.400:80",
            "-x:1",
        ] {
            assert!(parse_net_grant(text).is_err(), "{text}");
        }
    }
}
