//! Egress guard: rejects endpoint URLs and addresses inside private and reserved networks (SSRF).
//!
//! An endpoint URL is checked twice: when it is registered, so that the app gets an error, and when
//! it is dialled, with the addresses that its name resolves to then, so that DNS rebinding gains
//! nothing. What cannot be checked is rejected.

mod ranges;

use std::net::{IpAddr, SocketAddr};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use thiserror::Error;
use url::{Host, Url};

use ranges::{embedded, is_metadata, is_reserved};

use crate::config;

/// Longest host name, in bytes.
const HOST_BYTES_MAX: usize = 253;
/// Ports that are always allowed; 80 is added where plain `http` is allowed.
const PORTS: [u16; 2] = [443, 8443];
/// Suffixes of names that resolve only inside a private network.
const PRIVATE_SUFFIXES: [&str; 4] = [".localhost", ".local", ".internal", ".home.arpa"];

/// Why a URL or an address is rejected; each variant is one label value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum EgressRefusal {
    /// Neither `https` nor an allowed `http`.
    #[error("only https is allowed; `delivery.allow_http` opens http")]
    Scheme,
    /// The URL contains a user name or password.
    #[error("the URL must not hold a user name or password")]
    Userinfo,
    /// The URL contains a fragment.
    #[error("the URL must not hold a fragment")]
    Fragment,
    /// The port is not allowed.
    #[error("the port is not allowed; `delivery.allow_ports` opens more")]
    Port,
    /// The host is missing or too long.
    #[error("the URL needs a host name of at most 253 bytes")]
    Host,
    /// The host name resolves only inside a private network.
    #[error("the host name belongs to a private network; `delivery.allow_cidrs` opens such")]
    PrivateName,
    /// The host is an IP address outside the allowed ranges.
    #[error("the host must be a name, not an address")]
    Literal,
    /// The address is not public.
    #[error(
        "the address belongs to a private or reserved range; `delivery.allow_cidrs` opens such"
    )]
    PrivateAddress,
    /// The address serves credentials of a cloud machine.
    #[error("the address is a metadata service")]
    Metadata,
    /// The address is one of the router or the broker.
    #[error("the address belongs to the router itself")]
    Own,
}

impl EgressRefusal {
    /// Returns the text for tenants: the rule, unless it says what is at an address of ours.
    #[must_use]
    pub fn for_tenants(self) -> String {
        match self {
            Self::PrivateName
            | Self::Literal
            | Self::PrivateAddress
            | Self::Metadata
            | Self::Own => "the host is not allowed".into(),
            Self::Scheme => "only https is allowed".into(),
            Self::Port => "the port is not allowed".into(),
            Self::Userinfo | Self::Fragment | Self::Host => self.to_string(),
        }
    }

    /// Returns the violated rule as metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Scheme => "scheme",
            Self::Userinfo => "userinfo",
            Self::Fragment => "fragment",
            Self::Port => "port",
            Self::Host => "host",
            Self::PrivateName => "private_name",
            Self::Literal => "literal",
            Self::PrivateAddress => "private_address",
            Self::Metadata => "metadata",
            Self::Own => "own",
        }
    }
}

/// Egress rules of one router.
#[derive(Debug)]
pub struct EgressGuard {
    allow_http: bool,
    ports: Ports,
    open: Vec<IpNet>,
    own: ArcSwap<Vec<SocketAddr>>,
}

#[derive(Debug)]
enum Ports {
    Any,
    Listed(Vec<u16>),
}

/// A port of `delivery.allow_ports` is neither a number nor `any`.
#[derive(Debug, Error)]
#[error("delivery.allow_ports: `{0}` is neither a port number nor `any`")]
pub struct BadPort(String);

impl EgressGuard {
    /// Creates the rules of the configuration.
    ///
    /// # Errors
    /// An entry of `allow_ports` is not a port.
    pub fn new(config: &config::DeliveryConfig) -> Result<Self, BadPort> {
        let mut listed = PORTS.to_vec();
        if config.allow_http {
            listed.push(80);
        }
        let mut ports = Ports::Listed(Vec::new());
        for text in &config.allow_ports {
            match text.parse() {
                Ok(port) => listed.push(port),
                Err(_) if text == "any" => ports = Ports::Any,
                Err(_) => return Err(BadPort(text.clone())),
            }
        }
        if let Ports::Listed(ports) = &mut ports {
            *ports = listed;
        }
        Ok(Self {
            allow_http: config.allow_http,
            ports,
            open: config.allow_cidrs.clone(),
            own: ArcSwap::default(),
        })
    }

    /// Sets the addresses of the router's own listeners and of the broker, which stay forbidden
    /// even inside an allowed range. An unspecified listener (`0.0.0.0`) forbids its port on
    /// loopback.
    pub fn forbid(&self, own: Vec<SocketAddr>) {
        self.own.store(own.into());
    }

