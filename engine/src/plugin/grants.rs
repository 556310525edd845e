//! What a run may reach: the grammar of net grants and the pure decision.
//!
//! ```text
//! node            the node under check, every port
//! node:PORT       the node under check, that port
//! HOST:PORT       a name or literal address; IPv6 in brackets
//! *.HOST:PORT     names below HOST, at any depth
//! CIDR:PORT       10.0.0.0/8:443, [fd00::/8]:443
//! icmp:TARGET     echo to node, a name, an address or a CIDR
//! udp:GRANT       any of the above with a port, for datagrams
//! dns:NAME        questions about node, a name, *.NAME or * to the resolvers of
//!                 the engine's host, and nothing else
//! ```
//! A port is a number or `*`.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::address::canonical;

/// How a target is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
    Icmp,
    /// Questions about a name to the resolvers of the engine's host.
    Dns,
}

impl Transport {
    /// A grant as people write it. The port is left out where there is none.
    pub fn grant(self, host: &str, port: u16) -> String {
        // Literal IPv6 addresses stand in brackets.
        let host = match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
            _ => host.to_owned(),
        };
        match self {
            Transport::Tcp => format!("{host}:{port}"),
            Transport::Udp => format!("udp:{host}:{port}"),
            Transport::Icmp => format!("icmp:{host}"),
            Transport::Dns => format!("dns:{host}"),
        }
    }
}

/// Who a grant is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Node,
    Name(String),
    /// Names below this one.
    Below(String),
    Network(IpNet),
    /// Every name; only for questions.
    Any,
}

/// One parsed grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetGrant {
    pub transport: Transport,
    pub target: Target,
    /// Absent: every port.
    pub port: Option<u16>,
}

impl FromStr for NetGrant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "expected node, host:port, *.host:port or CIDR:port (IPv6 in brackets), optionally after udp:, icmp:target or dns:name; found {text:?}: {why}"
            )
        };
        if let Some(name) = text.strip_prefix("dns:") {
            let target = match name {
                "node" => Target::Node,
                "*" => Target::Any,
                name => match parse_target(name).map_err(|why| wrong(&why))? {
                    Target::Network(_) => return Err(wrong("questions are about names")),
                    target => target,
                },
            };
            return Ok(Self {
                transport: Transport::Dns,
                target,
                port: None,
            });
        }
        if let Some(target) = text.strip_prefix("icmp:") {
            let target = if target == "node" {
                Target::Node
            } else {
                parse_target(target).map_err(|why| wrong(&why))?
            };
            return Ok(Self {
                transport: Transport::Icmp,
                target,
                port: None,
            });
        }
        let (transport, rest) = match text.strip_prefix("udp:") {
            Some(rest) => (Transport::Udp, rest),
            None => (Transport::Tcp, text),
        };
        if rest == "node" {
            return Ok(Self {
                transport,
                target: Target::Node,
                port: None,
            });
        }
        let (target, port) = rest
            .rsplit_once(':')
            .ok_or_else(|| wrong("it has no port"))?;
        let port = match port {
            "*" => None,
            digits if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => Some(
                digits
                    .parse()
                    .ok()
                    .filter(|port| *port > 0)
                    .ok_or_else(|| wrong("the port lies beyond 1 to 65535"))?,
            ),
            _ => return Err(wrong("the port is no number and not *")),
        };
        let target = match target {
            "node" => Target::Node,
            target => parse_target(target).map_err(|why| wrong(&why))?,
        };
        Ok(Self {
            transport,
            target,
            port,
        })
    }
}

fn parse_target(text: &str) -> Result<Target, String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, behind) = rest.split_once(']').ok_or("the bracket is not closed")?;
        let network = format!("{inner}{behind}");
        return match parse_network(&network) {
            Some(net @ IpNet::V6(_)) => Ok(Target::Network(net)),
            _ => Err("expected an IPv6 address or network in the brackets".into()),
        };
    }
    if text.contains(':') {
        return Err("IPv6 addresses stand in brackets".into());
    }
    if let Some(network) = parse_network(text) {
        return Ok(Target::Network(network));
    }
    if text.contains('/') {
        return Err("that is no network".into());
    }
    let (below, name) = match text.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, text),
    };
    let name = normal_name(name).ok_or("that is no host name")?;
    Ok(if below {
        Target::Below(name)
    } else {
        Target::Name(name)
    })
}

