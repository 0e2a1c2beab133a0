//! Private and reserved address ranges.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Returns the IPv4 addresses embedded in an IPv6 address: compatible, NAT64, 6to4, Teredo (client
/// and server), translated and ISATAP forms. Mapped addresses are made canonical before.
pub(super) fn embedded(ip: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return Vec::new() };
    if ip.is_loopback() || ip.is_unspecified() {
        return Vec::new();
    }
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0] | [0, 0, 0, 0, 0xffff, 0] => vec![v4(g, h)],
        [0x64, 0xff9b, 0, 0, 0, 0] | [0x64, 0xff9b, 1, ..] => vec![v4(g, h)],
        [0x2002, high, low, ..] => vec![v4(high, low)],
        [0x2001, 0, high, low, ..] => vec![v4(high, low), v4(!g, !h)],
        [.., 0 | 0x200, 0x5efe] => vec![v4(g, h)],
        _ => Vec::new(),
    }
}

/// Returns whether an address serves credentials of a cloud machine.
pub(super) fn is_metadata(ip: IpAddr) -> bool {
    METADATA.contains(&ip)
}

/// **Source:** the vendors' manuals: AWS (EC2, ECS, EKS), Google Cloud, Azure, Alibaba Cloud.
const METADATA: [IpAddr; 7] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Returns whether an address is private or reserved.
pub(super) fn is_reserved(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => RESERVED_V4.iter().any(|range| range.contains(&ip)),
        IpAddr::V6(ip) => RESERVED_V6.iter().any(|range| range.contains(&ip)),
    }
}

const fn v4(a: u8, b: u8, c: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), bits)
}

const fn v6(a: u16, b: u16, c: u16, bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), bits)
}

/// **Source:** IANA IPv4 special-purpose address registry.
const RESERVED_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 8),
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(127, 0, 0, 8),
    v4(169, 254, 0, 16),
    v4(172, 16, 0, 12),
    v4(192, 0, 0, 24),
    v4(192, 0, 2, 24),
    v4(192, 88, 99, 24),
    v4(192, 168, 0, 16),
    v4(198, 18, 0, 15),
    v4(198, 51, 100, 24),
    v4(203, 0, 113, 24),
    v4(224, 0, 0, 4),
    v4(240, 0, 0, 4),
];

/// **Source:** IANA IPv6 special-purpose address registry. The first range contains `::`, `::1` and
/// the compatible forms.
const RESERVED_V6: [Ipv6Net; 15] = [
    v6(0, 0, 0, 96),
    Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96),
    v6(0x64, 0xff9b, 0, 96),
    v6(0x64, 0xff9b, 1, 48),
    v6(0x100, 0, 0, 64),
    v6(0x2001, 0, 0, 32),
    v6(0x2001, 0x20, 0, 28),
    v6(0x2001, 0xdb8, 0, 32),
    v6(0x2002, 0, 0, 16),
    v6(0x3fff, 0, 0, 20),
    v6(0x5f00, 0, 0, 16),
    v6(0xfc00, 0, 0, 7),
    v6(0xfe80, 0, 0, 10),
    v6(0xfec0, 0, 0, 10),
    v6(0xff00, 0, 0, 8),
];