    /// Checks an endpoint URL without resolving its name.
    ///
    /// # Errors
    /// The violated rule.
    pub fn check_url(&self, url: &Url) -> Result<(), EgressRefusal> {
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            _ => return Err(EgressRefusal::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EgressRefusal::Userinfo);
        }
        if url.fragment().is_some() {
            return Err(EgressRefusal::Fragment);
        }
        let port = url.port_or_known_default().ok_or(EgressRefusal::Port)?;
        if matches!(&self.ports, Ports::Listed(ports) if !ports.contains(&port)) {
            return Err(EgressRefusal::Port);
        }
        match url.host().ok_or(EgressRefusal::Host)? {
            Host::Domain(name) => self.check_name(name),
            Host::Ipv4(ip) => self.check_literal(SocketAddr::new(ip.into(), port)),
            Host::Ipv6(ip) => self.check_literal(SocketAddr::new(ip.into(), port)),
        }
    }

    /// Checks an address that is about to be dialled.
    ///
    /// # Errors
    /// The violated rule.
    pub fn check_address(&self, address: SocketAddr) -> Result<(), EgressRefusal> {
        let ip = address.ip().to_canonical();
        let inner = embedded(ip);
        if is_metadata(ip) || inner.iter().any(|inner| is_metadata((*inner).into())) {
            return Err(EgressRefusal::Metadata);
        }
        if self.is_own(SocketAddr::new(ip, address.port())) {
            return Err(EgressRefusal::Own);
        }
        let allowed = |ip: IpAddr| self.is_open(ip) || !is_reserved(ip);
        if allowed(ip) && inner.iter().all(|inner| allowed((*inner).into())) {
            Ok(())
        } else {
            Err(EgressRefusal::PrivateAddress)
        }
    }

    /// Checks an established connection, before anything is sent on it. A connection whose two ends
    /// have the same address is one to this machine, by whichever of its addresses.
    ///
    /// # Errors
    /// It leads to one of the router's own listeners.
    pub fn check_connection(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<(), EgressRefusal> {
        let is_self = local.ip().to_canonical() == remote.ip().to_canonical();
        let has_own_port = || self.own.load().iter().any(|own| own.port() == remote.port());
        if is_self && has_own_port() { Err(EgressRefusal::Own) } else { Ok(()) }
    }

    fn check_name(&self, name: &str) -> Result<(), EgressRefusal> {
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() || name.len() > HOST_BYTES_MAX {
            return Err(EgressRefusal::Host);
        }
        // With allowed ranges, private names are the way to reach them; the addresses that they
        // resolve to are checked nevertheless.
        let private =
            !name.contains('.') || PRIVATE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
        if private && self.open.is_empty() { Err(EgressRefusal::PrivateName) } else { Ok(()) }
    }

    fn check_literal(&self, address: SocketAddr) -> Result<(), EgressRefusal> {
        self.check_address(address)?;
        if self.is_open(address.ip().to_canonical()) { Ok(()) } else { Err(EgressRefusal::Literal) }
    }

    fn is_open(&self, ip: IpAddr) -> bool {
        self.open.iter().any(|range| range.contains(&ip))
    }

    fn is_own(&self, address: SocketAddr) -> bool {
        self.own.load().iter().any(|own| {
            let same_ip = own.ip().to_canonical() == address.ip()
                || (own.ip().is_unspecified() && address.ip().is_loopback());
            same_ip && own.port() == address.port()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn guard(change: impl FnOnce(&mut config::DeliveryConfig)) -> EgressGuard {
        let mut config = Config::defaults().unwrap().delivery;
        change(&mut config);
        EgressGuard::new(&config).unwrap()
    }

    fn strict() -> EgressGuard {
        guard(|_| {})
    }

    fn dev() -> EgressGuard {
        guard(|config| {
            config.allow_http = true;
            config.allow_ports = vec!["any".into()];
            config.allow_cidrs = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        })
    }

    fn url(guard: &EgressGuard, text: &str) -> Result<(), EgressRefusal> {
        guard.check_url(&text.parse().unwrap())
    }

    fn address(guard: &EgressGuard, ip: &str) -> Result<(), EgressRefusal> {
        guard.check_address(SocketAddr::new(ip.parse().unwrap(), 443))
    }

    #[test]
    fn public_https_endpoint_passes() {
        assert_eq!(url(&strict(), "https://app.example.com/hook?x=1"), Ok(()));
        assert_eq!(url(&strict(), "https://app.example.com:8443/"), Ok(()));
        for ip in ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "172.32.0.1", "100.128.0.1"] {
            assert_eq!(address(&strict(), ip), Ok(()), "{ip}");
        }
    }

    #[test]
    fn each_url_rule_rejects_by_its_name() {
        let cases = [
            ("http://app.example.com/", EgressRefusal::Scheme),
            ("ftp://app.example.com/", EgressRefusal::Scheme),
            ("https://user@app.example.com/", EgressRefusal::Userinfo),
            ("https://u:p@app.example.com/", EgressRefusal::Userinfo),
            ("https://app.example.com/#top", EgressRefusal::Fragment),
            ("https://app.example.com:22/", EgressRefusal::Port),
            ("https://localhost/", EgressRefusal::PrivateName),
            ("https://LOCALHOST./", EgressRefusal::PrivateName),
            ("https://a.localhost/", EgressRefusal::PrivateName),
            ("https://printer.local/", EgressRefusal::PrivateName),
            ("https://metadata.google.internal/", EgressRefusal::PrivateName),
            ("https://nas.home.arpa/", EgressRefusal::PrivateName),
            ("https://intranet/", EgressRefusal::PrivateName),
            ("https://8.8.8.8/", EgressRefusal::Literal),
            ("https://127.0.0.1/", EgressRefusal::PrivateAddress),
            ("https://0x7f.1/", EgressRefusal::PrivateAddress),
            ("https://2130706433/", EgressRefusal::PrivateAddress),
            ("https://0177.0.0.1/", EgressRefusal::PrivateAddress),
            ("https://[::1]/", EgressRefusal::PrivateAddress),
            ("https://[::ffff:10.0.0.1]/", EgressRefusal::PrivateAddress),
            ("https://169.254.169.254/latest/", EgressRefusal::Metadata),
        ];
        for (text, refusal) in cases {
            assert_eq!(url(&strict(), text), Err(refusal), "{text}");
        }
        let long = format!("https://{}.com/", ["a".repeat(60).as_str(); 5].join("."));
        assert_eq!(url(&strict(), &long), Err(EgressRefusal::Host));
    }

    #[test]
    fn every_form_of_a_private_address_is_rejected() {
        for ip in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:20::1",
            "2001:2f:ffff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "2606:4700::5efe:7f00:1",
        ] {
            assert_eq!(address(&strict(), ip), Err(EgressRefusal::PrivateAddress), "{ip}");
        }
    }

    #[test]
    fn metadata_services_stay_closed_in_open_ranges() {
        let all = guard(|config| {
            config.allow_cidrs = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        });
        assert_eq!(address(&all, "10.0.0.1"), Ok(()));
        for ip in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "fd00:ec2::254",
            "169.254.170.2",
            "169.254.170.23",
            "168.63.129.16",
            "fd20:ce::254",
        ] {
            assert_eq!(address(&all, ip), Err(EgressRefusal::Metadata), "{ip}");
        }
    }

    #[test]
    fn open_range_opens_its_mapped_form_but_no_tunnel_to_elsewhere() {
        let dev = dev();
        assert_eq!(address(&dev, "127.0.0.1"), Ok(()));
        assert_eq!(address(&dev, "::ffff:127.0.0.1"), Ok(()));
        assert_eq!(address(&dev, "10.0.0.1"), Err(EgressRefusal::PrivateAddress));
        let tunnel = guard(|config| config.allow_cidrs = vec!["64:ff9b::/96".parse().unwrap()]);
        assert_eq!(address(&tunnel, "64:ff9b::808:808"), Ok(()));
        assert_eq!(address(&tunnel, "64:ff9b::7f00:1"), Err(EgressRefusal::PrivateAddress));
    }

    #[test]
    fn dev_rules_open_loopback_http_and_any_port() {
        for text in ["http://127.0.0.1:9999/", "http://localhost:1/", "http://[::1]:8080/x"] {
            assert_eq!(url(&dev(), text), Ok(()), "{text}");
        }
        assert_eq!(url(&dev(), "http://10.0.0.1/"), Err(EgressRefusal::PrivateAddress));
    }

    #[test]
    fn own_listener_stays_closed_by_address_and_port() {
        let dev = dev();
        dev.forbid(vec!["127.0.0.1:8089".parse().unwrap(), "0.0.0.0:4222".parse().unwrap()]);
        assert_eq!(url(&dev, "http://127.0.0.1:8089/"), Err(EgressRefusal::Own));
        assert_eq!(url(&dev, "http://[::ffff:127.0.0.1]:8089/"), Err(EgressRefusal::Own));
        assert_eq!(url(&dev, "http://127.0.0.1:4222/"), Err(EgressRefusal::Own));
        assert_eq!(url(&dev, "http://127.0.0.1:8090/"), Ok(()));
    }

    #[test]
    fn connection_to_an_own_port_by_any_address_of_this_machine_is_refused() {
        let guard = strict();
        guard.forbid(vec!["0.0.0.0:8089".parse().unwrap()]);
        let check = |local: &str, remote: &str| {
            guard.check_connection(local.parse().unwrap(), remote.parse().unwrap())
        };
        assert_eq!(check("192.0.2.7:50000", "192.0.2.7:8089"), Err(EgressRefusal::Own));
        let mapped = check("[::ffff:192.0.2.7]:50000", "192.0.2.7:8089");
        assert_eq!(mapped, Err(EgressRefusal::Own));
        assert_eq!(check("192.0.2.7:50000", "192.0.2.7:8090"), Ok(()), "another service here");
        assert_eq!(check("192.0.2.7:50000", "192.0.2.8:8089"), Ok(()), "another machine");
    }

    #[test]
    fn misspelt_port_is_rejected_by_name() {
        let mut config = Config::defaults().unwrap().delivery;
        config.allow_ports = vec!["all".into()];
        assert!(EgressGuard::new(&config).unwrap_err().to_string().contains("`all`"));
    }
}
