//! Addresses: one spelling each, what they stand for behind a translator, and
//! which of them a host name may never stand for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// IPv4 in IPv6 clothes (`::ffff:a.b.c.d`) as IPv4: the kernel treats them as
/// the same.
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The IPv4 address that traffic to this IPv6 address ends at: mapped,
/// compatible, NAT64 (64:ff9b::/96, and 64:ff9b:1::/48 with the address in its
/// last 32 bits) and 6to4 (2002::/16).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = ip.segments();
    let pair = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some(pair(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(pair(high, low)),
        // SIIT, "IPv4-translated".
        [0, 0, 0, 0, 0xffff, 0, high, low] => Some(pair(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(pair(high, low)),
        [0x64, 0xff9b, 1, _, _, _, high, low] => Some(pair(high, low)),
        [0x2002, high, low, ..] => Some(pair(high, low)),
        _ => None,
    }
}

/// The machine itself, where an address names none: the kernel connects to
/// loopback then.
fn own(ip: IpAddr) -> Option<IpAddr> {
    ip.is_unspecified().then_some(match ip {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    })
}

/// The address and what it stands for.
pub fn forms(ip: IpAddr) -> impl Iterator<Item = IpAddr> {
    let inner = match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => embedded(v6).map(IpAddr::V4),
    };
    std::iter::once(canonical(ip))
        .chain(inner)
        .flat_map(|form| std::iter::once(form).chain(own(form)))
}

/// True where `deny` covers the address in any of its forms.
pub fn denied(deny: &[IpNet], ip: IpAddr) -> bool {
    forms(ip).any(|form| deny.iter().any(|network| network.contains(&form)))
}

/// Why a host name may not stand for this address; absent where it may.
/// Private networks are fine: internal names are normal.
pub fn barred_for_names(ip: IpAddr) -> Option<&'static str> {
    forms(ip).find_map(|form| match form {
        IpAddr::V4(v4) => barred_v4(v4),
        IpAddr::V6(v6) => barred_v6(v6),
    })
}

fn barred_v4(ip: Ipv4Addr) -> Option<&'static str> {
    // Metadata services outside the link-local range: Alibaba, Oracle, Azure.
    const METADATA: [Ipv4Addr; 3] = [
        Ipv4Addr::new(100, 100, 100, 200),
        Ipv4Addr::new(192, 0, 0, 192),
        Ipv4Addr::new(168, 63, 129, 16),
    ];
    if ip.octets()[0] == 0 {
        Some("unspecified")
    } else if ip.is_loopback() {
        Some("loopback")
    } else if ip.is_link_local() {
        Some("link-local")
    } else if ip.is_multicast() || ip.is_broadcast() {
        Some("multicast")
    } else if METADATA.contains(&ip) {
        Some("metadata")
    } else {
        None
    }
}

fn barred_v6(ip: Ipv6Addr) -> Option<&'static str> {
    // Amazon's, and what it hands to pods.
    const METADATA: [Ipv6Addr; 2] = [
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    ];
    if ip.is_unspecified() {
        Some("unspecified")
    } else if ip.is_loopback() {
        Some("loopback")
    } else if ip.is_unicast_link_local() || ip.segments()[0] & 0xffc0 == 0xfec0 {
        Some("link-local")
    } else if ip.is_multicast() {
        Some("multicast")
    } else if METADATA.contains(&ip) {
        Some("metadata")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_stand_for_no_local_address() {
        for (ip, why) in [
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::127.0.0.1", "loopback"),
            ("64:ff9b::7f00:1", "loopback"),
            ("64:ff9b:1::7f00:1", "loopback"),
            ("2002:7f00:1::", "loopback"),
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("::", "unspecified"),
            ("169.254.169.254", "link-local"),
            ("64:ff9b::a9fe:a9fe", "link-local"),
            ("::ffff:0:a9fe:a9fe", "link-local"),
            ("fe80::1", "link-local"),
            ("fec0::1", "link-local"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "multicast"),
            ("ff02::1", "multicast"),
            ("fd00:ec2::254", "metadata"),
            ("fd00:ec2::23", "metadata"),
            ("192.0.0.192", "metadata"),
            ("100.100.100.200", "metadata"),
            ("168.63.129.16", "metadata"),
        ] {
            assert_eq!(barred_for_names(ip.parse().unwrap()), Some(why), "{ip}");
        }
        for ip in [
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "8.8.8.8",
            "fd12::1",
            "2001:db8::1",
            "64:ff9b::808:808",
        ] {
            assert_eq!(barred_for_names(ip.parse().unwrap()), None, "{ip}");
        }
    }

    #[test]
    fn deny_sees_through_translators() {
        let deny = [
            "169.254.169.254/32".parse().unwrap(),
            "10.0.0.0/8".parse().unwrap(),
        ];
        for ip in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "10.9.8.7",
        ] {
            assert!(denied(&deny, ip.parse().unwrap()), "{ip}");
        }
        for ip in ["169.254.169.253", "11.0.0.1", "::1"] {
            assert!(!denied(&deny, ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn no_address_at_all_is_the_machine_itself() {
        let loopback = ["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        for ip in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
            assert!(denied(&loopback, ip.parse().unwrap()), "{ip}");
        }
        assert!(!denied(&loopback, "0.0.0.1".parse().unwrap()));
    }

    #[test]
    fn metadata_services_are_denied_by_default() {
        let spec = crate::config::spec::Spec::default();
        let settings = crate::plugin::Settings::from_spec(&spec).unwrap();
        for ip in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "64:ff9b::a9fe:aa02",
        ] {
            assert!(denied(&settings.deny, ip.parse().unwrap()), "{ip}");
        }
        assert!(!denied(&settings.deny, "169.254.169.253".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn every_clothing_of_an_address_is_judged_alike(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let why = barred_for_names(v4.into());
            let [a, b, c, d] = v4.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let clothes = [
                v4.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ];
            for clothing in clothes {
                prop_assert_eq!(barred_for_names(clothing.into()), why);
                prop_assert!(denied(&[IpNet::from(IpAddr::from(v4))], clothing.into()));
            }
        }
    }
}
