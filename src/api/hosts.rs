//! Which host names browsers may use: a page of a stranger must not read what the router shows without
//! a token, by a name of the stranger that leads to this machine (DNS rebinding).
//!
//! Addresses need no check: a name that a stranger controls is never an address.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use url::Url;

use super::error::{ApiError, ClientRefusal};

/// Names of this router, in lower case.
#[derive(Clone, Debug, Default)]
pub struct OwnHosts(Arc<[String]>);

impl OwnHosts {
    /// Returns `localhost`, the host of the public URL (empty = none) and `more`.
    #[must_use]
    pub fn new(public_url: &str, more: &[String]) -> Self {
        let public = Url::parse(public_url).ok();
        let public = public.as_ref().and_then(Url::host_str).map(str::to_owned);
        let names = public.into_iter().chain(more.iter().cloned()).chain(["localhost".into()]);
        Self(names.map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect())
    }

    /// Checks that a request names this router, and comes from one of its own pages if a page sends it.
    ///
    /// # Errors
    /// [`ClientRefusal::UnknownHost`] or [`ClientRefusal::ForeignOrigin`].
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ClientRefusal> {
        let named = headers.get(header::HOST).and_then(|value| value.to_str().ok());
        let host = uri.authority().map(|authority| authority.as_str()).or(named);
        let host = host.map(without_port).filter(|host| self.is_own(host));
        let is_ambiguous = headers.get_all(header::HOST).iter().count() > 1;
        let Some(host) = host.filter(|_| !is_ambiguous) else {
            return Err(ClientRefusal::UnknownHost);
        };
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        let is_own_page = |page: &str| page.eq_ignore_ascii_case(host) || self.is_name(page);
        match origin.is_some_and(|(_, page)| is_own_page(without_port(page))) {
            true => Ok(()),
            false => Err(ClientRefusal::ForeignOrigin),
        }
    }

    fn is_own(&self, host: &str) -> bool {
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_address = match bracketed {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<IpAddr>().is_ok(),
        };
        is_address || self.is_name(host)
    }

    fn is_name(&self, host: &str) -> bool {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        name.ends_with(".localhost") || self.0.contains(&name)
    }
}

/// Middleware of routes that browsers show: refuses requests under a name that is not the router's.
///
/// # Errors
/// As [`OwnHosts::check`].
pub async fn require_own_host(
    State(hosts): State<OwnHosts>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    hosts.check(request.uri(), request.headers())?;
    Ok(next.run(request).await)
}

/// Returns the host of an authority, an IPv6 address with its brackets.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn check(host: &'static str, origin: Option<&'static str>) -> Result<(), ClientRefusal> {
        let hosts = OwnHosts::new("https://Switchyard.example.com:8443/x", &["router".into()]);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        let origin: Option<(HeaderName, _)> =
            origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin)));
        headers.extend(origin);
        hosts.check(&Uri::from_static("/live"), &headers)
    }

    #[test]
    fn own_names_and_addresses_are_accepted() {
        for host in [
            "localhost",
            "localhost:8089",
            "console.localhost:8089",
            "127.0.0.1:8089",
            "[::1]:8089",
            "[::1]",
            "10.1.2.3",
            "switchyard.example.com",
            "SWITCHYARD.example.com.:443",
            "router:8089",
        ] {
            assert!(check(host, None).is_ok(), "{host}");
        }
        assert!(check("localhost:8089", Some("http://localhost:8089")).is_ok());
    }

    #[test]
    fn names_and_pages_of_strangers_are_refused() {
        for host in [
            "",
            "evil.example",
            "evil.example:8089",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "switchyard.example.com.evil.example",
            "[::1].evil.example",
        ] {
            assert!(matches!(check(host, None), Err(ClientRefusal::UnknownHost)), "{host}");
        }
        for origin in [
            "http://evil.example",
            "null",
            "",
            "http://localhost.evil.example:8089",
            "http://203.0.113.7",
        ] {
            let refused = check("localhost", Some(origin));
            assert!(matches!(refused, Err(ClientRefusal::ForeignOrigin)), "{origin}");
        }
        let none = OwnHosts::default().check(&Uri::from_static("/"), &HeaderMap::new());
        assert!(none.is_err());
    }
}