fn parse_network(text: &str) -> Option<IpNet> {
    match text.parse::<IpNet>() {
        Ok(network) => Some(network.trunc()),
        Err(_) => text
            .parse::<IpAddr>()
            .ok()
            .map(|ip| IpNet::from(canonical(ip))),
    }
}

/// A host name in lower case without a final dot; absent where it is none.
pub fn normal_name(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let good = (1..=253).contains(&name.len())
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
        // Digits alone in the last label are an address in one of its odd
        // spellings (127.1, 0x7f000001), which some resolvers take.
        && name.rsplit('.').next().is_some_and(|last| !looks_numeric(last));
    good.then(|| name.to_ascii_lowercase())
}

fn looks_numeric(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_digit())
        || label
            .strip_prefix("0x")
            .or_else(|| label.strip_prefix("0X"))
            .is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A host as a guest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Address(IpAddr),
    Name(String),
}

impl Host {
    /// A literal address (brackets allowed) or a host name.
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .unwrap_or(text);
        match bare.parse::<IpAddr>() {
            Ok(ip) => Some(Host::Address(canonical(ip))),
            Err(_) => normal_name(text).map(Host::Name),
        }
    }
}

/// All net grants of a run, with the node they are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetGrants {
    grants: Vec<NetGrant>,
    node: Option<Host>,
}

/// What the grants say to a host name, before it is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameAccess {
    Denied,
    /// Granted by name: addresses that a name may stand for.
    ByName,
    /// Its addresses may lie in a granted network, and it may be asked about.
    ByNetwork,
    /// The same, but nothing allows to ask about it: a question is a message to
    /// whoever serves the name.
    NotAsked,
}

impl NetGrants {
    /// Parses grants; those that do not parse grant nothing (they were refused
    /// when the configuration was loaded).
    pub fn new(grants: &[String], node_address: Option<&str>) -> Self {
        Self {
            grants: grants.iter().filter_map(|text| text.parse().ok()).collect(),
            node: node_address.and_then(Host::parse),
        }
    }

    fn matching(&self, transport: Transport, port: u16) -> impl Iterator<Item = &Target> {
        self.grants
            .iter()
            .filter(move |grant| {
                grant.transport == transport && grant.port.is_none_or(|granted| granted == port)
            })
            .map(|grant| &grant.target)
    }

    /// True where this very address is granted: the node's literal address, a
    /// literal address or a network.
    pub fn allows_address(&self, transport: Transport, ip: IpAddr, port: u16) -> bool {
        let ip = canonical(ip);
        self.matching(transport, port).any(|target| match target {
            Target::Node => self.node == Some(Host::Address(ip)),
            Target::Network(network) => network.contains(&ip),
            Target::Name(_) | Target::Below(_) | Target::Any => false,
        })
    }

    /// What the grants say to a name.
    pub fn allows_name(&self, transport: Transport, name: &str, port: u16) -> NameAccess {
        let by_name = self
            .matching(transport, port)
            .any(|target| self.covers_name(target, name));
        let mut targets = self.matching(transport, port);
        if by_name {
            NameAccess::ByName
        } else if !targets.any(|target| matches!(target, Target::Network(_))) {
            NameAccess::Denied
        } else if self.covers_name(&Target::Node, name) || self.allows_question(name) {
            NameAccess::ByNetwork
        } else {
            NameAccess::NotAsked
        }
    }

