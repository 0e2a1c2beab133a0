//! Who a request comes from: the address of the connection, or the one that a trusted proxy names.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::{HeaderMap, header};
use ipnet::IpNet;

/// Header in which proxies name the clients that they forward requests of, the nearest last.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The sender of a request, an extension of the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    /// None for a proxy that does not say for whom it forwards.
    address: Option<IpAddr>,
    is_local: bool,
}

impl Client {
    /// Returns the client of a request without a known connection; it is neither local nor limited by
    /// address.
    pub const UNKNOWN: Self = Self { address: None, is_local: false };

    /// Returns the client of a request from `peer` with these headers.
    #[must_use]
    pub fn of(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies) -> Self {
        let peer = peer.to_canonical();
        if trusted.contains(peer) {
            return Self { address: trusted.forwarded_for(headers), is_local: false };
        }
        // A proxy on this machine that is not configured as one.
        let is_forwarded = [FORWARDED_FOR, header::FORWARDED.as_str(), header::VIA.as_str()]
            .iter()
            .any(|name| headers.contains_key(*name));
        Self { address: Some(peer), is_local: peer.is_loopback() && !is_forwarded }
    }

    /// Whether the request comes from this machine, and not through a proxy on it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// Returns what limits by address count by: the address, of IPv6 the network of 64 bits that one
    /// client usually has. None for a proxy that does not name its client.
    #[must_use]
    pub fn limited_address(&self) -> Option<IpAddr> {
        self.address.map(limited_address)
    }
}

/// Returns the address by which connections and requests of a peer are limited.
pub(super) fn limited_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Addresses of proxies whose `X-Forwarded-For` is believed, and which have no limits by address.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts the proxies in these ranges.
    #[must_use]
    pub fn new(ranges: &[IpNet]) -> Self {
        Self(ranges.to_vec())
    }

    /// Whether an address is that of a trusted proxy.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|range| range.contains(&address))
    }

    /// Returns the last address that is not of a trusted proxy: those before it are what the client
    /// claims.
    fn forwarded_for(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let values = headers.get_all(FORWARDED_FOR).iter().rev();
        for value in values {
            for name in value.to_str().ok()?.rsplit(',') {
                let address: IpAddr = name.trim().parse().ok()?;
                if !self.contains(address) {
                    return Some(address.to_canonical());
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client(peer: &str, forwarded_for: &[&'static str], trusted: &[&str]) -> Client {
        let mut headers = HeaderMap::new();
        for value in forwarded_for {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(value));
        }
        let ranges: Vec<IpNet> = trusted.iter().map(|range| range.parse().unwrap()).collect();
        Client::of(peer.parse().unwrap(), &headers, &TrustedProxies::new(&ranges))
    }

    fn address(client: Client) -> String {
        client.limited_address().map_or_else(String::new, |address| address.to_string())
    }

    #[test]
    fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
        let claimed = &["1.1.1.1"];
        assert_eq!(address(client("9.9.9.9", claimed, &[])), "9.9.9.9");
        assert_eq!(address(client("10.0.0.1", claimed, &["10.0.0.0/8"])), "1.1.1.1");
        // What the client claims comes before what the proxy saw.
        let chain = &["8.8.8.8, 1.1.1.1", "10.0.0.2"];
        assert_eq!(address(client("10.0.0.1", chain, &["10.0.0.0/8"])), "1.1.1.1");
        for unknown in [&[][..], &["10.0.0.2"], &["nonsense"], &["1.1.1.1, nonsense"]] {
            assert_eq!(address(client("10.0.0.1", unknown, &["10.0.0.0/8"])), "", "{unknown:?}");
        }
    }

    #[test]
    fn network_of_an_ipv6_client_is_limited_as_one_address() {
        let one = client("2001:db8:1:2:3:4:5:6", &[], &[]);
        let other = client("2001:db8:1:2::1", &[], &[]);
        assert_eq!(one.limited_address(), other.limited_address());
        assert_ne!(address(client("2001:db8:1:3::1", &[], &[])), address(one));
        assert_eq!(address(client("::ffff:9.9.9.9", &[], &[])), "9.9.9.9");
    }

    #[test]
    fn request_through_a_proxy_on_this_machine_is_not_local() {
        assert!(client("127.0.0.1", &[], &[]).is_local());
        assert!(client("::1", &[], &[]).is_local());
        assert!(client("::ffff:127.0.0.1", &[], &[]).is_local());
        assert!(!client("127.0.0.1", &["1.1.1.1"], &[]).is_local());
        assert!(!client("127.0.0.1", &[], &["127.0.0.1/32"]).is_local());
        assert!(!client("10.0.0.1", &[], &[]).is_local());
        assert!(!Client::UNKNOWN.is_local());
    }
}