    fn covers_name(&self, target: &Target, name: &str) -> bool {
        match target {
            Target::Node => matches!(&self.node, Some(Host::Name(node)) if node == name),
            Target::Name(granted) => granted == name,
            Target::Below(apex) => name
                .strip_suffix(apex.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            Target::Network(_) | Target::Any => false,
        }
    }

    /// True where the resolvers of the engine's host may be asked about a name
    /// (lower case, no final dot): any grant that has the name makes the host
    /// resolve it anyway, and `dns:` grants nothing but that. A question is a
    /// message to whoever serves the name, so it is no free gift.
    pub fn allows_question(&self, name: &str) -> bool {
        self.grants
            .iter()
            .any(|grant| grant.target == Target::Any || self.covers_name(&grant.target, name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_parses() {
        for good in [
            "node",
            "node:443",
            "node:*",
            "a.example:80",
            "a.example:*",
            "*.example.org:443",
            "10.0.0.0/8:443",
            "10.0.0.1:80",
            "[::1]:80",
            "[fd00::/8]:443",
            "[fd00::]/8:443",
            "icmp:node",
            "icmp:10.0.0.0/8",
            "icmp:[fd00::/8]",
            "udp:node",
            "udp:ntp.example:123",
            "udp:10.0.0.0/8:*",
            "LOCALHOST:1",
            "dns:node",
            "dns:*",
            "dns:_dmarc.example.org",
            "dns:*.in-addr.arpa",
        ] {
            good.parse::<NetGrant>()
                .unwrap_or_else(|error| panic!("{error}"));
        }
        for bad in [
            "",
            "*",
            "nodes",
            "a.example",
            "a.example:0",
            "a.example:65536",
            "a.example:http",
            "a.example:+80",
            "::1:80",
            "fd00::/8:443",
            "[::1:80",
            "[10.0.0.1]:80",
            "10.0.0.0/33:1",
            "*.:80",
            "*.*.a:80",
            "a*.b:80",
            "-a.b:80",
            "127.1:80",
            "0x7f000001:80",
            "2130706433:80",
            "a b:80",
            "user@host:80",
            "icmp:",
            "udp:a.example",
            "dns:",
            "dns:10.0.0.1",
            "dns:10.0.0.0/8",
            "dns:a.example:53",
        ] {
            assert!(bad.parse::<NetGrant>().is_err(), "{bad}");
        }
    }

    fn grants(texts: &[&str], node: &str) -> NetGrants {
        let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
        NetGrants::new(&texts, Some(node))
    }

    #[test]
    fn addresses() {
        // grants, node, address, port, allowed
        let cases: [(&[&str], &str, &str, u16, bool); 17] = [
            (&["node"], "127.0.0.1", "127.0.0.1", 80, true),
            (&["node"], "127.0.0.1", "::ffff:127.0.0.1", 80, true),
            (&["node"], "::ffff:127.0.0.1", "127.0.0.1", 80, true),
            (&["node"], "127.0.0.1", "127.0.0.2", 80, false),
            (&["node:443"], "127.0.0.1", "127.0.0.1", 80, false),
            (&["node:443"], "127.0.0.1", "127.0.0.1", 443, true),
            (&["node"], "web.example", "127.0.0.1", 80, false),
            (&[], "127.0.0.1", "127.0.0.1", 80, false),
            (&["10.0.0.0/8:443"], "n", "10.1.2.3", 443, true),
            (&["10.0.0.0/8:443"], "n", "::ffff:10.1.2.3", 443, true),
            (&["10.0.0.0/8:443"], "n", "10.1.2.3", 80, false),
            (&["10.0.0.0/8:443"], "n", "11.1.2.3", 443, false),
            (&["[::1]:*"], "n", "::1", 7, true),
            (&["[fd00::/8]:443"], "n", "fd12::1", 443, true),
            (&["[::/0]:443"], "n", "10.0.0.1", 443, false),
            (&["udp:node"], "10.0.0.1", "10.0.0.1", 53, false),
            (&["127.0.0.1:8081"], "n", "127.0.0.1", 8081, true),
        ];
        for (texts, node, ip, port, allowed) in cases {
            let found =
                grants(texts, node).allows_address(Transport::Tcp, ip.parse().unwrap(), port);
            assert_eq!(found, allowed, "{texts:?} node {node}: {ip} {port}");
        }
    }

    #[test]
    fn names() {
        use NameAccess::{ByName, ByNetwork, Denied, NotAsked};
        let cases: [(&[&str], &str, &str, u16, NameAccess); 19] = [
            (&["node"], "Web.Example.", "web.example", 80, ByName),
            (&["node"], "web.example", "other.example", 80, Denied),
            (
                &["api.example.org:443"],
                "n",
                "api.example.org",
                443,
                ByName,
            ),
            (&["api.example.org:443"], "n", "api.example.org", 80, Denied),
            (
                &["api.example.org:443"],
                "n",
                "xapi.example.org",
                443,
                Denied,
            ),
            (&["*.example.org:443"], "n", "a.example.org", 443, ByName),
            (&["*.example.org:443"], "n", "a.b.example.org", 443, ByName),
            (&["*.example.org:443"], "n", "example.org", 443, Denied),
            (&["*.example.org:443"], "n", "badexample.org", 443, Denied),
            (&["10.0.0.0/8:443"], "n", "db.internal", 443, NotAsked),
            (&["10.0.0.1:443"], "n", "db.internal", 443, NotAsked),
            (
                &["10.0.0.0/8:443"],
                "db.internal",
                "db.internal",
                443,
                ByNetwork,
            ),
            (
                &["10.0.0.0/8:443"],
                "db.internal",
                "x.db.internal",
                443,
                NotAsked,
            ),
            (
                &["10.0.0.0/8:443", "dns:*.internal"],
                "n",
                "db.internal",
                443,
                ByNetwork,
            ),
            (
                &["10.0.0.0/8:443", "dns:other.internal"],
                "n",
                "db.internal",
                443,
                NotAsked,
            ),
            // The name is asked about for another grant already.
            (
                &["10.0.0.0/8:443", "db.internal:80"],
                "n",
                "db.internal",
                443,
                ByNetwork,
            ),
            (&["dns:*"], "n", "db.internal", 443, Denied),
            (&["10.0.0.0/8:443"], "n", "db.internal", 80, Denied),
            (&["udp:ntp.example:123"], "n", "ntp.example", 123, Denied),
        ];
        for (texts, node, name, port, access) in cases {
            assert_eq!(
                grants(texts, node).allows_name(Transport::Tcp, name, port),
                access,
                "{texts:?} {name}"
            );
        }
    }

    #[test]
    fn questions() {
        let cases: [(&[&str], &str, &str, bool); 11] = [
            (&[], "web.example", "web.example", false),
            (&["node"], "web.example", "web.example", true),
            (&["node:443"], "web.example", "mail.web.example", false),
            (&["icmp:node"], "web.example", "web.example", true),
            (&["udp:ntp.example:123"], "n", "ntp.example", true),
            (&["*.example:443"], "n", "a.b.example", true),
            (&["dns:example.org"], "n", "example.org", true),
            (&["dns:example.org"], "n", "a.example.org", false),
            (&["dns:*.example.org"], "n", "*.example.org", true),
            (&["dns:*"], "n", "", true),
            (&["0.0.0.0/0:*"], "n", "example.org", false),
        ];
        for (texts, node, name, allowed) in cases {
            assert_eq!(
                grants(texts, node).allows_question(name),
                allowed,
                "{texts:?} {name}"
            );
        }
        // Being asked about is no way to be reached.
        let grants = grants(&["dns:*", "dns:a.example"], "n");
        for transport in [Transport::Tcp, Transport::Udp, Transport::Icmp] {
            assert_eq!(
                grants.allows_name(transport, "a.example", 53),
                NameAccess::Denied
            );
        }
    }

    #[test]
    fn hosts() {
        assert_eq!(
            Host::parse("[::1]"),
            Some(Host::Address("::1".parse().unwrap()))
        );
        assert_eq!(
            Host::parse("::ffff:10.0.0.1"),
            Some(Host::Address("10.0.0.1".parse().unwrap()))
        );
        assert_eq!(
            Host::parse("A.Example."),
            Some(Host::Name("a.example".into()))
        );
        for bad in [
            "",
            ".",
            "a..b",
            "127.1",
            "0x7f.1",
            "2130706433",
            "a b",
            "a/b",
            "ä.example",
            "1.2.3.4.5",
        ] {
            assert_eq!(Host::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<NetGrant>();
            let _ = Host::parse(&text);
        }

        #[test]
        fn a_granted_port_opens_no_other(ip: u32, granted in 1u16.., asked in 1u16..) {
            let ip = IpAddr::from(std::net::Ipv4Addr::from(ip));
            let grants = NetGrants::new(&[format!("{ip}:{granted}")], None);
            prop_assert_eq!(grants.allows_address(Transport::Tcp, ip, asked), granted == asked);
        }

        #[test]
        fn a_network_opens_what_it_contains(base: u32, length in 0u8..=32, ip: u32) {
            let base = std::net::Ipv4Addr::from(base);
            let ip = std::net::Ipv4Addr::from(ip);
            let mask = if length == 0 { 0 } else { u32::MAX << (32 - length) };
            let grants = NetGrants::new(&[format!("{base}/{length}:*")], None);
            let inside = u32::from(base) & mask == u32::from(ip) & mask;
            prop_assert_eq!(grants.allows_address(Transport::Tcp, ip.into(), 1), inside);
            prop_assert_eq!(grants.allows_address(Transport::Tcp, ip.to_ipv6_mapped().into(), 1), inside);
        }

        #[test]
        fn names_open_no_address(ip: u32, port in 1u16..) {
            let grants = NetGrants::new(
                &["a.example:*".into(), "*.example:*".into(), "node".into()],
                Some("node.example"),
            );
            prop_assert!(!grants.allows_address(Transport::Tcp, std::net::Ipv4Addr::from(ip).into(), port));
        }
    }
}
